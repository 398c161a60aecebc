//! Paths that lead to one inode: bind mounts of a folder, hard links of a file. The system has one watch for all of
//! them and tells of a change under any one path.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::tree::{Node, Tree};
use crate::platform::Identity;

#[derive(Default)]
pub(super) struct Alike {
    nodes: BTreeSet<(Identity, Node)>,
    identities: BTreeMap<Node, Identity>,
}

impl Alike {
    /// See [`Tree::shrink`].
    pub(super) fn shrink(&mut self) {
        self.nodes = std::mem::take(&mut self.nodes).into_iter().collect();
        self.identities = std::mem::take(&mut self.identities).into_iter().collect();
    }

    pub(super) fn set(&mut self, node: Node, identity: Identity) {
        if self.identities.get(&node) != Some(&identity) {
            self.remove(node);
            self.identities.insert(node, identity);
            self.nodes.insert((identity, node));
        }
    }

    pub(super) fn remove(&mut self, node: Node) {
        if let Some(identity) = self.identities.remove(&node) {
            self.nodes.remove(&(identity, node));
        }
    }

    /// The other paths of what is at a path: of the folder it stands in, or of itself.
    pub(super) fn others(&self, tree: &Tree, path: &Path) -> Vec<PathBuf> {
        let of = |path: &Path| tree.find(path).into_iter().flat_map(|node| self.beside(node));
        let folder = path.parent().zip(path.file_name());
        let entries = folder
            .into_iter()
            .flat_map(|(folder, name)| of(folder).map(move |other| tree.path(other).join(name)));
        of(path).map(|other| tree.path(other)).chain(entries).collect()
    }

    fn beside(&self, node: Node) -> impl Iterator<Item = Node> + '_ {
        self.identities
            .get(&node)
            .into_iter()
            .flat_map(|identity| self.nodes.range((*identity, Node::FIRST)..=(*identity, Node::LAST)))
            .map(|(_, other)| *other)
            .filter(move |other| *other != node)
    }
}
