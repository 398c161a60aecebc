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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::{Fingerprint, Hosts, KeyType};

    fn leaf(issuer: &Issuer) -> Arc<Leaf> {
        Arc::new(Leaf {
            fingerprint: Fingerprint::of(b"a leaf"),
            hosts: Hosts::from_portal_name("a.test"),
            not_before: jiff::Timestamp::MIN,
            not_after: jiff::Timestamp::MAX,
            key_type: KeyType::Ecdsa,
            issuer: issuer.clone(),
        })
    }

    #[test]
    fn one_text_serves_all_and_no_more_are_kept_than_help() {
        let mut issuers = Issuers::default();
        let (one, same, other) = (Issuer::from("O=A"), Issuer::from("O=A"), Issuer::from("O=B"));
        let mut leaves = [leaf(&one), leaf(&same), leaf(&other)];
        leaves.iter_mut().for_each(|leaf| issuers.share(leaf));
        assert!(leaves[1].issuer.is_same_text(&one) && !leaves[1].issuer.is_same_text(&same));
        assert!(leaves[2].issuer.is_same_text(&other));
        for number in 0..100 {
            issuers.share(&mut leaf(&Issuer::from(&*format!("O={number}"))));
        }
        assert!(issuers.0.len() <= MOST);
    }
}
