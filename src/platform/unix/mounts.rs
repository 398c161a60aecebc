//! The mounts that this process sees, and when they change: nothing else tells that a path leads to another file
//! system now.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, PipeReader, PipeWriter, Read as _, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// From proc(5): it can be polled, and lists the mounts in this process's namespace.
const TABLE: &str = "/proc/self/mountinfo";

/// Follows the mounts for as long as it lives.
pub struct Mounts {
    /// Closed, it ends the thread that follows.
    _end: PipeWriter,
}

/// Each mount point, with a number that tells what is mounted there from something else.
type Table = BTreeSet<(PathBuf, u64)>;

impl Mounts {
    /// Tells all mount points, and then, on a thread of its own, all of them with those that have changed.
    ///
    /// # Errors
    /// The system's; there is no `/proc`.
    pub fn follow(mut tell: impl FnMut(HashSet<PathBuf>, Vec<PathBuf>) + Send + 'static) -> io::Result<Self> {
        let mut file = open()?;
        let mut known = read(&mut file)?;
        tell(points(&known), Vec::new());
        let (ended, end) = io::pipe()?;
        let follow = move || {
            while changes(&file, &ended) {
                let Ok(now) = read(&mut file) else { return };
                tell(points(&now), differing(&known, &now));
                known = now;
            }
        };
        std::thread::Builder::new().name("mounts".into()).spawn(follow)?;
        Ok(Self { _end: end })
    }
}

#[allow(clippy::disallowed_methods, reason = "the kernel's own file, which cannot be another")]
fn open() -> io::Result<File> {
    File::open(TABLE)
}

/// Waits for a change; `false` at the end.
fn changes(table: &File, ended: &PipeReader) -> bool {
    loop {
        let mut either =
            [PollFd::new(table.as_fd(), PollFlags::POLLPRI), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        match poll(&mut either, PollTimeout::NONE) {
            Ok(_) if either[1].any() == Some(true) => return false,
            Ok(_) => return true,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

fn read(file: &mut File) -> io::Result<Table> {
    let mut text = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut text)?;
    Ok(parse(&text))
}

fn parse(text: &[u8]) -> Table {
    let entry = |line: &[u8]| {
        let point = line.split(|byte| *byte == b' ').nth(4)?;
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        Some((unescaped(point), hasher.finish()))
    };
    text.split(|byte| *byte == b'\n').filter_map(entry).collect()
}

/// Blanks and their like are `\` and three octal digits.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, others @ ..] = rest {
        let code = match rest {
            [b'\\', digits @ ..] => digits.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()),
            _ => None,
        };
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = &others[3..];
            }
            None => {
                path.push(*first);
                rest = others;
            }
        }
    }
    OsString::from_vec(path).into()
}

fn points(table: &Table) -> HashSet<PathBuf> {
    table.iter().map(|(point, _)| point.clone()).collect()
}

/// Where something else is mounted now. All of them if nothing seems to have changed: a mount that was replaced at
/// once can have every number of the one before.
fn differing(before: &Table, now: &Table) -> Vec<PathBuf> {
    let mut differing: Vec<PathBuf> =
        before.symmetric_difference(now).map(|(point, _)| point.clone()).collect();
    if differing.is_empty() {
        differing = now.iter().map(|(point, _)| point.clone()).collect();
    }
    differing.dedup();
    differing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_told_with_what_changed() {
        let before =
            parse(b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 22 0:31 / /srv/a\\040b rw - tmpfs t rw\n");
        let now = parse(
            b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 22 0:32 / /srv/a\\040b rw - tmpfs t rw\n\
              41 22 8:1 /x.pem /srv/\\134cert.pem rw - ext4 /dev/sda1 rw\n",
        );
        assert_eq!(points(&before), HashSet::from(["/", "/srv/a b"].map(PathBuf::from)));
        assert_eq!(differing(&before, &now), ["/srv/\\cert.pem", "/srv/a b"].map(PathBuf::from));
        assert_eq!(differing(&before, &before), ["/", "/srv/a b"].map(PathBuf::from));
        assert_eq!(unescaped(b"/a\\04"), PathBuf::from("/a\\04"));
        assert_eq!(unescaped(b"/a\\999"), PathBuf::from("/a\\999"));
    }
}
