//! How often a site changes, and until when it is held off for that.
//!
//! The first changes are acted on at once. Each further one is acted on only when the hold-off after the one before
//! has ended: a minute, doubled with each change up to an hour. When no change waits, one change is forgotten for
//! each part of an hour: of six free ones, one in ten minutes.

use std::time::{Duration, Instant};

/// The hold-off after the last change that is acted on at once; doubled with each further one.
pub const FIRST_HOLD_OFF: Duration = Duration::from_secs(60);
/// The longest hold-off.
pub const LONGEST_HOLD_OFF: Duration = Duration::from_secs(3600);
/// A site may use up its free changes once in this time.
pub const PACE_WINDOW: Duration = Duration::from_secs(3600);
/// Doublings from the first hold-off to the longest.
const MOST_DOUBLINGS: u32 = 6;

/// The changes of one site that were acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The changes that are not forgotten, as of `counted`.
    changes: u32,
    /// Forgetting goes on from here: the end of the hold-off, where there is one.
    counted: Instant,
    /// The end of the hold-off.
    until: Option<Instant>,
    /// When a change was last acted on although the site was held off, because the served certificate was about to end.
    urgent: Option<Instant>,
}

impl Pace {
    /// Counts the first change.
    pub fn new(now: Instant, free: u32) -> Self {
        let mut pace = Self { changes: 0, counted: now, until: None, urgent: None };
        pace.count(now, free);
        pace
    }

    /// Returns the pace of a site whose changes were so long ago, the oldest first; `None` for a site without any. Of one
    /// that was held off then (`true`) all free changes were used up.
    pub fn after(
        history: impl IntoIterator<Item = (Duration, bool)>,
        now: Instant,
        free: u32,
    ) -> Option<Self> {
        // Where the clock does not reach back as far, the change counts as one of now.
        let mut moments = history
            .into_iter()
            .map(|(age, held_off)| (now.checked_sub(age).unwrap_or(now), held_off))
            .peekable();
        let mut pace = Self { changes: 0, counted: moments.peek()?.0, until: None, urgent: None };
        for (at, held_off) in moments {
            if held_off {
                // At least: it may be known to have changed more often.
                pace.forget(at, free);
                pace.changes = pace.changes.max(free.saturating_sub(1));
                if pace.held_off(at).is_some() {
                    continue;
                }
            }
            pace.count(at, free);
        }
        Some(pace)
    }

    /// Counts one more change, which is acted on.
    pub(super) fn count(&mut self, now: Instant, free: u32) {
        self.forget(now, free);
        self.changes = self.changes.saturating_add(1).min(free + MOST_DOUBLINGS);
        self.until = self.changes.checked_sub(free).map(|beyond| {
            let hold_off = FIRST_HOLD_OFF.saturating_mul(1 << beyond).min(LONGEST_HOLD_OFF);
            now + hold_off
        });
        self.counted = self.until.unwrap_or(self.counted);
    }

    fn forget(&mut self, now: Instant, free: u32) {
        let calm = now.saturating_duration_since(self.counted);
        let each = PACE_WINDOW / free.max(1);
        let parts = u32::try_from(calm.as_nanos() / each.as_nanos().max(1)).unwrap_or(u32::MAX);
        let forgotten = parts.min(self.changes);
        self.changes -= forgotten;
        self.counted = if self.changes == 0 { now } else { self.counted + each * forgotten };
    }

    /// The end of the hold-off, while the site is held off.
    pub(super) fn held_off(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }

    /// Whether nothing of it counts any more.
    pub(super) fn is_forgotten(mut self, now: Instant, free: u32) -> bool {
        self.forget(now, free);
        self.changes == 0 && self.may_be_urgent(now)
    }

    /// How many changes there were before the one that is held off.
    pub(super) fn changes(&self) -> u32 {
        self.changes
    }

    /// Ends the hold-off; the changes still count.
    pub(super) fn release(&mut self) {
        self.until = None;
    }

    /// Whether a change may be acted on although the site is held off. A site whose certificates all end at once may
    /// do so once within an hour, like any other.
    pub(super) fn may_be_urgent(&self, now: Instant) -> bool {
        self.urgent.is_none_or(|last| now >= last + PACE_WINDOW)
    }

    /// A change is acted on although the site is held off.
    pub(super) fn mark_urgent(&mut self, now: Instant) {
        self.urgent = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Acts on each change as soon as it may: the minutes that each waits.
    fn waits(pace: &mut Pace, now: &mut Instant, changes: usize) -> Vec<u64> {
        let one = |_| {
            let until = pace.held_off(*now).unwrap_or(*now);
            let waited = until - *now;
            *now = until;
            pace.count(*now, 6);
            waited.as_secs() / 60
        };
        (0..changes).map(one).collect()
    }

    #[test]
    fn hold_offs_double_from_a_minute_to_an_hour() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now, 6);
        let found = waits(&mut pace, &mut now, 14);
        assert_eq!(found, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn calm_forgets_a_change_in_ten_minutes() {
        let begun = Instant::now();
        for (calm, at_once) in [(0, 1), (9, 1), (10, 1), (20, 2), (29, 2), (60, 6), (600, 6)] {
            let mut now = begun;
            let mut pace = Pace::new(now, 6);
            waits(&mut pace, &mut now, 5);
            // The hold-off of a minute ends first.
            now += MINUTE * (1 + calm);
            let found = waits(&mut pace, &mut now, 7);
            let free = found.iter().take_while(|wait| **wait == 0).count();
            assert_eq!(free, at_once, "{calm} minutes: {found:?}");
        }
    }

    #[test]
    fn one_change_in_ten_minutes_is_never_held_off() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now, 6);
        for _ in 0..1000 {
            now += MINUTE * 10;
            assert_eq!(pace.held_off(now), None);
            pace.count(now, 6);
        }
        assert_eq!(pace.changes(), 1);
    }

    #[test]
    fn pace_is_the_same_after_a_restart() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun, 6);
        let mut ages = vec![(MINUTE * 20, false)];
        for minute in [1, 2, 3, 5, 8, 13] {
            let at = begun + MINUTE * minute;
            pace.count(at, 6);
            ages.push((MINUTE * (20 - minute), false));
        }
        assert_eq!(Pace::after(ages, begun + MINUTE * 20, 6), Some(pace));
        assert_eq!(Pace::after([], begun, 6), None);
        // Most of its changes were replaced before they were proved.
        let seconds = |age, held_off| (Duration::from_secs(age), held_off);
        let pace = Pace::after([seconds(30, false), seconds(20, true), seconds(5, true)], begun, 6).unwrap();
        assert_eq!(pace.held_off(begun), Some(begun + Duration::from_secs(40)));
        assert_eq!(pace.changes(), 6);
    }
}
