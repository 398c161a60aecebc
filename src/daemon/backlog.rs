//! Work that waits for a disk or a lock, done by one thread in order: of thousands of sites each would take a thread of
//! its own, and all of them would wait for the same.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// What waits, and whether a thread does it.
#[derive(Debug)]
pub(super) struct Backlog<T>(Arc<Mutex<(VecDeque<T>, bool)>>);

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Backlog<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Backlog<T> {
    /// Whether the caller is to have it done by [`Self::work_off`].
    pub(super) fn add(&self, entry: T) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.0.push_back(entry);
        !std::mem::replace(&mut waiting.1, true)
    }

    /// Does all that waits, and what comes meanwhile. Blocking.
    pub(super) fn work_off(&self, mut perform: impl FnMut(T)) {
        while let Some(entry) = self.next() {
            perform(entry);
        }
    }

    fn next(&self) -> Option<T> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = waiting.0.pop_front();
        waiting.1 = next.is_some();
        if next.is_none() {
            // A start had all sites in it.
            waiting.0 = VecDeque::new();
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_does_all_in_order_until_nothing_waits() {
        let backlog = Backlog::default();
        assert!(backlog.add(0), "nobody works yet");
        assert!(!backlog.add(1));
        let mut done = Vec::new();
        backlog.work_off(|entry| {
            if entry < 3 {
                assert!(!backlog.add(entry + 2), "somebody works still");
            }
            done.push(entry);
        });
        assert_eq!(done, [0, 1, 2, 3, 4]);
        assert!(backlog.add(5), "nobody does any more");
    }
}
