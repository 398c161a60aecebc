//! The issuers of the sites' certificates: thousands have the same, whose text is kept once.

use std::sync::Arc;

use crate::certificate::{Issuer, Leaf};

/// A host has certificates of a few; where each has its own, sharing would cost more than it saves.
const MOST: usize = 16;

/// Those that were seen last.
#[derive(Debug, Default)]
pub(super) struct Issuers(Vec<Issuer>);

impl Issuers {
    /// Has a leaf that was just read use the text that is there already.
    pub(super) fn share(&mut self, leaf: &mut Arc<Leaf>) {
        let Some(leaf) = Arc::get_mut(leaf) else { return };
        match self.0.iter().find(|known| **known == leaf.issuer) {
            Some(known) => leaf.issuer = known.clone(),
            None => {
                if self.0.len() == MOST {
                    self.0.clear();
                }
                self.0.push(leaf.issuer.clone());
            }
        }
    }
}
