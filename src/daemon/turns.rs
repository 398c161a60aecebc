//! Whose turn it is, and who waits: of ten thousand sites a start looks at, the one that was just renewed is read at
//! once. Who waits is a number and no task: what ten thousand tasks hold would have to be held at the same time.

use std::collections::{HashSet, VecDeque};

use crate::agent::SiteId;

/// Work for sites of which a few are done at once.
#[derive(Debug)]
pub(super) struct Turns {
    /// So many.
    pub(super) at_once: usize,
    running: usize,
    order: VecDeque<SiteId>,
    /// Those of the order that were not begun out of turn.
    waiting: HashSet<SiteId>,
}

impl Turns {
    pub(super) fn new(at_once: usize) -> Self {
        Self { at_once, running: 0, order: VecDeque::new(), waiting: HashSet::new() }
    }

    /// A site is to have its turn; whether that is now.
    pub(super) fn wanted(&mut self, site: SiteId) -> bool {
        if self.running < self.at_once {
            self.waiting.remove(&site);
            self.running += 1;
            return true;
        }
        if self.waiting.insert(site) {
            self.order.push_back(site);
        }
        false
    }

    /// As [`Self::wanted`], of one that does not wait: it is begun in any case.
    pub(super) fn urgent(&mut self, site: SiteId) {
        self.waiting.remove(&site);
        self.running += 1;
    }

    /// A hint came for a site: it need not wait for its turn. Whether it did.
    pub(super) fn hurry(&mut self, site: SiteId) -> bool {
        let waited = self.waiting.remove(&site);
        self.running += usize::from(waited);
        waited
    }

    /// One has ended, or hangs.
    pub(super) fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// The next one, if it is to begin now.
    pub(super) fn next(&mut self) -> Option<SiteId> {
        while self.running < self.at_once {
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

    /// Whether somebody waits.
    pub(super) fn are_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_at_once_in_order_and_who_is_in_a_hurry_at_once() {
        let mut turns = Turns::new(4);
        let begun: Vec<usize> = (0..10).filter(|site| turns.wanted(SiteId(*site))).collect();
        assert_eq!(begun, [0, 1, 2, 3]);
        turns.urgent(SiteId(20));
        assert!(turns.hurry(SiteId(8)), "it waited");
        assert!(!turns.hurry(SiteId(8)) && !turns.hurry(SiteId(0)), "it was begun");
        // Two more than usual run.
        turns.ended();
        turns.ended();
        assert_eq!(turns.next(), None);
        let mut next = || {
            turns.ended();
            turns.next()
        };
        let rest: Vec<usize> = std::iter::from_fn(&mut next).map(|site| site.0).collect();
        assert_eq!(rest, [4, 5, 6, 7, 9]);
        for _ in 0..10 {
            assert_eq!(next(), None);
        }
        assert!(turns.wanted(SiteId(0)), "all came to their end");
    }

    #[test]
    fn who_waits_is_not_counted_twice() {
        let mut turns = Turns::new(4);
        let _ = (0..4).filter(|site| turns.wanted(SiteId(*site))).count();
        assert!(!turns.wanted(SiteId(9)) && !turns.wanted(SiteId(9)));
        assert!(turns.hurry(SiteId(9)));
        assert!(!turns.wanted(SiteId(9)), "it is wanted again");
        assert!(turns.are_waited_for());
        turns.ended();
        turns.ended();
        assert_eq!((turns.next(), turns.are_waited_for()), (Some(SiteId(9)), false));
        turns.ended();
        turns.ended();
        assert_eq!((turns.next(), turns.order.len()), (None, 0));
    }
}
