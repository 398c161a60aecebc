//! What differs between systems: opening files, locks and permissions, the control socket, signals, services.
//! What a system cannot do is an error that says so.

mod exposed;
mod planted;
mod words;
pub use exposed::Exposed;
pub use words::Words;

/// This system's words.
pub const WORDS: Words = if HAS_IIS { words::WINDOWS } else { words::UNIX };

/// Which changes a file system tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tells {
    /// Every one.
    Everything,
    /// Those that are made through it, on this host.
    OwnChanges,
    /// None that can be relied on.
    Nothing,
}

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::*;
