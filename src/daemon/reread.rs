//! Another configuration without another process: the loop ends what is under way and begins anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Daemon;
use crate::config::Config;
use crate::control::Call;
use crate::outlets::Outlets;
use crate::problem::Problem;

/// For a reload or a record to end before another configuration is gone by.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What to go on with.
pub(super) struct Next {
    config: Box<Config>,
    /// For what is under way to come to its end.
    until: Instant,
}

impl Daemon {
    /// The configuration's file is to be read again. One that is wrong changes nothing, but is told of.
    pub(super) fn reread(&mut self) {
        self.manager.rereads();
        let fixed = |config: &Config| config.state_dir == self.config.state_dir;
        let outcome = match Config::load(&self.config.path) {
            Ok(config) if fixed(&config) => Ok(config),
            Ok(_) => Err(Problem::new(
                "state_dir_changed",
                "state_dir is another now, and is heeded at the start only",
                "restart certhook; until then it goes on with its old configuration",
            )),
            Err(mistakes) => Err(Problem::new(
                "config_refused",
                mistakes.to_string().replace('\n', "; "),
                "mend it and reload certhook; until then it goes on with its old configuration",
            )),
        };
        match outcome {
            Ok(config) => {
                self.config_problem = None;
                self.next = Some(Next { config: Box::new(config), until: Instant::now() + LEAVE_PATIENCE });
            }
            Err(problem) => {
                let Problem { code, message, remedy } = &problem;
                tracing::error!(code, problem = message, remedy, "the configuration cannot be taken over");
                self.config_problem = Some(problem);
                self.changed();
                self.manager.ready();
            }
        }
    }

    /// What to go on with, when nothing acts any more, or has done so for too long.
    pub(super) fn next_configuration(&mut self) -> Option<Box<Config>> {
        let over = |next: &mut Next| self.acting.rests() || next.until <= Instant::now();
        self.next.take_if(over).map(|next| next.config)
    }

    /// When to ask for it again.
    pub(super) fn next_look_at_what_acts(&self) -> Option<Instant> {
        self.next.as_ref().map(|_| Instant::now() + LOOK_EVERY)
    }

    /// The loop begins anew with another configuration. As at the start everything is looked at, so no hint that
    /// comes meanwhile is lost.
    pub(super) fn succeed(self, config: Config, calls: &mpsc::UnboundedSender<Call>) -> Self {
        let Self {
            courier,
            notes,
            waiters,
            statuses,
            watcher,
            shared,
            changes,
            outlets,
            config_problem,
            acting,
            apart,
            ..
        } = self;
        // Its watches are wanted for the next.
        drop((watcher, changes));
        let mut next = Self::new(config, courier.map(|(_, ended)| ended), shared, apart);
        next.open_outlets(calls, outlets);
        // Of a file that came to be wrong since.
        next.config_problem = config_problem;
        // What acts for longer than was waited is waited for at the end.
        (next.notes, next.waiters, next.acting) = (notes, waiters, acting);
        next.statuses = statuses;
        next.waiters.begin_anew();
        next
    }

    /// Metrics, alerts and the manager's line, as the configuration says; those of an earlier one end first.
    pub(super) fn open_outlets(
        &mut self,
        calls: &mpsc::UnboundedSender<Call>,
        earlier: Option<JoinHandle<()>>,
    ) {
        let (metrics, alert) = (self.config.metrics.clone(), self.config.alert.clone());
        if metrics.is_none() && alert.is_none() && !self.manager.listens() {
            // Nobody would hear of anything.
            self.shared.begin();
            self.outlets = earlier;
            return;
        }
        let (calls, changes) = (calls.clone(), self.changes.subscribe());
        let (ledger, shared, manager) = (Arc::clone(&self.ledger), Arc::clone(&self.shared), self.manager);
        let apart = self.apart.clone();
        self.outlets = Some(tokio::spawn(async move {
            if let Some(earlier) = earlier {
                // What it had to tell was told, or is told again.
                let _ = earlier.await;
            }
            let outlets = Outlets::new(metrics.as_ref(), alert.as_ref(), calls, ledger, shared, apart);
            outlets.run(changes, |line| manager.status(line)).await;
        }));
    }

    /// Whatever is told outside may have changed.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}
