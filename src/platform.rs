//! What differs between systems: opening files, locks and permissions, the control socket, signals, services.
//! What a system cannot do is an error that says so.

mod exposed;
mod planted;
mod words;
pub use exposed::Exposed;
pub use words::Words;

/// This system's words.
pub const WORDS: Words = if HAS_IIS { words::WINDOWS } else { words::UNIX };

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::*;
