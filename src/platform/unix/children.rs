//! A command and all that it starts: a process group of its own.

use std::io;

use tokio::process::{Child, Command};

/// A command's processes.
#[derive(Debug)]
pub struct Children {
    leader: Option<u32>,
}

impl Children {
    /// Ends them all.
    pub fn end(&self) {
        if let Some(leader) = self.leader {
            end_group(leader);
        }
    }
}

/// Starts a command whose processes can be ended as a whole.
///
/// # Errors
/// The system's.
pub fn spawn(command: &mut Command) -> io::Result<(Child, Children)> {
    let child = command.process_group(0).spawn()?;
    let leader = child.id();
    Ok((child, Children { leader }))
}

/// The process group of its own that a command runs in is ended as a whole.
pub fn end_group(leader: u32) {
    let Ok(leader) = i32::try_from(leader) else { return };
    // It may be gone already; then there is nothing to end.
    let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(leader), nix::sys::signal::Signal::SIGKILL);
}
