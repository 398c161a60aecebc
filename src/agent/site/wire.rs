//! From a whole set to a record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Reloaded, State};
use crate::agent::judge::{Wire, is_unseen, judge};
use crate::agent::proof::Verdict;
use crate::agent::schedule::Key;
use crate::agent::{
    ACCEPTED, Action, Agent, Evidence, How, Installed, LAST_MINUTE, MOST_RELOADS, Mark, OVERLAP, Recorded,
    Sighting, SiteId,
};
use crate::problem::Problem;

impl Agent {
    pub(in crate::agent) fn probed(&mut self, now: Instant, id: SiteId, sightings: Vec<Sighting>) {
        let site = &mut self.sites[id];
        site.asking = false;
        let Some(disk) = &site.disk else { return };
        let wire = judge(disk, site.recorded.as_ref(), &sightings);
        site.unseen = is_unseen(&sightings).then(|| Box::new((wire.clone(), now)));
        // On most sites at all times that is what is on disk.
        let mut shown = Vec::new();
        for seen in sightings.into_iter().filter_map(|sighting| sighting.outcome.ok()) {
            let leaf = if seen == disk.bundle.leaf { Arc::clone(&disk.bundle.leaf) } else { seen };
            if !shown.contains(&leaf) {
                shown.push(leaf);
            }
        }
        site.shown = shown.into_boxed_slice();
        site.probed_at = Some(now);
        if !matches!(wire, Wire::Served | Wire::Partly(_)) {
            site.proof = None;
        }
        match site.state {
            State::Probing => self.before_reload(now, id, wire),
            State::Verifying { since, until } => self.after_reload(now, id, wire, (since, until)),
            _ => {}
        }
    }

    /// Weighs again what the last handshakes came to, if they showed no certificate at all.
    pub(in crate::agent) fn weigh_unseen(&mut self, now: Instant, id: SiteId) {
        let site = &self.sites[id];
        if let (State::Probing, Some((wire, _))) = (site.state, site.unseen.as_deref()) {
            self.before_reload(now, id, wire.clone());
        }
    }

    fn before_reload(&mut self, now: Instant, id: SiteId, wire: Wire) {
        if self.look_again(now, id) {
            return;
        }
        let doubtful = match wire {
            Wire::Stale(_) | Wire::Foreign(_) => self.may_be_old_workers(now, id),
            _ => false,
        };
        if doubtful {
            self.schedule.set(Key::Site(id), now + Duration::from_millis(20));
            return;
        }
        let site = &self.sites[id];
        let Some(disk) = &site.disk else { return };
        let set = disk.bundle.set;
        let new = site.is_new(disk);
        if let Some(verdict) = self.by_load(id) {
            return self.take_verdict_of_load(now, id, verdict);
        }
        let site = &self.sites[id];
        match wire {
            Wire::Stale(_) if new => self.servers[site.server.0].loads_when_told = true,
            Wire::Served if new => self.servers[site.server.0].loads_when_told = false,
            _ => {}
        }
        // A renewal is not put off for that: what clients are shown until then comes to its end. One was seen to be
        // written, or replaces what was once proved.
        let renewed = new && (site.recorded.is_some() || site.touched.is_some());
        if let (Some(since), false, Wire::Foreign(_) | Wire::Unreachable(_)) = (site.unloaded, renewed, &wire)
        {
            self.not_loaded(now, id, since);
            return;
        }
        let times = site
            .reloaded
            .as_ref()
            .filter(|reloaded| reloaded.set == set)
            .map_or(0, |reloaded| reloaded.times);
        // What was written again while it was loaded may have been loaded by halves.
        let tried = times > 0 && !(times < MOST_RELOADS && site.was_written_during_load());
        // The leaf alone cannot show that a mended chain was loaded.
        let is_recorded = |recorded: &Recorded| recorded.leaf == disk.bundle.leaf.fingerprint;
        let new_chain = new && (site.recorded.as_ref().is_some_and(is_recorded) || site.chain.is_some());
        let by_load = site.recorded.is_some_and(|recorded| recorded.evidence == Evidence::Load);
        let uncertain =
            by_load || site.problem.is_some() || site.failures > 0 || self.may_be_old(site.server);
        match wire {
            Wire::Served if new_chain && !tried => self.ready(now, id),
            Wire::Served if new || uncertain => self.shown(now, id),
            Wire::Served => self.settled(now, id),
            // A server that loads and still does not serve it uses another file: a few reloads show that.
            Wire::Stale(_) if times < MOST_RELOADS => self.ready(now, id),
            // One reload is due to a new set even if nobody answers yet; more would be in vain.
            Wire::Partly(_) | Wire::Unreachable(_) if new && !tried => self.ready(now, id),
            // A silent endpoint shows no old leaf.
            Wire::Partly(_) if new => self.shown(now, id),
            // A set that was there before certhook is taken for loaded; any other one is loaded, seen or not.
            Wire::NotHere(_) if new && !tried && (renewed || !site.untouched) => self.ready(now, id),
            // Of a set that is not new one odd handshake is no reason.
            Wire::Foreign(_) if !tried && (new || site.failures > 0) => self.ready(now, id),
            Wire::Stale(problem)
            | Wire::Partly(problem)
            | Wire::Unreachable(problem)
            | Wire::Foreign(problem)
            | Wire::NotHere(problem) => self.failed(now, id, problem),
        }
    }

