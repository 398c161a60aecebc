//! The way to a file: every folder and link that is passed, as the system resolves the path.

use std::collections::VecDeque;
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
    let (mut entries, mut folders) = (Vec::new(), Vec::new());
    for file in files {
        walk(file, &mut entries, &mut folders);
    }
    (entries, folders)
}

fn walk(file: &Path, entries: &mut Vec<PathBuf>, folders: &mut Vec<Folder>) {
    let mut links = 0;
    let mut rest: VecDeque<OsString> = parts(file);
    let mut here = root(file);
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        // The identity is taken before the entry is looked at: a folder replaced in between differs next time.
        let Some(identity) = platform::identity(&here) else { return };
        if !folders.iter().any(|folder| folder.path == here) {
            folders.push(Folder { path: here.clone(), identity });
        }
        let entry = here.join(&name);
        if !entries.contains(&entry) {
            entries.push(entry.clone());
        }
        match platform::kind(&entry) {
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
