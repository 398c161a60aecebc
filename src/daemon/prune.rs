//! Prunes the ledger at the start and now and then, a few rows at a time, beside everything else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::task::JoinSet;

use super::Daemon;
use crate::ledger::Ledger;

/// Between two times; longer where everything is looked at less often.
const PRUNE_INTERVAL: Duration = Duration::from_secs(3600);
/// Between two steps of one time, in which others may write.
const STEP_DELAY: Duration = Duration::from_millis(20);

/// When that is to be.
pub(super) struct Pruning {
    due: Instant,
    /// What is under way ends with the loop.
    task: JoinSet<()>,
}

impl Default for Pruning {
    fn default() -> Self {
        Self { due: Instant::now(), task: JoinSet::new() }
    }
}

impl Pruning {
    pub(super) fn next_deadline(&self) -> Instant {
        self.due
    }
}

impl Daemon {
    /// Begins to prune if it is time.
    pub(super) fn prune_if_due(&mut self) {
        let now = Instant::now();
        if self.pruning.due > now {
            return;
        }
        self.pruning.due = now + self.config.watch.rescan.max(PRUNE_INTERVAL);
        self.pruning.task.abort_all();
        while self.pruning.task.try_join_next().is_some() {}
        let (ledger, keep) = (Arc::clone(&self.ledger), self.config.ledger.keep);
        let path = Ledger::path(&self.config.state_dir);
        self.pruning.task.spawn(async move {
            loop {
                let (ledger, path) = (Arc::clone(&ledger), path.clone());
                // One that is not there yet has nothing to prune, and is not made for it.
                let step =
                    move || if path.exists() { ledger.prune(keep, Timestamp::now()) } else { Ok(false) };
                match tokio::task::spawn_blocking(step).await {
                    Ok(Ok(true)) => tokio::time::sleep(STEP_DELAY).await,
                    Ok(Ok(false)) | Err(_) => return,
                    // A ledger that cannot be used is a problem already, and pruned the next time.
                    Ok(Err(error)) => return tracing::debug!(%error, "the ledger cannot be pruned"),
                }
            }
        });
    }
}
