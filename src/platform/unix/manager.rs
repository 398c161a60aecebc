//! What the service manager is told: systemd's notifications, or nothing where nobody listens.

use std::time::Duration;

use sd_notify::NotifyState;

/// The service manager, if one listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manager {
    _private: (),
}

impl Manager {
    /// Whether one listens.
    pub fn listens(&self) -> bool {
        std::env::var_os("NOTIFY_SOCKET").is_some()
    }

    /// How often it wants to hear that the process is alive, twice as often as it would act; `None` where it
    /// does not.
    pub fn wants_a_beat_every(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|limit| limit / 2)
    }

    /// The process is alive.
    pub fn beat(&self) {
        tell(&[NotifyState::Watchdog]);
    }

    /// The process does its work.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// The process reads its configuration again, and will say when it is ready.
    pub fn rereads(&self) {
        // Newer managers compare this with the moment of their own order.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "the service manager cannot be told of the re-reading"),
        }
    }

    /// The process comes to its end.
    pub fn stops(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// How things are, in a line.
    pub fn status(&self, line: &str) {
        tell(&[NotifyState::Status(line)]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told how things are");
    }
}
