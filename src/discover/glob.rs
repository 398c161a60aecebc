//! File names by pattern, as glob(3) finds them: `*`, `?`, `[…]` with its classes, `[!…]`, `\`; sorted; a leading dot is
//! matched by a dot alone, and `.` and `..` are names too; a `/` at the end asks for directories. On Windows `\`
//! separates, and nothing escapes.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::platform;
use crate::problem::printable;

/// So many names are looked at for all patterns together: whoever includes `/*/*/*/*` shall not stop certhook.
const MOST_NAMES: usize = 1_000_000;
/// So long a thread may work for all patterns together: a name in /proc costs twenty times what one on a disk does.
/// Thirty thousand sites by a pattern take a tenth of it. A slow disk does not count: the thread waits for it.
const MOST_TIME: Duration = Duration::from_secs(2);
/// The clock is read once in so many steps.
const STEPS: u32 = 64;

/// Whether this system's paths have `\` between their parts.
const WINDOWS: bool = std::path::MAIN_SEPARATOR == '\\';

/// Why a pattern's matches could not be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum GlobError {
    /// A folder that this user may not list; nginx's may.
    #[error("the folder {} cannot be listed: {}", printable(&.0.display().to_string(), 500), .1)]
    Unlisted(PathBuf, String),
    /// More than [`MOST_NAMES`].
    #[error("too many names are looked at")]
    TooMany,
    /// More than [`MOST_TIME`].
    #[error("it takes too long to look for its files")]
    TooLong,
}

/// What the patterns of one reading may still cost.
pub(super) struct Budget {
    names: usize,
    time: Duration,
    /// The time that this thread has worked.
    clock: fn() -> Duration,
    read_at: Duration,
    steps: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self::by(platform::thread_time)
    }
}

impl Budget {
    pub fn by(clock: fn() -> Duration) -> Self {
        Self { names: MOST_NAMES, time: MOST_TIME, clock, read_at: Duration::ZERO, steps: 0 }
    }

    /// What is done from here on counts.
    pub fn begin(&mut self) {
        self.read_at = (self.clock)();
    }

    /// Counts what was done since it began.
    ///
    /// # Errors
    /// There is no time left.
    pub fn charge(&mut self) -> Result<(), GlobError> {
        let spent = (self.clock)().saturating_sub(self.read_at);
        self.read_at += spent;
        self.time = self.time.saturating_sub(spent);
        if self.time.is_zero() { Err(GlobError::TooLong) } else { Ok(()) }
    }

    fn step(&mut self) -> Result<(), GlobError> {
        self.steps = (self.steps + 1) % STEPS;
        if self.steps == 0 { self.charge() } else { Ok(()) }
    }

    fn name(&mut self) -> Result<(), GlobError> {
        self.names = self.names.checked_sub(1).ok_or(GlobError::TooMany)?;
        self.step()
    }
}

/// Finds names, and remembers what it has listed: the same snippet may be included ten thousand times.
#[derive(Default)]
pub(super) struct Globber {
    found: HashMap<String, Rc<Vec<PathBuf>>>,
    names: HashMap<PathBuf, Rc<Vec<OsString>>>,
    pub budget: Budget,
    noted: HashSet<PathBuf>,
    /// Every folder that was listed, or would have been if it were there.
    pub folders: Vec<PathBuf>,
}

/// Whether nginx takes the text for a pattern.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

impl Globber {
    pub fn within(budget: Budget) -> Self {
        Self { budget, ..Self::default() }
    }

    /// Every path that matches the absolute `pattern`, in order.
    pub fn find(&mut self, pattern: &str) -> Result<Rc<Vec<PathBuf>>, GlobError> {
        if let Some(known) = self.found.get(pattern) {
            return Ok(Rc::clone(known));
        }
        self.budget.begin();
        self.budget.charge()?;
        let (root, parts) = parts(pattern, WINDOWS);
        let mut paths = vec![root];
        let mut listed = false;
        for part in parts {
            let mut next = Vec::new();
            for path in paths {
                self.budget.step()?;
                if !is_pattern(part) {
                    let below = path.join(if WINDOWS { part.to_owned() } else { part.replace('\\', "") });
                    if std::fs::symlink_metadata(&below).is_ok() {
                        next.push(below);
                    } else if listed && path.is_dir() {
                        // A folder that fits; its file may come later.
                        self.note(&path);
                    }
                    continue;
                }
                let names = self.names(&path)?;
                let own = [OsString::from("."), OsString::from("..")];
                let own = own.iter().filter(|_| part.starts_with(['.', '\\']) && path.is_dir());
                for name in names.iter().chain(own) {
                    self.budget.step()?;
                    if matches(part.as_bytes(), name.as_encoded_bytes(), !WINDOWS) {
                        next.push(path.join(name));
                    }
                }
            }
            paths = next;
            listed |= is_pattern(part);
            if paths.is_empty() {
                self.note_missing(pattern);
            }
        }
        if pattern.ends_with('/') {
            paths.retain(|path| path.is_dir());
            // As glob(3) returns them.
            paths.iter_mut().for_each(|path| path.push(""));
        }
        paths.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
        let paths = Rc::new(paths);
        self.found.insert(pattern.to_owned(), Rc::clone(&paths));
        Ok(paths)
    }

    /// The folder that would be listed first, if it is not there: it may come.
    fn note_missing(&mut self, pattern: &str) {
        let (mut folder, parts) = parts(pattern, WINDOWS);
        folder.extend(parts.iter().take_while(|part| !is_pattern(part)));
        self.note(&folder);
    }

    fn note(&mut self, folder: &Path) {
        if self.noted.insert(folder.to_owned()) {
            self.folders.push(folder.to_owned());
        }
    }

