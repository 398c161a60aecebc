//! What ends the agent, or has it read its configuration again: keys, the window's end, the service manager.

use std::io;

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};
use tokio::sync::Notify;

/// The service manager's order to end.
pub(super) static STOP: Notify = Notify::const_new();
/// Its order to read the configuration again.
pub(super) static REREAD: Notify = Notify::const_new();

/// What ends the agent.
pub struct StopSignals {
    interrupt: CtrlC,
    breaking: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl StopSignals {
    /// From here on these do not kill the process.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: ctrl_c()?,
            breaking: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    /// Waits for one of them.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.breaking.recv() => {}
            _ = self.close.recv() => {}
            _ = self.shutdown.recv() => {}
            () = STOP.notified() => {}
        }
    }
}

/// The order to read the configuration again; on a console it never comes.
pub struct RereadSignal {
    _private: (),
}

impl RereadSignal {
    /// From here on it is heeded.
    ///
    /// # Errors
    /// None.
    pub fn new() -> io::Result<Self> {
        Ok(Self { _private: () })
    }

    /// Waits for it.
    pub async fn wait(&mut self) {
        REREAD.notified().await;
    }
}
