//! The watcher as the loop's helpers use it, each on a thread of its own: none holds it while a file system may hang.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::{Blind, Hint, Reasons, Topic, Watcher, lock, signatures};
use crate::agent::Cause;
use crate::platform::Signature;
use crate::problem::Problem;

/// A poll of one topic takes no longer, or its file system hangs.
const POLL_TIMEOUT: Duration = Duration::from_secs(2);

/// A shared watcher. Every method but [`Keeper::polled`], [`Keeper::blind`] and [`Keeper::problem`] blocks: it touches a topic's files
/// before it takes the watcher, so that a file system that hangs holds up that topic alone.
#[derive(Clone)]
pub struct Keeper {
    watcher: Arc<Mutex<Watcher>>,
    problem: Arc<Mutex<Option<Problem>>>,
    reasons: Reasons,
    polls: Arc<Mutex<Polls>>,
    /// The last site that was swept; held meanwhile.
    swept: Arc<Mutex<Option<Topic>>>,
    hints: UnboundedSender<Hint>,
}

/// What the polls know of each other.
#[derive(Default)]
struct Polls {
    /// One is under way.
    running: bool,
    /// The topics that an earlier poll has not come back from.
    hung: HashSet<Topic>,
}

/// Where files to look at go, and where their signatures come from.
type Looker = (Sender<(Topic, Vec<PathBuf>)>, Receiver<Vec<Option<Signature>>>);

impl Keeper {
    /// Hints go to `hints`, from other threads.
    pub fn new(hints: UnboundedSender<Hint>) -> Self {
        let watcher = Watcher::new(hints.clone());
        let problem = Arc::new(Mutex::new(watcher.problem().cloned()));
        Self {
            problem,
            reasons: Arc::clone(&watcher.reasons),
            watcher: Arc::new(Mutex::new(watcher)),
            polls: Arc::default(),
            swept: Arc::default(),
            hints,
        }
    }

    /// Watches files, and whatever is in some folders, in place of what was watched for `topic`; sees whether links or
    /// folders on the way to them have changed. To be called before each look: arm, then look. Returns whether
    /// they are other files than before.
    pub fn follow(&self, topic: Topic, files: Vec<PathBuf>, folders: &[PathBuf]) -> bool {
        let now = signatures(&files);
        signatures(folders);
        let mut watcher = lock(&self.watcher);
        let news = watcher.follow(topic, files, folders);
        if matches!(topic, Topic::Site(_)) {
            watcher.note_look(topic, now);
        }
        self.note(&watcher);
        news
    }

    /// Sees whether links or folders on the way to a topic's files have changed.
    pub fn rearm(&self, topic: Topic) {
        let files = lock(&self.watcher).files(topic);
        signatures(&files);
        let mut watcher = lock(&self.watcher);
        watcher.rearm(topic);
        self.note(&watcher);
    }

    /// Watches nothing for some topics any more.
    pub fn forget(&self, topics: &[Topic]) {
        let mut watcher = lock(&self.watcher);
        if watcher.forget_all(topics) {
            let _ = self.hints.send(Hint::Lost);
        }
        self.note(&watcher);
    }

    /// Frees the memory that following much at once has left.
    pub fn shrink(&self) {
        lock(&self.watcher).shrink();
    }

    /// How many sites and servers are polled.
    pub fn polled(&self) -> usize {
        lock(&self.reasons).len()
    }

    /// Why a topic is polled, if it is.
    pub fn blind(&self, topic: Topic) -> Option<Blind> {
        lock(&self.reasons).get(&topic).copied()
    }

    /// What keeps events from coming, if anything; polling goes on.
    pub fn problem(&self) -> Option<Problem> {
        lock(&self.problem).clone()
    }

    /// Looks at what is polled, and hints at what has changed or hangs. A topic whose file system hangs is left out
    /// until that look comes back.
    pub fn poll(&self) {
        if std::mem::replace(&mut lock(&self.polls).running, true) {
            return;
        }
        let polled = lock(&self.watcher).polled_files();
        let mut looker = None;
        for (topic, files) in polled {
            if lock(&self.polls).hung.contains(&topic) {
                continue;
            }
            let (ask, answers) = looker.get_or_insert_with(|| self.looker());
            // The other end ends with this one only.
            let _ = ask.send((topic, files));
            let now = answers.recv_timeout(POLL_TIMEOUT).ok().or_else(|| {
                let mut polls = lock(&self.polls);
                let now = answers.try_recv().ok();
                if now.is_none() {
                    polls.hung.insert(topic);
                }
                now
            });
            match now {
                Some(now) => {
                    if lock(&self.watcher).take_signatures(topic, now) {
                        self.hint(topic, Cause::Changed);
                    }
                }
                None => {
                    // Left behind; the topic's own look finds that it hangs.
                    looker = None;
                    self.hint(topic, Cause::Missed);
                }
            }
        }
        lock(&self.polls).running = false;
    }

    /// Looks at the next thousand sites that are not polled, and hints at what has changed without an event. While a
    /// file system hangs there is no second one.
    pub fn sweep(&self) {
        let Ok(mut last) = self.swept.try_lock() else { return };
        let sites = lock(&self.watcher).in_turn(*last);
        *last = sites.last().map(|(topic, _)| *topic);
        for (topic, files) in sites {
            let now = signatures(&files);
            if lock(&self.watcher).has_changed_unseen(topic, &now) {
                self.hint(topic, Cause::Changed);
            }
        }
    }

    /// A thread that looks at files. If nobody waits for its answer any more, it hints at what it has looked at.
    fn looker(&self) -> Looker {
        let ((ask, asked), (answer, answers)) = (channel::<(Topic, Vec<PathBuf>)>(), channel());
        let keeper = self.clone();
        std::thread::spawn(move || {
            for (topic, files) in asked {
                let now = signatures(&files);
                let mut polls = lock(&keeper.polls);
                if polls.hung.remove(&topic) {
                    drop(polls);
                    keeper.hint(topic, Cause::Changed);
                } else {
                    // While the lock is held: whoever gives up on the answer looks for it once more.
                    let _ = answer.send(now);
                }
            }
        });
        (ask, answers)
    }

    fn hint(&self, topic: Topic, cause: Cause) {
        // The receiver ends with certhook only.
        let _ = self.hints.send(Hint::Look(topic, cause));
    }

    fn note(&self, watcher: &Watcher) {
        *lock(&self.problem) = watcher.problem().cloned();
    }
}
