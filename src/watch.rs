//! File events as hints: "look at this again", never what happened.
//!
//! The folders of every link on the way to a file are watched, not the file: a watch on a file dies with
//! its inode, and a watch on a link's target misses the link. A folder that is not there yet is awaited
//! in the nearest one above it. A watch that may have gone with its folder is made anew, even if the folder
//! that stands there now looks the same: file systems give an inode number away again at once. Where events
//! cannot be had, [`Watcher::poll`] compares signatures.

mod trail;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKindMask, ModifyKind, RenameMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::UnboundedSender;

use crate::agent::{Cause, ServerId, SiteId};
use crate::platform::{self, Signature};
use crate::problem::Problem;
use trail::Folder;

/// Whose files they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// What is shared with the thread that reads events.
#[derive(Default)]
struct Shared {
    /// The paths whose change concerns somebody, as they are compared; [`ANY`] in a folder stands for all that is in it.
    interest: HashMap<PathBuf, Vec<Topic>>,
    /// Those of them that were removed or renamed away, until [`Watcher::rearm`] takes them.
    gone: HashSet<PathBuf>,
    /// Events were lost: any of them may be gone.
    any_gone: bool,
}

/// The name that stands for any in a folder.
const ANY: &str = "*";

/// Watches the files of all sites and servers.
pub struct Watcher {
    /// `None` where the system gives no events at all.
    events: Option<RecommendedWatcher>,
    shared: Arc<Mutex<Shared>>,
    followed: HashMap<Topic, Followed>,
    folders: HashMap<PathBuf, WatchedFolder>,
    /// Why there are no events at all.
    no_events: Option<Problem>,
}

/// One topic's files.
struct Followed {
    files: Vec<PathBuf>,
    entries: Vec<PathBuf>,
    folders: Vec<Folder>,
    /// `Some` while the folders give no events.
    polled: Option<Vec<Option<Signature>>>,
}

struct WatchedFolder {
    identity: trail::Identity,
    users: usize,
    watch: Watch,
}

#[derive(Clone, PartialEq, Eq)]
enum Watch {
    /// Events come.
    Armed,
    /// The file system gives none.
    Silent,
    /// The system did not take the watch; it is asked again at each look.
    Refused(Problem),
    /// It may have gone with the folder that stood there.
    Gone,
}

