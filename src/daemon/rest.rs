//! When the loop has had nothing to do for a while, what the work has left behind goes back to the system: what the
//! ledger keeps for the next time, and memory that was needed once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ledger::Ledger;
use crate::platform;
use crate::watch::Keeper;

/// Renewals come together more often than not; and by then threads that waited for more work have ended (after ten
/// seconds, by tokio's default).
const CALM: Duration = Duration::from_secs(12);

/// When that is to be.
#[derive(Debug, Default)]
pub(super) struct Rest {
    due: Option<Instant>,
}

impl Rest {
    /// Something was done.
    pub(super) fn put_off(&mut self) {
        self.due = Some(Instant::now() + CALM);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Once for each time of work.
    pub(super) fn look(&mut self, ledger: &Arc<Ledger>, watcher: &Keeper) {
        if self.due.take_if(|due| *due <= Instant::now()).is_none() {
            return;
        }
        let (ledger, watcher) = (Arc::clone(ledger), watcher.clone());
        // It goes over all that this process has. On a thread that ends with it: whatever runs afterwards brings back
        // some of what was given. Without one it is for the next time.
        let rest = move || {
            ledger.rest();
            drop(ledger);
            watcher.shrink();
            platform::give_back_memory();
        };
        let _ = std::thread::Builder::new().name("rest".into()).spawn(rest);
    }
}
