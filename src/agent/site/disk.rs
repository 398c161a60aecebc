//! From a hint to a whole set.

use std::time::Instant;

use super::{Again, Kept, State};
use crate::agent::schedule::Key;
use crate::agent::{
    Action, Agent, Cause, Incomplete, LOOK_LIMIT, MOST_RELOADS, NOT_READ, QUIET, Seen, SiteId,
};
use crate::problem::Problem;

fn not_read() -> Problem {
    Problem::new(
        NOT_READ,
        format!("the files could not be read within {} s", LOOK_LIMIT.as_secs()),
        "see the file system that holds them",
    )
}

impl Agent {
    pub(in crate::agent) fn look(&mut self, now: Instant, id: SiteId, cause: Cause) {
        let site = &mut self.sites[id];
        match cause {
            // A request allows one more reload; a rescan would allow one each hour without end.
            Cause::Requested => {
                site.release();
                if let Some(reloaded) = &mut site.reloaded {
                    reloaded.times = reloaded.times.min(MOST_RELOADS - 1);
                }
            }
            Cause::Asked | Cause::Missed | Cause::Reloaded => {}
            Cause::Changed | Cause::Writing => {
                site.touched = Some(now);
                site.untouched = false;
                site.unclosed = cause == Cause::Writing;
            }
        }
        self.stir(now, id, matches!(cause, Cause::Changed | Cause::Writing));
        if cause == Cause::Writing {
            self.writing_goes_on(now, id);
        } else {
            self.look_now(now, id, matches!(cause, Cause::Asked | Cause::Requested | Cause::Reloaded));
        }
    }

    /// A file is being written: its close is the hint; if none comes, quiet is.
    fn writing_goes_on(&mut self, now: Instant, id: SiteId) {
        let site = &mut self.sites[id];
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

    pub(in crate::agent) fn look_now(&mut self, now: Instant, id: SiteId, ask_wire: bool) {
        let site = &mut self.sites[id];
        if site.acting() {
            let again = site.again.get_or_insert(Again { ask_wire: false });
            again.ask_wire |= ask_wire;
            return;
        }
        // Its server was not told yet: nothing is known to be served but what was.
        let as_it_was =
            matches!(site.state, State::Current | State::Pending { .. }) || site.is_ready_for_new();
        site.ask_wire |= ask_wire || !as_it_was;
        if site.state == State::Ready {
            self.withdraw(id);
        }
        let site = &mut self.sites[id];
        site.state = State::Inspecting;
        self.schedule.set(Key::Site(id), now + LOOK_LIMIT);
        self.actions.push(Action::Inspect(id));
    }

    /// Starts over if a hint came meanwhile.
    pub(in crate::agent) fn look_again(&mut self, now: Instant, id: SiteId) -> bool {
        let site = &mut self.sites[id];
        let Some(again) = site.again.take() else { return false };
        // Whatever was under way beyond reading is not known to have come to a good end.
        let ask_wire = again.ask_wire || !matches!(site.state, State::Current | State::Inspecting);
        // Any resting state will do: the next look decides anew.
        site.state = State::Current;
        self.look_now(now, id, ask_wire);
        true
    }

    pub(in crate::agent) fn site_due(&mut self, now: Instant, id: SiteId) {
        match self.sites[id].state {
            State::Inspecting => self.failed(now, id, not_read()),
            State::Verifying { .. } | State::Probing => self.ask(now, id),
            State::Waiting { .. } | State::HeldOff { .. } => self.look_now(now, id, true),
            _ => self.look_now(now, id, false),
        }
    }

    pub(in crate::agent) fn inspected(
        &mut self,
        now: Instant,
        id: SiteId,
        outcome: Result<Seen, Incomplete>,
    ) {
        if self.sites[id].state != State::Inspecting {
            return;
        }
        self.schedule.clear(Key::Site(id));
        // What was read may be torn.
        if self.look_again(now, id) {
            return;
        }
        let looked_before = self.sites[id].looked.replace(now);
        match outcome {
            Ok(seen) => self.whole(now, id, seen, looked_before),
            Err(incomplete) => self.not_whole(now, id, incomplete),
        }
    }

    fn whole(&mut self, now: Instant, id: SiteId, mut seen: Seen, looked_before: Option<Instant>) {
        self.issuers.share(&mut seen.bundle.leaf);
        let settle = self.tuning.settle;
        let site = &mut self.sites[id];
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
        if let (Some(Kept::OnDisk), Some(disk)) = (&site.kept, &site.disk)
            && (disk.bundle.set, disk.mark) != (seen.bundle.set, seen.mark)
        {
            site.kept = Some(Kept::Other(Box::new((disk.bundle.set, disk.mark))));
        }
        site.disk = Some(seen);
        if !new && clean && !site.ask_wire {
            self.settled(now, id);
            return;
        }
        if new {
            // It is going to want the reload that others wait for.
            self.stir(now, id, true);
        } else {
            // What is unchanged hardly wants one: nobody's waits for the answer.
            self.calm(now, id);
        }
        let site = &self.sites[id];
        if site.is_fresh(now) && self.servers[site.server.0].loads_unasked() {
            self.ready(now, id);
            return;
        }
        let site = &mut self.sites[id];
        (site.state, site.proof) = (State::Probing, None);
        self.ask(now, id);
    }

    fn not_whole(&mut self, now: Instant, id: SiteId, incomplete: Incomplete) {
        let settle = self.tuning.settle;
        let site = &mut self.sites[id];
        let since = *site.pending_since.get_or_insert(now);
        site.untouched = false;
        site.whole = None;
        site.unclosed = false;
        site.fault = Some(Box::new(incomplete.problem.clone()));
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
        self.try_reload(now, self.sites[id].server);
    }
}
