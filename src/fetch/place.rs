//! Files into the certificate's folder: all of them beside their targets first, then one rename each.

use std::fs::File as Handle;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::judge::Files;
use super::{Bytes, File};
use crate::files;
use crate::platform;
use crate::problem::{Problem, printable};

/// What a temporary file's name begins with; whatever is called so was left behind by a crash.
const NEW: &str = ".certhook-new-";

/// Puts the files in place; whether that changed anything. The key comes before the full chain: whoever looks in
/// between finds a key that does not belong, and not a set that seems whole.
pub(super) fn place(folder: &Path, files: &Files, owner: Option<(u32, u32)>) -> Result<bool, Problem> {
    let failed = |error| not_written(folder, &error);
    prepare(folder, owner).map_err(failed)?;
    // It is locked until the end of this function.
    let handle = open(folder)?;
    if let Some(owner) = owner {
        platform::give(&handle, owner).map_err(failed)?;
    }
    sweep(folder).map_err(failed)?;
    for (file, _) in files {
        if matches!(platform::kind(&folder.join(file.name())), platform::Kind::Folder(_)) {
            return Err(planted(&folder.join(file.name()), "is a folder"));
        }
    }
    if files.iter().all(|(file, bytes)| is_there(&folder.join(file.name()), bytes)) {
        return Ok(false);
    }
    if let Err(error) = write_all(folder, files, owner) {
        // Best effort: the next fetch removes what stays.
        let _ = sweep(folder);
        return Err(failed(error));
    }
    platform::sync_open_folder(&handle).map_err(failed)?;
    Ok(true)
}

/// The folder, its owner's alone; those above it can be passed where another user is to read it.
fn prepare(folder: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let into = folder.parent().unwrap_or(folder);
    match owner {
        Some(_) => std::fs::create_dir_all(into)?,
        None => platform::create_private_folder(into)?,
    }
    if platform::identity(folder).is_none() {
        platform::create_private_folder(folder)?;
        platform::sync_folder(into)?;
    }
    Ok(())
}

/// The folder itself, no link to one, and locked: a command and the agent may fetch at once.
fn open(folder: &Path) -> Result<Handle, Problem> {
    if !matches!(platform::kind(folder), platform::Kind::Folder(_)) {
        return Err(planted(folder, "is a link, or no folder"));
    }
    let locked = platform::lock_folder(folder).map_err(|error| not_written(folder, &error))?;
    locked.ok_or_else(|| {
        Problem::new(
            "fetch_busy",
            format!("{}: another certhook is fetching into it", shown(folder)),
            "wait for it to end",
        )
    })
}

fn write_all(folder: &Path, files: &Files, owner: Option<(u32, u32)>) -> io::Result<()> {
    for (file, bytes) in files {
        let mut new = platform::create_new(&beside(folder, *file), file.is_private())?;
        new.write_all(bytes)?;
        if let Some(owner) = owner {
            platform::give(&new, owner)?;
        }
        new.sync_all()?;
    }
    for (file, _) in files {
        // A link that somebody planted is replaced, not followed.
        std::fs::rename(beside(folder, *file), folder.join(file.name()))?;
    }
    Ok(())
}

/// Removes what an earlier fetch began and did not finish.
fn sweep(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(NEW) {
            match std::fs::remove_file(entry.path()) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn is_there(path: &Path, bytes: &Bytes) -> bool {
    let is_file = path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
    is_file && files::read(path).is_ok_and(|content| *content.bytes == **bytes)
}

fn beside(folder: &Path, file: File) -> PathBuf {
    folder.join(format!("{NEW}{}", file.name()))
}

fn not_written(folder: &Path, error: &io::Error) -> Problem {
    let message = format!("{}: it cannot be written: {error}", shown(folder));
    let remedy = format!("let {} write there, and see its disk", platform::WORDS.user_there);
    Problem::new("not_written", message, remedy)
}

fn planted(path: &Path, what: &str) -> Problem {
    let message = format!("{} {what}", shown(path));
    Problem::new("not_a_folder", message, "see who put it there, and remove it; then fetch again")
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string(), 200)
}
