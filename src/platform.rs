//! What differs between systems: opening files, locks and permissions, the control socket, signals, services.
//! What a system cannot do is an error that says so.

mod exposed;
pub use exposed::Exposed;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::*;
