//! The way to a file: every folder and link that is passed, as the system resolves the path.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::platform::{self, Kind};

pub(super) use crate::platform::Identity;

/// As many links as Linux follows.
const MOST_LINKS: usize = 40;

/// A folder on the way, told from another of the same path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
}

/// For several files: the paths whose change matters, and the folders they stand in.
pub(super) fn of_all(files: &[PathBuf]) -> (Vec<PathBuf>, Vec<Folder>) {
    let mut walk = Walk::default();
    files.iter().for_each(|file| walk.to(file));
    (walk.entries, walk.folders)
}

/// What was passed so far, in order, and what it was: ten thousand files of one folder share their way.
#[derive(Default)]
struct Walk {
    entries: Vec<PathBuf>,
    folders: Vec<Folder>,
    kinds: HashMap<PathBuf, Kind>,
    identities: HashMap<PathBuf, Option<Identity>>,
}

impl Walk {
    fn to(&mut self, file: &Path) {
        let mut links = 0;
        let mut rest: VecDeque<OsString> = parts(file);
        let mut here = root(file);
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                here.pop();
                continue;
            }
            // The identity is taken before the entry is looked at: a folder replaced in between differs next time.
            if !self.enters(&here) {
                return;
            }
            let entry = here.join(&name);
            match self.kind(&entry) {
                Kind::Link(target) if links < MOST_LINKS => {
                    links += 1;
                    if target.is_absolute() {
                        here = root(&target);
                    }
                    let mut onward = parts(&target);
                    onward.append(&mut rest);
                    rest = onward;
                }
                Kind::Folder => here = entry,
                // The file itself, or nothing yet: the way ends here.
                _ => return,
            }
        }
    }

    /// Whether the folder is there.
    fn enters(&mut self, folder: &Path) -> bool {
        if let Some(known) = self.identities.get(folder) {
            return known.is_some();
        }
        let identity = platform::identity(folder);
        self.folders.extend(identity.map(|identity| Folder { path: folder.to_owned(), identity }));
        self.identities.insert(folder.to_owned(), identity);
        identity.is_some()
    }

    fn kind(&mut self, entry: &Path) -> Kind {
        if let Some(known) = self.kinds.get(entry) {
            return known.clone();
        }
        let kind = platform::kind(entry);
        self.entries.push(entry.to_owned());
        self.kinds.insert(entry.to_owned(), kind.clone());
        kind
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let parts = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    });
    parts.collect()
}

fn root(path: &Path) -> PathBuf {
    path.components()
        .take_while(|component| matches!(component, Component::Prefix(_) | Component::RootDir))
        .collect()
}
