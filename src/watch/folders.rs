//! The folders and files that are watched: each once, for as long as a way leads through it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::Blind;
use super::events::{Events, Refused};
use super::tree::Node;
use crate::platform::{self, Identity, Tells};
use crate::problem::Problem;

pub(super) struct Folders {
    /// `None` where the system gives no events at all.
    pub(super) events: Option<Events>,
    pub(super) known: BTreeMap<Node, Folder>,
    /// Why the system did not take a watch.
    refused: BTreeMap<Node, Problem>,
    /// How many there are of whom events do not tell every change.
    blind: usize,
    /// What is to be watched, and how far it was before.
    wanted: BTreeMap<Node, Before>,
}

/// How far a path was watched before it is to be watched anew.
#[derive(Clone, Copy)]
struct Before {
    is_known: bool,
    /// The system may still have the watch.
    is_watched: bool,
}

pub(super) struct Folder {
    identity: Identity,
    users: u32,
    watch: Watch,
    /// Why it is watched, if it is a file.
    file: Option<Blind>,
}

impl Folder {
    /// Why events do not tell of every change, if they do not.
    fn blind(&self) -> Option<Blind> {
        match self.watch {
            Watch::Armed | Watch::Gone | Watch::None => self.file,
            Watch::Shared => self.file.or(Some(Blind::Shared)),
            Watch::Silent => Some(Blind::Silent),
            Watch::Refused => Some(Blind::Refused),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Events come.
    Armed,
    /// Events come of what this host changes through this file system.
    Shared,
    /// The file system gives none.
    Silent,
    /// The system did not take the watch; it is asked again at each look.
    Refused,
    /// It may have gone with what stood there.
    Gone,
    /// There is none yet.
    None,
}

impl Watch {
    /// Whether the system may have it.
    fn is_taken(self) -> bool {
        matches!(self, Self::Armed | Self::Shared | Self::Gone)
    }
}

impl Folders {
    pub(super) fn new(events: Option<Events>) -> Self {
        let (known, refused, wanted) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { events, known, refused, blind: 0, wanted }
    }

    /// See [`super::tree::Tree::shrink`].
    pub(super) fn shrink(&mut self) {
        self.known = std::mem::take(&mut self.known).into_iter().collect();
    }

    /// Whether a folder is not watched as it should be. `again`: what was refused is to be asked for.
    pub(super) fn lacks(&self, node: Node, identity: Identity, again: bool) -> bool {
        self.known.get(&node).is_none_or(|known| {
            known.identity != identity
                || matches!(known.watch, Watch::Gone | Watch::None)
                || (again && known.watch == Watch::Refused)
        })
    }

    /// One more way leads through a folder, or to a file that is watched itself; [`Self::arm`] watches it.
    pub(super) fn take(&mut self, node: Node, identity: Identity, file: Option<Blind>, again: bool) {
        let lacks = self.lacks(node, identity, again);
        let old = self.known.get(&node).map(|known| known.watch);
        let before = Before { is_known: old.is_some(), is_watched: old.is_some_and(Watch::is_taken) };
        let new = Folder { identity, users: 0, watch: Watch::None, file: None };
        self.known.entry(node).or_insert(new);
        self.change(node, |known| {
            known.users += 1;
            known.file = file;
            if lacks {
                known.identity = identity;
                known.watch = Watch::None;
            }
        });
        if lacks {
            self.refused.remove(&node);
            self.wanted.entry(node).or_insert(before);
        }
    }

    /// One way less; whether it was the last one, after which the folder is to be unwatched.
    pub(super) fn release(&mut self, node: Node) -> bool {
        let Some(known) = self.known.get_mut(&node) else { return false };
        known.users -= 1;
        if known.users > 0 {
            return false;
        }
        self.refused.remove(&node);
        let known = self.known.remove(&node);
        self.blind -= known.as_ref().and_then(Folder::blind).iter().count();
        known.is_some()
    }

    pub(super) fn unwatch(&mut self, path: &Path) {
        if let Some(events) = &mut self.events {
            events.unwatch(path);
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
        let mut loud_ones = HashMap::new();
        for ((node, before), path) in wanted.into_iter().zip(paths) {
            let Some(events) = &mut self.events else {
                self.set(node, Watch::Silent);
                continue;
            };
            if before.is_watched {
                // The old watch went with the old folder, or looks at where it was moved to.
                events.unwatch(&path);
            }
            let identity = self.known.get(&node).map(|known| known.identity);
            let file_system = identity.map(|identity| identity.file_system());
            let tells = loud_ones.get(&file_system).copied().unwrap_or_else(|| platform::tells(&path));
            let watch = match tells {
                Tells::Everything => Watch::Armed,
                Tells::OwnChanges => Watch::Shared,
                Tells::Nothing => {
                    self.set(node, Watch::Silent);
                    continue;
                }
            };
            loud_ones.insert(file_system, tells);
            loud.push(Wanted { node, is_known: before.is_known, path, watch });
        }
        let taken = self.watch_at_once(&loud);
        for (index, wanted) in loud.into_iter().enumerate() {
            let watch = if index < taken { wanted.watch } else { self.watch(&wanted) };
            self.set(wanted.node, watch);
        }
    }

    /// How many were watched before one was refused.
    fn watch_at_once(&mut self, wanted: &[Wanted]) -> usize {
        let Some(events) = self.events.as_mut().filter(|_| !wanted.is_empty()) else { return 0 };
        events.watch_all(wanted.iter().map(|wanted| wanted.path.as_path()))
    }

    fn watch(&mut self, Wanted { node, is_known, path, watch }: &Wanted) -> Watch {
        let Some(events) = &mut self.events else { return Watch::Silent };
        let problem = match events.watch(path) {
            Ok(()) => return *watch,
            // The next walk sees whether it is back; later on the folder above tells.
            Err(Refused::Missing) => return Watch::None,
            Err(Refused::Limit) => watch_limit(path),
            Err(Refused::Other(error)) => cannot_watch(path, &error),
        };
        if !is_known {
            tracing::warn!(problem = problem.message, remedy = problem.remedy, "a folder is polled");
        }
        self.refused.insert(*node, problem);
        Watch::Refused
    }

    fn set(&mut self, node: Node, watch: Watch) {
        self.change(node, |known| known.watch = watch);
        if watch != Watch::Refused {
            self.refused.remove(&node);
        }
    }

    fn change(&mut self, node: Node, change: impl FnOnce(&mut Folder)) {
        let Some(known) = self.known.get_mut(&node) else { return };
        self.blind -= known.blind().iter().count();
        change(known);
        self.blind += known.blind().iter().count();
    }

    /// A folder may have gone, and its watch with it.
    pub(super) fn went(&mut self, node: Node) {
        if self.known.get(&node).is_some_and(|known| matches!(known.watch, Watch::Armed | Watch::Shared)) {
            self.change(node, |known| known.watch = Watch::Gone);
        }
    }

    /// Ends every watch. Each is made anew when a way leads through its path again.
    pub(super) fn restart(&mut self) {
        let cleared = self.events.as_mut().map(Events::clear);
        if let Some(Err(error)) = &cleared {
            tracing::warn!(%error, "file events cannot be had anew: every watch is replaced");
        }
        let watch = if matches!(cleared, Some(Ok(()))) { Watch::None } else { Watch::Gone };
        let all: Vec<Node> = self.known.keys().copied().collect();
        for node in all {
            self.change(node, |known| known.watch = if known.watch.is_taken() { watch } else { known.watch });
        }
    }

    /// Whether events tell of every change in all of them, so that none need be looked up.
    pub(super) fn none_is_blind(&self) -> bool {
        self.events.is_some() && self.blind == 0
    }

    /// Why events do not tell of every change in one, if they do not.
    pub(super) fn blind(&self, node: Node) -> Option<Blind> {
        if self.events.is_none() {
            return Some(Blind::Refused);
        }
        self.known.get(&node).and_then(Folder::blind)
    }

    /// Why a watch was refused, if one was.
    pub(super) fn problem(&self) -> Option<&Problem> {
        self.refused.values().next()
    }
}

/// A path that is to be watched.
struct Wanted {
    node: Node,
    /// It was to be watched before.
    is_known: bool,
    path: PathBuf,
    /// What it is when the system has taken it.
    watch: Watch,
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
