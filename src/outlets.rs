//! What goes out of the agent besides reports: metrics, alerts, and one line for the service manager.
//!
//! ```text
//! loop ── something changed ──▶ outlets ── status? ──▶ loop
//!                                 ├─▶ metrics' file        at most once a second
//!                                 ├─▶ alerts' command      when one is due
//!                                 └─▶ the manager's line   when it reads otherwise
//! ```
//!
//! While nothing changes and no alert has a time to come, nothing wakes up.

mod listen;
mod shared;
mod teller;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::apart::Apart;
use crate::config::{Alert, Metrics, MetricsTo};
use crate::control::{Call, Request};
use crate::ledger::Ledger;
use crate::metrics;
use crate::platform;
use crate::problem::{Problem, printable};
use crate::status::{Status, summary};
pub use shared::Shared;
use teller::Teller;

/// From a change to the look at it: what a change makes the loop do goes first, and the whole status costs it time.
const AFTER: Duration = Duration::from_millis(100);
/// From one look at the status to the next, at least.
const PAUSE: Duration = Duration::from_secs(1);
/// For the loop to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// One task that serves them all.
pub struct Outlets {
    file: Option<PathBuf>,
    listening: Option<tokio::task::JoinHandle<()>>,
    teller: Option<Teller>,
    source: Source,
    /// The line that was announced last.
    said: String,
}

/// Where statuses and counts come from.
#[derive(Clone)]
struct Source {
    calls: mpsc::UnboundedSender<Call>,
    ledger: Arc<Ledger>,
    shared: Arc<Shared>,
    /// Who lets the metrics' callers in, if it is not this process.
    apart: Option<Apart>,
}

impl Outlets {
    /// As the configuration says. Asks the loop by `calls`; what goes wrong is told by way of `shared`.
    pub fn new(
        metrics: Option<&Metrics>,
        alert: Option<&Alert>,
        calls: mpsc::UnboundedSender<Call>,
        ledger: Arc<Ledger>,
        shared: Arc<Shared>,
        apart: Option<Apart>,
    ) -> Self {
        shared.begin();
        let source = Source { calls, ledger, shared, apart };
        let teller = alert.map(Teller::new);
        let (file, listening) = match metrics.map(|metrics| &metrics.to) {
            None => (None, None),
            Some(MetricsTo::File(path)) => (Some(path.clone()), None),
            Some(MetricsTo::Listen(address)) => {
                let place = listen::Place::Address(*address);
                (None, Some(tokio::spawn(listen::listen(place, source.clone()))))
            }
            Some(MetricsTo::Socket(path)) => {
                let place = listen::Place::Socket(path.clone());
                (None, Some(tokio::spawn(listen::listen(place, source.clone()))))
            }
        };
        Self { file, listening, teller, source, said: String::new() }
    }

    /// Works until `changes` has no sender any more. `announce` is given each new line.
    pub async fn run(mut self, changes: watch::Receiver<u64>, mut announce: impl FnMut(&str)) {
        let mut end = changes.clone();
        tokio::select! {
            () = async { while end.changed().await.is_ok() {} } => {}
            () = self.turn(changes, &mut announce) => {}
        }
        if let Some(listening) = self.listening.take() {
            listening.abort();
            // What it lets callers in by is closed before the next one opens.
            let _ = listening.await;
        }
        if let Some(file) = self.file.take() {
            // What stays in the file would seem to be so still.
            let written = blocking(move || metrics::write(&file, &metrics::farewell())).await;
            if let Some(Err(error)) = written {
                tracing::warn!(%error, "the metrics' file is left as it is");
            }
        }
        if let Some(teller) = &mut self.teller {
            teller.finish(&self.source).await;
        }
    }

    async fn turn(&mut self, mut changes: watch::Receiver<u64>, announce: &mut impl FnMut(&str)) {
        let (mut due, mut not_before) = (true, Instant::now());
        let shared = Arc::clone(&self.source.shared);
        loop {
            let told_at = self.teller.as_ref().and_then(Teller::next_deadline);
            tokio::select! {
                // Whoever sends no more ends all of this.
                Ok(()) = changes.changed(), if !due => {
                    due = true;
                    not_before = not_before.max(Instant::now() + AFTER);
                }
                () = shared.news(), if !due => due = true,
                () = sleep_until(not_before), if due => {
                    // What changes from here on is for the next look.
                    due = false;
                    changes.mark_unchanged();
                    not_before = Instant::now() + PAUSE;
                    if let Some(status) = self.source.status().await {
                        self.look(&status, announce).await;
                    }
                }
                outcome = ended(&mut self.teller) => {
                    if let Some(teller) = &mut self.teller {
                        teller.note(outcome, &self.source).await;
                    }
                }
                () = until(told_at) => {
                    if let Some(teller) = &mut self.teller {
                        teller.begin();
                    }
                }
            }
        }
    }

    async fn look(&mut self, status: &Status, announce: &mut impl FnMut(&str)) {
        // Every user may ask the manager for the line.
        let line = summary(&status.outward());
        if line != self.said {
            announce(&line);
            self.said = line;
        }
        if let Some(file) = &self.file {
            let (text, file) = (self.source.page(status).await, file.clone());
            let shown = printable(&file.display().to_string(), 200);
            let written = blocking(move || metrics::write(&file, &text)).await;
            self.source.shared.set_metrics_problem(written.and_then(Result::err).map(|error| {
                let remedy = match error.kind() {
                    ErrorKind::ReadOnlyFilesystem => platform::WORDS.read_only,
                    _ => platform::WORDS.let_write,
                };
                Problem::new("metrics_file", format!("{shown} cannot be written: {error}"), remedy)
            }));
        }
        if let Some(teller) = &mut self.teller {
            teller.see(status, &self.source).await;
        }
    }
}

impl Source {
    /// `None` while the loop ends.
    async fn status(&self) -> Option<Status> {
        let (answer, status) = oneshot::channel();
        self.calls.send(Call { request: Request::Status, answer }).ok()?;
        timeout(PATIENCE, status).await.ok()?.ok()
    }

    async fn page(&self, status: &Status) -> String {
        let (ledger, shared) = (Arc::clone(&self.ledger), Arc::clone(&self.shared));
        // What keeps the ledger from being read is in the status.
        let _ = blocking(move || shared.counters.read(&ledger).is_ok()).await;
        metrics::text(status, &self.shared.counters, Timestamp::now())
    }
}

/// Never, while nobody is being told.
async fn ended(teller: &mut Option<Teller>) -> Result<(), Problem> {
    match teller {
        Some(teller) => teller.ended().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Work that waits for a disk; `None` if it panicked.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

#[cfg(test)]
mod tests;
