//! Who is told of what is wrong, and when: no clock, no input and output; `now` is an argument.
//!
//! ```text
//! (nothing) ── wrong ──▶ waits ── wrong for `after` ──▶ told ── well ──▶ told as well ──▶ (nothing)
//!                 ▲        │ well: nothing is said       │  ▲
//!                 └────────┘                             └──┘ another code for `after`: told once more
//! ```
//!
//! What is under way, or not looked at yet after a start, is neither wrong nor well: it changes nothing. One run of
//! the command tells everything that is due; the next one comes `min_interval` after it began, or after a growing
//! pause where it failed.

mod findings;
mod telling;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::ledger::Case;
pub use findings::{Finding, Standing, findings};
pub use telling::{Kind, Telling, environment};

/// The longest pause after failures, unless `min_interval` is longer.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(1);
/// The shortest.
const SHORTEST_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// All that is wrong, and what was told of it.
#[derive(Debug)]
pub struct Alerts {
    after: SignedDuration,
    min_interval: SignedDuration,
    cases: BTreeMap<String, Entry>,
    /// What the run that is under way tells.
    running: Vec<Telling>,
    /// No run begins before.
    next_run: Option<Timestamp>,
    /// Failed runs in a row.
    failures: u32,
}

#[derive(Debug)]
struct Entry {
    case: Case,
    now: Stands,
}

/// How it stands by the last status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Wrong,
    Unknown,
    Well,
}

impl Alerts {
    /// Nothing is known yet.
    pub fn new(after: SignedDuration, min_interval: SignedDuration) -> Self {
        let cases = BTreeMap::new();
        Self { after, min_interval, cases, running: Vec::new(), next_run: None, failures: 0 }
    }

    /// What an earlier process left; what is wrong by now may be known already.
    pub fn remember(&mut self, cases: Vec<Case>) {
        for case in cases {
            match self.cases.get_mut(&case.subject) {
                None => {
                    self.cases.insert(case.subject.clone(), Entry { case, now: Stands::Unknown });
                }
                Some(entry) => {
                    entry.case.begun = entry.case.begun.min(case.begun);
                    if entry.case.code == case.code {
                        entry.case.since = entry.case.since.min(case.since);
                    }
                    entry.case.told = entry.case.told.take().or(case.told);
                }
            }
        }
    }

    /// What the next process must know.
    pub fn cases(&self) -> Vec<Case> {
        self.cases.values().map(|entry| entry.case.clone()).collect()
    }

    /// Takes a status; whether [`Alerts::cases`] are others now. What is not among the findings is well if they are
    /// all there is to find.
    pub fn see(&mut self, findings: Vec<Finding>, all: bool, now: Timestamp) -> bool {
        let mut changed = self.set_back(now);
        let gone = if all { Stands::Well } else { Stands::Unknown };
        let mut seen: BTreeMap<String, Finding> = BTreeMap::new();
        for finding in findings {
            // Of two that cannot be told apart, the worse one counts.
            let worse = |other: &Finding| other.standing.is_wrong();
            if !seen.get(&finding.subject).is_some_and(worse) {
                seen.insert(finding.subject.clone(), finding);
            }
        }
        for (subject, entry) in &mut self.cases {
            if !seen.contains_key(subject) {
                changed |= entry.stands(gone);
            }
        }
        for finding in seen.into_values() {
            changed |= self.find(finding, now);
        }
        changed | self.forget_untold()
    }

    fn find(&mut self, finding: Finding, now: Timestamp) -> bool {
        let Finding { subject, site, server, standing } = finding;
        let (code, message, remedy, since) = match standing {
            Standing::Wrong { code, message, remedy, since } => (code, message, remedy, since),
            standing => {
                let now = if standing == Standing::Well { Stands::Well } else { Stands::Unknown };
                return self.cases.get_mut(&subject).is_some_and(|entry| entry.stands(now));
            }
        };
        let since = since.unwrap_or(now).min(now);
        let Some(entry) = self.cases.get_mut(&subject) else {
            let begun = since;
            let case = Case {
                subject: subject.clone(),
                site,
                server,
                code,
                message,
                remedy,
                begun,
                since,
                told: None,
                recovered: false,
            };
            self.cases.insert(subject, Entry { case, now: Stands::Wrong });
            return true;
        };
        let before = (entry.case.code.clone(), entry.case.begun, entry.case.since);
        let was_well = std::mem::take(&mut entry.case.recovered);
        entry.now = Stands::Wrong;
        let case = &mut entry.case;
        if was_well {
            case.begun = since;
        }
        case.since = if was_well || case.code != code { since } else { case.since.min(since) };
        (case.site, case.server, case.code, case.message, case.remedy) =
            (site, server, code, message, remedy);
        before != (case.code.clone(), case.begun, case.since)
    }