    /// An old certificate on the wire may be the last of a reload that has been: ours, or, at the start,
    /// somebody's.
    fn may_be_old_workers(&self, now: Instant, id: SiteId) -> bool {
        let site = &self.sites[id];
        let just_begun = site.untouched && self.begun.is_some_and(|begun| now < begun + OVERLAP);
        just_begun || site.whole.is_some_and(|(_, whole)| self.overlaps(now, site.server, whole))
    }

    /// Whoever wrote the server's configuration has not made it load yet, and may not be ready to.
    fn not_loaded(&mut self, now: Instant, id: SiteId, since: Instant) {
        let until = since + self.tuning.settle;
        if now >= until {
            return self.failed(now, id, not_loaded_yet());
        }
        self.sites[id].state = State::Awaiting { since };
        self.schedule.set(Key::Site(id), until);
        self.calm(now, id);
    }

    /// A little before the end of the first certificate that is served in place of the one on disk.
    fn last_moment(&self, now: Instant, id: SiteId) -> Option<Instant> {
        let site = &self.sites[id];
        let disk = site.disk.as_ref()?;
        let old = site.shown.iter().filter(|leaf| leaf.fingerprint != disk.bundle.leaf.fingerprint);
        let end = old.map(|leaf| leaf.not_after).min()?;
        let left = Duration::try_from(end.duration_since(disk.read_at)).unwrap_or_default();
        // Beyond what the clock can count is never.
        now.checked_add(left.saturating_sub(LAST_MINUTE))
    }

    pub(super) fn ready(&mut self, now: Instant, id: SiteId) {
        let urgent_at = self.last_moment(now, id);
        if self.hold_off(now, id, urgent_at) {
            return;
        }
        let site = &mut self.sites[id];
        site.urgent_at = urgent_at;
        site.state = State::Ready;
        let whole = site.whole.map_or(now, |(_, since)| since);
        self.want_reload(now, id, whole);
    }

    /// The wire is asked at once, or only when no old worker accepts any more.
    pub(in crate::agent) fn verify(&mut self, now: Instant, id: SiteId, mark: Option<Mark>, at_once: bool) {
        let timeout = self.servers[self.sites[id].server.0].setup.verify_timeout;
        let site = &mut self.sites[id];
        let set = site.disk.as_ref().map(|disk| disk.bundle.set);
        site.reloaded = set.map(|set| {
            let before = site.reloaded.as_ref().filter(|before| before.set == set);
            let times = before.map_or(0, |before| before.times).saturating_add(1);
            Box::new(Reloaded { set, at: now, times, mark })
        });
        site.state = State::Verifying { since: now, until: now + timeout };
        site.proof = None;
        if at_once {
            self.ask(now, id);
        } else {
            self.schedule.set(Key::Site(id), now + ACCEPTED);
        }
    }

