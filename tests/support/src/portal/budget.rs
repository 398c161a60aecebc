//! Fifty requests a week for the whole subscription, in a window that slides.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The window the requests are counted in: seven days.
const WINDOW: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The requests a subscription has spent.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    spent: VecDeque<Timestamp>,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, spent: VecDeque::new() }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// How many requests of the last seven days were counted.
    pub(super) fn used(&self, now: Timestamp) -> usize {
        self.spent.iter().filter(|at| now.duration_since(**at) < WINDOW).count()
    }

    pub(super) fn spend(&mut self, now: Timestamp) {
        self.spent.push_back(now);
    }

    /// How long until a request is free again; `None` when one is free now.
    pub(super) fn wait(&self, now: Timestamp) -> Option<Duration> {
        let used = self.used(now);
        if used < self.limit {
            return None;
        }
        // The request whose leaving makes room: with a limit of nothing, none does.
        let frees = self.spent.len().checked_sub(self.limit).and_then(|at| self.spent.get(at));
        let wait = frees.map_or(WINDOW, |at| WINDOW - now.duration_since(*at));
        Some(wait.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides() {
        let start: Timestamp = "2026-11-21T19:00:00Z".parse().unwrap();
        let hours = |hours| start + SignedDuration::from_hours(hours);
        let mut budget = Budget::new(2);
        assert_eq!(budget.wait(start), None);
        budget.spend(start);
        budget.spend(hours(1));
        assert_eq!(budget.used(hours(2)), 2);
        assert_eq!(budget.wait(hours(2)), Some(Duration::from_secs(3600 * (7 * 24 - 2))));
        assert_eq!(budget.wait(hours(7 * 24)), None, "the first has left");
        budget.spend(hours(7 * 24));
        assert_eq!(budget.wait(hours(7 * 24)), Some(Duration::from_secs(3600)));
    }

    #[test]
    fn a_budget_of_nothing_allows_nothing() {
        let now: Timestamp = "2026-11-21T19:00:00Z".parse().unwrap();
        assert_eq!(Budget::new(0).wait(now), Some(WINDOW.unsigned_abs()));
    }
}