    /// What got well before anybody was told was nothing.
    fn forget_untold(&mut self) -> bool {
        let count = self.cases.len();
        let running = &self.running;
        self.cases.retain(|subject, entry| {
            !entry.case.recovered
                || entry.case.told.is_some()
                || running.iter().any(|telling| telling.subject == *subject)
        });
        self.cases.len() != count
    }

    /// A clock that was set back makes no wait longer than it was.
    fn set_back(&mut self, now: Timestamp) -> bool {
        let mut changed = false;
        for Entry { case, .. } in self.cases.values_mut() {
            changed |= case.begun.max(case.since) > now;
            (case.begun, case.since) = (case.begun.min(now), case.since.min(now));
        }
        let longest = later(now, LONGEST_PAUSE.max(self.min_interval));
        self.next_run = self.next_run.map(|at| at.min(longest));
        changed
    }

    /// When there may be something to tell; `None` while nothing waits for a time.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if !self.running.is_empty() {
            return None;
        }
        let first = self.cases.values().filter_map(|entry| self.ripe_at(entry)).min()?;
        Some(self.next_run.map_or(first, |at| at.max(first)))
    }

    /// From when on it is to be told; `None` if not by time alone.
    fn ripe_at(&self, Entry { case, now }: &Entry) -> Option<Timestamp> {
        match (now, &case.told) {
            (Stands::Wrong, None) => Some(later(case.begun, self.after)),
            (Stands::Wrong, Some(told)) if *told != case.code => Some(later(case.since, self.after)),
            (Stands::Well, Some(_)) => Some(Timestamp::MIN),
            _ => None,
        }
    }

    /// Begins a run, if one is due: what it is to tell, problems first, and of those what may be the cause of others.
    /// [`Alerts::ended`] must follow.
    pub fn begin(&mut self, now: Timestamp) -> Option<Vec<Telling>> {
        self.set_back(now);
        if !self.running.is_empty() || self.next_run.is_some_and(|at| at > now) {
            return None;
        }
        let due = |entry: &&Entry| self.ripe_at(entry).is_some_and(|at| at <= now);
        let mut tellings: Vec<Telling> = self.cases.values().filter(due).map(Entry::telling).collect();
        if tellings.is_empty() {
            return None;
        }
        tellings.sort_by(|a, b| a.order().cmp(&b.order()));
        self.next_run = Some(later(now, self.min_interval));
        self.running.clone_from(&tellings);
        Some(tellings)
    }

    /// The run that was begun is over; whether [`Alerts::cases`] are others now.
    pub fn ended(&mut self, told: bool, now: Timestamp) -> bool {
        let running = std::mem::take(&mut self.running);
        if !told {
            self.failures = self.failures.saturating_add(1);
            let doubled =
                self.min_interval.max(SHORTEST_PAUSE).saturating_mul(1 << (self.failures - 1).min(20));
            let pause = doubled.min(LONGEST_PAUSE.max(self.min_interval));
            self.next_run = Some(later(now, pause));
            return self.forget_untold();
        }
        self.failures = 0;
        for telling in running {
            let Some(entry) = self.cases.get_mut(&telling.subject) else { continue };
            match telling.state {
                Kind::Problem => entry.case.told = Some(telling.code),
                Kind::Well if entry.now == Stands::Wrong => entry.case.told = None,
                // Whatever comes now is new.
                Kind::Well => drop(self.cases.remove(&telling.subject)),
            }
        }
        self.forget_untold();
        true
    }
}

impl Entry {
    /// Well, or unknown; whether the next process must know.
    fn stands(&mut self, now: Stands) -> bool {
        self.now = now;
        let recovers = now == Stands::Well && !self.case.recovered;
        self.case.recovered |= recovers;
        recovers
    }

    fn telling(&self) -> Telling {
        match self.now {
            Stands::Well => Telling::well(&self.case),
            Stands::Wrong | Stands::Unknown => Telling::problem(&self.case),
        }
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
