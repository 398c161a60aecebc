//! This process's memory.

#![cfg_attr(all(target_os = "linux", target_env = "gnu"), allow(unsafe_code))]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub use gnu::{give_back_memory, use_one_heap};

/// Nothing: this system's library is not known to be told.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn use_one_heap() {}

/// Nothing; see [`use_one_heap`].
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back_memory() {}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod gnu {
    use std::ops::Range;

    use nix::libc;

    /// Larger pieces have pages of their own, which go back with them. (glibc's own first value, which it would raise.)
    const LARGE: libc::c_int = 128 << 10;

    /// One heap for all threads: glibc would give each its own, and each would keep what its thread needed once. To be
    /// called before there is another thread.
    pub fn use_one_heap() {
        // SAFETY: both set numbers of the allocator's, whatever it holds already.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        }
    }

    /// Gives back the heap's free pages, and those of program and libraries that can be read from their files again:
    /// of both the work of some seconds needs more than the rest of the day.
    pub fn give_back_memory() {
        // SAFETY: it frees what nobody has.
        unsafe { libc::malloc_trim(0) };
        for range in clean(&std::fs::read_to_string("/proc/self/smaps").unwrap_or_default()) {
            // SAFETY: the range is one of this process's mappings of a file, which nobody may write to and in which no
            // page differs from the file: what is read or run there next comes from the file as before.
            unsafe { libc::madvise(range.start as *mut libc::c_void, range.len(), libc::MADV_DONTNEED) };
        }
    }

    /// The mappings of files that cannot be written to, and were not before they were protected either; in the form of
    /// proc_pid_smaps(5).
    fn clean(smaps: &str) -> Vec<Range<usize>> {
        let (mut found, mut candidate) = (Vec::new(), None);
        for line in smaps.lines() {
            match line.split_once(' ') {
                Some(("Anonymous:", size)) if size.trim() == "0 kB" => found.extend(candidate.take()),
                Some((name, _)) if name.ends_with(':') => {}
                _ => candidate = mapping(line),
            }
        }
        found
    }

    /// The range that a mapping's first line tells of, if it is one of a file that is only read or run.
    fn mapping(line: &str) -> Option<Range<usize>> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let reads_only = matches!(words.next()?, "r-xp" | "r--p");
        let is_file = words.nth(2)? != "0";
        let hex = |text| usize::from_str_radix(text, 16).ok();
        Some(hex(start)?..hex(end)?).filter(|_| reads_only && is_file)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_differs_from_its_file_or_may_is_kept() {
            let mapping = |line: &str, anonymous| {
                format!(
                    "{line}\nSize:     4 kB\nRss:      4 kB\nAnonymous:  {anonymous} kB\nVmFlags: rd mr\n"
                )
            };
            let smaps = [
                mapping("1000-2000 r--p 00000000 fd:01 7    /usr/bin/certhook", 0),
                mapping("2000-4000 r-xp 00001000 fd:01 7    /usr/bin/certhook", 0),
                mapping("4000-5000 r--p 00003000 fd:01 7    /usr/bin/certhook", 4),
                mapping("5000-6000 rw-p 00004000 fd:01 7    /usr/bin/certhook", 0),
                mapping("6000-7000 rw-p 00000000 00:00 0    [heap]", 0),
                mapping("7000-8000 r--p 00000000 00:00 0", 0),
                mapping("8000-9000 r--s 00000000 fd:01 9    /var/lib/certhook/ledger.db-shm", 0),
                mapping("9000-a000 r-xp 00000000 fd:01 8    /usr/lib/a file: of two lines", 0),
                mapping("ffff000-ffff800 r-xp 00000000 00:00 0    [vdso]", 0),
            ];
            assert_eq!(clean(&smaps.concat()), [0x1000..0x2000, 0x2000..0x4000, 0x9000..0xa000]);
        }

        #[test]
        fn the_program_goes_on_with_less() {
            let held: Vec<Vec<u8>> = (0..4000).map(|size| vec![7; size]).collect();
            let kept: Vec<&Vec<u8>> = held.iter().step_by(100).collect();
            give_back_memory();
            assert!(kept.iter().all(|piece| piece.iter().all(|byte| *byte == 7)));
            let own = clean(&std::fs::read_to_string("/proc/self/smaps").unwrap());
            let here = the_program_goes_on_with_less as fn() as usize;
            assert!(own.iter().any(|range| range.contains(&here)), "this program's code is one: {own:?}");
        }
    }
}
