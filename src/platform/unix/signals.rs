//! The signals that the agent heeds.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the agent.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From here on these signals do not kill the process.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The signal to read the configuration again.
pub struct RereadSignal(Signal);

impl RereadSignal {
    /// From here on it does not kill the process.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for it.
    pub async fn wait(&mut self) {
        self.0.recv().await;
    }
}