impl Watcher {
    /// Hints go to `hints`, from another thread.
    pub fn new(hints: UnboundedSender<Hint>) -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
        let reader = Arc::clone(&shared);
        let wanted = EventKindMask::CORE | EventKindMask::ACCESS_CLOSE;
        let config = notify::Config::default().with_event_kinds(wanted);
        let handler = move |event| pass_on(event, &reader, &hints);
        let (events, no_events) = match RecommendedWatcher::new(handler, config) {
            Ok(events) => (Some(events), None),
            Err(error) => (None, Some(no_events(&error))),
        };
        Self { events, shared, followed: HashMap::new(), folders: HashMap::new(), no_events }
    }

    /// Watches files, and whatever is in some folders, in place of what was watched for `topic`.
    pub fn follow(&mut self, topic: Topic, mut files: Vec<PathBuf>, folders: &[PathBuf]) {
        files.extend(folders.iter().map(|folder| folder.join(ANY)));
        if self.followed.get(&topic).is_some_and(|followed| followed.files == files) {
            return self.rearm(topic);
        }
        self.forget(topic);
        self.followed
            .insert(topic, Followed { files, entries: Vec::new(), folders: Vec::new(), polled: None });
        self.rearm(topic);
    }

    /// Watches nothing for `topic` any more.
    pub fn forget(&mut self, topic: Topic) {
        if let Some(followed) = self.followed.remove(&topic) {
            self.with_interest(|interest| withdraw(interest, topic, &followed.entries));
            self.release(&followed.folders);
        }
    }

    /// Sees whether links or folders on the way to the files have changed, and watches the new ones.
    /// To be called before each look: arm, then look.
    pub fn rearm(&mut self, topic: Topic) {
        self.note_gone();
        // Whatever changes while a watch is added is seen by going over it once more.
        for turn in 0..8 {
            let Some(followed) = self.followed.get(&topic) else { return };
            let (entries, folders) = trail::of_all(&followed.files);
            let wanting = |folder: &Folder| match self.folders.get(&folder.path).map(|known| &known.watch) {
                Some(Watch::Gone) => true,
                Some(Watch::Refused(_)) => turn == 0,
                _ => false,
            };
            if entries == followed.entries && folders == followed.folders && !folders.iter().any(wanting) {
                return;
            }
            self.enter(topic, entries, folders);
        }
    }

    /// What keeps events from coming, if anything; polling goes on.
    pub fn problem(&self) -> Option<&Problem> {
        let refused = self.folders.values().find_map(|folder| match &folder.watch {
            Watch::Refused(problem) => Some(problem),
            _ => None,
        });
        self.no_events.as_ref().or(refused)
    }

    /// How many sites and servers are polled.
    pub fn polled(&self) -> usize {
        self.followed.values().filter(|followed| followed.polled.is_some()).count()
    }

    /// What is polled and changed since the last call.
    pub fn poll(&mut self) -> Vec<Topic> {
        let mut changed = Vec::new();
        for (topic, followed) in &mut self.followed {
            let Some(known) = &mut followed.polled else { continue };
            let now = signatures(&followed.files);
            if now != *known {
                *known = now;
                changed.push(*topic);
            }
        }
        changed
    }

    fn note_gone(&mut self) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let any_gone = std::mem::take(&mut shared.any_gone);
        let gone = std::mem::take(&mut shared.gone);
        drop(shared);
        if gone.is_empty() && !any_gone {
            return;
        }
        for (path, folder) in &mut self.folders {
            // With a folder go the watches of all below it.
            let path = platform::as_compared(path);
            let is_gone = any_gone || path.ancestors().any(|above| gone.contains(above));
            if is_gone && folder.watch == Watch::Armed {
                folder.watch = Watch::Gone;
            }
        }
    }

    fn enter(&mut self, topic: Topic, entries: Vec<PathBuf>, folders: Vec<Folder>) {
        let Some(followed) = self.followed.get_mut(&topic) else { return };
        let old_entries = std::mem::replace(&mut followed.entries, entries.clone());
        let old_folders = std::mem::replace(&mut followed.folders, folders.clone());
        // Before the watches: that a folder goes while it is being watched must not be missed.
        self.with_interest(|interest| {
            withdraw(interest, topic, &old_entries);
            for entry in entries {
                interest.entry(platform::as_compared(&entry).into_owned()).or_default().push(topic);
            }
        });
        let mut silent = self.events.is_none();
        for folder in &folders {
            silent |= !self.arm(folder);
        }
        if let Some(followed) = self.followed.get_mut(&topic) {
            followed.polled = match (silent, followed.polled.take()) {
                (false, _) => None,
                (true, Some(known)) => Some(known),
                (true, None) => Some(signatures(&followed.files)),
            };
        }
        self.release(&old_folders);
    }

    fn with_interest(&self, change: impl FnOnce(&mut HashMap<PathBuf, Vec<Topic>>)) {
        change(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner).interest);
    }

    /// One more user of a folder; whether it gives events.
    fn arm(&mut self, folder: &Folder) -> bool {
        let known = self.folders.get_mut(&folder.path);
        if let Some(known) = known {
            known.users += 1;
            if known.identity == folder.identity && known.watch == Watch::Armed {
                return true;
            }
            known.identity = folder.identity;
        }
        let replaced = self.folders.contains_key(&folder.path);
        let watch = self.add_watch(&folder.path, replaced);
        let gives_events = matches!(watch, Watch::Armed | Watch::Gone);
        match self.folders.get_mut(&folder.path) {
            Some(known) => known.watch = watch,
            None => {
                let known = WatchedFolder { identity: folder.identity, users: 1, watch };
                self.folders.insert(folder.path.clone(), known);
            }
        }
        gives_events
    }

    fn add_watch(&mut self, folder: &Path, replaced: bool) -> Watch {
        let Some(events) = &mut self.events else { return Watch::Silent };
        if replaced {
            // The old watch went with the old folder, or looks at where it was moved to.
            let _ = events.unwatch(folder);
        }
        if !platform::gives_events(folder) {
            return Watch::Silent;
        }
        match events.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => Watch::Armed,
            // The next walk sees whether it is back; later on the folder above tells.
            Err(error) if is_missing(&error) => Watch::Gone,
            Err(error) => {
                if !replaced {
                    tracing::warn!(folder = %folder.display(), %error, "a folder cannot be watched and is polled");
                }
                Watch::Refused(cannot_watch(folder, &error))
            }
        }
    }

    fn release(&mut self, folders: &[Folder]) {
        for folder in folders {
            let Some(known) = self.folders.get_mut(&folder.path) else { continue };
            known.users -= 1;
            if known.users == 0 {
                self.folders.remove(&folder.path);
                if let Some(events) = &mut self.events {
                    // It may have gone with its folder.
                    let _ = events.unwatch(&folder.path);
                }
            }
        }
    }
}

