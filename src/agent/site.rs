//! One site: where it stands, what is known of it. How it gets from a hint to a whole set is in `disk`, from there
//! to a record in `wire`.

mod disk;
mod hold_off;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::judge::Wire;
use super::proof::Shown;
use super::schedule::Key;
use super::{
    Action, Agent, Evidence, FRESH, Mark, QUIET, Recorded, Seen, ServerId, SiteId, SiteSetup, retry_pause,
};
use crate::certificate::{Doubt, Fingerprint, Leaf};
use crate::problem::Problem;
use hold_off::Changes;

/// Where a site stands. Each state carries its own deadline and count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not looked at yet.
    Unknown,
    /// Disk, wire and record agreed when last looked at.
    Current,
    /// Its files are being read.
    Inspecting,
    /// Its files are not whole, or a while of quiet is awaited.
    Pending {
        /// Since when.
        since: Instant,
    },
    /// The wire is asked before anything is reloaded, where somebody else may have had it loaded.
    Probing,
    /// Waits for its server's next reload.
    Ready,
    /// Its server is being reloaded.
    Reloading {
        /// Counted from 1.
        attempt: u32,
    },
    /// The wire is asked whether the reload helped.
    Verifying {
        /// Since when.
        since: Instant,
        /// When patience ends.
        until: Instant,
    },
    /// The ledger is writing.
    Recording {
        /// What proved the set.
        evidence: Evidence,
    },
    /// Its server has not loaded its part of the configuration yet; whoever wrote that is awaited.
    Awaiting {
        /// Since when.
        since: Instant,
    },
    /// It has changed too often; its newest set is loaded later, or with another site's reload.
    HeldOff {
        /// When.
        until: Instant,
    },
    /// Something failed; it is tried again.
    Waiting {
        /// When.
        retry_at: Instant,
    },
}

/// A hint that came while an action was in flight.
#[derive(Debug, Clone, Copy)]
struct Again {
    ask_wire: bool,
}

/// A reload for a site that the server carried out.
#[derive(Debug, Clone, Copy)]
struct Reloaded {
    set: Fingerprint,
    at: Instant,
    times: u8,
    /// What the server then saw.
    mark: Option<Mark>,
}

/// What the server is known to have loaded.
#[derive(Debug)]
enum Kept {
    /// The set on disk, as its file is now.
    OnDisk,
    /// Another set, or this one when its file was another.
    Other(Box<(Fingerprint, Mark)>),
}

/// One site.
#[derive(Debug)]
pub struct Site {
    pub(super) server: ServerId,
    /// Where it stands.
    pub(super) state: State,
    /// The last file event, if there was one.
    pub(super) touched: Option<Instant>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Since when its server may not have loaded its part of the configuration yet.
    pub(super) unloaded: Option<Instant>,
    /// The certificate that is to be replaced ends a little later.
    pub(super) urgent_at: Option<Instant>,
    recorded: Option<Recorded>,
    disk: Option<Seen>,
    /// When the set on disk was first seen whole.
    whole: Option<(Fingerprint, Instant)>,
    /// When its files were last read.
    looked: Option<Instant>,
    /// The last event was a write without a close.
    unclosed: bool,
    /// Since when the set on disk is not whole, or awaits quiet.
    pending_since: Option<Instant>,
    /// Nothing has changed since certhook first saw it.
    untouched: bool,
    again: Option<Again>,
    ask_wire: bool,
    /// The set that the server was last reloaded for, when it had loaded, and how often it was in vain.
    reloaded: Option<Box<Reloaded>>,
    /// What the server has loaded, as far as is known.
    kept: Option<Kept>,
    /// What clients were shown last, each once.
    shown: Box<[Arc<Leaf>]>,
    probed_at: Option<Instant>,
    /// What the last handshakes came to, and when, if they showed no certificate at all.
    unseen: Option<Box<(Wire, Instant)>>,
    pub(super) load_is_evidence: bool,
    /// The handshakes that have shown the leaf on disk, while a proof is wanted.
    pub(super) proof: Option<Shown>,
    /// A handshake is being made, and when it was asked for.
    pub(super) asking: bool,
    pub(super) asked_at: Option<Instant>,
    /// The last worker of the generation that was alone then.
    pub(super) asked_within: Option<i32>,
    // Few sites have any of these.
    problem: Option<Box<(Problem, Instant)>>,
    /// What is wrong with the chain that is served; the state of the leaf does not depend on it.
    chain: Option<Box<(Problem, Instant)>>,
    fault: Option<Box<Problem>>,
    changes: Option<Box<Changes>>,
}

