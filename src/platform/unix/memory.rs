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

    /// Gives back the heap's free pages, and those of the program's and the C library's code that can be read from
    /// their files again: of both the work of some seconds needs more than the rest of the day.
    pub fn give_back_memory() {
        // SAFETY: it frees what nobody has.
        unsafe { libc::malloc_trim(0) };
        #[expect(
            clippy::disallowed_methods,
            reason = "the system's own list, as long as this process has mappings"
        )]
        let Ok(smaps) = std::fs::read_to_string("/proc/self/smaps") else { return };
        for range in
            clean(&smaps, &[give_back_memory as fn() as usize, libc::malloc_trim as *const () as usize])
        {
            // SAFETY: the range is one of a file that was there before the first line of this program ran, and stays
            // mapped for as long as it runs; nobody may write to it, and no page differs from the file, also none that
            // is swapped out: what is read or run there next comes from the file as before.
            unsafe { libc::madvise(range.start as *mut libc::c_void, range.len(), libc::MADV_DONTNEED) };
        }
    }

    /// A mapping of a file.
    struct Mapping<'s> {
        range: Range<usize>,
        path: &'s str,
        /// Code.
        is_code: bool,
        /// The beginning of its file, to be read only. What was written to before it was protected comes later there.
        is_head: bool,
        /// How often it was told that nothing of it differs from the file: of its pages in memory, of those swapped out.
        same: usize,
    }

    /// The code and constants of the files that have these addresses, where no page differs from its file; in the
    /// form of proc_pid_smaps(5).
    fn clean(smaps: &str, addresses: &[usize]) -> Vec<Range<usize>> {
        let mut all: Vec<Mapping<'_>> = Vec::new();
        let mut is_file = false;
        for line in smaps.lines() {
            match line.split_once(' ') {
                Some(("Anonymous:" | "Swap:", size)) => {
                    if let Some(last) = all.last_mut().filter(|_| is_file) {
                        last.same += usize::from(size.trim() == "0 kB");
                    }
                }
                Some((name, _)) if name.ends_with(':') => {}
                _ => {
                    let found = mapping(line);
                    is_file = found.is_some();
                    all.extend(found);
                }
            }
        }
        let has = |mapping: &Mapping<'_>| addresses.iter().any(|address| mapping.range.contains(address));
        let files: Vec<&str> =
            all.iter().filter(|mapping| has(mapping)).map(|mapping| mapping.path).collect();
        // Constants stand before the code. What is mapped elsewhere to be read, by whoever, may be gone in a moment.
        let stands_before = |mapping: &Mapping<'_>, next: &Mapping<'_>| {
            next.is_code && next.path == mapping.path && next.range.start == mapping.range.end
        };
        let wanted = |(index, mapping): &(usize, &Mapping<'_>)| {
            let next = all.get(index + 1);
            let is_constant = mapping.is_head && next.is_some_and(|next| stands_before(mapping, next));
            (mapping.is_code || is_constant) && mapping.same == 2 && files.contains(&mapping.path)
        };
        all.iter().enumerate().filter(wanted).map(|(_, mapping)| mapping.range.clone()).collect()
    }

    /// What the first line of a mapping tells, if it is one of a file.
    fn mapping(line: &str) -> Option<Mapping<'_>> {
        let (head, path) = line.split_once('/')?;
        let mut words = head.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let may = words.next()?;
        let is_head = may == "r--p" && words.next()?.bytes().all(|digit| digit == b'0');
        let hex = |text| usize::from_str_radix(text, 16).ok();
        Some(Mapping { range: hex(start)?..hex(end)?, path, is_code: may == "r-xp", is_head, same: 0 })
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
                mapping("c000-e000 r--p 00000000 fd:01 7    /usr/bin/certhook", 0, 0),
                mapping("e000-f000 r--p 00000000 fd:01 8    /usr/lib/libc.so.6", 0, 0),
                mapping("10000-11000 r-xp 00000000 fd:01 9    /usr/lib/libother.so", 0, 0),
                mapping("9000-a000 r-xp 00001000 fd:01 7    /usr/bin/certhook", 4, 0),
                mapping("a000-b000 r-xp 00001000 fd:01 7    /usr/bin/certhook", 0, 4),
                mapping("ffff000-ffff800 r-xp 00000000 00:00 0    [vdso]", 0, 0),
            ];
            let smaps = smaps.concat();
            assert_eq!(clean(&smaps, &[0x2345]), [0x1000..0x2000, 0x2000..0x4000]);
            assert_eq!(clean(&smaps, &[0x2345, 0x8000]), [0x1000..0x2000, 0x2000..0x4000, 0x8000..0x9000]);
            assert!(clean(&smaps, &[0x6789, 0x9_0000]).is_empty(), "no file's");
        }

        #[test]
        fn the_program_goes_on() {
            let held: Vec<Vec<u8>> = (0..4000).map(|size| vec![7; size]).collect();
            let kept: Vec<&Vec<u8>> = held.iter().step_by(100).collect();
            give_back_memory();
            assert!(kept.iter().all(|piece| piece.iter().all(|byte| *byte == 7)));
            let (here, library) =
                (the_program_goes_on as fn() as usize, libc::malloc_trim as *const () as usize);
            let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let own = clean(&smaps, &[here, library]);
            assert!(own.iter().any(|range| range.contains(&here)), "this program's code is one: {own:?}");
            assert!(own.iter().any(|range| range.contains(&library)), "and the C library's: {own:?}");
        }
    }
}
