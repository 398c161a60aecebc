//! File events as hints: "look at this again", never what happened.
//!
//! The folders of every link on the way to a file are watched: a watch on a file dies with its inode, and a watch on a
//! link's target misses the link. A folder that is not there yet is awaited in the nearest one above it. A watch that
//! may have gone with its folder is made anew, even if the folder that stands there now looks the same: file systems
//! give an inode number away again at once.
//!
//! A folder is told only of what is written through its own path. A file that has further names, or is mounted there
//! by itself, is watched as well. That something is mounted over a path is told by the table of mounts alone. Where
//! events do not tell of every change, or cannot be had, [`Watcher::poll`] compares signatures, and [`Blind`] says why.
//! For what no list foresees (a hard link made later) [`Keeper::sweep`] compares those of all others in turn.
//!
//! Cost grows with what changed: what a change concerns is found below its path, not kept for each path above.

mod alike;
mod events;
mod folders;
mod interest;
mod keeper;
mod trail;
mod tree;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alike::Alike;
use tokio::sync::mpsc::UnboundedSender;

use crate::agent::{Cause, ServerId, SiteId};
use crate::platform::{self, Mounts, Signature};
use crate::problem::Problem;
use events::{Events, Told};
use folders::Folders;
use interest::{ANY, Interest};
pub use keeper::Keeper;
use trail::{Seen, Way};
use tree::{Node, Tree};

/// So many are gone over together: enough to share what is above them, and few enough to need little room.
const AT_ONCE: usize = 1000;

/// Whose files they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// A site's certificate and key.
    Site(SiteId),
    /// A server's configuration.
    Server(ServerId),
    /// What matches the patterns of certhook's own.
    Patterns,
}

/// What the watcher says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Look at these files.
    Look(Topic, Cause),
    /// Events were lost: look at everything.
    Lost,
}

/// Why events do not tell of every change to a topic's files: they are polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blind {
    /// The system does not take the watch.
    Refused,
    /// The file system gives no events.
    Silent,
    /// The file system tells of what is changed through it alone.
    Shared,
    /// A file is mounted by itself: it is written by another path.
    MountPoint,
    /// A file has hard links: it can be written by another path.
    HardLinks,
}

impl Blind {
    /// The reason, of a site's files.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Refused => "the system does not watch their folder",
            Self::Silent => "their file system gives no events",
            Self::Shared => "their file system does not tell of changes made below it or elsewhere",
            Self::MountPoint => "a file is a mount point, and may be written by another path",
            Self::HardLinks => "a file has hard links, and may be written by another path",
        }
    }
}

/// Why which topics are polled, for whoever may not wait for the watcher.
type Reasons = Arc<Mutex<HashMap<Topic, Blind>>>;

/// What is shared with the threads that read events. It is never held while a watch is added: on some systems it is
/// that thread that adds them.
#[derive(Default)]
struct Shared {
    interest: Interest,
    alike: Alike,
    mounts: HashSet<PathBuf>,
    /// What was removed or renamed away, as it is compared, until [`Watcher::rearm`] takes it.
    gone: HashSet<PathBuf>,
    /// Events were lost: any of them may be gone.
    any_gone: bool,
}

/// Watches the files of all sites and servers.
pub struct Watcher {
    shared: Arc<Mutex<Shared>>,
    followed: BTreeMap<Topic, Followed>,
    folders: Folders,
    /// Those of whom events do not tell every change.
    polled: HashMap<Topic, Vec<Option<Signature>>>,
    reasons: Reasons,
    /// How the files of each site looked before the last look at them.
    looked: BTreeMap<Topic, u64>,
    /// Why there are no events at all.
    no_events: Option<Problem>,
    _mounts: Option<Mounts>,
}

/// One topic's files, what the ways to them end at, what is heard of, and the files that are watched, each held.
#[derive(Default, PartialEq, Eq)]
struct Followed {
    nodes: Box<[Node]>,
    files: u32,
    ends: u32,
    heard: u32,
}

