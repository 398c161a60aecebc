//! One site's way from a hint to a record.

use std::time::{Duration, Instant};

use super::judge::{Wire, judge};
use super::schedule::Key;
use super::{
    ACCEPTED, Action, Agent, Cause, How, Incomplete, Installed, LOOK_LIMIT, MOST_RELOADS, OVERLAP, QUIET,
    Recorded, Seen, ServerId, Sighting, SiteId, retry_pause,
};
use crate::certificate::{Doubt, Fingerprint};
use crate::problem::Problem;

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
    /// The wire is asked before anything is reloaded.
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
        /// Since when every handshake has shown the new leaf.
        shown: Option<Instant>,
    },
    /// The ledger is writing.
    Recording,
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
    reloaded: Option<Reloaded>,
    sightings: Vec<Sighting>,
    probed_at: Option<Instant>,
    problem: Option<(Problem, Instant)>,
    fault: Option<Problem>,
}

impl Site {
    pub(super) fn new(server: ServerId, recorded: Option<Recorded>) -> Self {
        Self {
            server,
            state: State::Unknown,
            touched: None,
            failures: 0,
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
            sightings: Vec::new(),
            probed_at: None,
            problem: None,
            fault: None,
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

    /// What the ledger has.
    pub fn last_recorded(&self) -> Option<&Recorded> {
        self.recorded.as_ref()
    }

    /// What the wire showed last, and when.
    pub fn sightings(&self) -> (&[Sighting], Option<Instant>) {
        (&self.sightings, self.probed_at)
    }

    /// What is wrong, and since when.
    pub fn problem(&self) -> Option<(&Problem, Instant)> {
        self.problem.as_ref().map(|(problem, since)| (problem, *since))
    }

    /// Why the set on disk is not whole, while it is not.
    pub fn fault(&self) -> Option<&Problem> {
        self.fault.as_ref()
    }

    /// Whether nothing is under way and nothing is awaited but time or a repair.
    pub fn at_rest(&self) -> bool {
        let rests = match self.state {
            State::Current | State::Waiting { .. } => true,
            State::Pending { .. } => self.problem.is_some(),
            _ => false,
        };
        rests && self.again.is_none() && !self.unclosed
    }

    fn is_new(&self, seen: &Seen) -> bool {
        self.recorded.is_none_or(|recorded| recorded.set != seen.bundle.set)
    }

    fn acting(&self) -> bool {
        use State::{Inspecting, Probing, Recording, Reloading, Verifying};
        matches!(self.state, Inspecting | Probing | Reloading { .. } | Verifying { .. } | Recording)
    }

    /// The quiet that has to stand in for missing evidence, `None` where there is enough.
    fn quiet_wanted(&self, seen: &Seen, settle: Duration) -> Option<Duration> {
        let had_chain = self.recorded.is_some_and(|recorded| recorded.intermediates > 0);
        let for_doubts = seen.bundle.doubts.iter().map(|doubt| match doubt {
            // A slow copy may have stopped exactly after the leaf's block.
            Doubt::LeafOnly if had_chain => settle,
            Doubt::ChainGap { .. } => settle,
            Doubt::LeafOnly | Doubt::KeyUnchecked(_) => QUIET,
        });
        for_doubts.chain(self.unclosed.then_some(QUIET)).max()
    }
}

fn not_read() -> Problem {
    Problem::new(
        "not_read",
        format!("the files could not be read within {} s", LOOK_LIMIT.as_secs()),
        "see the file system that holds them",
    )
}

impl Agent {
    pub(super) fn look(&mut self, now: Instant, id: SiteId, cause: Cause) {
        let site = &mut self.sites[id.0];
        match cause {
            // The slow rescan, and whoever asks, may have it reloaded once more.
            Cause::Asked => {
                if let Some(reloaded) = &mut site.reloaded {
                    reloaded.times = reloaded.times.min(1);
                }
            }
            Cause::Missed => {}
            Cause::Changed | Cause::Writing => {
                site.touched = Some(now);
                site.untouched = false;
                site.unclosed = cause == Cause::Writing;
            }
        }
        self.stir(now, id);
        if cause == Cause::Writing {
            self.writing_goes_on(now, id);
        } else {
            self.look_now(now, id, cause == Cause::Asked);
        }
    }

    /// A file is being written: its close is the hint; if none comes, quiet is.
    fn writing_goes_on(&mut self, now: Instant, id: SiteId) {
        let site = &mut self.sites[id.0];
        match site.state {
            // What was found whole may not be any more.
            State::Ready => {
                site.state = State::Pending { since: now };
                self.withdraw(id);
            }
            _ if site.acting() => {
                site.again.get_or_insert(Again { ask_wire: false });
                return;
            }
            _ => {}
        }
        self.schedule.set(Key::Site(id), now + QUIET);
    }

    fn look_now(&mut self, now: Instant, id: SiteId, ask_wire: bool) {
        let site = &mut self.sites[id.0];
        if site.acting() {
            let again = site.again.get_or_insert(Again { ask_wire: false });
            again.ask_wire |= ask_wire;
            return;
        }
        if site.state == State::Ready {
            self.withdraw(id);
        }
        let site = &mut self.sites[id.0];
        site.ask_wire |= ask_wire || !matches!(site.state, State::Current | State::Pending { .. });
        site.state = State::Inspecting;
        self.schedule.set(Key::Site(id), now + LOOK_LIMIT);
        self.actions.push(Action::Inspect(id));
    }

    /// Starts over if a hint came meanwhile.
    fn look_again(&mut self, now: Instant, id: SiteId) -> bool {
        let site = &mut self.sites[id.0];
        let Some(again) = site.again.take() else { return false };
        // Whatever was under way beyond reading is not known to have come to a good end.
        let ask_wire = again.ask_wire || !matches!(site.state, State::Current | State::Inspecting);
        // Any resting state will do: the next look decides anew.
        site.state = State::Current;
        self.look_now(now, id, ask_wire);
        true
    }

    pub(super) fn site_due(&mut self, now: Instant, id: SiteId) {
        match self.sites[id.0].state {
            State::Inspecting => self.failed(now, id, not_read()),
            State::Verifying { .. } | State::Probing => self.actions.push(Action::Probe(id)),
            State::Waiting { .. } => self.look_now(now, id, true),
            _ => self.look_now(now, id, false),
        }
    }

    pub(super) fn inspected(&mut self, now: Instant, id: SiteId, outcome: Result<Seen, Incomplete>) {
        if self.sites[id.0].state != State::Inspecting {
            return;
        }
        self.schedule.clear(Key::Site(id));
        // What was read may be torn.
        if self.look_again(now, id) {
            return;
        }
        let looked_before = self.sites[id.0].looked.replace(now);
        match outcome {
            Ok(seen) => self.whole(now, id, seen, looked_before),
            Err(incomplete) => self.not_whole(now, id, incomplete),
        }
    }

    fn whole(&mut self, now: Instant, id: SiteId, seen: Seen, looked_before: Option<Instant>) {
        let settle = self.tuning.settle;
        let site = &mut self.sites[id.0];
        site.fault = None;
        let since = match site.whole {
            Some((set, since)) if set == seen.bundle.set => since,
            _ => now,
        };
        site.whole = Some((seen.bundle.set, since));
        let new = site.is_new(&seen);
        if let Some(quiet) = site.quiet_wanted(&seen, settle).filter(|_| new) {
            // Where no event explains the change, the file's own age counts, or how long it has been seen so.
            let enough =
                match site.touched.filter(|touched| looked_before.is_none_or(|looked| *touched >= looked)) {
                    Some(touched) => now >= touched + quiet,
                    None => seen.age >= quiet || now >= since + quiet,
                };
            if !enough {
                let from = site.touched.map_or(since, |touched| touched.max(since));
                let since = *site.pending_since.get_or_insert(now);
                site.state = State::Pending { since };
                self.schedule.set(Key::Site(id), from + quiet);
                return;
            }
        }
        site.unclosed = false;
        site.pending_since = None;
        let clean = site.problem.is_none() && site.failures == 0;
        site.disk = Some(seen);
        if !new && clean && !site.ask_wire {
            self.settled(now, id);
            return;
        }
        site.state = State::Probing;
        self.actions.push(Action::Probe(id));
    }

    fn not_whole(&mut self, now: Instant, id: SiteId, incomplete: Incomplete) {
        let settle = self.tuning.settle;
        let site = &mut self.sites[id.0];
        let since = *site.pending_since.get_or_insert(now);
        site.untouched = false;
        site.whole = None;
        site.unclosed = false;
        site.fault = Some(incomplete.problem.clone());
        site.state = State::Pending { since };
        let quiet_since = site.touched.map_or(since, |touched| touched.max(since));
        let patience_ends = quiet_since + settle;
        let mut next = patience_ends;
        if now >= patience_ends {
            self.complain(now, id, incomplete.problem);
            // A lost event must not leave it here until the rescan.
            next = now + settle;
            self.calm(now, id);
        }
        if let Some(after) = incomplete.after {
            next = next.min(now + after);
        }
        self.schedule.set(Key::Site(id), next);
        // Whoever waits for this site may have to wait on, or no longer.
        self.try_reload(now, self.sites[id.0].server);
    }

    pub(super) fn probed(&mut self, now: Instant, id: SiteId, sightings: Vec<Sighting>) {
        let site = &mut self.sites[id.0];
        let Some(disk) = &site.disk else { return };
        let wire = judge(disk, site.recorded.as_ref(), &sightings);
        site.sightings = sightings;
        site.probed_at = Some(now);
        match site.state {
            State::Probing => self.before_reload(now, id, wire),
            State::Verifying { since, until, shown } => {
                self.after_reload(now, id, wire, (since, until, shown));
            }
            _ => {}
        }
    }

    fn before_reload(&mut self, now: Instant, id: SiteId, wire: Wire) {
        if self.look_again(now, id) {
            return;
        }
        let doubtful = match wire {
            Wire::Stale(_) => self.may_be_old_workers(now, id),
            Wire::Served => self.may_be_the_last_of_it(now, id),
            _ => false,
        };
        if doubtful {
            self.schedule.set(Key::Site(id), now + Duration::from_millis(20));
            return;
        }
        let site = &self.sites[id.0];
        let Some(disk) = &site.disk else { return };
        let set = disk.bundle.set;
        let new = site.is_new(disk);
        let times = site.reloaded.filter(|reloaded| reloaded.set == set).map_or(0, |reloaded| reloaded.times);
        let tried = times > 0;
        // The leaf alone cannot show that a mended chain was loaded.
        let new_chain =
            new && site.recorded.is_some_and(|recorded| recorded.leaf == disk.bundle.leaf.fingerprint);
        match wire {
            Wire::Served if new_chain && !tried => self.ready(now, id),
            Wire::Served if new => self.record(now, id, now),
            Wire::Served => self.settled(now, id),
            // A server that loads and still does not serve it uses another file: a few reloads show that.
            Wire::Stale(_) if times < MOST_RELOADS => self.ready(now, id),
            // One reload is due to a new set even if nobody answers yet; more would be in vain.
            Wire::Unreachable(_) if new && !tried => self.ready(now, id),
            // Of a set that is not new one odd handshake is no reason.
            Wire::Foreign(_) if !tried && (new || site.failures > 0) => self.ready(now, id),
            Wire::Stale(problem) | Wire::Unreachable(problem) | Wire::Foreign(problem) => {
                self.failed(now, id, problem);
            }
        }
    }

    /// An old certificate on the wire may be the last of a reload that has been: ours, or, at the start,
    /// somebody's.
    fn may_be_old_workers(&self, now: Instant, id: SiteId) -> bool {
        let site = &self.sites[id.0];
        let just_begun = site.untouched && self.begun.is_some_and(|begun| now < begun + OVERLAP);
        just_begun || site.whole.is_some_and(|(_, whole)| self.overlaps(now, site.server, whole))
    }

    /// What is on disk came after a reload began that is not quite over: that may have loaded what was there
    /// before, and old workers may be what still answers.
    fn may_be_the_last_of_it(&self, now: Instant, id: SiteId) -> bool {
        let site = &self.sites[id.0];
        site.whole.is_some_and(|(_, whole)| self.is_changing(now, site.server, whole))
    }

    fn ready(&mut self, now: Instant, id: SiteId) {
        let site = &mut self.sites[id.0];
        site.state = State::Ready;
        let whole = site.whole.map_or(now, |(_, since)| since);
        self.want_reload(now, id, whole);
    }

    pub(super) fn verify(&mut self, now: Instant, id: SiteId) {
        let timeout = self.servers[self.sites[id.0].server.0].verify_timeout;
        let site = &mut self.sites[id.0];
        let set = site.disk.as_ref().map(|disk| disk.bundle.set);
        site.reloaded = set.map(|set| {
            let before = site.reloaded.filter(|before| before.set == set).map_or(0, |before| before.times);
            Reloaded { set, at: now, times: before.saturating_add(1) }
        });
        site.state = State::Verifying { since: now, until: now + timeout, shown: None };
        self.actions.push(Action::Probe(id));
    }

    fn after_reload(
        &mut self,
        now: Instant,
        id: SiteId,
        wire: Wire,
        (since, until, shown): (Instant, Instant, Option<Instant>),
    ) {
        let problem = match (wire, shown) {
            (Wire::Served, Some(shown)) if now >= since + ACCEPTED => {
                self.record(now, id, shown);
                return;
            }
            (Wire::Served, shown) => {
                let shown = shown.unwrap_or(now);
                self.sites[id.0].state = State::Verifying { since, until, shown: Some(shown) };
                self.schedule.set(Key::Site(id), now.max(since + ACCEPTED));
                return;
            }
            (Wire::Stale(problem) | Wire::Unreachable(problem) | Wire::Foreign(problem), _) => problem,
        };
        if self.look_again(now, id) {
            return;
        }
        if now >= until {
            self.failed(now, id, problem);
            return;
        }
        self.sites[id.0].state = State::Verifying { since, until, shown: None };
        // Old workers accept for a tenth of a second; after that there is less hurry.
        let pause =
            (now.duration_since(since) / 8).clamp(Duration::from_millis(5), Duration::from_millis(250));
        self.schedule.set(Key::Site(id), now + pause);
    }

    fn record(&mut self, now: Instant, id: SiteId, served: Instant) {
        let site = &mut self.sites[id.0];
        let Some(disk) = &site.disk else { return };
        let set = disk.bundle.set;
        let reloaded = site.reloaded.filter(|reloaded| reloaded.set == set).map(|reloaded| reloaded.at);
        let how = match site.recorded {
            None if reloaded.is_none() && site.untouched => How::Adopted,
            Some(recorded) if recorded.leaf == disk.bundle.leaf.fingerprint => How::Restored,
            _ => How::Installed,
        };
        let whole = site.whole.map_or(now, |(_, since)| since);
        site.state = State::Recording;
        self.actions.push(Action::Record(id, Installed { how, whole, reloaded, served }));
        self.calm(now, id);
    }

    pub(super) fn recorded(&mut self, now: Instant, id: SiteId, outcome: Result<(), Problem>) {
        let site = &mut self.sites[id.0];
        if site.state != State::Recording {
            return;
        }
        if let Err(problem) = outcome {
            self.failed(now, id, problem);
            return;
        }
        site.recorded = site.disk.as_ref().map(|disk| Recorded {
            leaf: disk.bundle.leaf.fingerprint,
            set: disk.bundle.set,
            intermediates: disk.bundle.intermediates,
        });
        self.settled(now, id);
    }

    /// Disk, wire and record agree.
    fn settled(&mut self, now: Instant, id: SiteId) {
        let site = &mut self.sites[id.0];
        site.state = State::Current;
        site.failures = 0;
        site.ask_wire = false;
        site.reloaded = None;
        if site.problem.take().is_some() {
            self.actions.push(Action::Tell(id, None));
        }
        if !self.look_again(now, id) {
            self.calm(now, id);
        }
    }

    pub(super) fn failed(&mut self, now: Instant, id: SiteId, problem: Problem) {
        self.complain(now, id, problem);
        let site = &mut self.sites[id.0];
        site.failures += 1;
        let retry_at = now + retry_pause(site.failures);
        site.state = State::Waiting { retry_at };
        self.schedule.set(Key::Site(id), retry_at);
        if !self.look_again(now, id) {
            self.calm(now, id);
        }
    }

    /// Told once for each code and text, with the first moment kept.
    fn complain(&mut self, now: Instant, id: SiteId, problem: Problem) {
        let site = &mut self.sites[id.0];
        let since = match &site.problem {
            Some((known, _)) if *known == problem => return,
            Some((known, since)) if known.code == problem.code => *since,
            _ => now,
        };
        site.problem = Some((problem.clone(), since));
        self.actions.push(Action::Tell(id, Some(problem)));
    }
}
