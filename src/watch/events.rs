//! What the system tells of folders: each system's own way.

#[cfg(target_os = "linux")]
mod inotify;
#[cfg(target_os = "linux")]
pub(super) use inotify::{At, Events};

#[cfg(not(target_os = "linux"))]
mod others;
#[cfg(not(target_os = "linux"))]
pub(super) use others::{At, Events};

use crate::agent::Cause;

/// What was told.
#[derive(Debug)]
pub(super) enum Told {
    /// Something changed in a folder that is watched, or the folder itself.
    Changed {
        /// Where.
        at: At,
        /// How.
        cause: Cause,
        /// Whether a folder of that path, and the watches in it, may be there no more.
        goes: bool,
    },
    /// Events were lost, and why if that is known.
    Lost(Option<String>),
}

/// Why a folder is not watched.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is not there.
    Missing,
    /// There may be no more watches.
    Limit,
    /// The system's words.
    Other(String),
}
