//! Whom a change of a path concerns: whoever has a file there or anywhere below it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use super::Topic;
use super::tree::{Node, Tree};
use crate::agent::{ServerId, SiteId};

/// The name that stands for any in a folder.
pub(super) const ANY: &str = "*";

/// Each topic is kept where its ways end: every path that a way leads through is above one of its ends.
#[derive(Default)]
pub(super) struct Interest {
    pub(super) tree: Tree,
    ends: BTreeSet<(Node, Packed)>,
}

impl Interest {
    /// See [`Tree::shrink`].
    pub(super) fn shrink(&mut self) {
        self.tree.shrink();
        self.ends = std::mem::take(&mut self.ends).into_iter().collect();
    }

    pub(super) fn add(&mut self, node: Node, topic: Topic) {
        self.ends.insert((node, topic.into()));
    }

    pub(super) fn withdraw(&mut self, node: Node, topic: Topic) {
        self.ends.remove(&(node, topic.into()));
    }

    /// Whose way ends at a path, as it is compared, or leads through it.
    pub(super) fn through(&self, path: &Path) -> Vec<Topic> {
        let mut found = Vec::new();
        // Nothing comes or goes by the name of a root.
        let node = self.tree.find(path).filter(|node| self.tree.above(*node).is_some());
        let mut next: Vec<Node> = node.into_iter().collect();
        while let Some(node) = next.pop() {
            found.extend(self.at(node));
            next.extend(self.tree.children(node));
        }
        // Both files of a site stand in one folder.
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(Topic::from).collect()
    }

    /// Who follows all that is in the folder of a path, as it is compared.
    pub(super) fn any_beside(&self, path: &Path) -> impl Iterator<Item = Topic> + '_ {
        let folder = path.parent().and_then(|folder| self.tree.find(folder));
        let any = folder.and_then(|folder| self.tree.existing(folder, OsStr::new(ANY)));
        any.into_iter().flat_map(|any| self.at(any)).map(Topic::from)
    }

    fn at(&self, node: Node) -> impl Iterator<Item = Packed> + '_ {
        self.ends.range((node, Packed(0))..=(node, Packed(u64::MAX))).map(|(_, topic)| *topic)
    }
}

/// A topic in half the room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Packed(u64);

impl From<Topic> for Packed {
    fn from(topic: Topic) -> Self {
        match topic {
            Topic::Patterns => Self(0),
            Topic::Server(ServerId(number)) => Self(1 + 2 * number as u64),
            Topic::Site(SiteId(number)) => Self(2 + 2 * number as u64),
        }
    }
}

impl From<Packed> for Topic {
    fn from(Packed(number): Packed) -> Self {
        match number {
            0 => Self::Patterns,
            odd if odd % 2 == 1 => Self::Server(ServerId((odd / 2) as usize)),
            even => Self::Site(SiteId((even / 2 - 1) as usize)),
        }
    }
}
