//! Files that would keep nginx's master waiting for ever: it opens each of them as it loads its configuration, and
//! in the place of one of them is a pipe, or a file system that does not answer.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::discover::Opened;
use crate::platform;
use crate::problem::{Problem, printable};

/// A file system that does not answer within this time keeps nginx waiting too.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Threads that look, and how many files make another one worth its while.
const THREADS: usize = 4;
const LEAST_SHARE: usize = 250;
/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// What keeps nginx from being reloaded.
#[derive(Debug, Clone)]
pub(super) struct Blocked {
    /// The file, and what is wrong with it.
    pub(super) problem: Problem,
    /// The file.
    pub(super) path: PathBuf,
}

/// A look at nginx's files that is under way.
pub(super) struct Look {
    looks: Arc<OnceLock<Looks>>,
    answer: Receiver<Option<Blocked>>,
}

impl Look {
    /// Begins to look; `opened` finds out which files there are.
    pub(super) fn begin(opened: impl FnOnce() -> Arc<Vec<Opened>> + Send + 'static) -> Self {
        let (sender, answer) = channel();
        let looks = Arc::new(OnceLock::new());
        let begun = Arc::clone(&looks);
        // On a thread of its own: on a file system that hangs it is left behind.
        std::thread::spawn(move || {
            let _ = sender.send(begun.get_or_init(|| Looks::at(opened())).first());
        });
        Self { looks, answer }
    }

    /// Returns the first file that nginx must not open. Between this look and nginx's own `open()` a pipe may still
    /// take a file's place. Blocks for a few seconds at most.
    pub(super) fn end(self) -> Option<Blocked> {
        match self.answer.recv_timeout(ANSWER_TIMEOUT) {
            Ok(blocked) => blocked,
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => Some(hangs(self.looks.get().and_then(Looks::unfinished))),
        }
    }
}

/// Looks at many files, on a few threads: the signal waits for them.
struct Looks {
    opened: Arc<Vec<Opened>>,
    /// How many files each thread has finished.
    finished: [AtomicUsize; THREADS],
}

impl Looks {
    fn at(opened: Arc<Vec<Opened>>) -> Self {
        Self { opened, finished: Default::default() }
    }

    fn first(&self) -> Option<Blocked> {
        std::thread::scope(|scope| {
            let mut shares = self.shares().zip(&self.finished);
            let own = shares.next();
            let others: Vec<_> = shares.map(|(files, done)| scope.spawn(move || look(files, done))).collect();
            let own = own.and_then(|(files, done)| look(files, done));
            let others = others.into_iter().map(|other| other.join().ok().flatten());
            std::iter::once(own).chain(others).collect::<Vec<_>>().into_iter().flatten().next()
        })
    }

    /// The files of each thread.
    fn shares(&self) -> std::slice::Chunks<'_, Opened> {
        self.opened.chunks(self.opened.len().div_ceil(THREADS).max(LEAST_SHARE))
    }

    /// The first file whose look has not come to its end.
    fn unfinished(&self) -> Option<&Opened> {
        let done = self.finished.iter().map(|done| done.load(Ordering::Acquire));
        self.shares().zip(done).find_map(|(files, done)| files.get(done))
    }
}

fn look(files: &[Opened], done: &AtomicUsize) -> Option<Blocked> {
    files.iter().find_map(|file| {
        let found = obstacle(file);
        done.fetch_add(1, Ordering::Release);
        found
    })
}

/// The file that was looked at when the time was over; before that it was the configuration that was read.
fn hangs(at: Option<&Opened>) -> Blocked {
    if let Some(file) = at {
        return blocked(file, "is on a file system that does not answer", None);
    }
    let message = "nginx is not reloaded, since it would wait for ever: the file system of its configuration does not answer";
    let remedy = "see the file system; the reload follows by itself";
    Blocked { problem: Problem::new("blocked", message, remedy), path: PathBuf::new() }
}

