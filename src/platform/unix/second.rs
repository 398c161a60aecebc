//! certhook's second process: how it is started, what it is started with, and how it gives up its rights.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use nix::unistd::{User, getuid, setgid, setgroups, setuid};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// Whose rights the second process of root takes.
const USER: &str = "certhook";

/// The second process.
pub struct Second {
    /// The one way to it. When this process ends, the other one reads the end.
    pub stream: UnixStream,
    /// To learn how it ended.
    pub child: Child,
}

/// Starts this program again with other arguments, on the other end of a pair of sockets. `None` where the system has
/// no rights that a process could give up.
///
/// # Errors
/// The system's.
pub fn start_second(arguments: &[String]) -> io::Result<Option<Second>> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    // The program that runs, whatever its path leads to by now.
    #[cfg(target_os = "linux")]
    let program = std::path::Path::new("/proc/self/exe");
    #[cfg(not(target_os = "linux"))]
    let program = std::env::current_exe()?;
    let child = Command::new(program)
        .arg0("certhook")
        .args(arguments)
        .env_remove("CREDENTIALS_DIRECTORY")
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        // A terminal's Ctrl-C is for the first one.
        .process_group(0)
        .spawn()?;
    Ok(Some(Second { stream: UnixStream::from_std(ours)?, child }))
}

/// In the second process: the way to the first one. Call it in a runtime.
///
/// # Errors
/// Standard input is no such way: a person started this.
pub fn first_process() -> io::Result<UnixStream> {
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    let stream = std::os::unix::net::UnixStream::from(input);
    stream.peer_addr()?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Gives up every right but those of an ordinary user, for good. Root becomes the user `certhook` where there is one,
/// and otherwise keeps no more than the files that are its own. Each thread has its own rights, so this comes before
/// there is a second one.
///
/// # Errors
/// The system's: a right would be kept.
pub fn give_up_rights() -> io::Result<()> {
    if getuid().is_root()
        && let Some(user) = User::from_name(USER)?
    {
        #[cfg(target_os = "linux")]
        setgroups(&[])?;
        setgid(user.gid)?;
        setuid(user.uid)?;
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
        let none = CapabilitySet::empty();
        set_no_new_privs(true)?;
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    }
    Ok(())
}

/// Whether this process has capabilities that its user has not by himself: a service's. Root's are root's.
pub fn has_lent_rights() -> bool {
    #[cfg(target_os = "linux")]
    if !getuid().is_root() {
        use rustix::thread::capabilities;
        return capabilities(None).is_ok_and(|sets| !sets.permitted.is_empty());
    }
    false
}
