//! Paths, each as a name in a folder: what thousands of them share is kept once.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::iter::successors;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A path, for as long as it or one below it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node(u32);

pub(super) type Name = Arc<OsStr>;

impl Node {
    /// No node comes before it.
    pub(super) const FIRST: Self = Self(0);
    /// None comes after it.
    pub(super) const LAST: Self = Self(u32::MAX);
}

/// What the roots stand below.
const NOTHING: Node = Node(u32::MAX);

#[derive(Default)]
pub(super) struct Tree {
    nodes: Vec<Entry>,
    free: Vec<Node>,
    pub(super) children: BTreeMap<(Node, u32), Node>,
    pub(super) names: Names,
}

struct Entry {
    above: Node,
    name: u32,
    /// Whoever holds it, and all that is below it.
    holders: u32,
}

impl Tree {
    /// Lets go of the room that a growing tree needs. One that was filled in order has half of its nodes empty.
    pub(super) fn shrink(&mut self) {
        self.children = std::mem::take(&mut self.children).into_iter().collect();
        self.nodes.shrink_to_fit();
        self.free.shrink_to_fit();
        self.names.names.shrink_to_fit();
        self.names.free.shrink_to_fit();
    }

    /// The node of a path, made if need be; it stays when it is held.
    pub(super) fn make(&mut self, path: &Path) -> Node {
        let root = self.child(NOTHING, root(path).as_os_str());
        parts(path).fold(root, |here, name| self.child(here, name))
    }

    /// The node of a path, if there is one.
    pub(super) fn find(&self, path: &Path) -> Option<Node> {
        let root = self.existing(NOTHING, root(path).as_os_str())?;
        parts(path).try_fold(root, |here, name| self.existing(here, name))
    }

    /// The node of a name in a folder, made if need be.
    pub(super) fn child(&mut self, above: Node, name: &OsStr) -> Node {
        if let Some(known) = self.existing(above, name) {
            return known;
        }
        let name = self.names.take(name);
        let entry = Entry { above, name, holders: 0 };
        let node = match self.free.pop() {
            Some(node) => {
                self.nodes[node.0 as usize] = entry;
                node
            }
            None => {
                self.nodes.push(entry);
                Node(number(self.nodes.len() - 1))
            }
        };
        self.children.insert((above, name), node);
        if above != NOTHING {
            self.hold(above);
        }
        node
    }

    pub(super) fn existing(&self, above: Node, name: &OsStr) -> Option<Node> {
        self.children.get(&(above, self.names.find(name)?)).copied()
    }

    pub(super) fn hold(&mut self, node: Node) {
        self.nodes[node.0 as usize].holders += 1;
    }

    pub(super) fn release(&mut self, node: Node) {
        self.nodes[node.0 as usize].holders -= 1;
        self.prune(node);
    }

    /// Lets go of what was made and is held by nobody.
    pub(super) fn prune(&mut self, mut node: Node) {
        while let Entry { above, name, holders: 0 } = self.nodes[node.0 as usize] {
            // Twice would give its number to two.
            if self.children.get(&(above, name)) != Some(&node) {
                return;
            }
            self.children.remove(&(above, name));
            self.names.leave(name);
            self.free.push(node);
            if above == NOTHING {
                return;
            }
            self.nodes[above.0 as usize].holders -= 1;
            node = above;
        }
    }

    /// The folder it stands in; a root stands in none.
    pub(super) fn above(&self, node: Node) -> Option<Node> {
        Some(self.nodes[node.0 as usize].above).filter(|above| *above != NOTHING)
    }

    /// All folders that paths stand in, once each.
    pub(super) fn folders_of(&self, nodes: &[Node]) -> Vec<Node> {
        let above = nodes.iter().flat_map(|node| successors(self.above(*node), |above| self.above(*above)));
        let mut folders: Vec<Node> = above.collect();
        folders.sort_unstable();
        folders.dedup();
        folders
    }

    /// What is in a folder.
    pub(super) fn children(&self, node: Node) -> impl Iterator<Item = Node> + '_ {
        self.children.range((node, 0)..=(node, u32::MAX)).map(|(_, child)| *child)
    }

    /// The names below the root, the last one first.
    pub(super) fn names(&self, node: Node) -> (Node, Vec<Name>) {
        let (mut here, mut names) = (node, Vec::new());
        while let Some(above) = self.above(here) {
            names.push(Arc::clone(self.name(here)));
            here = above;
        }
        (here, names)
    }

    pub(super) fn name(&self, node: Node) -> &Name {
        self.names.get(self.nodes[node.0 as usize].name)
    }

    pub(super) fn path(&self, node: Node) -> PathBuf {
        let (root, names) = self.names(node);
        let length: usize = names.iter().map(|name| name.len() + 1).sum();
        let mut path = PathBuf::with_capacity(self.name(root).len() + length);
        path.push(&**self.name(root));
        names.iter().rev().for_each(|name| path.push(&**name));
        path
    }
}

/// Names by number: thousands of folders have a `fullchain.pem`.
#[derive(Default)]
pub(super) struct Names {
    pub(super) numbers: HashMap<Name, u32>,
    names: Vec<(Name, u32)>,
    free: Vec<u32>,
}

impl Names {
    fn find(&self, name: &OsStr) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    fn get(&self, number: u32) -> &Name {
        &self.names[number as usize].0
    }

    /// One more user of a name.
    fn take(&mut self, name: &OsStr) -> u32 {
        if let Some(known) = self.find(name) {
            self.names[known as usize].1 += 1;
            return known;
        }
        let name = Name::from(name);
        let number = match self.free.pop() {
            Some(known) => {
                self.names[known as usize] = (Arc::clone(&name), 1);
                known
            }
            None => {
                self.names.push((Arc::clone(&name), 1));
                number(self.names.len() - 1)
            }
        };
        self.numbers.insert(name, number);
        number
    }

    fn leave(&mut self, number: u32) {
        let (name, users) = &mut self.names[number as usize];
        *users -= 1;
        if *users == 0 {
            self.numbers.remove(name);
            self.free.push(number);
        }
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("no memory has room for so many paths")
}

/// The names of a path, below its root.
pub(super) fn parts(path: &Path) -> impl DoubleEndedIterator<Item = &OsStr> {
    path.components().filter_map(|component| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str()),
        _ => None,
    })
}

pub(super) fn root(path: &Path) -> PathBuf {
    path.components()
        .take_while(|component| matches!(component, Component::Prefix(_) | Component::RootDir))
        .collect()
}
