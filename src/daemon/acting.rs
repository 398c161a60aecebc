//! What changes something outside is not cut in its middle: the end waits for it, and nothing new is begun.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Knows whether anything acts.
#[derive(Debug, Default)]
pub(super) struct Acting(watch::Sender<bool>);

/// Held by whatever changes something outside, for as long as it does: a reload, an installation, a record.
#[derive(Debug)]
pub(super) struct Hold(watch::Receiver<bool>);

impl Acting {
    pub(super) fn hold(&self) -> Hold {
        Hold(self.0.subscribe())
    }

    /// Whether nothing acts.
    pub(super) fn rests(&self) -> bool {
        self.0.receiver_count() == 0
    }

    /// Tells all that act to begin nothing more, and waits until none does; whether that came in time.
    pub(super) async fn end(&self, patience: Duration) -> bool {
        self.0.send_replace(true);
        timeout(patience, self.0.closed()).await.is_ok()
    }
}

impl Hold {
    /// Whether the end is waiting: what has several parts stops after the one it is at.
    pub(super) fn is_to_end(&self) -> bool {
        *self.0.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_waits_for_all_that_act_but_not_for_ever() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let acting = Acting::default();
            assert!(acting.rests() && acting.end(Duration::ZERO).await, "nothing acts");
            let acting = Acting::default();
            let (one, other) = (acting.hold(), acting.hold());
            assert!(!acting.rests() && !one.is_to_end());
            drop(other);
            assert!(!acting.end(Duration::from_millis(1)).await, "one acts still");
            assert!(one.is_to_end());
            drop(one);
            assert!(acting.rests() && acting.end(Duration::ZERO).await);
        });
    }
}
