//! What the loop and its outlets tell each other.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::metrics::Counters;
use crate::problem::Problem;

/// One for as long as the agent runs, whatever its configuration becomes.
#[derive(Debug)]
pub struct Shared {
    /// What the loop counts.
    pub counters: Counters,
    metrics: Mutex<Option<Problem>>,
    alert: Mutex<Option<Problem>>,
    reports: Mutex<Option<Problem>>,
    renewals: Mutex<Option<Problem>>,
    news: Notify,
}

impl Shared {
    /// Of an agent that began then.
    pub fn new(started: Timestamp) -> Self {
        Self {
            counters: Counters::new(started),
            metrics: Mutex::default(),
            alert: Mutex::default(),
            reports: Mutex::default(),
            renewals: Mutex::default(),
            news: Notify::new(),
        }
    }

    /// What keeps the metrics from being had, for the status.
    pub fn metrics_problem(&self) -> Option<Problem> {
        read(&self.metrics)
    }

    /// Why nobody could be told of the last problem, for the status.
    pub fn alert_problem(&self) -> Option<Problem> {
        read(&self.alert)
    }

    /// What keeps every report from going out, for the status.
    pub fn report_problem(&self) -> Option<Problem> {
        read(&self.reports)
    }

    /// What keeps renewals from going on, for the status.
    pub fn renewal_problem(&self) -> Option<Problem> {
        read(&self.renewals)
    }

    /// The courier says whether it can work.
    pub fn set_report_problem(&self, problem: Option<Problem>) {
        self.set(&self.reports, problem);
    }

    /// The renewer says whether it can work.
    pub fn set_renewal_problem(&self, problem: Option<Problem>) {
        self.set(&self.renewals, problem);
    }

    /// Others tell from here on, or nobody: what was wrong with those before is over.
    pub fn begin(&self) {
        self.set_metrics_problem(None);
        self.set_alert_problem(None);
    }

    pub(super) fn set_metrics_problem(&self, problem: Option<Problem>) {
        self.set(&self.metrics, problem);
    }

    pub(super) fn set_alert_problem(&self, problem: Option<Problem>) {
        self.set(&self.alert, problem);
    }

    fn set(&self, place: &Mutex<Option<Problem>>, problem: Option<Problem>) {
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if *place == problem {
            return;
        }
        if let Some(Problem { code, message, remedy }) = &problem {
            tracing::warn!(code, problem = message, remedy, "problem");
        }
        *place = problem;
        self.news.notify_one();
    }

    /// Waits until one of these problems comes, goes or changes.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

fn read(place: &Mutex<Option<Problem>>) -> Option<Problem> {
    place.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
