//! Carrying a plan out: all of it or nothing.
//!
//! What is there is compared with what was there, and made the same again where anything fails: so it does not
//! matter which call failed, or whether it had an effect all the same.

use std::collections::BTreeMap;

use super::failure::{Failure, NOT_THERE};
use super::plan::Plan;
use super::record::{Key, Record};
use crate::problem::Problem;

/// HTTP.sys's records.
pub trait Records {
    /// All of them.
    ///
    /// # Errors
    /// [`NOT_THERE`] where this Windows has no such call; else Windows's number, as of the others.
    fn list(&mut self) -> Result<Vec<Record>, Failure>;

    /// Changes a record in place, without a moment in which there is none.
    ///
    /// # Errors
    /// [`UpdateError`]
    fn update(&mut self, record: &Record) -> Result<(), UpdateError>;

    /// Makes a record that is not there.
    ///
    /// # Errors
    /// Windows's.
    fn set(&mut self, record: &Record) -> Result<(), Failure>;

    /// Removes one.
    ///
    /// # Errors
    /// Windows's.
    fn delete(&mut self, key: &Key) -> Result<(), Failure>;
}

/// Why a record was not changed in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateError {
    /// This Windows cannot do that: it is deleted and set.
    Unsupported,
    /// Windows's.
    Failed(Failure),
}

/// Why a plan was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// What failed, what was put back, and what could not be.
    pub problem: Problem,
    /// This Windows has no such calls: there are other ways.
    pub not_there: bool,
}

/// So often what was changed is put back, where that fails too.
const ATTEMPTS: usize = 3;

/// Carries the records of a plan out.
///
/// # Errors
/// The records are as they were, or the problem says which are not.
pub fn apply(plan: &Plan, records: &mut dyn Records) -> Result<(), Undone> {
    if plan.changes.is_empty() && plan.additions.is_empty() {
        return Ok(());
    }
    let before = list(records).map_err(untouched)?;
    let old: BTreeMap<Key, Option<Record>> = plan
        .changes
        .iter()
        .map(|change| (change.from.key.clone(), Some(change.from.clone())))
        .chain(plan.additions.iter().map(|record| (record.key.clone(), None)))
        .collect();
    if let Some(key) = old.iter().find(|(key, was)| before.get(*key) != was.as_ref()).map(|(key, _)| key) {
        let message = match before.contains_key(key) {
            true => {
                format!("the record of {key} was changed by somebody else meanwhile: nothing was changed")
            }
            false => format!("the record of {key} has vanished meanwhile: nothing was changed"),
        };
        let problem =
            Problem::new("record_changed", message, "nothing: certhook plans anew when it tries again");
        return Err(Undone { problem, not_there: false });
    }
    let mut now = before;
    match carry_out(plan, &mut now, records) {
        Ok(()) => Ok(()),
        Err((failure, problem)) => {
            let problem = restore(&old, problem, records);
            Err(Undone { problem, not_there: failure == Some(NOT_THERE) })
        }
    }
}

fn list(records: &mut dyn Records) -> Result<BTreeMap<Key, Record>, Failure> {
    Ok(records.list()?.into_iter().map(|record| (record.key.clone(), record)).collect())
}

fn untouched(failure: Failure) -> Undone {
    let problem = failure.problem("HTTP.sys's records cannot be listed");
    Undone { problem, not_there: failure == NOT_THERE }
}

type Broken = (Option<Failure>, Problem);

fn carry_out(plan: &Plan, now: &mut BTreeMap<Key, Record>, records: &mut dyn Records) -> Result<(), Broken> {
    let wanted: Vec<&Record> = plan.changes.iter().map(|change| &change.to).chain(&plan.additions).collect();
    for record in &wanted {
        put(now.get(&record.key), record, records).map_err(|failure| {
            let doing = format!("the certificate cannot be bound to {}", record.key);
            (Some(failure), failure.problem(&doing))
        })?;
    }
    let after = list(records)
        .map_err(|failure| (Some(failure), failure.problem("HTTP.sys's records cannot be read back")))?;
    match wanted.iter().find(|record| after.get(&record.key) != Some(**record)) {
        None => Ok(()),
        Some(record) => {
            let message = format!("the record of {} is not what was written", record.key);
            let remedy = "see whether another program writes it too: netsh http show sslcert";
            Err((None, Problem::new("record_changed", message, remedy)))
        }
    }
}

/// Makes a record be as it is to be, from what there is.
fn put(now: Option<&Record>, wanted: &Record, records: &mut dyn Records) -> Result<(), Failure> {
    if now == Some(wanted) {
        return Ok(());
    }
    if now.is_none() {
        return records.set(wanted);
    }
    match records.update(wanted) {
        Ok(()) => Ok(()),
        Err(UpdateError::Failed(failure)) => Err(failure),
        Err(UpdateError::Unsupported) => {
            records.delete(&wanted.key)?;
            records.set(wanted)
        }
    }
}

/// Puts back what differs, and says what came of it.
fn restore(old: &BTreeMap<Key, Option<Record>>, problem: Problem, records: &mut dyn Records) -> Problem {
    let mut changed: Vec<Key> = Vec::new();
    let mut left: Vec<&Key> = old.keys().collect();
    let mut known = false;
    for _ in 0..ATTEMPTS {
        let Ok(now) = list(records) else { continue };
        known = true;
        left = old.iter().filter(|(key, was)| now.get(*key) != was.as_ref()).map(|(key, _)| key).collect();
        if left.is_empty() {
            break;
        }
        for key in &left {
            if !changed.contains(key) {
                changed.push((*key).clone());
            }
            // Whether it did is seen when they are listed again.
            let _ = match &old[*key] {
                Some(was) => put(now.get(*key), was, records),
                None => records.delete(key),
            };
        }
    }
    if !left.is_empty()
        && let Ok(now) = list(records)
    {
        known = true;
        left.retain(|key| now.get(*key) != old[*key].as_ref());
    }
    let names = |keys: &[&Key]| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let restored: Vec<&Key> = changed.iter().filter(|key| !left.contains(key)).collect();
    let mut message = problem.message;
    if !restored.is_empty() {
        message = format!("{message}; as before again: {}", names(&restored));
    }
    if left.is_empty() {
        return Problem { message, ..problem };
    }
    let fate = if known { "NOT as before" } else { "perhaps not as before" };
    message = format!("{message}; {fate}: {}", names(&left));
    let remedy =
        "see the records by: netsh http show sslcert; bind the certificate in the IIS manager by hand";
    Problem::new("not_restored", message, remedy)
}
