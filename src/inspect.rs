//! A site's files to a whole set, or why there is none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::agent::{Incomplete, Mark, Seen};
use crate::certificate::{self, Fault, Key, Part};
use crate::config::{KeyAt, Site};
use crate::files::{self, ReadError};
use crate::platform;
use crate::problem::{Problem, printable};

/// Where a site's set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Leaf and chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: KeyAt,
}

impl Place {
    /// Where a configured site's set is.
    pub fn of(site: &Site) -> Self {
        Self { certificate: site.certificate.clone(), key: site.key.clone() }
    }

    /// The files of it.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.certificate.clone()];
        if let KeyAt::File(key) = &self.key
            && *key != self.certificate
        {
            files.push(key.clone());
        }
        files
    }
}

/// What a certificate's file looks like now to a server that compares; `None` where it is not there.
pub fn mark_of(path: &Path) -> Option<Mark> {
    let metadata = std::fs::metadata(path).ok()?;
    let modified = Timestamp::try_from(metadata.modified().ok()?).unwrap_or(Timestamp::UNIX_EPOCH);
    Some(mark(platform::inode(&metadata), modified))
}

/// Reads and judges a set at the time `now`. The key is read after the certificate.
///
/// # Errors
/// [`Incomplete`], with the file at fault.
pub fn inspect(place: &Place, now: Timestamp) -> Result<Seen, Incomplete> {
    let certificate = files::read(&place.certificate).map_err(unreadable)?;
    let key = match &place.key {
        KeyAt::Elsewhere(_) => None,
        KeyAt::File(path) if *path == place.certificate => {
            Some(files::Content { bytes: certificate.bytes.clone(), ..certificate })
        }
        KeyAt::File(path) => Some(files::read(path).map_err(unreadable)?),
    };
    let mark = mark(certificate.inode, write_time(&certificate));
    let key = key.as_ref().map_or(Key::Elsewhere, |content| Key::Pem(&content.bytes));
    let bundle =
        certificate::inspect(&certificate.bytes, key, now).map_err(|fault| incomplete(place, &fault, now))?;
    let written_at = write_time(&certificate);
    Ok(Seen { bundle, written_at, age: between(written_at, now), read_at: now, mark })
}

/// A write time beyond the calendar is taken as 1970: it is a number to report, no more.
fn write_time(content: &files::Content) -> Timestamp {
    Timestamp::try_from(content.modified).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn mark(inode: u64, written_at: Timestamp) -> Mark {
    // Downwards, as a server does that knows seconds only.
    let second = written_at.as_nanosecond().div_euclid(1_000_000_000);
    Mark { inode, second: i64::try_from(second).unwrap_or_default() }
}

fn unreadable(error: ReadError) -> Incomplete {
    Incomplete { problem: error.problem(), after: None }
}

fn incomplete(place: &Place, fault: &Fault, now: Timestamp) -> Incomplete {
    let key = match &place.key {
        KeyAt::File(path) => path.as_path(),
        KeyAt::Elsewhere(name) => Path::new(name),
    };
    let path = match fault {
        Fault::Empty(part) | Fault::NotPem(part) | Fault::Truncated(part) | Fault::Malformed(part, _) => {
            match part {
                Part::Certificate => &place.certificate,
                Part::Key => key,
            }
        }
        _ => &place.certificate,
    };
    let path = printable(&path.display().to_string(), 200);
    let message = match fault {
        Fault::KeyMismatch => {
            format!(
                "the key {} does not belong to the certificate {path}",
                printable(&key.display().to_string(), 200)
            )
        }
        _ => format!("{path}: {fault}"),
    };
    let after = match fault {
        Fault::NotYetValid(from) => Some(between(now, *from) + Duration::from_secs(1)),
        _ => None,
    };
    Incomplete { problem: Problem::new(fault.code(), message, fault.remedy()), after }
}

/// Zero where `later` is not later.
fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}
