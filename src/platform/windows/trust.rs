//! Takes the folder below `%ProgramData%`, where every user may make folders, from whoever has made it before.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::os::windows::io::AsRawHandle;
use std::path::Path;

use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_READ_ATTRIBUTES, GetFileInformationByHandle, READ_CONTROL,
};

use super::super::planted::{self, Place, Seen};
use super::{access, create_private_folder};

/// Makes the folder, or the one that is there private; what is in it stays as it is.
///
/// # Errors
/// The system's; or, with a remedy and no code of the system's, somebody else may have put something there.
pub(super) fn take_folder(folder: &Path) -> io::Result<()> {
    let administrator = if access::is_administrator() { Some(access::this_user()?) } else { None };
    let administrator = administrator.as_deref();
    create_private_folder(folder)?;
    judge(folder, folder, Place::Top, administrator)?;
    // From here on nobody else puts anything there.
    access::make_private(folder)?;
    let mut folders = vec![folder.to_owned()];
    while let Some(above) = folders.pop() {
        let listed = std::fs::read_dir(&above).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in listed.map_err(|error| io::Error::other(planted::unseen(folder, &above, &error)))? {
            let path = entry.path();
            if judge(folder, &path, Place::Below, administrator)? == Way::Down {
                folders.push(path);
            }
        }
    }
    Ok(())
}

/// Whether there is something below.
#[derive(PartialEq, Eq)]
enum Way {
    Down,
    NoFurther,
}

fn judge(folder: &Path, path: &Path, place: Place, administrator: Option<&str>) -> io::Result<Way> {
    let looked = look(path).map_err(|error| io::Error::other(planted::unseen(folder, path, &error)))?;
    let Some(Looked { owner, leads_elsewhere, names, is_folder }) = looked else { return Ok(Way::NoFurther) };
    match planted::planted(place, Seen { owner: &owner, leads_elsewhere, names }, administrator) {
        Some(why) => {
            let owner = access::name_of(&owner).unwrap_or(owner);
            Err(io::Error::other(planted::refusal(folder, path, why, &owner)))
        }
        None if is_folder && !leads_elsewhere => Ok(Way::Down),
        None => Ok(Way::NoFurther),
    }
}

struct Looked {
    owner: String,
    leads_elsewhere: bool,
    names: u32,
    is_folder: bool,
}

/// Links not followed; `None` where it is gone, as what the service writes for a moment.
#[expect(clippy::disallowed_methods, reason = "it looks, and reads nothing")]
fn look(path: &Path) -> io::Result<Option<Looked>> {
    let opened = OpenOptions::new()
        .access_mode(READ_CONTROL | FILE_READ_ATTRIBUTES)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    let leads_elsewhere = metadata.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0;
    let is_folder = metadata.is_dir();
    let names = if is_folder { 1 } else { names(&file)? };
    Ok(Some(Looked { owner: access::owner_of(&file)?, leads_elsewhere, names, is_folder }))
}

fn names(file: &File) -> io::Result<u32> {
    let mut known = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open for as long as `file` is borrowed.
    match unsafe { GetFileInformationByHandle(file.as_raw_handle(), &raw mut known) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(known.nNumberOfLinks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_folder_is_taken_with_all_that_is_in_it() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("certhook");
        take_folder(&folder).unwrap();
        std::fs::create_dir_all(folder.join("state").join("hooks")).unwrap();
        std::fs::write(folder.join("state").join("hooks").join("a.cmd"), "rem").unwrap();
        take_folder(&folder).unwrap();
    }

    #[test]
    fn a_file_of_two_names_is_refused() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("certhook");
        take_folder(&folder).unwrap();
        std::fs::write(above.path().join("mine"), "").unwrap();
        std::fs::hard_link(above.path().join("mine"), folder.join("certhook.toml")).unwrap();
        let refused = take_folder(&folder).unwrap_err();
        assert!(refused.raw_os_error().is_none(), "{refused}");
        assert!(refused.to_string().contains("certhook.toml is a file with other names"), "{refused}");
    }

    #[test]
    fn a_link_is_refused() {
        if certhook_test_support::wine::cannot_prove("it follows links where it should open them") {
            return;
        }
        let above = tempfile::tempdir().unwrap();
        std::fs::create_dir(above.path().join("other")).unwrap();
        let link = above.path().join("certhook");
        super::super::make_link(Path::new("other"), &link).unwrap();
        assert!(take_folder(&link).unwrap_err().to_string().contains("rmdir"));
    }
}
