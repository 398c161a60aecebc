//! Files and folders.

#![allow(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "this is the one place")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle};
use std::path::{Component, Path, Prefix};
use std::ptr::null_mut;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use windows_sys::Win32::Foundation::{GENERIC_READ, GENERIC_WRITE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::{
    CREATE_NEW, CreateDirectoryW, CreateFileW, FILE_ADD_FILE, FILE_ADD_SUBDIRECTORY, FILE_ATTRIBUTE_NORMAL,
    FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_DELETE_ON_CLOSE, FILE_SHARE_DELETE, FILE_SHARE_READ,
    FILE_SHARE_WRITE, FILE_TYPE_DISK, FILE_WRITE_ATTRIBUTES, GetDriveTypeW, GetFileType, OPEN_ALWAYS,
};

use super::access::Descriptor;
use super::wide;
use crate::platform::Tells;

/// Nobody is kept from writing, renaming or removing what certhook has open.
const SHARED: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
/// What is in a folder for as long as it is locked.
const LOCK: &str = ".certhook-lock";
/// What `GetDriveTypeW` says of a share that has a letter.
const DRIVE_REMOTE: u32 = 4;

/// Opens to read; folders too, which are told apart later.
///
/// # Errors
/// The system's; see [`is_being_written`].
pub fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .access_mode(GENERIC_READ)
        .share_mode(SHARED)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
        .open(path)
}

/// As [`open_to_read`], what nobody has open to write. Nor can anybody open it so until it is closed, but may rename
/// and remove it.
///
/// # Errors
/// The system's; see [`is_being_written`].
pub fn open_unwritten(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .access_mode(GENERIC_READ)
        .share_mode(FILE_SHARE_READ | FILE_SHARE_DELETE)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
        .open(path)
}

/// Whether somebody else has it open to write, or it or a part of it for itself alone: it is being written.
pub fn is_being_written(error: &io::Error) -> bool {
    // ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION
    matches!(error.raw_os_error(), Some(32 | 33))
}

/// Whether it is a file with an end: no folder, pipe, console or serial port.
pub fn is_regular(file: &File, metadata: &std::fs::Metadata) -> bool {
    // SAFETY: the handle is open for as long as `file` is borrowed.
    metadata.is_file() && unsafe { GetFileType(file.as_raw_handle()) } == FILE_TYPE_DISK
}

/// Creates a folder for the system, the administrators and this user alone, and those above it; one that is there
/// stays as it is.
///
/// # Errors
/// The system's.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        create_private_folder(above)?;
    }
    let (private, name) = (Descriptor::private()?, wide(path));
    // SAFETY: name and attributes are whole, and live beyond the call.
    if unsafe { CreateDirectoryW(name.as_ptr(), &private.attributes()) } != 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // Another process was quicker.
        error if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        error => Err(error),
    }
}

/// Opens or creates a file for the system, the administrators and this user alone.
///
/// # Errors
/// The system's.
pub fn open_private(path: &Path) -> io::Result<File> {
    create(path, GENERIC_READ | GENERIC_WRITE, OPEN_ALWAYS, true)
}

/// Creates a file that was not there; private, or as the folder's other files are.
///
/// # Errors
/// The system's; something is there, be it a link, is one of them.
pub fn create_new(path: &Path, private: bool) -> io::Result<File> {
    create(path, GENERIC_WRITE, CREATE_NEW, private)
}

