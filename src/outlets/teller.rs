//! Runs the alerts' command, and keeps in the ledger what it was told.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{Source, blocking};
use crate::alert::{Alerts, Telling, environment, findings};
use crate::command::Command;
use crate::config::Alert;
use crate::problem::{Problem, printable};
use crate::status::Status;

/// For one run of the command.
const RUN: Duration = Duration::from_secs(30);
/// For a run that is under way when the agent ends.
const GOODBYE: Duration = Duration::from_secs(5);
/// No sleep is longer: the clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Tells somebody.
pub(super) struct Teller {
    command: Vec<String>,
    alerts: Alerts,
    /// The ledger's cases were read.
    remembered: bool,
    /// The ledger has the cases as they are.
    kept: bool,
    /// A write of them that is under way: the next one waits for it.
    keeping: Option<JoinHandle<bool>>,
    running: Option<JoinHandle<Result<(), Problem>>>,
}

impl Teller {
    pub(super) fn new(config: &Alert) -> Self {
        let length = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        let alerts = Alerts::new(length(config.after), length(config.min_interval));
        Self {
            command: config.command.clone(),
            alerts,
            remembered: false,
            kept: true,
            keeping: None,
            running: None,
        }
    }

    pub(super) async fn see(&mut self, status: &Status, source: &Source) {
        if !self.remembered {
            let ledger = Arc::clone(&source.ledger);
            // What keeps the ledger from being read is in the status; it is tried again at the next one.
            if let Some(Ok(cases)) = blocking(move || ledger.cases()).await {
                self.alerts.remember(cases);
                self.remembered = true;
            }
        }
        let (found, all) = findings(status);
        self.kept &= !self.alerts.see(found, all, Timestamp::now());
        self.keep(source).await;
    }

    /// When [`Teller::begin`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let at = self.alerts.next_deadline()?;
        let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
        Some(Instant::now() + left.min(LONGEST_SLEEP))
    }

    /// Runs the command, if it is time.
    pub(super) fn begin(&mut self) {
        let Some(tellings) = self.alerts.begin(Timestamp::now()) else { return };
        self.running = Some(tokio::spawn(tell(self.command.clone(), tellings)));
    }

    /// Waits for the end of the run that is under way; for ever, where there is none.
    pub(super) async fn ended(&mut self) -> Result<(), Problem> {
        let outcome = match &mut self.running {
            Some(running) => running.await,
            None => std::future::pending().await,
        };
        self.running = None;
        // A run that panicked has told nobody.
        outcome.unwrap_or_else(|error| Err(failed(error.to_string())))
    }

    /// What came of it.
    pub(super) async fn note(&mut self, outcome: Result<(), Problem>, source: &Source) {
        let told = outcome.is_ok();
        source.shared.set_alert_problem(outcome.err());
        self.kept &= !self.alerts.ended(told, Timestamp::now());
        self.keep(source).await;
    }

    /// The agent ends: what is being told is, as far as it can be, and is not told again by the next one.
    pub(super) async fn finish(&mut self, source: &Source) {
        if self.running.is_some() {
            match timeout(GOODBYE, self.ended()).await {
                Ok(outcome) => self.note(outcome, source).await,
                Err(_) => {
                    tracing::warn!("an alert was still being told; it is told again after the next start");
                }
            }
        }
        // The end may have come while they were being written.
        self.keep(source).await;
    }

    async fn keep(&mut self, source: &Source) {
        if let Some(keeping) = &mut self.keeping {
            // Whatever came of it, what is to be kept now is newer.
            let _ = keeping.await;
            self.keeping = None;
        }
        // What is not read yet must not be lost.
        if self.kept || !self.remembered {
            return;
        }
        let (ledger, cases) = (Arc::clone(&source.ledger), self.alerts.cases());
        let keep = move || ledger.keep_cases(&cases).is_ok();
        self.kept = self.keeping.insert(tokio::task::spawn_blocking(keep)).await.unwrap_or(false);
        self.keeping = None;
    }
}

fn failed(message: String) -> Problem {
    const REMEDY: &str = "run the command by hand to see why; certhook tells it again by itself";
    Problem::new("alert_command", message, REMEDY)
}

async fn tell(argv: Vec<String>, tellings: Vec<Telling>) -> Result<(), Problem> {
    let input = serde_json::to_vec(&tellings).unwrap_or_default();
    let command = Command::new(&argv, RUN).with_input(input).with_environment(environment(&tellings));
    let ended = command.output().await.map_err(|failure| failed(failure.to_string()))?;
    for line in ended.output.lines() {
        tracing::info!(output = %printable(line, 500), "alert command");
    }
    if !ended.success {
        let words = ended.output.lines().last().unwrap_or_default();
        let said = printable(words, 300);
        return Err(failed(format!("{} ended with {}: {said}", command.program(), ended.how)));
    }
    for Telling { state, site, server, code, .. } in &tellings {
        let (site, server) = (site.as_deref().unwrap_or("-"), server.as_deref().unwrap_or("-"));
        tracing::info!(?state, site, server, code, "told");
    }
    Ok(())
}
