//! Hints, as each system's events give them.

// Events of inotify and links are told one by one.
#[cfg(unix)]
mod inotify;
#[cfg(unix)]
mod scale;
#[cfg(windows)]
mod windows;
