//! Bounded reads of files that somebody else writes, and durable writes of our own.

mod secret;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::platform;
use crate::problem::{Problem, printable};
pub use secret::{SecretError, password, seal, secret};

/// Larger files are no certificates: a set of 64 with long names has a quarter of this.
pub const MOST_BYTES: u64 = 1 << 20;

/// What a file held.
pub struct Content {
    /// Its bytes; wiped when dropped, because it may be a key.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Its write time, of the file that links led to.
    pub modified: SystemTime,
    /// Its number in its file system.
    pub inode: u64,
    /// The number of that file system.
    pub device: u64,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not there, or a link that leads nowhere.
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    /// The permissions are in the way.
    #[error("{} may not be read by this user", .0.display())]
    Forbidden(PathBuf),
    /// A folder, pipe, socket or device.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Somebody has it for itself alone: it is being written.
    #[error("{} is being written", .0.display())]
    BeingWritten(PathBuf),
    /// More than may be read of it, [`MOST_BYTES`] of a certificate.
    #[error("{} is larger than {} kB", .0.display(), MOST_BYTES / 1024)]
    TooLarge(PathBuf),
    /// Anything else.
    #[error("{} cannot be read: {}", .0.display(), .1)]
    Io(PathBuf, std::io::Error),
}

impl ReadError {
    /// With code and remedy.
    pub fn problem(&self) -> Problem {
        let words = &platform::WORDS;
        let (code, remedy) = match self {
            // Of which a sandboxed service sees nothing, or what was there when it started.
            Self::Missing(path) if words.closed.iter().any(|folder| path.starts_with(folder)) => {
                ("missing", words.missing_in_closed.to_owned())
            }
            Self::Missing(_) => ("missing", words.missing.to_owned()),
            Self::Forbidden(_) => {
                ("forbidden", format!("let {} read the file and pass the folders above it", words.user_there))
            }
            Self::BeingWritten(_) => {
                ("being_written", "see which program keeps the file open for itself".to_owned())
            }
            Self::NotAFile(_) => ("not_a_file", format!("name a {}", words.file)),
            Self::TooLarge(_) => (
                "too_large",
                format!("name a {} that holds one certificate, its chain and its key", words.file),
            ),
            Self::Io(..) => ("io", "see the system's log for the disk".to_owned()),
        };
        Problem::new(code, printable(&self.to_string(), 300), remedy)
    }

    fn from_io(path: &Path, error: std::io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            _ if platform::is_being_written(&error) => Self::BeingWritten(path),
            ErrorKind::NotFound | ErrorKind::NotADirectory => Self::Missing(path),
            ErrorKind::PermissionDenied => Self::Forbidden(path),
            _ => Self::Io(path, error),
        }
    }
}

/// Reads a regular file of at most [`MOST_BYTES`] that nobody has open to write, where the system can tell; never
/// waits for a pipe's other end.
///
/// # Errors
/// [`ReadError`], which names the file.
pub fn read(path: &Path) -> Result<Content, ReadError> {
    read_opened(path, platform::open_unwritten, MOST_BYTES)
}

/// As [`read`], of at most so many bytes, and of a file of somebody else's whose writers are not to be kept from it for
/// a moment.
///
/// # Errors
/// [`ReadError`], which names the file.
pub fn read_beside_writers(path: &Path, most: u64) -> Result<Content, ReadError> {
    read_opened(path, platform::open_to_read, most)
}

fn read_opened(
    path: &Path,
    open: fn(&Path) -> std::io::Result<File>,
    most: u64,
) -> Result<Content, ReadError> {
    let error = |error| ReadError::from_io(path, error);
    let file = open(path).map_err(error)?;
    let metadata = file.metadata().map_err(error)?;
    if !platform::is_regular(&file, &metadata) {
        return Err(ReadError::NotAFile(path.to_owned()));
    }
    if metadata.len() > most {
        return Err(ReadError::TooLarge(path.to_owned()));
    }
    let bytes = read_bounded(&file, metadata.len(), most).map_err(error)?;
    if bytes.len() as u64 > most {
        return Err(ReadError::TooLarge(path.to_owned()));
    }
    Ok(Content {
        bytes,
        modified: metadata.modified().map_err(error)?,
        inode: platform::inode(path, &metadata),
        device: platform::device(&metadata),
    })
}

/// Writes a new file that only its owner may read, and has it on disk before it returns.
///
/// # Errors
/// The system's.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = platform::open_private(path)?;
    file.set_len(0)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Puts a file for all to read in the place of what is there, in one step. It is not waited for to be on disk: it is
/// for what is written anew at each start.
///
/// # Errors
/// The system's; what was there is as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    put(path, false, |file| file.write_all(bytes))
}

/// Puts a file that only its owner may read in the place of what is there, in one step, and has it on disk.
///
/// # Errors
/// The system's; what was there is as it was.
pub fn replace_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    put(path, true, |file| file.write_all(bytes).and_then(|()| file.sync_all()))?;
    platform::sync_folder(
        path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new(".")),
    )
}

fn put(
    path: &Path,
    private: bool,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Programs that take every file of the folder go by the end of its name.
    let new = path.with_file_name(format!(".{name}.new"));
    // Whatever was left there: a link that somebody planted is not followed.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = platform::create_new(&new, private)?;
    let written = write(&mut file);
    drop(file);
    let written = written.and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        // Best effort: the next time removes it too.
        let _ = std::fs::remove_file(&new);
    }
    written
}

/// One buffer from the beginning, so that no copy of a key is left behind by growing it.
fn read_bounded(file: &File, expected: u64, most: u64) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let capacity = usize::try_from(expected).unwrap_or(0) + 4096;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)] // pipes and devices with a path
    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(ReadError::NotAFile(_))));
        assert!(matches!(read(Path::new("/dev/zero")), Err(ReadError::NotAFile(_))));
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(read(&pipe), Err(ReadError::NotAFile(_))));
        assert!(matches!(read(&folder.path().join("none")), Err(ReadError::Missing(_))));
        let link = folder.path().join("loop");
        std::os::unix::fs::symlink(&link, &link).unwrap();
        assert!(matches!(read(&link), Err(ReadError::Io(..))));
    }

    #[test]
    fn large_files_are_refused_and_small_ones_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![b'a'; 1 << 20]).unwrap();
        assert_eq!(read(&path).unwrap().bytes.len(), 1 << 20);
        std::fs::write(&path, vec![b'a'; (1 << 20) + 1]).unwrap();
        assert!(matches!(read(&path), Err(ReadError::TooLarge(_))));
    }

    #[cfg(unix)] // modes and planted links
    #[test]
    fn a_file_is_replaced_as_a_whole_and_for_all_to_read() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.prom");
        std::fs::write(folder.path().join("other"), "other").unwrap();
        std::os::unix::fs::symlink("other", folder.path().join(".x.prom.new")).unwrap();
        replace(&path, b"one").unwrap();
        let reader = File::open(&path).unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::io::read_to_string(reader).unwrap(), "one", "who reads keeps what it opened");
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!((metadata.permissions().mode() & 0o7777, metadata.nlink()), (0o644, 1));
        assert_eq!(
            std::fs::read(folder.path().join("other")).unwrap(),
            b"other",
            "no planted link is followed"
        );
        // A folder in its place: nothing is left beside it.
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        assert!(replace(&taken, b"x").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
