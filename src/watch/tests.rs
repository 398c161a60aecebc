//! Hints, as each system's events give them.

// Events of inotify and links are told one by one.
#[cfg(unix)]
mod inotify;
#[cfg(windows)]
mod windows;