    fn names(&mut self, folder: &Path) -> Result<Rc<Vec<OsString>>, GlobError> {
        if let Some(known) = self.names.get(folder) {
            return Ok(Rc::clone(known));
        }
        let mut names = Vec::new();
        match std::fs::read_dir(folder) {
            Ok(entries) => {
                for entry in entries.flatten() {
                    self.budget.name()?;
                    names.push(entry.file_name());
                }
            }
            // What is no folder has no files; the pattern passes it by.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(GlobError::Unlisted(folder.to_owned(), error.to_string())),
        }
        let names = Rc::new(names);
        if folder.is_dir() {
            self.note(folder);
        }
        self.names.insert(folder.to_owned(), Rc::clone(&names));
        Ok(names)
    }
}

/// Where a full path begins, and its parts.
pub(super) fn parts(path: &str, windows: bool) -> (PathBuf, Vec<&str>) {
    let separators: &[char] = if windows { &['/', '\\'] } else { &['/'] };
    let mut parts = path.split(separators).filter(|part| !part.is_empty());
    let is_drive = |part: &&str| part.len() == 2 && part.ends_with(':');
    let root = if !windows {
        "/".to_owned()
    } else if path.chars().take(2).filter(|c| separators.contains(c)).count() == 2 {
        let (server, share) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!(r"\\{server}\{share}\")
    } else {
        let drive = path.split(separators).next().filter(is_drive);
        drive.and_then(|_| parts.next()).unwrap_or_default().to_owned() + r"\"
    };
    (PathBuf::from(root), parts.collect())
}

/// Whether a file's name matches one part of a pattern, in which `\` may take the meaning of what comes after it.
pub(super) fn matches(pattern: &[u8], name: &[u8], escapes: bool) -> bool {
    let dots: &[&[u8]] = if escapes { &[b".", b"\\."] } else { &[b"."] };
    if name.first() == Some(&b'.') && !dots.iter().any(|dot| pattern.starts_with(dot)) {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    // After the last star, and the name's end of what it has taken: a star takes more only if all else fails.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, n));
            continue;
        }
        let step = match (pattern.get(p), name.get(n)) {
            (None, None) => return true,
            (Some(_), Some(&byte)) => one(&pattern[p..], byte, escapes),
            _ => None,
        };
        match (step, retry) {
            (Some(length), _) => (p, n) = (p + length, n + 1),
            (None, Some((after, taken))) if taken < name.len() => {
                (p, n) = (after, taken + 1);
                retry = Some((after, taken + 1));
            }
            _ => return false,
        }
    }
}

/// How much of the pattern matches this one byte; `None` if it does not.
fn one(pattern: &[u8], byte: u8, escapes: bool) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] if escapes => (*escaped == byte).then_some(2),
        [b'[', ..] => match set(pattern, byte, escapes) {
            Some((length, fits)) => fits.then_some(length),
            // It never closes: then it stands for itself.
            None => (byte == b'[').then_some(1),
        },
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// The length of a `[…]`, and whether the byte is in it. A set with an unknown class holds nothing.
fn set(pattern: &[u8], byte: u8, escapes: bool) -> Option<(usize, bool)> {
    let mut at = 1;
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    at += usize::from(negated);
    let first = at;
    let (mut fits, mut unknown) = (false, false);
    loop {
        let rest = &pattern[at..];
        if rest.first()? == &b']' && at > first {
            return Some((at + 1, !unknown && fits != negated));
        }
        if let Some((name, length)) = inner(rest, b':') {
            at += length;
            match is_of_class(name, byte) {
                Some(is_in) => fits |= is_in,
                None => unknown = true,
            }
            continue;
        }
        if let Some((name, length)) = inner(rest, b'=') {
            at += length;
            unknown |= name.len() != 1;
            fits |= name == [byte];
            continue;
        }
        let (low, length) = member(rest, escapes)?;
        at += length;
        let high = match (pattern.get(at), pattern.get(at + 1)) {
            (Some(b'-'), Some(&after)) if after != b']' => {
                let (high, length) = member(&pattern[at + 1..], escapes)?;
                at += 1 + length;
                high
            }
            _ => low,
        };
        match (low, high) {
            (Some(low), Some(high)) => fits |= (low..=high).contains(&byte),
            _ => unknown = true,
        }
    }
}

/// One byte of a set, as it is, escaped or as `[.x.]`, and the length of that; no byte where it stands for several.
fn member(text: &[u8], escapes: bool) -> Option<(Option<u8>, usize)> {
    if let Some((name, length)) = inner(text, b'.') {
        let byte = if let [byte] = name { Some(*byte) } else { None };
        return Some((byte, length));
    }
    match text {
        [b'\\', escaped, ..] if escapes => Some((Some(*escaped), 2)),
        [byte, ..] => Some((Some(*byte), 1)),
        [] => None,
    }
}

/// What stands between `[:` and `:]`, with `mark` for the colon, and the length of all of it.
fn inner(text: &[u8], mark: u8) -> Option<(&[u8], usize)> {
    let rest = text.strip_prefix(&[b'[', mark])?;
    let end = rest.windows(2).position(|pair| pair == [mark, b']'])?;
    Some((&rest[..end], end + 4))
}

/// Whether a byte is of a class, as the C locale has it; `None` for a class that does not exist.
pub(super) fn is_of_class(name: &[u8], byte: u8) -> Option<bool> {
    Some(match name {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => matches!(byte, b' ' | b'\t'),
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte == b' ' || byte.is_ascii_graphic(),
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => byte.is_ascii_whitespace() || byte == 0x0b,
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    })
}
