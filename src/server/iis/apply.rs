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

/// Keeps records while they are not there: what ends between a deletion and what comes after it loses none.
pub trait Journal {
    /// Has them on disk before it returns, in place of what was kept; none forgets it.
    ///
    /// # Errors
    /// That they are not; nothing may be deleted then.
    fn keep(&mut self, records: &[Record]) -> Result<(), Problem>;

    /// What is kept.
    ///
    /// # Errors
    /// That it cannot be told.
    fn kept(&mut self) -> Result<Vec<Record>, Problem>;
}

/// Carries the records of a plan out.
///
/// # Errors
/// The records are as they were, or the problem says which are not.
pub fn apply(plan: &Plan, records: &mut dyn Records, journal: &mut dyn Journal) -> Result<(), Undone> {
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
    let mut hands = Hands { records, journal, old: &old, are_kept: false };
    let done = hands.carry_out(plan, &before);
    let outcome = done.map_err(|(failure, problem)| {
        let problem = hands.restore(problem);
        Undone { problem, not_there: failure == Some(NOT_THERE) }
    });
    hands.forget();
    outcome
}

fn list(records: &mut dyn Records) -> Result<BTreeMap<Key, Record>, Failure> {
    Ok(records.list()?.into_iter().map(|record| (record.key.clone(), record)).collect())
}

fn untouched(failure: Failure) -> Undone {
    let problem = failure.problem("HTTP.sys's records cannot be listed");
    Undone { problem, not_there: failure == NOT_THERE }
}

type Broken = (Option<Failure>, Problem);

/// What carries a plan out.
struct Hands<'a> {
    records: &'a mut dyn Records,
    journal: &'a mut dyn Journal,
    /// As they were; `None` where there was none.
    old: &'a BTreeMap<Key, Option<Record>>,
    /// The journal has them.
    are_kept: bool,
}

impl Hands<'_> {
    fn carry_out(&mut self, plan: &Plan, now: &BTreeMap<Key, Record>) -> Result<(), Broken> {
        let wanted: Vec<&Record> =
            plan.changes.iter().map(|change| &change.to).chain(&plan.additions).collect();
        for record in &wanted {
            self.put(now.get(&record.key), record)?;
        }
        let after = list(self.records)
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
    fn put(&mut self, now: Option<&Record>, wanted: &Record) -> Result<(), Broken> {
        let failed = |failure: Failure| {
            let doing = format!("the certificate cannot be bound to {}", wanted.key);
            (Some(failure), failure.problem(&doing))
        };
        if now == Some(wanted) {
            return Ok(());
        }
        if now.is_none() {
            return self.records.set(wanted).map_err(failed);
        }
        match self.records.update(wanted) {
            Ok(()) => Ok(()),
            Err(UpdateError::Failed(failure)) => Err(failed(failure)),
            Err(UpdateError::Unsupported) => {
                self.keep().map_err(|problem| (None, problem))?;
                self.records.delete(&wanted.key).map_err(failed)?;
                self.records.set(wanted).map_err(failed)
            }
        }
    }

    /// Before the first of them is deleted.
    fn keep(&mut self) -> Result<(), Problem> {
        if !self.are_kept {
            let old: Vec<Record> = self.old.values().flatten().cloned().collect();
            self.journal.keep(&old)?;
            self.are_kept = true;
        }
        Ok(())
    }

    /// What could not be put back is kept for the next start.
    fn forget(&mut self) {
        let all_there = |now: BTreeMap<Key, Record>| {
            self.old.iter().all(|(key, was)| was.is_none() || now.contains_key(key))
        };
        if self.are_kept && list(self.records).is_ok_and(all_there) {
            // One that stays brings nothing back that is there.
            let _ = self.journal.keep(&[]);
        }
    }

    /// Puts back what differs, and says what came of it.
    fn restore(&mut self, problem: Problem) -> Problem {
        let old = self.old;
        let mut changed: Vec<Key> = Vec::new();
        let mut left: Vec<&Key> = old.keys().collect();
        let mut known = false;
        for _ in 0..ATTEMPTS {
            let Ok(now) = list(self.records) else { continue };
            known = true;
            left = differing(old, &now);
            if left.is_empty() {
                break;
            }
            for key in &left {
                if !changed.contains(key) {
                    changed.push((*key).clone());
                }
                // Whether it did is seen when they are listed again.
                let _ = match &old[*key] {
                    Some(was) => self.put(now.get(*key), was).is_ok(),
                    None => self.records.delete(key).is_ok(),
                };
            }
        }
        if !left.is_empty()
            && let Ok(now) = list(self.records)
        {
            known = true;
            left = differing(old, &now);
        }
        told(problem, &changed, &left, known)
    }
}

fn differing<'a>(old: &'a BTreeMap<Key, Option<Record>>, now: &BTreeMap<Key, Record>) -> Vec<&'a Key> {
    old.iter().filter(|(key, was)| now.get(*key) != was.as_ref()).map(|(key, _)| key).collect()
}

/// The problem, with what was put back and what was not.
fn told(problem: Problem, changed: &[Key], left: &[&Key], known: bool) -> Problem {
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
    message = format!("{message}; {fate}: {}", names(left));
    let remedy =
        "see the records by: netsh http show sslcert; bind the certificate in the IIS manager by hand";
    Problem::new("not_restored", message, remedy)
}
