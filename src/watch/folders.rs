//! The folders that are watched: each once, for as long as a way leads through it.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::events::{Events, Refused};
use super::tree::Node;
use crate::platform::{self, Identity};
use crate::problem::Problem;

pub(super) struct Folders {
    /// `None` where the system gives no events at all.
    pub(super) events: Option<Events>,
    pub(super) known: BTreeMap<Node, Folder>,
    /// Why the system did not take a watch.
    refused: BTreeMap<Node, Problem>,
    /// Those that are silent or refused.
    mute: usize,
    /// What is to be watched, and whether it was before.
    wanted: BTreeMap<Node, bool>,
}

pub(super) struct Folder {
    identity: Identity,
    users: u32,
    watch: Watch,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Events come.
    Armed,
    /// The file system gives none.
    Silent,
    /// The system did not take the watch; it is asked again at each look.
    Refused,
    /// It is not there yet, or may have gone with the folder that stood there.
    Gone,
}

impl Folders {
    pub(super) fn new(events: Option<Events>) -> Self {
        let (known, refused, wanted) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { events, known, refused, mute: 0, wanted }
    }

    /// See [`super::tree::Tree::shrink`].
    pub(super) fn shrink(&mut self) {
        self.known = std::mem::take(&mut self.known).into_iter().collect();
    }

    /// Whether a folder is not watched as it should be. `again`: what was refused is to be asked for.
    pub(super) fn lacks(&self, node: Node, identity: Identity, again: bool) -> bool {
        self.known.get(&node).is_none_or(|known| {
            known.identity != identity
                || known.watch == Watch::Gone
                || (again && known.watch == Watch::Refused)
        })
    }

    /// One more way leads through a folder; [`Self::arm`] watches it.
    pub(super) fn take(&mut self, node: Node, identity: Identity, again: bool) {
        let lacks = self.lacks(node, identity, again);
        let is_known = self.known.contains_key(&node);
        let new = Folder { identity, users: 0, watch: Watch::Gone };
        let known = self.known.entry(node).or_insert(new);
        known.users += 1;
        if lacks {
            known.identity = identity;
            self.wanted.entry(node).or_insert(is_known);
            self.set(node, Watch::Gone);
        }
    }

    /// One way less; whether it was the last one, after which the folder is to be unwatched.
    pub(super) fn release(&mut self, node: Node) -> bool {
        let Some(known) = self.known.get_mut(&node) else { return false };
        known.users -= 1;
        if known.users > 0 {
            return false;
        }
        self.set(node, Watch::Gone);
        self.known.remove(&node).is_some()
    }

    pub(super) fn unwatch(&mut self, node: Node, path: &Path) {
        if let Some(events) = &mut self.events {
            events.unwatch(node, path);
        }
    }

    /// What is to be watched.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Node> + '_ {
        self.wanted.keys().copied()
    }

    /// Watches what is to be, under the paths given in the order of [`Self::wanted`].
    pub(super) fn arm(&mut self, paths: Vec<PathBuf>) {
        if paths.is_empty() {
            return;
        }
        let wanted = std::mem::take(&mut self.wanted);
        let mut loud = Vec::new();
        // Most stand in one file system, which is asked until it says yes: no may mean that the folder is gone.
        let mut loud_ones = HashSet::new();
        for ((node, replaced), path) in wanted.into_iter().zip(paths) {
            let Some(events) = &mut self.events else {
                self.set(node, Watch::Silent);
                continue;
            };
            if replaced {
                // The old watch went with the old folder, or looks at where it was moved to.
                events.unwatch(node, &path);
            }
            let identity = self.known.get(&node).map(|known| known.identity);
            let file_system = identity.map(|identity| identity.file_system());
            if loud_ones.contains(&file_system) || platform::gives_events(&path) {
                loud_ones.insert(file_system);
                loud.push((node, replaced, path));
            } else {
                self.set(node, Watch::Silent);
            }
        }
        let taken = self.watch_at_once(&loud);
        for (index, (node, replaced, path)) in loud.into_iter().enumerate() {
            let watch = if index < taken { Watch::Armed } else { self.watch(node, replaced, &path) };
            self.set(node, watch);
        }
    }

    /// How many were watched before one was refused.
    fn watch_at_once(&mut self, folders: &[(Node, bool, PathBuf)]) -> usize {
        let Some(events) = self.events.as_mut().filter(|_| !folders.is_empty()) else { return 0 };
        events.watch_all(folders.iter().map(|(node, _, path)| (*node, path.as_path())))
    }

    fn watch(&mut self, node: Node, replaced: bool, path: &Path) -> Watch {
        let Some(events) = &mut self.events else { return Watch::Silent };
        let problem = match events.watch(node, path) {
            Ok(()) => return Watch::Armed,
            // The next walk sees whether it is back; later on the folder above tells.
            Err(Refused::Missing) => return Watch::Gone,
            Err(Refused::Limit) => watch_limit(path),
            Err(Refused::Other(error)) => cannot_watch(path, &error),
        };
        if !replaced {
            tracing::warn!(problem = problem.message, remedy = problem.remedy, "a folder is polled");
        }
        self.refused.insert(node, problem);
        Watch::Refused
    }

    fn set(&mut self, node: Node, watch: Watch) {
        let is_mute = |watch| matches!(watch, Watch::Silent | Watch::Refused);
        let Some(known) = self.known.get_mut(&node) else { return };
        let old = std::mem::replace(&mut known.watch, watch);
        self.mute = self.mute + usize::from(is_mute(watch)) - usize::from(is_mute(old));
        if watch != Watch::Refused {
            self.refused.remove(&node);
        }
    }

    /// A folder may have gone, and its watch with it.
    pub(super) fn went(&mut self, node: Node) {
        if let Some(known) = self.known.get_mut(&node).filter(|known| known.watch == Watch::Armed) {
            known.watch = Watch::Gone;
        }
    }

    /// Any of them may have gone.
    pub(super) fn all_went(&mut self) {
        for known in self.known.values_mut().filter(|known| known.watch == Watch::Armed) {
            known.watch = Watch::Gone;
        }
    }

    /// Whether all of them give events, so that none need be looked up.
    pub(super) fn all_give_events(&self) -> bool {
        self.events.is_some() && self.mute == 0
    }

    pub(super) fn gives_events(&self, node: Node) -> bool {
        let watch = self.known.get(&node).map(|known| known.watch);
        self.events.is_some() && !matches!(watch, Some(Watch::Silent | Watch::Refused))
    }

    /// Why a watch was refused, if one was.
    pub(super) fn problem(&self) -> Option<&Problem> {
        self.refused.values().next()
    }
}

fn watch_limit(folder: &Path) -> Problem {
    Problem::new(
        "watch_limit",
        format!("{} cannot be watched, the limit of watches is reached; it is polled", shown(folder)),
        "raise fs.inotify.max_user_watches with sysctl",
    )
}

fn cannot_watch(folder: &Path, error: &str) -> Problem {
    Problem::new(
        "cannot_watch",
        format!("{} cannot be watched ({error}); it is polled", shown(folder)),
        format!("let {} read the folder", platform::WORDS.user_there),
    )
}

fn shown(folder: &Path) -> String {
    crate::problem::printable(&folder.display().to_string(), 200)
}
