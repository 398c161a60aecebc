//! Records that are deleted to be set anew, kept in a file meanwhile: power may fail between the two, and nothing else
//! would know what a binding had.

use std::fs::remove_file;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::apply::{Journal, Records};
use super::failure::NOT_THERE;
use super::fallback::{self, Commands};
use super::record::{Key, Record};
use crate::files::{self, ReadError};
use crate::platform;
use crate::problem::{Problem, printable};

/// The file. It is there only while records may be missing.
#[derive(Debug, Clone)]
pub struct JournalFile(pub PathBuf);

impl Journal for JournalFile {
    fn keep(&mut self, records: &[Record]) -> Result<(), Problem> {
        let Self(path) = self;
        let done = match records {
            [] => remove(path),
            _ => serde_json::to_vec(records).map_err(io::Error::from).and_then(|bytes| write(path, &bytes)),
        };
        done.map_err(|error| {
            let message = format!("{} cannot be written: {error}", shown(path));
            let remedy = format!(
                "let {} write in state_dir; no record is deleted before its copy is on disk",
                platform::WORDS.user
            );
            Problem::new("journal", message, remedy)
        })
    }

    fn kept(&mut self) -> Result<Vec<Record>, Problem> {
        let Self(path) = self;
        let unread = |why: String| {
            let message = format!("{} cannot be read: {why}", shown(path));
            let remedy =
                "see by netsh http show sslcert that every binding has its record, then remove the file";
            Problem::new("journal", message, remedy)
        };
        match files::read(path) {
            Ok(content) => serde_json::from_slice(&content.bytes).map_err(|error| unread(error.to_string())),
            Err(ReadError::Missing(_)) => Ok(Vec::new()),
            Err(error) => Err(unread(error.problem().message)),
        }
    }
}

/// What an earlier certhook deleted and did not come to set is there again afterwards. Which ones those were.
///
/// # Errors
/// That some are not; they stay kept.
pub fn recover(
    records: &mut dyn Records,
    commands: &mut dyn Commands,
    journal: &mut dyn Journal,
) -> Result<Vec<Key>, Problem> {
    let kept = journal.kept()?;
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let now = records.list().map_err(|failure| failure.problem("HTTP.sys's records cannot be listed"))?;
    let mut back = Vec::new();
    // What is there is what certhook or somebody after it made.
    for record in kept.iter().filter(|kept| !now.iter().any(|record| record.key == kept.key)) {
        let set = match (records.set(record), fallback::add(record)) {
            (Err(NOT_THERE), Some(line)) => commands.run(&line),
            (set, _) => {
                set.map_err(|failure| failure.problem(&format!("the record of {} is missing", record.key)))
            }
        };
        set.map_err(|problem| {
            let message = format!("{}; an interrupted certhook deleted it", problem.message);
            Problem::new("not_restored", message, "bind the certificate in the IIS manager by hand")
        })?;
        back.push(record.key.clone());
    }
    journal.keep(&[])?;
    Ok(back)
}

/// Whole or not at all, and on disk.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    files::write_private(&new, bytes)?;
    std::fs::rename(&new, path)?;
    platform::sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn remove(path: &Path) -> io::Result<()> {
    match remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string(), 300)
}
