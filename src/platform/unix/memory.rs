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

    /// Gives back the heap's free pages, and those of the program's own code that can be read from its file again: of
    /// both the work of some seconds needs more than the rest of the day.
    pub fn give_back_memory() {
        // SAFETY: it frees what nobody has.
        unsafe { libc::malloc_trim(0) };
        let (smaps, program) =
            (std::fs::read_to_string("/proc/self/smaps"), std::fs::read_link("/proc/self/exe"));
        let (Ok(smaps), Ok(program)) = (smaps, program) else { return };
        for range in clean(&smaps, &program.to_string_lossy()) {
            // SAFETY: the range is one of the program's own file, which stays mapped for as long as it runs; nobody may
            // write to it, and no page differs from the file, also none that is swapped out: what is read or run there
            // next comes from the file as before.
            unsafe { libc::madvise(range.start as *mut libc::c_void, range.len(), libc::MADV_DONTNEED) };
        }
    }

    /// The program's code and constants, where no page of them differs from its file; in the form of
    /// proc_pid_smaps(5).
    fn clean(smaps: &str, program: &str) -> Vec<Range<usize>> {
        let (mut found, mut candidate) = (Vec::new(), None);
        for line in smaps.lines() {
            match line.split_once(' ') {
                Some(("Anonymous:", size)) if size.trim() != "0 kB" => candidate = None,
                // It comes after the other.
                Some(("Swap:", size)) if size.trim() == "0 kB" => found.extend(candidate.take()),
                Some((name, _)) if name.ends_with(':') => {}
                _ => candidate = mapping(line, program),
            }
        }
        found
    }

    /// The range that a mapping's first line tells of, if it is of the program's code, or of the constants at the
    /// beginning of its file. What was written to before it was protected comes later there.
    fn mapping(line: &str, program: &str) -> Option<Range<usize>> {
        let (head, path) = line.split_once('/')?;
        let mut words = head.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let wanted = match words.next()? {
            "r-xp" => true,
            "r--p" => words.next()?.bytes().all(|digit| digit == b'0'),
            _ => false,
        };
        let hex = |text| usize::from_str_radix(text, 16).ok();
        Some(hex(start)?..hex(end)?).filter(|_| wanted && program.strip_prefix('/') == Some(path))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_differs_from_its_file_or_may_is_kept() {
            let mapping = |line: &str, anonymous, swap| {
                format!(
                    "{line}\nRss:      4 kB\nAnonymous:  {anonymous} kB\nSwap:     {swap} kB\nVmFlags: rd mr\n"
                )
            };
            let smaps = [
                mapping("1000-2000 r--p 00000000 fd:01 7    /usr/bin/certhook", 0, 0),
                mapping("2000-4000 r-xp 00001000 fd:01 7    /usr/bin/certhook", 0, 0),
                mapping("4000-5000 r--p 00003000 fd:01 7    /usr/bin/certhook", 0, 0),
                mapping("5000-6000 rw-p 00004000 fd:01 7    /usr/bin/certhook", 0, 0),
                mapping("6000-7000 rw-p 00000000 00:00 0    [heap]", 0, 0),
                mapping("7000-8000 r--p 00000000 00:00 0", 0, 0),
                mapping("8000-9000 r-xp 00000000 fd:01 8    /usr/lib/libc.so.6", 0, 0),
                mapping("9000-a000 r-xp 00001000 fd:01 7    /usr/bin/certhook", 4, 0),
                mapping("a000-b000 r-xp 00001000 fd:01 7    /usr/bin/certhook", 0, 4),
                mapping("ffff000-ffff800 r-xp 00000000 00:00 0    [vdso]", 0, 0),
            ];
            assert_eq!(clean(&smaps.concat(), "/usr/bin/certhook"), [0x1000..0x2000, 0x2000..0x4000]);
        }

        #[test]
        fn the_program_goes_on_with_less() {
            let held: Vec<Vec<u8>> = (0..4000).map(|size| vec![7; size]).collect();
            let kept: Vec<&Vec<u8>> = held.iter().step_by(100).collect();
            give_back_memory();
            assert!(kept.iter().all(|piece| piece.iter().all(|byte| *byte == 7)));
            let program = std::env::current_exe().unwrap().display().to_string();
            let own = clean(&std::fs::read_to_string("/proc/self/smaps").unwrap(), &program);
            let here = the_program_goes_on_with_less as fn() as usize;
            assert!(own.iter().any(|range| range.contains(&here)), "this program's code is one: {own:?}");
        }
    }
}