impl Site {
    pub(super) fn new(now: Instant, setup: SiteSetup) -> Self {
        let SiteSetup { server, recorded, unloaded, load_is_evidence, pace } = setup;
        Self {
            server,
            state: State::Unknown,
            touched: None,
            failures: 0,
            unloaded: unloaded.then_some(now),
            urgent_at: None,
            recorded,
            disk: None,
            whole: None,
            looked: None,
            unclosed: false,
            pending_since: None,
            untouched: true,
            again: None,
            ask_wire: false,
            reloaded: None,
            kept: None,
            shown: Box::default(),
            probed_at: None,
            unseen: None,
            load_is_evidence,
            proof: None,
            asking: false,
            asked_at: None,
            asked_within: None,
            problem: None,
            chain: None,
            fault: None,
            changes: pace.map(|pace| Box::new(Changes::new(pace, recorded.map(|recorded| recorded.set)))),
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// The set on disk, when it was last whole.
    pub fn disk(&self) -> Option<&Seen> {
        self.disk.as_ref()
    }

    /// The last file event, if there was one.
    pub fn touched(&self) -> Option<Instant> {
        self.touched
    }

    /// What the ledger has.
    pub fn last_recorded(&self) -> Option<&Recorded> {
        self.recorded.as_ref()
    }

    /// What clients were shown last, each leaf once, and when.
    pub fn shown(&self) -> (&[Arc<Leaf>], Option<Instant>) {
        (&self.shown, self.probed_at)
    }

    /// Why no handshake shows the set on disk, while its load proves it.
    pub fn unseen(&self) -> Option<&Problem> {
        let is_proved =
            self.proved_by_load() || matches!(self.state, State::Recording { evidence: Evidence::Load });
        self.unseen.as_deref().filter(|_| is_proved && self.problem.is_none())?.0.problem()
    }

    /// What is wrong, and since when.
    pub fn problem(&self) -> Option<(&Problem, Instant)> {
        self.problem.as_deref().map(|(problem, since)| (problem, *since))
    }

    /// What is wrong with the chain that is served with the leaf on disk, and since when.
    pub fn chain_problem(&self) -> Option<(&Problem, Instant)> {
        self.chain.as_deref().map(|(problem, since)| (problem, *since))
    }

    /// Why the set on disk is not whole, while it is not.
    pub fn fault(&self) -> Option<&Problem> {
        self.fault.as_deref()
    }

    /// Whether nothing is under way and nothing is awaited but time or a repair.
    pub fn at_rest(&self) -> bool {
        let rests = match self.state {
            State::Current | State::Waiting { .. } | State::Awaiting { .. } | State::HeldOff { .. } => true,
            State::Pending { .. } => self.problem.is_some(),
            _ => false,
        };
        rests && self.again.is_none() && !self.unclosed
    }

    /// Its server.
    pub fn server(&self) -> ServerId {
        self.server
    }

    /// Whether its server may not have loaded its part of the configuration yet.
    pub fn awaits_load(&self) -> bool {
        self.unloaded.is_some()
    }

    /// Whether a server that compares inode and whole-second write time takes the certificate's file for what it
    /// has loaded, although it holds something else. The key's file alone does no harm: what does not belong
    /// together nginx reads anew.
    pub fn seems_unchanged(&self) -> bool {
        let (Some(Kept::Other(kept)), Some(disk)) = (&self.kept, &self.disk) else { return false };
        let (set, mark) = &**kept;
        disk.mark == *mark && disk.bundle.set != *set
    }

    /// Whether the server was reloaded in vain for what is on disk.
    pub fn was_reloaded_in_vain(&self) -> bool {
        let on_disk = self.disk.as_ref().map(|disk| disk.bundle.set);
        self.reloaded.as_ref().is_some_and(|reloaded| Some(reloaded.set) == on_disk)
    }

    /// When the server had loaded the set on disk for the site, where that is evidence of what it serves.
    pub(super) fn load_of_set(&self) -> Option<Instant> {
        let set = self.disk.as_ref().filter(|_| self.load_is_evidence)?.bundle.set;
        self.reloaded.as_ref().filter(|reloaded| reloaded.set == set).map(|reloaded| reloaded.at)
    }

    /// Whether the file of the certificate is not the one that the server was to load, although it holds the same. Of
    /// published copies nothing is known to have changed.
    pub(super) fn was_written_during_load(&self) -> bool {
        let (Some(disk), Some(reloaded)) = (&self.disk, &self.reloaded) else { return false };
        self.load_of_set().is_some() && reloaded.mark.is_some_and(|mark| mark != disk.mark)
    }

    /// When the handshakes were made that showed no certificate at all.
    pub(super) fn unseen_at(&self) -> Option<Instant> {
        self.unseen.as_deref().map(|(_, at)| *at)
    }

    fn is_new(&self, seen: &Seen) -> bool {
        self.recorded.is_none_or(|recorded| recorded.set != seen.bundle.set)
    }

    /// Whether it waits for the reload that a new set on disk calls for.
    fn is_ready_for_new(&self) -> bool {
        self.state == State::Ready && self.disk.as_ref().is_some_and(|disk| self.is_new(disk))
    }

    /// Whether this renewal was written so recently, to a site in order, that no server can have loaded it which
    /// loads only when it is told.
    fn is_fresh(&self, now: Instant) -> bool {
        let leaf = self.disk.as_ref().map(|disk| disk.bundle.leaf.fingerprint);
        let renewed = self.recorded.is_some_and(|recorded| Some(recorded.leaf) != leaf);
        let in_order = self.problem.is_none() && self.failures == 0 && self.unloaded.is_none();
        let touched = self.touched.is_some_and(|touched| now < touched + FRESH);
        renewed && in_order && touched && !self.ask_wire
    }

    /// Whether the ledger has the set on disk as one that its load proved.
    pub(super) fn proved_by_load(&self) -> bool {
        let (Some(disk), Some(recorded)) = (&self.disk, &self.recorded) else { return false };
        recorded.proves_by_load(&disk.bundle.set)
    }

    fn acting(&self) -> bool {
        use State::{Inspecting, Probing, Recording, Reloading, Verifying};
        matches!(self.state, Inspecting | Probing | Reloading { .. } | Verifying { .. } | Recording { .. })
    }

    /// The quiet that has to stand in for missing evidence, `None` where there is enough.
    fn quiet_wanted(&self, seen: &Seen, settle: Duration) -> Option<Duration> {
        let had_chain = self.recorded.is_some_and(|recorded| recorded.intermediates > 0);
        let for_doubts = seen.bundle.doubts.iter().map(|doubt| match doubt {
            // A slow copy may have stopped exactly after the leaf's block.
            Doubt::LeafOnly if had_chain => settle,
            Doubt::ChainGap { .. } | Doubt::TrailingBytes { .. } => settle,
            Doubt::KeyUnchecked(_) if self.key_may_follow(seen) => settle,
            Doubt::LeafOnly | Doubt::KeyUnchecked(_) => QUIET,
        });
        for_doubts.chain(self.unclosed.then_some(QUIET)).max()
    }
}

impl Site {
    /// Whether the key that belongs to a new certificate may not be written yet: it cannot be checked, and its file is
    /// what it was with the certificate before, as far as that is known.
    fn key_may_follow(&self, seen: &Seen) -> bool {
        let Some(key) = seen.bundle.unchecked_key else { return false };
        let before = self.disk.as_ref().map(|disk| disk.bundle.unchecked_key);
        before.is_none_or(|before| before == Some(key))
    }
}

impl Agent {
    /// Disk, wire and record agree.
    pub(super) fn settled(&mut self, now: Instant, id: SiteId) {
        let free = self.tuning.changes_free;
        let site = &mut self.sites[id];
        site.state = State::Current;
        site.failures = 0;
        site.ask_wire = false;
        site.unloaded = None;
        site.urgent_at = None;
        site.forget_changes(now, free);
        let seen_by_server = site.reloaded.take().and_then(|reloaded| reloaded.mark);
        site.kept = site.disk.as_ref().map(|disk| match seen_by_server {
            Some(mark) if mark != disk.mark => Kept::Other(Box::new((disk.bundle.set, mark))),
            _ => Kept::OnDisk,
        });
        self.servers[site.server.0].unserved.remove(&id);
        if site.problem.take().is_some() {
            // What is wrong besides is left.
            let left = site.chain.as_deref().map(|(problem, _)| problem.clone());
            self.actions.push(Action::Tell(id, left));
        }
        if !self.look_again(now, id) {
            self.calm(now, id);
        }
    }

    pub(super) fn failed(&mut self, now: Instant, id: SiteId, problem: Problem) {
        self.complain(now, id, problem);
        let site = &mut self.sites[id];
        site.failures += 1;
        let retry_at = now + retry_pause(site.failures);
        site.state = State::Waiting { retry_at };
        self.servers[site.server.0].unserved.insert(id);
        self.schedule.set(Key::Site(id), retry_at);
        if !self.look_again(now, id) {
            self.calm(now, id);
        }
    }

    /// Told once for each code and text, with the first moment kept.
    pub(super) fn complain(&mut self, now: Instant, id: SiteId, problem: Problem) {
        if note(&mut self.sites[id].problem, now, &problem) {
            self.actions.push(Action::Tell(id, Some(problem)));
        }
    }

    /// The chain that is served with the leaf on disk, and what is wrong with it.
    pub(super) fn chain_seen(&mut self, now: Instant, id: SiteId, problem: Option<Problem>) {
        let site = &mut self.sites[id];
        match problem {
            Some(problem) if note(&mut site.chain, now, &problem) => {
                self.actions.push(Action::Tell(id, Some(problem)));
            }
            None if site.chain.take().is_some() && site.problem.is_none() => {
                self.actions.push(Action::Tell(id, None));
            }
            _ => {}
        }
    }
}

/// Keeps the first moment of a problem of one kind. Whether it says something new.
fn note(known: &mut Option<Box<(Problem, Instant)>>, now: Instant, problem: &Problem) -> bool {
    let since = match known.as_deref() {
        Some((known, _)) if known == problem => return false,
        Some((known, since)) if known.code == problem.code => *since,
        _ => now,
    };
    *known = Some(Box::new((problem.clone(), since)));
    true
}
