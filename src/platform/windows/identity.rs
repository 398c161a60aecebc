//! What tells one file from another, and one spelling of a path from another.

#![allow(unsafe_code)]

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::os::windows::ffi::OsStringExt;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_BASIC_INFO, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT,
    FileBasicInfo, GetFileInformationByHandle, GetFileInformationByHandleEx, GetLongPathNameW,
};

use super::{pipe, wide};

/// What tells one file from another and one content from the next, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature {
    identity: Identity,
    size: u64,
    created: u64,
    modified: u64,
    /// Also when only the write time was set back.
    changed: i64,
}

/// What tells a folder from another of the same path. ReFS has longer numbers; two of them that are alike in their
/// first half cost a hint, until the next rescan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    volume: u32,
    index: u64,
}

impl Identity {
    /// The number of the volume that it is in.
    pub fn file_system(&self) -> u64 {
        self.volume.into()
    }
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder, told from another of its path.
    Folder(Identity),
    /// A link or a junction, and where it leads.
    Link(PathBuf),
    /// A file, told from another of its path, and how many names it has: not looked for here, where a file is watched
    /// by its folder alone.
    File(Identity, u64),
    /// Anything else, or nothing.
    Other,
}

/// The file's signature, links followed; `None` where there is no file.
pub fn signature(path: &Path) -> Option<Signature> {
    let file = look(path, 0)?;
    let known = information(&file)?;
    let mut basic = FILE_BASIC_INFO::default();
    let room = size_of::<FILE_BASIC_INFO>() as u32;
    // SAFETY: the room is the structure's own; what a file system does not fill in stays zero.
    unsafe {
        GetFileInformationByHandleEx(file.as_raw_handle(), FileBasicInfo, (&raw mut basic).cast(), room)
    };
    Some(Signature {
        identity: of(&known),
        size: joined(known.nFileSizeHigh, known.nFileSizeLow),
        created: moment(known.ftCreationTime),
        modified: moment(known.ftLastWriteTime),
        changed: basic.ChangeTime,
    })
}

/// The identity of what is at `path`, links not followed; `None` where there is nothing. A pipe's own: it cannot be
/// removed while its maker has it.
pub fn identity(path: &Path) -> Option<Identity> {
    if pipe::is_one(path) {
        return Some(Identity { volume: 0, index: 0 });
    }
    information(&look(path, FILE_FLAG_OPEN_REPARSE_POINT)?).as_ref().map(of)
}

/// The file's number in its file system.
pub fn inode(path: &Path, _: &std::fs::Metadata) -> u64 {
    look(path, 0).and_then(|file| information(&file)).map_or(0, |known| of(&known).index)
}

/// Nothing here: a file's number is asked for by its path.
pub fn device(_: &std::fs::Metadata) -> u64 {
    0
}

/// What is at `path`, links not followed.
pub fn kind(path: &Path) -> Kind {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => std::fs::read_link(path).map_or(Kind::Other, Kind::Link),
        Ok(metadata) if metadata.is_dir() => identity(path).map_or(Kind::Other, Kind::Folder),
        _ => Kind::Other,
    }
}

/// A path as it is compared with others: whoever writes a file may spell its name another way than the
/// configuration. Only the last name may be a short one; those before it are as they were given to be watched.
pub fn as_compared(path: &Path) -> Cow<'_, Path> {
    let is_short = path.file_name().is_some_and(|name| name.to_string_lossy().contains('~'));
    let long = is_short.then(|| long_name(path)).flatten();
    let spelled = long.as_deref().unwrap_or(path).as_os_str().to_string_lossy();
    Cow::Owned(PathBuf::from(spelled.to_lowercase()))
}

/// With the last name as it is in the folder; `None` where it is not there.
fn long_name(path: &Path) -> Option<PathBuf> {
    let (short, mut long) = (wide(path), vec![0u16; 1024]);
    // SAFETY: the path ends with a zero, and the length is the buffer's.
    let length = unsafe { GetLongPathNameW(short.as_ptr(), long.as_mut_ptr(), long.len() as u32) };
    let long = long.get(..length as usize).filter(|long| !long.is_empty())?;
    let name = PathBuf::from(std::ffi::OsString::from_wide(long)).file_name()?.to_owned();
    Some(path.with_file_name(name))
}

/// Opens to look at, which disturbs nobody.
#[expect(clippy::disallowed_methods, reason = "it looks, and reads nothing")]
fn look(path: &Path, flags: u32) -> Option<File> {
    OpenOptions::new().access_mode(0).custom_flags(FILE_FLAG_BACKUP_SEMANTICS | flags).open(path).ok()
}

fn information(file: &File) -> Option<BY_HANDLE_FILE_INFORMATION> {
    let mut known = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open for as long as `file` is borrowed.
    (unsafe { GetFileInformationByHandle(file.as_raw_handle(), &raw mut known) } != 0).then_some(known)
}

fn of(known: &BY_HANDLE_FILE_INFORMATION) -> Identity {
    Identity { volume: known.dwVolumeSerialNumber, index: joined(known.nFileIndexHigh, known.nFileIndexLow) }
}

fn moment(time: FILETIME) -> u64 {
    joined(time.dwHighDateTime, time.dwLowDateTime)
}

fn joined(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_another_file_and_another_name_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a.pem"), folder.path().join("b.pem"));
        std::fs::write(&path, "one").unwrap();
        let (before, was) = (signature(&path), identity(&path));
        assert_eq!((before, was.is_some()), (signature(&path), true));
        std::fs::write(&path, "three").unwrap();
        assert!(before != signature(&path) && was == identity(&path));
        std::fs::write(&other, "three").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_ne!(was, identity(&path));
        assert_eq!((signature(&other), identity(&other)), (None, None));
        assert_eq!(inode(&path, &path.metadata().unwrap()), identity(&path).unwrap().index);
        assert_eq!(
            (kind(&path), kind(folder.path()), kind(&other)),
            (Kind::Other, Kind::Folder(identity(folder.path()).unwrap()), Kind::Other)
        );
    }

    #[test]
    fn spellings_of_one_path_are_one() {
        let as_given = as_compared(Path::new(r"C:\SSL\Contoso\Full.pem"));
        assert_eq!(as_given, as_compared(Path::new("c:/ssl/contoso/FULL.PEM")));
        assert_ne!(as_given, as_compared(Path::new(r"C:\ssl\contoso\key.pem")));
    }
}
