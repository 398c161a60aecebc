//! Whether nginx runs, which other masters there are, and when a master ends.

use super::find;
use super::{Nginx, Reload};
use crate::problem::Problem;
use crate::server::Life;

impl Nginx {
    /// Looks for its masters. Blocking.
    ///
    /// # Errors
    /// None runs, or it cannot be told which of several is meant. Of one that a command reloads that is no error before
    /// a master of it was seen: it may run where certhook sees no processes.
    pub(in crate::server) fn life(&self) -> Result<Life, Problem> {
        let found = match self.find() {
            Ok(found) => found,
            Err(_) if self.told_by != Reload::Signal && !self.was_seen() => return Ok(Life::default()),
            Err(problem) => return Err(problem),
        };
        let masters: Vec<i32> = found.all().map(|master| master.pid).collect();
        let ends = ends(&masters);
        if !found.newest.is_alive() {
            // The handle may be another process's.
            return self.find().map(|_| Life::default());
        }
        let names_nothing = self.found_by.pid_file.is_none()
            && self.found_by.unit.is_none()
            && self.found_by.config.is_none()
            && self.found_by.prefix.is_none();
        let others = if names_nothing { find::running(self.trust()) } else { Vec::new() };
        let others = others.iter().map(|master| master.pid).filter(|pid| !masters.contains(pid));
        Ok(Life { others: others.collect(), ends, masters })
    }

    fn was_seen(&self) -> bool {
        self.known.instance.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_some()
    }
}

/// Handles of processes. Linux before 5.3 has none: there the end is seen at the next look.
#[cfg(target_os = "linux")]
fn ends(pids: &[i32]) -> Vec<std::os::fd::OwnedFd> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    pids.iter().filter_map(|pid| pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::NONBLOCK).ok()).collect()
}

#[cfg(not(target_os = "linux"))]
fn ends(_: &[i32]) -> Vec<std::os::fd::OwnedFd> {
    Vec::new()
}
