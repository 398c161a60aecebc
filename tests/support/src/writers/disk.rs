//! The steps that writers are made of.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Mode of files that anybody may read.
pub(super) const PUBLIC: u32 = 0o644;
/// Mode of keys.
pub(super) const PRIVATE: u32 = 0o600;

/// Makes or cuts a file, and writes it in one go: `cat > path`.
pub(super) fn put(path: &Path, data: impl AsRef<[u8]>, mode: u32) -> io::Result<()> {
    cut(path, mode)?.write_all(data.as_ref())
}

/// Makes a file or cuts it to nothing. `mode` is for a new one only.
pub(super) fn cut(path: &Path, mode: u32) -> io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(mode).open(path)
}

/// Writes a hidden file beside and renames it; with a write time, if one is given.
pub(super) fn replace(path: &Path, data: &str, mode: u32, time: Option<SystemTime>) -> io::Result<()> {
    let temporary = beside(path, "tmp");
    put(&temporary, data, mode)?;
    if let Some(time) = time {
        File::options().write(true).open(&temporary)?.set_modified(time)?;
    }
    fs::rename(temporary, path)
}

/// Points a link elsewhere by renaming a new one over it, as GNU `ln -sf` does; makes it, if there is none.
pub(super) fn point(link: &Path, target: impl AsRef<Path>) -> io::Result<()> {
    let temporary = beside(link, "link");
    symlink(target, &temporary)?;
    fs::rename(temporary, link)
}

/// Removes a file, if there is one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// `.NAME.WORD` in the same folder.
pub(super) fn beside(path: &Path, word: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!(".{name}.{word}"))
}

/// Three hours ago, in whole seconds: the write time at the place that a copy comes from.
pub(super) fn hours_ago() -> SystemTime {
    let time = SystemTime::now() - Duration::from_secs(3 * 3600);
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// The lowest number from 1 for which `path(number)` is not there yet.
pub(super) fn next_free(path: impl Fn(u64) -> PathBuf) -> u64 {
    (1..).find(|number| path(*number).symlink_metadata().is_err()).expect("numbers do not end")
}
