//! Copies of certificates that a server reads: each set is published whole by one swap of a link.
//!
//! ```text
//! {stage}/contoso.com            ─▶ .sets/contoso.com@3f786850e387550f      the link that is swapped
//! {stage}/.sets/contoso.com@…/fullchain.pem, privkey.pem                    never changed once they are there
//! ```
//!
//! A server that reads through the link can never meet half a set, whoever writes the source and however slowly;
//! and what was published last stays when the source breaks or goes. Folders are for their owner alone (0700),
//! files too (0600). What is begun and not finished is left beside and removed later. An ordinary folder that stood
//! in a link's place, for the server to start with, is kept as `.before-NAME`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use crate::certificate::{self, Fingerprint, Key};
use crate::config::{KeyAt, Site};
use crate::files;
use crate::inspect::Place;
use crate::platform;
use crate::problem::{Problem, printable};

/// Leaf and chain, as nginx's lines name them.
const CERTIFICATE: &str = "fullchain.pem";
/// The key.
const KEY: &str = "privkey.pem";
/// The folder of the sets.
const SETS: &str = ".sets";
/// One site's place in a server's folder of copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    folder: PathBuf,
    name: String,
}

impl Stage {
    /// Of a site.
    pub fn of(folder: &Path, site: &Site) -> Self {
        Self { folder: folder.to_owned(), name: site.copy_name() }
    }

    /// What it is called in its folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `ssl_certificate` is to name.
    pub fn certificate(&self) -> PathBuf {
        self.link().join(CERTIFICATE)
    }

    /// What `ssl_certificate_key` is to name.
    pub fn key(&self) -> PathBuf {
        self.link().join(KEY)
    }

    fn link(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    fn set(&self, set: &Fingerprint) -> String {
        format!("{}@{}", self.name, &set.to_string()[..16])
    }

    /// Whether anything is published.
    pub fn is_published(&self) -> bool {
        self.certificate().exists()
    }

    /// Publishes the set at `place`, which must be `expected`; whether that was news. To be called only while the
    /// server does not read.
    ///
    /// # Errors
    /// What kept it back; what was published before stays.
    pub fn publish(&self, place: &Place, expected: &Fingerprint) -> Result<bool, Problem> {
        let set = self.set(expected);
        let target = Path::new(SETS).join(&set);
        if platform::kind(&self.link()) == platform::Kind::Link(target.clone()) && self.is_published() {
            return Ok(false);
        }
        let (certificate, key) = read(place, expected)?;
        let written = platform::as_owner_of(&self.folder, || {
            self.write(&set, &certificate, key.as_ref()).and_then(|()| self.swap(&target))
        });
        written.map_err(|error| {
            let folder = printable(&self.folder.display().to_string(), 200);
            let message = format!("the copy of {} in {folder} cannot be written: {error}", self.name);
            let remedy = format!("let {} write in stage, and see its disk", platform::WORDS.user_there);
            Problem::new("not_published", message, remedy)
        })?;
        Ok(true)
    }

    /// Removes what was published before, and what was begun and never finished.
    pub fn tidy(&self) {
        platform::as_owner_of(&self.folder, || self.remove_old());
    }

    fn remove_old(&self) {
        let platform::Kind::Link(current) = platform::kind(&self.link()) else { return };
        let sets = self.folder.join(SETS);
        for entry in std::fs::read_dir(&sets).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let old = name.rsplit_once('@').is_some_and(|(site, _)| site == self.name)
                || name.starts_with(&format!(".new-{}-", self.name));
            if old && Path::new(SETS).join(name.as_ref()) != current {
                // What stays does no harm, and is tried again after the next renewal.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// All of it under another name first, then by one rename: a set that is there is whole.
    fn write(&self, set: &str, certificate: &[u8], key: Option<&files::Content>) -> io::Result<()> {
        let sets = self.folder.join(SETS);
        platform::create_private_folder(&sets)?;
        let (new, whole) = (sets.join(format!(".new-{}-{}", self.name, unique())), sets.join(set));
        platform::create_private_folder(&new)?;
        files::write_private(&new.join(CERTIFICATE), certificate)?;
        if let Some(key) = key {
            files::write_private(&new.join(KEY), &key.bytes)?;
        }
        platform::sync_folder(&new)?;
        // One of an earlier time may have been changed by hand; nobody reads it now.
        match std::fs::remove_dir_all(&whole) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::rename(&new, &whole)?;
        platform::sync_folder(&sets)
    }

    fn swap(&self, target: &Path) -> io::Result<()> {
        let new = self.folder.join(format!(".link-{}-{}", self.name, unique()));
        platform::make_link(target, &new)?;
        let swapped = match std::fs::rename(&new, self.link()) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => self.take_place(&new),
            done => done,
        };
        if let Err(error) = swapped {
            // It leads somewhere, but nobody follows it.
            let _ = std::fs::remove_file(&new);
            return Err(error);
        }
        platform::sync_folder(&self.folder)
    }

    /// Somebody put a folder there by hand, so that the server could start: it makes way, in one step too.
    fn take_place(&self, new: &Path) -> io::Result<()> {
        let before = self.folder.join(format!(".before-{}", self.name));
        if before.symlink_metadata().is_ok() {
            let message = format!("a folder stands there, and {} too: remove one", before.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        platform::exchange(new, &self.link())?;
        std::fs::rename(new, &before)?;
        tracing::info!(copy = self.name, folder = %before.display(), "the folder that stood there is kept");
        Ok(())
    }
}

/// The source's bytes, if they are the set that was found whole.
fn read(
    place: &Place,
    expected: &Fingerprint,
) -> Result<(zeroize::Zeroizing<Vec<u8>>, Option<files::Content>), Problem> {
    let certificate = files::read(&place.certificate).map_err(|error| error.problem())?;
    let key = match &place.key {
        // No server that reads copies has a PFX.
        KeyAt::Elsewhere(_) | KeyAt::Pfx(_) => None,
        KeyAt::File(path) => Some(files::read(path).map_err(|error| error.problem())?),
    };
    let of_key = key.as_ref().map_or(Key::Elsewhere, |key| Key::Pem(&key.bytes));
    match certificate::inspect(&certificate.bytes, of_key, Timestamp::now()) {
        Ok(bundle) if bundle.set == *expected => Ok((certificate.bytes, key)),
        _ => Err(Problem::new(
            "changing",
            format!("{} is being written", printable(&place.certificate.display().to_string(), 200)),
            "nothing: it is published when it is whole again",
        )),
    }
}

fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests;