impl Followed {
    fn new(files: &[Node], way: &Way) -> Self {
        let nodes = [files, &way.ends, &way.heard, &way.files].concat().into();
        // There are no more of them than nodes.
        let [files, ends, heard] = [files, &way.ends, &way.heard].map(|nodes| nodes.len() as u32);
        Self { nodes, files, ends, heard }
    }

    /// The folders and files that are watched for it.
    fn watched(&self, tree: &Tree) -> Vec<Node> {
        let mut watched = tree.folders_of(self.ends());
        watched.extend(self.watched_files());
        watched
    }

    fn files(&self) -> &[Node] {
        &self.nodes[..self.files as usize]
    }

    fn ends(&self) -> &[Node] {
        &self.nodes[self.files as usize..(self.files + self.ends) as usize]
    }

    fn heard(&self) -> &[Node] {
        &self.nodes[(self.files + self.ends) as usize..][..self.heard as usize]
    }

    fn watched_files(&self) -> &[Node] {
        &self.nodes[(self.files + self.ends + self.heard) as usize..]
    }
}

impl Watcher {
    /// Hints go to `hints`, from another thread.
    pub fn new(hints: UnboundedSender<Hint>) -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
        let mounts = follow_mounts(Arc::clone(&shared), hints.clone());
        let reader = Arc::clone(&shared);
        let (events, no_events) = match Events::new(move |told| pass_on(told, &reader, &hints)) {
            Ok(events) => (Some(events), None),
            Err(error) => (None, Some(no_events(&error))),
        };
        let folders = Folders::new(events);
        Self {
            shared,
            followed: BTreeMap::new(),
            folders,
            polled: HashMap::new(),
            reasons: Reasons::default(),
            looked: BTreeMap::new(),
            no_events,
            _mounts: mounts,
        }
    }

    /// Watches files, and whatever is in some folders, in place of what was watched for `topic`. Returns whether they
    /// are others than before.
    pub fn follow(&mut self, topic: Topic, mut files: Vec<PathBuf>, folders: &[PathBuf]) -> bool {
        files.extend(folders.iter().map(|folder| folder.join(ANY)));
        let news = self.files(topic) != files || !self.followed.contains_key(&topic);
        self.follow_all([(topic, files)]);
        news
    }

    /// The files that are watched for a topic.
    fn files(&self, topic: Topic) -> Vec<PathBuf> {
        self.followed.get(&topic).map(|followed| files_of(followed, &self.shared)).unwrap_or_default()
    }

    /// Watches the files of many, each in place of what was watched for it. What is above several of them is looked
    /// at once.
    pub fn follow_all(&mut self, wanted: impl IntoIterator<Item = (Topic, Vec<PathBuf>)>) {
        let mut wanted = wanted.into_iter().peekable();
        while wanted.peek().is_some() {
            let some: Vec<Topic> =
                wanted.by_ref().take(AT_ONCE).map(|(topic, files)| self.enter(topic, &files)).collect();
            self.arm(some);
        }
    }

    /// Watches nothing for `topic` any more.
    pub fn forget(&mut self, topic: Topic) {
        self.forget_all(&[topic]);
    }

    /// Watches nothing for some topics any more. Returns whether every watch was ended for it: all others are to be
    /// looked at.
    pub fn forget_all(&mut self, topics: &[Topic]) -> bool {
        let left: Vec<PathBuf> = topics.iter().flat_map(|topic| self.withdraw(*topic)).collect();
        let is_restarted = left.len() > AT_ONCE;
        if is_restarted {
            self.folders.restart();
        } else {
            self.unwatch(&left);
        }
        is_restarted
    }

    /// Follows a topic no longer; the paths that are to be unwatched.
    fn withdraw(&mut self, topic: Topic) -> Vec<PathBuf> {
        self.see(topic);
        self.looked.remove(&topic);
        let Some(followed) = self.followed.remove(&topic) else { return Vec::new() };
        let mut shared = lock(&self.shared);
        for node in followed.heard() {
            shared.interest.withdraw(*node, topic);
        }
        drop(shared);
        self.release(&followed)
    }

    fn unwatch(&mut self, paths: &[PathBuf]) {
        paths.iter().for_each(|path| self.folders.unwatch(path));
    }

    /// Sees whether links or folders on the way to the files have changed, and watches the new ones.
    /// To be called before each look: arm, then look.
    pub fn rearm(&mut self, topic: Topic) {
        self.arm(vec![topic]);
    }

    /// The same for many. What is above several of them is looked at once.
    pub fn rearm_all(&mut self, topics: impl IntoIterator<Item = Topic>) {
        let mut topics = topics.into_iter().peekable();
        while topics.peek().is_some() {
            let some = topics.by_ref().take(AT_ONCE).collect();
            self.arm(some);
        }
    }

    /// Lets go of the room that was needed while much was entered.
    pub fn shrink(&mut self) {
        let mut shared = lock(&self.shared);
        shared.interest.shrink();
        shared.alike.shrink();
        drop(shared);
        self.followed = std::mem::take(&mut self.followed).into_iter().collect();
        self.folders.shrink();
    }

    /// What keeps events from coming, if anything; polling goes on.
    pub fn problem(&self) -> Option<&Problem> {
        self.no_events.as_ref().or(self.folders.problem())
    }

    /// How many sites and servers are polled.
    pub fn polled(&self) -> usize {
        self.polled.len()
    }

    /// Why a topic is polled, if it is.
    pub fn blind(&self, topic: Topic) -> Option<Blind> {
        lock(&self.reasons).get(&topic).copied()
    }

    /// What is polled and changed since the last call.
    pub fn poll(&mut self) -> Vec<Topic> {
        let polled = self.polled_files();
        polled
            .into_iter()
            .filter(|(topic, files)| self.take_signatures(*topic, signatures(files)))
            .map(|(topic, _)| topic)
            .collect()
    }

    /// What is polled, with its files.
    fn polled_files(&self) -> Vec<(Topic, Vec<PathBuf>)> {
        self.polled.keys().map(|topic| (*topic, self.files(*topic))).collect()
    }

    /// Notes how a topic's files look now; whether that is otherwise than before.
    fn take_signatures(&mut self, topic: Topic, now: Vec<Option<Signature>>) -> bool {
        match self.polled.get_mut(&topic) {
            Some(known) if *known != now => {
                *known = now;
                true
            }
            _ => false,
        }
    }

    /// Notes how a site's files look before a look at them: what the look sees is no change any more.
    fn note_look(&mut self, topic: Topic, now: Vec<Option<Signature>>) {
        self.looked.insert(topic, digest(&now));
        if let Some(known) = self.polled.get_mut(&topic) {
            *known = now;
        }
    }

    /// The next sites that are not polled, with their files; from the first one again after the last.
    fn in_turn(&self, after: Option<Topic>) -> Vec<(Topic, Vec<PathBuf>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.looked.range((from, Bound::Unbounded)).map(|(topic, _)| *topic);
        let next = next.filter(|topic| !self.polled.contains_key(topic)).take(AT_ONCE);
        next.map(|topic| (topic, self.files(topic))).collect()
    }

    /// Whether a site's files look otherwise than before the last look at them; told once.
    fn has_changed_unseen(&mut self, topic: Topic, now: &[Option<Signature>]) -> bool {
        let now = digest(now);
        self.looked.get_mut(&topic).is_some_and(|known| std::mem::replace(known, now) != now)
    }

    /// Takes a topic up, if its files are not known already.
    fn enter(&mut self, topic: Topic, files: &[PathBuf]) -> Topic {
        let mut shared = lock(&self.shared);
        let tree = &mut shared.interest.tree;
        let files: Vec<Node> = files.iter().map(|file| tree.make(file)).collect();
        if self.followed.get(&topic).is_some_and(|followed| followed.files() == files) {
            return topic;
        }
        files.iter().for_each(|file| tree.hold(*file));
        drop(shared);
        self.forget(topic);
        self.followed.insert(topic, Followed::new(&files, &Way::default()));
        topic
    }

    fn arm(&mut self, topics: Vec<Topic>) {
        self.note_gone();
        let mut moved = topics.clone();
        // Whatever changes while a watch is added is seen by going over it once more.
        for turn in 0..8 {
            let old = self.walk(&moved, turn == 0);
            let shared = lock(&self.shared);
            let paths = self.folders.wanted().map(|node| shared.interest.tree.path(node)).collect();
            drop(shared);
            self.folders.arm(paths);
            moved.clear();
            for (topic, old) in old {
                let left = self.release(&old);
                self.unwatch(&left);
                moved.push(topic);
            }
            if moved.is_empty() {
                break;
            }
        }
        topics.into_iter().for_each(|topic| self.note_polled(topic));
    }

    /// Goes over the ways to the files; what they were where something is to be watched.
    fn walk(&mut self, topics: &[Topic], first: bool) -> Vec<(Topic, Followed)> {
        let mut seen = Seen::default();
        let mut moved = Vec::new();
        for topic in topics {
            let Some(followed) = self.followed.get_mut(topic) else { continue };
            // For one at a time: whoever reads events waits.
            let mut shared = lock(&self.shared);
            let Shared { interest: Interest { tree, .. }, mounts, .. } = &mut *shared;
            let waits = |folder, identity| first && self.folders.lacks(folder, identity, first);
            let way = Way::to(followed.files(), tree, &mut seen, mounts, &waits);
            let folders = tree.folders_of(&way.ends).into_iter();
            let folders = folders.filter_map(|folder| Some((folder, seen.identity(folder)?, None)));
            let files = way.files.iter().filter_map(|file| seen.file(*file).map(|seen| (*file, seen)));
            let files = files.map(|(file, (identity, why))| (file, identity, Some(why)));
            let passed: Vec<_> = folders.chain(files).collect();
            let lacks = passed.iter().any(|(node, identity, _)| self.folders.lacks(*node, *identity, first));
            let new = Followed::new(followed.files(), &way);
            if !lacks && new == *followed {
                continue;
            }
            new.nodes.iter().for_each(|node| tree.hold(*node));
            let old = std::mem::replace(followed, new);
            // Before the watches: that a folder goes while it is being watched must not be missed.
            for node in old.heard() {
                shared.interest.withdraw(*node, *topic);
            }
            for node in &way.heard {
                shared.interest.add(*node, *topic);
            }
            for (node, identity, file) in passed {
                self.folders.take(node, identity, file, first);
                shared.alike.set(node, identity);
            }
            moved.push((*topic, old));
        }
        moved
    }

    /// Nobody holds it any more; the paths that no way leads through are to be watched no longer.
    fn release(&mut self, old: &Followed) -> Vec<PathBuf> {
        let mut shared = lock(&self.shared);
        let Shared { interest: Interest { tree, .. }, alike, .. } = &mut *shared;
        let left: Vec<Node> =
            old.watched(tree).into_iter().filter(|node| self.folders.release(*node)).collect();
        left.iter().for_each(|node| alike.remove(*node));
        let left = left.into_iter().map(|node| tree.path(node)).collect();
        old.nodes.iter().for_each(|node| tree.release(*node));
        left
    }

    fn note_gone(&mut self) {
        let mut shared = lock(&self.shared);
        if std::mem::take(&mut shared.any_gone) {
            self.folders.restart();
        }
        for gone in std::mem::take(&mut shared.gone) {
            let Interest { tree, .. } = &shared.interest;
            for topic in shared.interest.through(&gone) {
                let Some(followed) = self.followed.get(&topic) else { continue };
                for node in followed.watched(tree) {
                    // With a folder go the watches of all below it.
                    if platform::as_compared(&tree.path(node)).starts_with(&gone) {
                        self.folders.went(node);
                    }
                }
            }
        }
    }

    fn note_polled(&mut self, topic: Topic) {
        let Some(followed) = self.followed.get(&topic) else { return };
        if self.folders.none_is_blind() {
            return self.see(topic);
        }
        let watched = followed.watched(&lock(&self.shared).interest.tree);
        let Some(why) = watched.into_iter().filter_map(|node| self.folders.blind(node)).min() else {
            return self.see(topic);
        };
        let now = || signatures(&files_of(followed, &self.shared));
        self.polled.entry(topic).or_insert_with(now);
        lock(&self.reasons).insert(topic, why);
    }

    /// Polls a topic no longer.
    fn see(&mut self, topic: Topic) {
        if self.polled.remove(&topic).is_some() {
            lock(&self.reasons).remove(&topic);
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn files_of(followed: &Followed, shared: &Mutex<Shared>) -> Vec<PathBuf> {
    let shared = lock(shared);
    followed.files().iter().map(|file| shared.interest.tree.path(*file)).collect()
}

fn signatures(files: &[PathBuf]) -> Vec<Option<Signature>> {
    // Of a folder that is followed with all that is in it, its own tells of what comes and goes.
    let of = |file: &PathBuf| match file.file_name() {
        Some(name) if name == ANY => file.parent().and_then(platform::signature),
        _ => platform::signature(file),
    };
    files.iter().map(of).collect()
}

fn digest(signatures: &[Option<Signature>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    signatures.hash(&mut hasher);
    hasher.finish()
}

/// Runs on the thread that reads events; what concerns nobody ends here.
fn pass_on(told: Told, shared: &Mutex<Shared>, hints: &UnboundedSender<Hint>) {
    let mut shared = lock(shared);
    let (at, cause, goes) = match told {
        Told::Changed { at, cause, goes } => (at, cause, goes),
        Told::Lost(why) => {
            if let Some(error) = why {
                tracing::warn!(error, "file events may have been lost");
            }
            return lost(&mut shared, hints);
        }
    };
    let others = shared.alike.others(&shared.interest.tree, &at);
    for path in others.into_iter().chain([at]) {
        changed(&mut shared, &path, cause, goes, hints);
    }
}

fn changed(shared: &mut Shared, path: &Path, cause: Cause, goes: bool, hints: &UnboundedSender<Hint>) {
    let Shared { interest, gone, .. } = shared;
    let path = platform::as_compared(path);
    let through = interest.through(&path);
    let any = interest.any_beside(&path).filter(|topic| !through.contains(topic));
    for topic in through.iter().copied().chain(any) {
        // The receiver is gone only when certhook stops.
        let _ = hints.send(Hint::Look(topic, cause));
    }
    if goes && !through.is_empty() {
        gone.insert(path.into_owned());
    }
}

/// Where something else is mounted, the watches look at what was there before.
fn follow_mounts(shared: Arc<Mutex<Shared>>, hints: UnboundedSender<Hint>) -> Option<Mounts> {
    let follow = Mounts::follow(move |points, changes| {
        let mut shared = lock(&shared);
        shared.mounts = points;
        changes.iter().for_each(|point| changed(&mut shared, point, Cause::Changed, true, &hints));
    });
    follow
        .inspect_err(|error| tracing::warn!(%error, "mounts cannot be followed: the rescan notices new ones"))
        .ok()
}

fn lost(shared: &mut Shared, hints: &UnboundedSender<Hint>) {
    shared.any_gone = true;
    let _ = hints.send(Hint::Lost);
}

fn no_events(error: &impl std::fmt::Display) -> Problem {
    Problem::new(
        "no_events",
        format!("the system gives no file events ({error}); everything is polled"),
        "raise fs.inotify.max_user_instances with sysctl",
    )
}

#[cfg(test)]
mod tests;
