//! A site that changes too often is held off: it cannot use up the reloads that all sites of its server share.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Site, State};
use crate::agent::schedule::Key;
use crate::agent::{Agent, Pace, SiteId};
use crate::certificate::Fingerprint;
use crate::problem::Problem;

const HELD_OFF: &str = "held_off";
/// Two ends of a hold-off that differ by less are the same: each is reckoned anew at each look.
const SAME_END: Duration = Duration::from_secs(2);

/// The changes of one site that its server was reloaded for lately.
#[derive(Debug)]
pub(super) struct Changes {
    pace: Pace,
    /// The set that was the last of them.
    last: Option<Fingerprint>,
    /// The end of the hold-off, as it was told.
    told: Option<Instant>,
    /// Others' reloads have waited for the site's files in this hold-off.
    has_stirred: bool,
}

impl Changes {
    pub(super) fn new(pace: Pace, last: Option<Fingerprint>) -> Self {
        Self { pace, last, told: None, has_stirred: false }
    }
}

impl Site {
    /// The end of the hold-off, while the site is held off.
    fn held_off(&self, now: Instant) -> Option<Instant> {
        self.changes.as_ref().and_then(|changes| changes.pace.held_off(now))
    }

    /// Whether others' reloads may wait for the site's files. Those of a site that is held off are waited for once in
    /// each hold-off.
    pub(in crate::agent) fn may_stir(&mut self, now: Instant) -> bool {
        let is_held_off = self.held_off(now).is_some();
        let Some(changes) = &mut self.changes else { return true };
        !std::mem::replace(&mut changes.has_stirred, is_held_off) || !is_held_off
    }

    /// Ends a hold-off, as an operator says.
    pub(super) fn release(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.pace.release();
        }
    }

    /// What no longer counts is not kept.
    pub(super) fn forget_changes(&mut self, now: Instant, free: u32) {
        self.changes.take_if(|changes| changes.pace.is_forgotten(now, free));
    }

    /// The wall-clock time of a moment to come, by the time at which the files were last read.
    fn wall(&self, moment: Instant) -> Option<Timestamp> {
        let ahead = moment.saturating_duration_since(self.looked?);
        self.disk.as_ref()?.read_at.checked_add(ahead).ok()
    }
}

impl Agent {
    /// Holds a site off that has changed too often, whether it does. The set that its server was last reloaded for is
    /// no change.
    pub(super) fn hold_off(&mut self, now: Instant, id: SiteId, urgent_at: Option<Instant>) -> bool {
        let site = &mut self.sites[id];
        let (Some(changes), Some(until)) = (&site.changes, site.held_off(now)) else { return false };
        if changes.last == site.disk.as_ref().map(|disk| disk.bundle.set) {
            return false;
        }
        let urgent_at = urgent_at.filter(|urgent| *urgent < until && changes.pace.may_be_urgent(now));
        if urgent_at.is_some_and(|urgent| urgent <= now) {
            return false;
        }
        let until = urgent_at.unwrap_or(until);
        let count = changes.pace.changes() + 1;
        let told = changes.told.filter(|told| told.max(&until).duration_since(*told.min(&until)) < SAME_END);
        site.state = State::HeldOff { until };
        self.servers[site.server.0].unserved.insert(id);
        self.schedule.set(Key::Site(id), until);
        let site = &self.sites[id];
        let is_known = site.problem().is_some_and(|(problem, _)| problem.code == HELD_OFF);
        if told.is_none() || !is_known {
            let at = site.wall(until).map(|at| at.strftime("%H:%M:%S UTC").to_string());
            self.complain(now, id, held_off(count, at.as_deref().unwrap_or("the end of the hold-off")));
            if let Some(changes) = &mut self.sites[id].changes {
                changes.told = Some(until);
            }
        }
        self.calm(now, id);
        true
    }

    /// A site's server is reloaded for the set on disk.
    pub(in crate::agent) fn count_change(&mut self, now: Instant, id: SiteId) {
        let free = self.tuning.changes_free;
        let site = &mut self.sites[id];
        let Some(disk) = site.disk.as_ref().filter(|_| free > 0) else { return };
        let set = Some(disk.bundle.set);
        match &mut site.changes {
            Some(changes) if changes.last == set => {}
            Some(changes) => {
                if changes.pace.held_off(now).is_some() {
                    changes.pace.mark_urgent(now);
                }
                changes.pace.count(now, free);
                (changes.last, changes.told, changes.has_stirred) = (set, None, false);
            }
            // Of a set that was served before the server has only to be told again.
            None if site.recorded.is_some_and(|recorded| Some(recorded.set) == set) => {}
            None => site.changes = Some(Box::new(Changes::new(Pace::new(now, free), set))),
        }
    }
}

fn held_off(changes: u32, until: &str) -> Problem {
    Problem::new(
        HELD_OFF,
        format!(
            "the certificate changed {changes} times in a short time; certhook loads the newest at {until}"
        ),
        "see which program writes it so often; to load it now, run: certhook sync",
    )
}