fn create(path: &Path, access: u32, how: u32, private: bool) -> io::Result<File> {
    let (private, name) = (private.then(Descriptor::private).transpose()?, wide(path));
    let attributes = private.as_ref().map(Descriptor::attributes);
    let attributes = attributes.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: name, attributes and their descriptor are whole, and live beyond the call.
    let handle = unsafe {
        CreateFileW(name.as_ptr(), access, SHARED, attributes, how, FILE_ATTRIBUTE_NORMAL, null_mut())
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nobody else's.
    Ok(unsafe { File::from_raw_handle(handle) })
}

/// Opens a folder and locks it until that is dropped; a link to one is none. `None` while somebody else has it.
///
/// # Errors
/// The system's.
pub fn lock_folder(path: &Path) -> io::Result<Option<File>> {
    if !std::fs::symlink_metadata(path)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    // Windows locks files only: one that nobody else can open, and that goes with its holder.
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .share_mode(0)
        .custom_flags(FILE_FLAG_DELETE_ON_CLOSE)
        .open(path.join(LOCK));
    match lock {
        Err(error) if is_being_written(&error) => Ok(None),
        lock => lock.map(Some),
    }
}

/// Makes a link at `link` that leads to `target`.
///
/// # Errors
/// The system's: without developer mode only who has the privilege may.
pub fn make_link(target: &Path, link: &Path) -> io::Result<()> {
    let leads_to = link.parent().map_or_else(|| target.to_owned(), |folder| folder.join(target));
    // Windows has two kinds, and follows none that is of the wrong one.
    if leads_to.is_dir() {
        std::os::windows::fs::symlink_dir(target, link)
    } else {
        std::os::windows::fs::symlink_file(target, link)
    }
}

/// Nothing that Windows can do in one step.
///
/// # Errors
/// `Unsupported`.
pub fn exchange(_one: &Path, _other: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nothing: Windows has no such call for a folder. NTFS writes a rename into its log in order, so what is seen
/// after a power cut is the old entry or the new one.
///
/// # Errors
/// The folder is not there.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::metadata(folder).map(drop)
}

/// As [`sync_folder`], of an open one.
///
/// # Errors
/// None.
pub fn sync_open_folder(_: &File) -> io::Result<()> {
    Ok(())
}

/// Gives a file a write time a second later than it has: a server that compares whole seconds takes it for another.
/// `false`, and nothing is done, where `path` no longer leads to the file of that number.
///
/// # Errors
/// The system's.
pub fn touch(path: &Path, _device: u64, inode: u64) -> io::Result<bool> {
    if super::inode(path, &std::fs::metadata(path)?) != inode {
        return Ok(false);
    }
    let file = OpenOptions::new().access_mode(FILE_WRITE_ATTRIBUTES).share_mode(SHARED).open(path)?;
    let since = std::fs::metadata(path)?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let later: SystemTime = UNIX_EPOCH + Duration::from_secs(since.as_secs() + 1);
    file.set_modified(later)?;
    Ok(true)
}

/// Which changes the file system of a path tells of: shares take a watch and may stay silent.
pub fn tells(path: &Path) -> Tells {
    if is_remote(path) { Tells::Nothing } else { Tells::Everything }
}

fn is_remote(path: &Path) -> bool {
    let letter = match path.components().next() {
        Some(Component::Prefix(prefix)) => match prefix.kind() {
            Prefix::Disk(letter) | Prefix::VerbatimDisk(letter) => char::from(letter),
            Prefix::UNC(..) | Prefix::VerbatimUNC(..) => return true,
            _ => return false,
        },
        _ => return false,
    };
    let root = wide(format!(r"{letter}:\"));
    // SAFETY: the text ends with a zero.
    unsafe { GetDriveTypeW(root.as_ptr()) == DRIVE_REMOTE }
}

/// Whether the program is there; `.exe` may be left out. Whether it may be run is known when it is.
pub fn may_run(program: &Path) -> bool {
    program.is_file() || program.extension().is_none() && program.with_extension("exe").is_file()
}

/// Whether this user may make files in the folder, or, where it is not there yet, may make it.
pub fn may_write_in(folder: &Path) -> bool {
    let there = folder.ancestors().find(|folder| folder.exists());
    there.is_some_and(|folder| {
        folder.is_dir()
            && OpenOptions::new()
                .access_mode(FILE_ADD_FILE | FILE_ADD_SUBDIRECTORY)
                .share_mode(SHARED)
                .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
                .open(folder)
                .is_ok()
    })
}

/// Whether a folder is in a file system that is read-only to this process; not told apart here.
pub fn is_read_only(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn who_reads_keeps_nobody_from_writing_or_renaming() {
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (folder.path().join("a.pem"), folder.path().join("a.new"));
        std::fs::write(&path, "one").unwrap();
        std::fs::write(&new, "two").unwrap();
        let mut reader = open_to_read(&path).unwrap();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"!").unwrap();
        let (mut text, other) = (String::new(), folder.path().join("old.pem"));
        std::fs::rename(&path, &other).unwrap();
        std::fs::rename(&new, &path).unwrap();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), std::fs::read_to_string(&path).unwrap().as_str()), ("one!", "two"));
        std::fs::remove_file(&other).unwrap();
    }

    #[test]
    fn what_somebody_has_for_itself_is_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        let alone = OpenOptions::new().write(true).create(true).truncate(true).share_mode(0).open(&path);
        assert!(is_being_written(&open_to_read(&path).err().unwrap()));
        drop(alone);
        assert!(open_to_read(&path).is_ok());
    }

    #[test]
    fn what_somebody_has_open_to_write_is_being_written_though_all_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (folder.path().join("a.pfx"), folder.path().join("a.new"));
        std::fs::write(&path, "one").unwrap();
        std::fs::write(&new, "two").unwrap();
        let writer = OpenOptions::new().write(true).share_mode(SHARED).open(&path).unwrap();
        assert!(is_being_written(&open_unwritten(&path).err().unwrap()));
        assert!(open_to_read(&path).is_ok());
        drop(writer);
        let readers = (open_to_read(&path).unwrap(), open_unwritten(&path).unwrap());
        assert!(OpenOptions::new().write(true).open(&path).is_err(), "nobody writes while it is read");
        std::fs::rename(&path, folder.path().join("old.pfx")).unwrap();
        drop(readers);
        assert!(
            matches!(open_unwritten(&folder.path().join("old.pfx")), Ok(file) if file.metadata().unwrap().is_file())
        );
    }

    #[test]
    fn a_folder_is_locked_for_one_and_used_by_all() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock_folder(folder.path()).unwrap();
        assert!(held.is_some() && lock_folder(folder.path()).unwrap().is_none());
        std::fs::write(folder.path().join("a.new"), "x").unwrap();
        std::fs::rename(folder.path().join("a.new"), folder.path().join("a.pem")).unwrap();
        std::fs::remove_file(folder.path().join("a.pem")).unwrap();
        drop(held);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
        assert!(lock_folder(folder.path()).unwrap().is_some());
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(lock_folder(&folder.path().join("file")).is_err());
    }

    #[test]
    fn a_file_is_replaced_under_its_readers() {
        if certhook_test_support::wine::cannot_prove("it renames over no file that is open") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (folder.path().join("a.pem"), folder.path().join("a.new"));
        std::fs::write(&path, "one").unwrap();
        std::fs::write(&new, "two").unwrap();
        let reader = open_to_read(&path).unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(std::io::read_to_string(reader).unwrap(), "one");
    }

    #[test]
    fn devices_and_folders_are_no_files() {
        let is =
            |path: &Path| open_to_read(path).is_ok_and(|file| is_regular(&file, &file.metadata().unwrap()));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(is(&folder.path().join("file")) && !is(folder.path()));
        assert!(!open_to_read(Path::new("NUL")).is_ok_and(|file| {
            // Its metadata cannot even be had.
            file.metadata().is_ok_and(|metadata| is_regular(&file, &metadata))
        }));
    }

    #[test]
    fn a_touch_moves_the_write_time_by_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        std::fs::write(&path, "x").unwrap();
        // In the system's own steps of 100 ns.
        let written = UNIX_EPOCH + Duration::new(1_800_000_000, 987_654_300);
        File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), written);
        let inode = crate::platform::inode(&path, &std::fs::metadata(&path).unwrap());
        assert!(!touch(&path, 0, inode + 1).unwrap());
        assert!(touch(&path, 0, inode).unwrap());
        let touched = std::fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(touched, UNIX_EPOCH + Duration::from_secs(1_800_000_001));
    }

    #[test]
    fn shares_give_no_events() {
        assert_eq!(tells(Path::new(r"C:\ssl")), Tells::Everything);
        assert_eq!(tells(Path::new(r"\\files\ssl\a")), Tells::Nothing);
        assert_eq!(tells(Path::new(r"\\?\UNC\files\ssl")), Tells::Nothing);
    }

    #[test]
    fn where_one_may_write_is_told_without_writing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(may_write_in(folder.path()) && may_write_in(&folder.path().join("new").join("newer")));
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(!may_write_in(&folder.path().join("file")));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
