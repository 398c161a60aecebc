//! File events as hints: "look at this again", never what happened.
//!
//! The folders of every link on the way to a file are watched, not the file: a watch on a file dies with
//! its inode, and a watch on a link's target misses the link. A folder that is not there yet is awaited
//! in the nearest one above it. A watch that may have gone with its folder is made anew, even if the folder
//! that stands there now looks the same: file systems give an inode number away again at once. Where events
//! cannot be had, [`Watcher::poll`] compares signatures.
//!
//! Cost grows with what changed: what a change concerns is found below its path, not kept for each path above.

mod events;
mod folders;
mod interest;
mod keeper;
mod trail;
mod tree;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

use crate::agent::{Cause, ServerId, SiteId};
use crate::platform::{self, Signature};
use crate::problem::Problem;
use events::{Events, Told};
use folders::Folders;
use interest::{ANY, Interest};
pub use keeper::Keeper;
use trail::{Seen, Way};
use tree::Node;

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

/// What is shared with the thread that reads events. It is never held while a watch is added: on some systems it is
/// that thread that adds them.
#[derive(Default)]
struct Shared {
    interest: Interest,
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
    /// Those whose folders give no events.
    polled: HashMap<Topic, Vec<Option<Signature>>>,
    /// Why there are no events at all.
    no_events: Option<Problem>,
}

/// One topic's files, what the ways to them end at, and what is heard of, each held.
#[derive(Default)]
struct Followed {
    nodes: Box<[Node]>,
    files: u32,
    ends: u32,
}

impl Followed {
    fn new(files: &[Node], way: &Way) -> Self {
        let nodes = [files, &way.ends, &way.heard].concat().into();
        // There are no more of them than nodes.
        Self { nodes, files: files.len() as u32, ends: way.ends.len() as u32 }
    }

    fn files(&self) -> &[Node] {
        &self.nodes[..self.files as usize]
    }

    fn ends(&self) -> &[Node] {
        &self.nodes[self.files as usize..(self.files + self.ends) as usize]
    }

    fn heard(&self) -> &[Node] {
        &self.nodes[(self.files + self.ends) as usize..]
    }
}

impl Watcher {
    /// Hints go to `hints`, from another thread.
    pub fn new(hints: UnboundedSender<Hint>) -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
        let reader = Arc::clone(&shared);
        let (events, no_events) = match Events::new(move |told| pass_on(told, &reader, &hints)) {
            Ok(events) => (Some(events), None),
            Err(error) => (None, Some(no_events(&error))),
        };
        let folders = Folders::new(events);
        Self { shared, followed: BTreeMap::new(), folders, polled: HashMap::new(), no_events }
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
        self.polled.remove(&topic);
        if let Some(followed) = self.followed.remove(&topic) {
            let mut shared = lock(&self.shared);
            for node in followed.heard() {
                shared.interest.withdraw(*node, topic);
            }
            drop(shared);
            self.release(&followed);
        }
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
        lock(&self.shared).interest.shrink();
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
        let nowhere = Way { ends: Vec::new(), heard: Vec::new() };
        self.followed.insert(topic, Followed::new(&files, &nowhere));
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
            moved = old.into_iter().map(|(topic, old)| (topic, self.release(&old)).0).collect();
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
            let Interest { tree, .. } = &mut shared.interest;
            let waits = |folder, identity| first && self.folders.lacks(folder, identity, first);
            let way = Way::to(followed.files(), tree, &mut seen, &waits);
            let passed: Vec<_> = tree
                .folders_of(&way.ends)
                .into_iter()
                .filter_map(|folder| Some((folder, seen.identity(folder)?)))
                .collect();
            let lacks = passed.iter().any(|(folder, identity)| self.folders.lacks(*folder, *identity, first));
            if !lacks && way.ends == followed.ends() && way.heard == followed.heard() {
                continue;
            }
            let new = Followed::new(followed.files(), &way);
            new.nodes.iter().for_each(|node| tree.hold(*node));
            let old = std::mem::replace(followed, new);
            // Before the watches: that a folder goes while it is being watched must not be missed.
            for node in old.heard() {
                shared.interest.withdraw(*node, *topic);
            }
            for node in &way.heard {
                shared.interest.add(*node, *topic);
            }
            for (folder, identity) in passed {
                self.folders.take(folder, identity, first);
            }
            moved.push((*topic, old));
        }
        moved
    }

    /// Nobody holds it any more; folders that no way leads through are watched no longer.
    fn release(&mut self, old: &Followed) {
        let mut shared = lock(&self.shared);
        let tree = &mut shared.interest.tree;
        let left = tree.folders_of(old.ends()).into_iter().filter(|folder| self.folders.release(*folder));
        let left: Vec<(Node, PathBuf)> = left.map(|folder| (folder, tree.path(folder))).collect();
        old.nodes.iter().for_each(|node| tree.release(*node));
        drop(shared);
        left.iter().for_each(|(folder, path)| self.folders.unwatch(*folder, path));
    }

    fn note_gone(&mut self) {
        let mut shared = lock(&self.shared);
        if std::mem::take(&mut shared.any_gone) {
            self.folders.all_went();
        }
        for gone in std::mem::take(&mut shared.gone) {
            let Interest { tree, .. } = &shared.interest;
            for topic in shared.interest.through(&gone) {
                let Some(followed) = self.followed.get(&topic) else { continue };
                for folder in tree.folders_of(followed.ends()) {
                    // With a folder go the watches of all below it.
                    if platform::as_compared(&tree.path(folder)).starts_with(&gone) {
                        self.folders.went(folder);
                    }
                }
            }
        }
    }

    fn note_polled(&mut self, topic: Topic) {
        let Some(followed) = self.followed.get(&topic) else { return };
        let gives_events = self.folders.all_give_events() || {
            let folders = lock(&self.shared).interest.tree.folders_of(followed.ends());
            folders.into_iter().all(|folder| self.folders.gives_events(folder))
        };
        if gives_events {
            self.polled.remove(&topic);
        } else {
            let now = || signatures(&files_of(followed, &self.shared));
            self.polled.entry(topic).or_insert_with(now);
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
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
    let Shared { interest, gone, .. } = &mut *shared;
    let path = at.path(&interest.tree);
    let path = platform::as_compared(&path);
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
