//! Two sites that would take a record from each other in turn. HTTP.sys has one certificate for one record: neither of
//! them is given it, and an administrator is told which two they are. Pure.
use std::sync::Arc;

use super::host_config::Bound;
use super::record::Key;
use crate::certificate::Leaf;
use crate::config::Binding;
use crate::problem::{Problem, printable};

/// A site that is, or is to be, given to IIS.
#[derive(Debug, Clone)]
pub struct Claimant {
    /// Tells it from all others.
    pub key: String,
    /// What people know it by.
    pub label: String,
    /// The certificate on disk.
    pub leaf: Arc<Leaf>,
    /// The bindings that its `[[site]]` names.
    pub bindings: Vec<Binding>,
}

/// Whether the certificates of two sites have the same names, so that each is taken for the other's earlier or later
/// one.
pub fn same_names(mine: &Claimant, others: &[Claimant]) -> Option<Problem> {
    let other = others.iter().find(|other| is_other(mine, other) && take_turns(mine, other))?;
    let (one, two) = labels(mine, other);
    let message = format!(
        "{one} and {two} have certificates of the same names ({}), and IIS shows one certificate for a binding: \
         each would take it from the other",
        printable(&mine.leaf.hosts.to_string(), 200)
    );
    let remedy =
        "leave one of the two sites out; IIS cannot serve an RSA and an ECDSA certificate for one binding";
    Some(Problem::new("same_names", message, remedy))
}

/// Whether another site's `[[site]]` names a binding that has the same record as one of `mine`.
pub(super) fn same_record(mine: &Claimant, others: &[Claimant], bound: &[Bound]) -> Option<Problem> {
    let key = |binding: &Binding| {
        let of_it = bound.iter().find(|bound| bound.binding.is_same(binding));
        let by_file = of_it.is_some_and(|bound| bound.central);
        // The central store has a file for each host.
        (!by_file).then(|| Key::of(binding, of_it.map_or(!binding.host().is_empty(), |bound| bound.sni)))
    };
    let wanted: Vec<(&Binding, Key)> =
        mine.bindings.iter().filter_map(|binding| Some((binding, key(binding)?))).collect();
    let others = others.iter().filter(|other| is_other(mine, other));
    let (binding, record, other) = others
        .flat_map(|other| other.bindings.iter().map(move |binding| (binding, other)))
        .find_map(|(theirs, other)| {
            let record = key(theirs)?;
            let (binding, _) = wanted.iter().find(|(_, wanted)| *wanted == record)?;
            Some((*binding, record, other))
        })?;
    let (one, two) = labels(mine, other);
    let message = format!("{one} and {two} both name a binding of the record of {record}, as {binding}");
    let remedy = "take the binding from one of them: HTTP.sys has one certificate for one record";
    Some(Problem::new("same_binding", message, remedy))
}

fn is_other(mine: &Claimant, other: &Claimant) -> bool {
    other.key != mine.key && other.leaf.fingerprint != mine.leaf.fingerprint
}

/// The newer one takes every record of the older; the older one takes some back where it names them, and all where
/// neither is newer. An RSA and an ECDSA certificate are both meant to be served: there is none to be left behind.
fn take_turns(one: &Claimant, two: &Claimant) -> bool {
    let (a, b) = (&one.leaf, &two.leaf);
    let older = if a.not_before < b.not_before { one } else { two };
    a.hosts == b.hosts
        && (a.key_type != b.key_type || a.not_before == b.not_before || !older.bindings.is_empty())
}

/// The site that is told comes first.
fn labels(mine: &Claimant, other: &Claimant) -> (String, String) {
    (printable(&mine.label, 120), printable(&other.label, 120))
}