fn withdraw(interest: &mut HashMap<PathBuf, Vec<Topic>>, topic: Topic, entries: &[PathBuf]) {
    for entry in entries {
        let entry = platform::as_compared(entry);
        if let Some(topics) = interest.get_mut(&*entry) {
            topics.retain(|known| *known != topic);
            if topics.is_empty() {
                interest.remove(&*entry);
            }
        }
    }
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
fn pass_on(event: notify::Result<notify::Event>, shared: &Mutex<Shared>, hints: &UnboundedSender<Hint>) {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let event = match event {
        Ok(event) if event.need_rescan() => return lost(&mut shared, hints),
        Ok(event) => event,
        Err(error) => {
            tracing::warn!(%error, "file events may have been lost");
            return lost(&mut shared, hints);
        }
    };
    let Some(cause) = cause(&event.kind) else { return };
    let Shared { interest, gone, .. } = &mut *shared;
    for path in &event.paths {
        let path = platform::as_compared(path);
        let topics = interest.get(&*path).into_iter().flatten();
        if is_going(&event.kind) && interest.contains_key(&*path) {
            gone.insert(path.clone().into_owned());
        }
        let any = path.parent().and_then(|folder| interest.get(&folder.join(ANY)));
        for topic in topics.chain(any.into_iter().flatten()) {
            // The receiver is gone only when certhook stops.
            let _ = hints.send(Hint::Look(*topic, cause));
        }
    }
}

fn lost(shared: &mut Shared, hints: &UnboundedSender<Hint>) {
    shared.any_gone = true;
    let _ = hints.send(Hint::Lost);
}

fn cause(kind: &EventKind) -> Option<Cause> {
    match kind {
        EventKind::Modify(ModifyKind::Data(_)) => Some(Cause::Writing),
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(_) => Some(Cause::Changed),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Cause::Changed),
        EventKind::Access(_) => None,
        EventKind::Any | EventKind::Other => Some(Cause::Changed),
    }
}

/// Whether a folder of that path, and the watches in it, may be there no more.
fn is_going(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)))
}

fn is_missing(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn no_events(error: &notify::Error) -> Problem {
    Problem::new(
        "no_events",
        format!("the system gives no file events ({error}); everything is polled"),
        "raise fs.inotify.max_user_instances with sysctl",
    )
}

fn cannot_watch(folder: &Path, error: &notify::Error) -> Problem {
    let folder = crate::problem::printable(&folder.display().to_string(), 200);
    if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) {
        return Problem::new(
            "watch_limit",
            format!("{folder} cannot be watched, the limit of watches is reached; it is polled"),
            "raise fs.inotify.max_user_watches with sysctl",
        );
    }
    Problem::new(
        "cannot_watch",
        format!("{folder} cannot be watched ({error}); it is polled"),
        "let certhook's user read the folder",
    )
}

#[cfg(test)]
mod tests;
