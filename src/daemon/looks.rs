//! Whose files are read now, and who waits: of ten thousand sites a start looks at, the one that was just renewed is
//! read at once.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::agent::SiteId;

/// Files of several sites at once. More only wait for the same disk, and each costs a thread.
const AT_ONCE: usize = 4;
/// A read that takes longer hangs (a dead network file system); it holds up nobody else then.
pub(super) const HANGS: Duration = Duration::from_secs(2);

/// The looks under way, and those that wait.
#[derive(Debug, Default)]
pub(super) struct Looks {
    running: usize,
    order: VecDeque<SiteId>,
    /// Those of the order that were not begun out of turn.
    waiting: HashSet<SiteId>,
}

impl Looks {
    /// A site is to be looked at; whether that is to begin now.
    pub(super) fn wanted(&mut self, site: SiteId, urgent: bool) -> bool {
        if urgent || self.running < AT_ONCE {
            self.waiting.remove(&site);
            self.running += 1;
            return true;
        }
        if self.waiting.insert(site) {
            self.order.push_back(site);
        }
        false
    }

    /// A hint came for a site: it need not wait for its turn.
    pub(super) fn hurry(&mut self, site: SiteId) -> bool {
        let waited = self.waiting.remove(&site);
        self.running += usize::from(waited);
        waited
    }

    /// One has ended, or hangs; the next one, if it is to begin now.
    pub(super) fn ended(&mut self) -> Option<SiteId> {
        self.running = self.running.saturating_sub(1);
        while self.running < AT_ONCE {
            let Some(next) = self.order.pop_front() else {
                // A start had all sites in it.
                (self.order, self.waiting) = Default::default();
                return None;
            };
            if self.waiting.remove(&next) {
                self.running += 1;
                return Some(next);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_at_once_in_order_and_who_is_in_a_hurry_at_once() {
        let mut looks = Looks::default();
        let begun: Vec<usize> = (0..10).filter(|site| looks.wanted(SiteId(*site), false)).collect();
        assert_eq!(begun, [0, 1, 2, 3]);
        assert!(looks.wanted(SiteId(20), true));
        assert!(looks.hurry(SiteId(8)), "it waited");
        assert!(!looks.hurry(SiteId(8)) && !looks.hurry(SiteId(0)), "it was begun");
        // Two more than usual run.
        assert_eq!((looks.ended(), looks.ended()), (None, None));
        let rest: Vec<usize> = std::iter::from_fn(|| looks.ended()).map(|site| site.0).collect();
        assert_eq!(rest, [4, 5, 6, 7, 9]);
        for _ in 0..10 {
            assert_eq!(looks.ended(), None);
        }
        assert!(looks.wanted(SiteId(0), false), "all came to their end");
    }

    #[test]
    fn who_waits_is_not_counted_twice() {
        let mut looks = Looks::default();
        let _ = (0..AT_ONCE).filter(|site| looks.wanted(SiteId(*site), false)).count();
        assert!(!looks.wanted(SiteId(9), false) && !looks.wanted(SiteId(9), false));
        assert!(looks.hurry(SiteId(9)));
        assert!(!looks.wanted(SiteId(9), false), "it is wanted again");
        let _ = looks.ended();
        assert_eq!(looks.ended(), Some(SiteId(9)));
        let _ = looks.ended();
        assert_eq!((looks.ended(), looks.order.len()), (None, 0));
    }
}
