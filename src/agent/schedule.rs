//! Deadlines, one for each key; the nearest is found at once, however many there are.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::{ServerId, SiteId};

/// There may be so many times the room that is needed.
const ROOM: usize = 8;

/// Whose deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// A site's state has one.
    Site(SiteId),
    /// A server's next reload.
    Server(ServerId),
    /// A look at a server's workers.
    Workers(ServerId),
    /// The slow look at everything.
    Rescan,
}

/// The deadlines.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    order: BTreeSet<(Instant, Key)>,
    at: HashMap<Key, Instant>,
}

impl Schedule {
    /// Sets a key's deadline; an earlier setting is forgotten.
    pub(super) fn set(&mut self, key: Key, at: Instant) {
        self.clear(key);
        self.order.insert((at, key));
        self.at.insert(key, at);
    }

    /// Forgets a key's deadline.
    pub(super) fn clear(&mut self, key: Key) {
        if let Some(at) = self.at.remove(&key) {
            self.order.remove(&(at, key));
            // After a start, when all sites had one.
            if self.at.capacity() > ROOM * (self.at.len() + ROOM) {
                self.at.shrink_to_fit();
            }
        }
    }

    /// A key's deadline.
    pub(super) fn of(&self, key: Key) -> Option<Instant> {
        self.at.get(&key).copied()
    }

    /// The nearest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes out one key that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Key> {
        let (at, key) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.clear(key);
        Some(key)
    }
}