fn obstacle(file: &Opened) -> Option<Blocked> {
    // What is not there, or loops, nginx refuses without waiting.
    let metadata = std::fs::metadata(&file.path).ok().filter(|metadata| !metadata.is_file())?;
    let kind = metadata.file_type();
    // Of a link it is the link's owner who leads nginx there.
    let owner = std::fs::symlink_metadata(&file.path).map_or_else(|_| metadata.uid(), |link| link.uid());
    let device = kind.is_char_device() || kind.is_block_device();
    if is_usual(&file.path, file.is_log()) {
        return None;
    }
    // A log may be a terminal, or a pipe that an administrator reads.
    if file.is_log() && (device || (kind.is_fifo() && owner == 0 && metadata.uid() == 0)) {
        return None;
    }
    let what = match kind {
        kind if kind.is_fifo() => "is a pipe",
        kind if kind.is_socket() => "is a socket",
        kind if kind.is_dir() => "is a directory",
        _ => "is a device",
    };
    Some(blocked(file, what, Some(owner)))
}

fn blocked(file: &Opened, what: &str, owner: Option<u32>) -> Blocked {
    let path = printable(&file.path.display().to_string(), 300);
    let owner = owner
        .map(|owner| format!(" of {}", printable(&platform::user_words(owner), 100)))
        .unwrap_or_default();
    let site = match &file.site {
        Some(site) => format!(" of {}", printable(site, 100)),
        None => String::new(),
    };
    let place = match file.line {
        0 => String::new(),
        line => format!(" in {}:{line}", printable(&file.file.display().to_string(), 300)),
    };
    let message = format!(
        "nginx is not reloaded, since it would wait for ever: {path} {what}{owner}; the {}{site}{place} names it",
        file.directive
    );
    let remedy = format!("put a regular file in the place of {path}; the reload follows by itself");
    Blocked { problem: Problem::new("blocked", message, remedy), path: file.path.to_path_buf() }
}

/// Whether a path leads to the null device or, of a log, to a standard stream: that is nginx's own, and another one for
/// certhook.
fn is_usual(path: &Path, log: bool) -> bool {
    let mut at = path.to_owned();
    for _ in 0..MAX_LINKS {
        let below = |folder: &str| at.starts_with(folder);
        if at == Path::new("/dev/null") {
            return true;
        }
        if log && (at == Path::new("/dev/stdout") || at == Path::new("/dev/stderr") || below("/dev/fd")) {
            return true;
        }
        if log && below("/proc/self/fd") {
            return true;
        }
        let Ok(target) = std::fs::read_link(&at) else { return false };
        at = at.parent().unwrap_or(Path::new("/")).join(target);
    }
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_that_nginx_would_wait_for_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "").unwrap();
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        symlink("pipe", path("to_pipe")).unwrap();
        symlink("/dev/stdout", path("out")).unwrap();
        symlink("/dev/null", path("null")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let what = |name: &str, directive| {
            let opened = Opened {
                path: path(name).into(),
                directive,
                file: Path::new("/n.conf").into(),
                line: 7,
                site: Some("a.test".into()),
            };
            Look::begin(move || Arc::new(vec![opened])).end().map(|blocked| blocked.problem.message)
        };
        for good in ["file", "none", "null"] {
            assert_eq!(what(good, "ssl_certificate"), None, "{good}");
            assert_eq!(what(good, "access_log"), None, "{good}");
        }
        for (bad, word) in [
            ("pipe", "is a pipe of "),
            ("to_pipe", "is a pipe"),
            ("socket", "is a socket"),
            ("zero", "is a device"),
            (".", "is a directory"),
        ] {
            let message = what(bad, "ssl_certificate_key").unwrap_or_default();
            assert!(message.contains(word), "{bad}: {message}");
            assert!(message.contains("the ssl_certificate_key of a.test in /n.conf:7 names it"), "{message}");
        }
        assert_eq!(what("zero", "error_log"), None);
        assert_eq!(what("out", "error_log"), None);
        assert!(what("socket", "access_log").is_some());
    }
}