    fn after_reload(&mut self, now: Instant, id: SiteId, wire: Wire, (since, until): (Instant, Instant)) {
        let problem = match wire {
            Wire::Served => return self.shown(now, id),
            Wire::Partly(_) if now >= until => return self.shown(now, id),
            // Another handshake would not be made either.
            Wire::NotHere(problem) => return self.failed(now, id, problem),
            Wire::Partly(problem)
            | Wire::Stale(problem)
            | Wire::Unreachable(problem)
            | Wire::Foreign(problem) => problem,
        };
        if self.look_again(now, id) {
            return;
        }
        // More reloads would not end a worker that still accepts.
        if now >= until && self.old_worker(self.sites[id].server).is_none() {
            let site = &mut self.sites[id];
            if site.unseen.is_some() && site.load_of_set().is_some() {
                // The files must be what they were before the load.
                site.state = State::Current;
                return self.look_now(now, id, true);
            }
            self.failed(now, id, problem);
            return;
        }
        self.ask_after_pause(now, id, since);
    }

    /// Old workers accept for a tenth of a second; after that there is less hurry.
    fn ask_after_pause(&mut self, now: Instant, id: SiteId, since: Instant) {
        let pause =
            (now.duration_since(since) / 8).clamp(Duration::from_millis(5), Duration::from_millis(250));
        self.schedule.set(Key::Site(id), now + pause);
    }

    /// A load of the set on disk is weighed, whether it proves it.
    fn take_verdict_of_load(&mut self, now: Instant, id: SiteId, verdict: Verdict) {
        match verdict {
            Verdict::Proved => self.proved(now, id, now, Evidence::Load),
            Verdict::Look => self.look_at_workers_soon(now, self.sites[id].server),
            Verdict::Ask(until) => {
                let site = &mut self.sites[id];
                let since = site.load_of_set().unwrap_or(now);
                site.state = State::Verifying { since, until };
                let server = site.server;
                self.look_at_workers_soon(now, server);
                self.ask_after_pause(now, id, since);
            }
        }
    }

    /// The leaf on disk is proved to be served; if handshakes have shown it, since `served`.
    pub(in crate::agent) fn proved(&mut self, now: Instant, id: SiteId, served: Instant, evidence: Evidence) {
        let site = &self.sites[id];
        let is_new = site.disk.as_ref().is_some_and(|disk| site.is_new(disk));
        let is_known = site.recorded.is_some_and(|recorded| recorded.evidence == evidence);
        match site.state {
            State::Probing if !is_new && is_known => self.settled(now, id),
            _ => self.record(now, id, served, evidence),
        }
    }

    fn record(&mut self, now: Instant, id: SiteId, served: Instant, evidence: Evidence) {
        let site = &mut self.sites[id];
        let Some(disk) = &site.disk else { return };
        let set = disk.bundle.set;
        let reloaded =
            site.reloaded.as_ref().filter(|reloaded| reloaded.set == set).map(|reloaded| reloaded.at);
        let how = match site.recorded {
            // A load that nothing shows does not tell whether the set is new to the server.
            None if site.untouched && (reloaded.is_none() || evidence == Evidence::Load) => How::Adopted,
            Some(recorded) if recorded.leaf == disk.bundle.leaf.fingerprint => How::Restored,
            _ => How::Installed,
        };
        let whole = site.whole.map_or(now, |(_, since)| since);
        site.state = State::Recording { evidence };
        self.actions.push(Action::Record(id, Installed { how, whole, reloaded, served, evidence }));
        self.calm(now, id);
    }

    pub(in crate::agent) fn recorded(&mut self, now: Instant, id: SiteId, outcome: Result<(), Problem>) {
        let site = &mut self.sites[id];
        let State::Recording { evidence } = site.state else { return };
        if let Err(problem) = outcome {
            self.failed(now, id, problem);
            return;
        }
        site.recorded = site.disk.as_ref().map(|disk| Recorded {
            leaf: disk.bundle.leaf.fingerprint,
            set: disk.bundle.set,
            intermediates: disk.bundle.intermediates,
            evidence,
        });
        self.settled(now, id);
    }
}

fn not_loaded_yet() -> Problem {
    Problem::new(
        "not_loaded_yet",
        "the server's configuration names this certificate, and the server has not loaded that yet",
        "reload the server when its configuration is ready",
    )
}
