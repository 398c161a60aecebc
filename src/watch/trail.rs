//! The way to a file: every folder and link that is passed, as the system resolves the path.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::Blind;
use super::tree::{self, Name, Node, Tree};
use crate::platform::{self, Identity, Kind};

/// As many links as Linux follows.
const MOST_LINKS: usize = 40;

/// What was seen of folders, and of links to folders, by all ways that are walked in one go.
#[derive(Default)]
pub(super) struct Seen {
    folders: HashMap<Node, Option<Identity>>,
    /// The files whose folder does not tell of every change, with the reason.
    files: HashMap<Node, (Identity, Blind)>,
    links: HashMap<Node, PathBuf>,
}

impl Seen {
    pub(super) fn identity(&self, folder: Node) -> Option<Identity> {
        self.folders.get(&folder).copied().flatten()
    }

    /// What a file is of which its folder does not tell every change.
    pub(super) fn file(&self, file: Node) -> Option<(Identity, Blind)> {
        self.files.get(&file).copied()
    }
}

/// The way to several files. What it leads through is told by what it ends at: each folder is above one of the ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// The last that could be looked at.
    pub(super) ends: Vec<Node>,
    /// The paths whose change matters, as they are compared, without those above them.
    pub(super) heard: Vec<Node>,
    /// Those of the ends that are files to be watched themselves: their folders do not tell of every change.
    pub(super) files: Vec<Node>,
}

impl Way {
    /// What stands in a folder that `waits` to be watched is looked at next time: until then nobody would tell that it
    /// changes.
    pub(super) fn to(
        files: &[Node],
        tree: &mut Tree,
        seen: &mut Seen,
        mounts: &HashSet<PathBuf>,
        waits: &dyn Fn(Node, Identity) -> bool,
    ) -> Self {
        let mut walk = Walk { tree, seen, mounts, waits, passed: Vec::new(), compared: Vec::new() };
        files.iter().for_each(|file| walk.to(*file));
        let Walk { tree, seen, passed, compared, .. } = walk;
        let ends = deepest(tree, passed);
        let heard = if compared.is_empty() { ends.clone() } else { deepest(tree, compared) };
        let files = ends.iter().copied().filter(|end| seen.file(*end).is_some()).collect();
        Self { ends, heard, files }
    }
}

struct Walk<'a> {
    tree: &'a mut Tree,
    seen: &'a mut Seen,
    mounts: &'a HashSet<PathBuf>,
    waits: &'a dyn Fn(Node, Identity) -> bool,
    passed: Vec<Node>,
    /// The same as they are compared, where that is something else.
    compared: Vec<Node>,
}

impl Walk<'_> {
    fn to(&mut self, file: Node) {
        let mut links = 0;
        let (root, mut rest): (Node, Vec<Name>) = self.tree.names(file);
        let mut path = self.tree.path(root);
        let mut here = root;
        while let Some(name) = rest.pop() {
            if &*name == ".." {
                if let Some(above) = self.tree.above(here) {
                    here = above;
                    path.pop();
                }
                continue;
            }
            let Some(identity) = self.enter(here, &path) else { return };
            let entry = self.tree.child(here, &name);
            path.push(&*name);
            self.pass(entry, &path);
            if rest.is_empty() && (self.waits)(here, identity) {
                return;
            }
            match self.look(entry, &path, !rest.is_empty()) {
                Kind::Link(target) if links < MOST_LINKS => {
                    links += 1;
                    path.pop();
                    if target.is_absolute() {
                        path = tree::root(&target);
                        here = self.tree.make(&path);
                    }
                    rest.extend(tree::parts(&target).rev().map(Name::from));
                }
                Kind::Folder(_) => here = entry,
                // The file itself, or nothing yet: the way ends here.
                _ => return,
            }
        }
    }

    /// What the folder is, if it is there. It was seen when it was passed, unless it is a root.
    fn enter(&mut self, folder: Node, path: &Path) -> Option<Identity> {
        *self.seen.folders.entry(folder).or_insert_with(|| platform::identity(path))
    }

    fn pass(&mut self, entry: Node, path: &Path) {
        self.passed.push(entry);
        if let Cow::Owned(compared) = platform::as_compared(path) {
            self.compared.push(self.tree.make(&compared));
        }
    }

    /// The identity is taken before what is in the folder is looked at: a folder replaced in between differs next
    /// time.
    fn look(&mut self, entry: Node, path: &Path, is_passed: bool) -> Kind {
        if let Some(identity) = self.seen.identity(entry) {
            return Kind::Folder(identity);
        }
        if let Some(target) = self.seen.links.get(&entry) {
            return Kind::Link(target.clone());
        }
        let kind = platform::kind(path);
        match &kind {
            // Its folder is told of what is written by the path that leads through it, and of nothing else.
            Kind::File(identity, names) if *names > 1 => self.note(entry, *identity, Blind::HardLinks),
            Kind::File(identity, _) if self.mounts.contains(path) => {
                self.note(entry, *identity, Blind::MountPoint);
            }
            Kind::Folder(identity) => drop(self.seen.folders.insert(entry, Some(*identity))),
            // Others may pass it too.
            Kind::Link(target) if is_passed => drop(self.seen.links.insert(entry, target.clone())),
            _ => {}
        }
        kind
    }

    fn note(&mut self, file: Node, identity: Identity, why: Blind) {
        self.seen.files.insert(file, (identity, why));
    }
}

/// Those that are above none of the others, in order.
fn deepest(tree: &Tree, mut nodes: Vec<Node>) -> Vec<Node> {
    nodes.sort_unstable();
    nodes.dedup();
    let above = tree.folders_of(&nodes);
    nodes.retain(|node| above.binary_search(node).is_err());
    nodes
}
