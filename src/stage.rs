//! Copies of certificates that a server reads: each set is published whole by one swap of a link.
//!
//! ```text
//! {stage}/contoso.com            ─▶ .sets/contoso.com@3f786850e387550f      the link that is swapped
//! {stage}/.sets/contoso.com@…/fullchain.pem, privkey.pem                    never changed once they are there
//! ```
//!
//! No reload of certhook's meets half a set, whoever writes the source and however slowly: links are swapped only
//! while it does not reload. A reload by another program in the moment of a swap can read one file before it and one
//! after it, since nginx opens the files one after the other: nginx refuses that pair and keeps what it serves, or
//! the proof finds it and certhook reloads again. What was published last stays when the source breaks or goes.
//! Folders are for their owner alone (0700), files too (0600). What a failed publish began is removed at once; what a
//! killed process left is removed by the next failed or finished publish. An ordinary folder that stood in a link's
//! place, for the server to start with, is kept as `.before-NAME`.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
/// At most so many leftovers are removed at once.
const MOST_REMOVED: usize = 1000;
/// What the name of a set that is being written begins with.
const NEW: &str = ".new-";
/// What the name of a link that is about to be swapped begins with.
const LINK: &str = ".link-";

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
            let written = self.write(&set, &certificate, key.as_ref()).and_then(|()| {
                self.swap(&target).inspect_err(|_| {
                    self.remove_unused(&target);
                })
            });
            // It may have failed for lack of the room that leftovers take.
            written.inspect_err(|_| self.remove_unfinished())
        });
        written.map(|()| true).map_err(|error| self.not_published(&error))
    }

    fn not_published(&self, error: &io::Error) -> Problem {
        let folder = printable(&self.folder.display().to_string(), 200);
        let message = format!("the copy of {} in {folder} cannot be written: {error}", self.name);
        let remedy = if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            format!("make room on the disk that holds {folder}; certhook then goes on by itself")
        } else {
            format!("let {} write in stage, and see its disk", platform::WORDS.user_there)
        };
        Problem::new("not_published", message, remedy)
    }

    /// Removes what was published before, and what was begun and never finished.
    pub fn tidy(&self) {
        platform::as_owner_of(&self.folder, || self.remove_old());
    }

    fn remove_old(&self) {
        self.remove_unfinished();
        let platform::Kind::Link(current) = platform::kind(&self.link()) else { return };
        for (name, path) in entries(&self.folder.join(SETS)) {
            let is_own = name.rsplit_once('@').is_some_and(|(site, _)| site == self.name);
            if is_own && Path::new(SETS).join(&name) != current {
                // What stays does no harm, and is tried again after the next renewal.
                let _ = std::fs::remove_dir_all(path);
            }
        }
    }

    /// Removes a set that no link leads to.
    fn remove_unused(&self, target: &Path) {
        if platform::kind(&self.link()) != platform::Kind::Link(target.to_owned()) {
            // What stays is replaced when the set is published.
            let _ = std::fs::remove_dir_all(self.folder.join(target));
        }
    }

    /// Removes what earlier runs began for this site and did not finish. Nothing else has such a name.
    fn remove_unfinished(&self) {
        let under_way = begun().clone();
        let left_in = |folder: &Path, prefix: &str| -> Vec<PathBuf> {
            let is_left = |name: &str, path: &Path| {
                let rest = name.strip_prefix(prefix).and_then(|name| name.strip_prefix(&*self.name));
                rest.is_some_and(is_unique) && !under_way.contains(path)
            };
            let left = entries(folder).filter(|(name, path)| is_left(name, path));
            left.map(|(_, path)| path).take(MOST_REMOVED).collect()
        };
        // Best effort: what stays is tried again each time.
        for path in left_in(&self.folder.join(SETS), NEW) {
            let _ = std::fs::remove_dir_all(path);
        }
        for path in left_in(&self.folder, LINK) {
            // A folder of that name holds what stood in the link's place, and stays.
            let _ = std::fs::remove_file(path);
        }
    }

    /// All of it under another name first, then by one rename: a set that is there is whole.
    fn write(&self, set: &str, certificate: &[u8], key: Option<&files::Content>) -> io::Result<()> {
        let sets = self.folder.join(SETS);
        platform::create_private_folder(&sets)?;
        let (new, whole) = (Begun::new(&sets, NEW, &self.name), sets.join(set));
        let folder = new.path();
        platform::create_private_folder(folder)?;
        files::write_private(&folder.join(CERTIFICATE), certificate)?;
        if let Some(key) = key {
            files::write_private(&folder.join(KEY), &key.bytes)?;
        }
        platform::sync_folder(folder)?;
        // One of an earlier time may have been changed by hand; nobody reads it now.
        match std::fs::remove_dir_all(&whole) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::rename(folder, &whole)?;
        platform::sync_folder(&sets)
    }

    fn swap(&self, target: &Path) -> io::Result<()> {
        let new = Begun::new(&self.folder, LINK, &self.name);
        platform::make_link(target, new.path())?;
        match std::fs::rename(new.path(), self.link()) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => self.take_place(new.path())?,
            done => done?,
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
        if let Err(error) = std::fs::rename(new, &before) {
            platform::exchange(new, &self.link())?;
            return Err(error);
        }
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

/// Something that is being written under a name of its own. It is removed when this is dropped, unless it was renamed
/// by then.
struct Begun(PathBuf);

impl Begun {
    fn new(folder: &Path, prefix: &str, name: &str) -> Self {
        let path = folder.join(format!("{prefix}{name}{}", unique()));
        begun().insert(path.clone());
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // A folder, a link, or nothing; best effort: the next publish that fails or ends removes it too.
        let _ = std::fs::remove_file(&self.0).or_else(|_| match self.0.parent() {
            Some(folder) if folder.ends_with(SETS) => std::fs::remove_dir_all(&self.0),
            _ => Ok(()),
        });
        begun().remove(&self.0);
    }
}

/// What this process is writing now: it is no leftover.
fn begun() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    static BEGUN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    BEGUN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether the end of a name is one that [`unique`] makes.
fn is_unique(end: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = end.strip_prefix('-').and_then(|numbers| numbers.split_once('-'));
    parts.is_some_and(|(process, number)| is_number(process) && is_number(number))
}

/// The entries of a folder with their names; none where it cannot be read.
fn entries(folder: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
}

#[cfg(test)]
mod tests;
