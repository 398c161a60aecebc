//! Ctrl-C: noted and acted on, instead of died of.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// For anything that must come to pass: so long that only a fault reaches it, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what is awaited.
const PAUSE: Duration = Duration::from_millis(20);

/// What asks a process to end.
const SIGNALS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// Why the demo did not come to its end.
#[derive(Debug)]
pub enum Stop {
    /// Somebody wanted it so.
    Interrupted,
    /// Something went wrong, or the sides do not agree.
    Failed(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // Whoever read has stopped reading (`| head`).
            io::ErrorKind::BrokenPipe => Self::Interrupted,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Whether the demo is to end early.
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From here on these signals are noted. They are not blocked: programs would inherit that.
    pub(super) fn watch() -> Result<Self, Stop> {
        let noted = Arc::new(AtomicBool::new(false));
        for signal in SIGNALS {
            signal_hook::flag::register(signal as i32, Arc::clone(&noted))?;
        }
        Ok(Self(noted))
    }

    /// An error when somebody wants the demo to end.
    pub(super) fn check(&self) -> Result<(), Stop> {
        if self.0.load(Ordering::Relaxed) { Err(Stop::Interrupted) } else { Ok(()) }
    }

    /// What fails once the demo is to end has failed for that: Ctrl-C ends programs that are just being
    /// started, too.
    pub(super) fn explain<T>(&self, outcome: Result<T, Stop>) -> Result<T, Stop> {
        outcome.or_else(|error| self.check().and(Err(error)))
    }

    /// Sleeps, unless the demo is to end anyway.
    pub(super) fn sleep(&self, time: Duration) {
        if self.check().is_ok() {
            thread::sleep(time);
        }
    }

    /// Asks until there is an answer; `what` is what is awaited.
    pub(super) fn until<T>(
        &self,
        what: &str,
        mut ask: impl FnMut() -> Result<Option<T>, Stop>,
    ) -> Result<T, Stop> {
        let until = Instant::now() + PATIENCE;
        loop {
            self.check()?;
            if let Some(answer) = ask()? {
                return Ok(answer);
            }
            if Instant::now() >= until {
                return Err(Stop::Failed(format!("not within {} s: {what}", PATIENCE.as_secs())));
            }
            self.sleep(PAUSE);
        }
    }
}

/// Does what must not break off halfway: programs that it starts inherit that they are not to be disturbed.
pub(super) fn undisturbed<T>(work: impl FnOnce() -> T) -> Result<T, Stop> {
    let before =
        SigSet::from_iter(SIGNALS).thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(io::Error::from)?;
    let outcome = work();
    before.thread_set_mask().map_err(io::Error::from)?;
    Ok(outcome)
}
