//! What is counted: reloads by the loop, everything else in the ledger's history, also what others write there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::page::Page;
use crate::ledger::{Ledger, LedgerError, Tally};

/// The history's events that are told, and how.
const EVENTS: [(&[&str], &str, &str); 8] = [
    (&["served"], "certhook_installed_total", "New certificates that were seen served."),
    (&["reported"], "certhook_reports_delivered_total", "Reports that the portal took."),
    (&["report_failed"], "certhook_report_attempts_failed_total", "Attempts to tell the portal that failed."),
    (&["report_held"], "certhook_reports_held_total", "Reports that the portal refused."),
    (&["renewed"], "certhook_renewed_total", "Certificates that the portal renewed."),
    (&["fetched"], "certhook_fetched_total", "Certificates that were downloaded."),
    (
        &["renewal_failed", "renewal_refused"],
        "certhook_renewals_failed_total",
        "Renewals that came to nothing.",
    ),
    (&["problem"], "certhook_problems_total", "Problems that sites had."),
];

/// The counts of one agent.
#[derive(Debug)]
pub struct Counters {
    started: Timestamp,
    servers: Mutex<BTreeMap<String, Reloads>>,
    tally: Mutex<Tally>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Reloads {
    done: i64,
    refused: i64,
}

impl Counters {
    /// Of an agent that began then.
    pub fn new(started: Timestamp) -> Self {
        Self { started, servers: Mutex::default(), tally: Mutex::default() }
    }

    /// When it began.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// This server has loaded anew.
    pub fn reloaded(&self, server: &str) {
        lock(&self.servers).entry(server.to_owned()).or_default().done += 1;
    }

    /// This server was told to load anew, and has not.
    pub fn reload_refused(&self, server: &str) {
        lock(&self.servers).entry(server.to_owned()).or_default().refused += 1;
    }

    /// Takes up what came into the history since the last time. Blocking.
    ///
    /// # Errors
    /// [`LedgerError`]; the counts stay as they were.
    pub fn read(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        ledger.count_events(&mut lock(&self.tally))
    }

    pub(super) fn reloads(&self, page: &mut Page, servers: &[&str]) {
        let counted = lock(&self.servers).clone();
        let of = |server: &str| counted.get(server).copied().unwrap_or_default();
        let mut family = page.counter("certhook_reloads_total", "Times that the server has loaded anew.");
        servers.iter().for_each(|server| family.value(&[("server", server)], of(server).done));
        let mut family =
            page.counter("certhook_reloads_refused_total", "Times that it was told to and has not.");
        servers.iter().for_each(|server| family.value(&[("server", server)], of(server).refused));
    }

    pub(super) fn events(&self, page: &mut Page) {
        let tally = lock(&self.tally).events.clone();
        for (events, name, help) in EVENTS {
            let count: u64 = events.iter().filter_map(|event| tally.get(*event)).sum();
            page.counter(name, help).value(&[], i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// What is counted stays right whoever panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
