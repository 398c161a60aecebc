//! An nginx master as a process: what its title tells, its children, its signals.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::namespaces::Files;
use super::title::Title;
use crate::problem::Problem;

/// The kernel's mark of a process that was forked and runs its parent's program still.
const FORKED_ONLY: u64 = 0x40;

/// A master with ten thousand children lists them in less.
const MAX_PROC_FILE: u64 = 256 * 1024;

/// A reload's last worker is started soon after its first; a child older than this is of no reload under way.
const YOUNG: Duration = Duration::from_millis(300);
/// Between two workers of one reload, on a busy machine.
const SETTLED: Duration = Duration::from_millis(25);
const MOST_SETTLING: Duration = Duration::from_millis(500);

/// The users whose processes are believed. Everybody can give a process the title of a master, and a program that
/// root has lent its rights to (su, passwd) has root's effective user and its caller's title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trust {
    /// certhook's own user.
    own: u32,
    /// The user that the configuration names.
    named: Option<u32>,
}

/// The user of a trusted process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    Root,
    /// certhook's own, where that is not root.
    Own,
    /// The one that the configuration names.
    Named,
}

/// A trusted process that calls itself an nginx master.
#[derive(Debug, Clone)]
pub(super) struct Master {
    pub(super) pid: i32,
    pub(super) title: Title,
    pub(super) user: User,
    trust: Trust,
}

/// A process that calls itself an nginx master and is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Untrusted {
    pub(super) pid: i32,
    /// Its real and its effective user.
    pub(super) users: (u32, u32),
}

/// A child of a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Child {
    /// It serves.
    Worker,
    /// It ends its last connections.
    Draining,
    /// The master of a new program, during an upgrade.
    Master,
    /// The cache's helpers.
    Other,
}

/// Every process of the host that this user can see.
pub(super) fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

impl Trust {
    pub(super) fn new(named: Option<u32>) -> Self {
        Self { own: crate::platform::own_user(), named }
    }

    /// The user of a process whose real, effective, saved and file system users are all the same trusted one.
    fn user(self, users: [u32; 4]) -> Option<User> {
        let [first, rest @ ..] = users;
        if rest != [first; 3] {
            return None;
        }
        match first {
            0 => Some(User::Root),
            user if user == self.own => Some(User::Own),
            user if Some(user) == self.named => Some(User::Named),
            _ => None,
        }
    }
}

/// The processes that call themselves nginx masters, share this process's namespace and are not trusted.
pub(super) fn untrusted(trust: Trust) -> Vec<Untrusted> {
    let calls_itself = |pid: &i32| command_line(*pid).is_some_and(|title| Title::parse(&title).is_some());
    let found = processes().filter(calls_itself).filter_map(|pid| {
        let users = users(pid)?;
        // A worker has the title of its master for a moment, with the user of a worker.
        let is_worker = is_forked(pid) && parent(pid).and_then(|parent| Master::of(parent, trust)).is_some();
        let untrusted = trust.user(users).is_none() && !is_worker && !is_elsewhere(pid);
        untrusted.then_some(Untrusted { pid, users: (users[0], users[1]) })
    });
    found.collect()
}

impl Master {
    pub(super) fn of(pid: i32, trust: Trust) -> Option<Self> {
        let user = trust.user(users(pid)?)?;
        let title = Title::parse(&command_line(pid)?)?;
        // The process may have ended between the two, and its number been given to another.
        (users(pid).and_then(|users| trust.user(users)) == Some(user)).then_some(Self {
            pid,
            title,
            user,
            trust,
        })
    }

    #[cfg(test)]
    pub(super) fn with_title(pid: i32, title: &str) -> Self {
        let title = Title::parse(title).expect("the title of a master");
        Self { pid, title, user: User::Root, trust: Trust { own: 0, named: None } }
    }

    /// The folder it was started in, where that may be seen.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/cwd", self.pid)).ok()
    }

    /// The file behind its standard error.
    pub(super) fn standard_error(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/2", self.pid))
    }

    /// Its process ids, on this host and within its container: its log has the last one.
    pub(super) fn names(&self) -> Vec<i32> {
        let mut names = namespaces(&self.pid.to_string());
        names.push(self.pid);
        names
    }

    /// Whether it runs in a container that certhook is not in, or in a chroot: its paths mean other files there.
    pub(super) fn is_elsewhere(&self) -> bool {
        is_elsewhere(self.pid) || !Files::of(self.pid).are_shared(Path::new("/"))
    }

    /// The process ids of its children, old and new.
    pub(super) fn children(&self) -> Vec<i32> {
        let listed = read(&format!("/proc/{0}/task/{0}/children", self.pid));
        match listed {
            Ok(list) => list.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
            // A kernel without that file.
            Err(_) => processes().filter(|pid| parent(*pid) == Some(self.pid)).collect(),
        }
    }

    /// Waits until it starts no more workers for an earlier reload: theirs would be taken for a later one's.
    /// Blocking, for half a second at most, and not at all where none is young.
    pub(super) fn settle(&self) {
        let until = Instant::now() + MOST_SETTLING;
        let mut children = self.children();
        while children.iter().any(|child| age(*child).is_some_and(|age| age < YOUNG))
            && Instant::now() < until
        {
            std::thread::sleep(SETTLED);
            let now = self.children();
            if now.iter().all(|child| children.contains(child)) {
                return;
            }
            children = now;
        }
    }

    /// Its children, and what they are.
    pub(super) fn family(&self) -> Vec<(i32, Child)> {
        self.children().into_iter().filter_map(|pid| Some((pid, child(pid, self.trust)?))).collect()
    }

    /// The master whose child it is, during an upgrade.
    pub(super) fn parent(&self) -> Option<Self> {
        Self::of(parent(self.pid)?, self.trust)
    }

    /// A child that is a trusted master too.
    pub(super) fn child(&self, pid: i32) -> Option<Self> {
        Self::of(pid, self.trust)
    }

    /// The same process, if it is still a master; another one that has taken over its number may be.
    pub(super) fn seen_again(&self) -> Option<Self> {
        Self::of(self.pid, self.trust)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.seen_again().is_some()
    }

    /// Asks without sending anything.
    pub(super) fn may_signal(&self) -> Result<(), Problem> {
        self.send(None)
    }

    /// SIGHUP.
    pub(super) fn hang_up(&self) -> Result<(), Problem> {
        self.send(Some(Signal::SIGHUP))
    }

    fn send(&self, signal: Option<Signal>) -> Result<(), Problem> {
        self.signal(signal).map_err(|error| match error {
            Errno::EPERM => Problem::new(
                "may_not_signal",
                format!("this user may not signal nginx's master (process {})", self.pid),
                "run certhook as root or with the capability CAP_KILL, or use reload = [\"program\", …]",
            ),
            Errno::ESRCH => {
                Problem::new("not_running", "nginx is not running", "start nginx; certhook goes on by itself")
            }
            other => Problem::new(
                "signal",
                format!("nginx could not be signalled: {other}"),
                "see the system's log",
            ),
        })
    }
}

impl Master {
    /// Signals the process that was looked at, and no other that has its number now. Linux before 5.3 has no
    /// handle of a process; there the number has to do.
    #[cfg(target_os = "linux")]
    fn signal(&self, signal: Option<Signal>) -> nix::Result<()> {
        use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
        let errno = |error: rustix::io::Errno| Errno::from_raw(error.raw_os_error());
        let number = rustix::process::Pid::from_raw(self.pid).ok_or(Errno::ESRCH)?;
        let handle = match pidfd_open(number, PidfdFlags::empty()) {
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => None,
            handle => Some(handle.map_err(errno)?),
        };
        // What is behind the handle now stays behind it.
        if !self.is_alive() {
            return Err(Errno::ESRCH);
        }
        match (handle, signal) {
            (Some(handle), Some(signal)) => {
                let signal = rustix::process::Signal::from_named_raw(signal as i32).ok_or(Errno::EINVAL)?;
                pidfd_send_signal(handle, signal).map_err(errno)
            }
            (_, signal) => kill(Pid::from_raw(self.pid), signal),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn signal(&self, signal: Option<Signal>) -> nix::Result<()> {
        if self.is_alive() { kill(Pid::from_raw(self.pid), signal) } else { Err(Errno::ESRCH) }
    }
}

/// Whether a child has begun the life of a worker or helper; `false` for the first moments of an upgrade's
/// new master too, which end with another program.
pub(super) fn is_forked(pid: i32) -> bool {
    stat(pid, 6).is_some_and(|flags: u64| flags & FORKED_ONLY != 0)
}

fn child(pid: i32, trust: Trust) -> Option<Child> {
    let title = command_line(pid)?;
    Some(match Title::parse(&title) {
        // A worker has its master's title until it has one of its own.
        Some(_) if is_forked(pid) => Child::Worker,
        // A worker that somebody has taken over may call itself anything.
        Some(_) if Master::of(pid, trust).is_some() => Child::Master,
        Some(_) => Child::Other,
        None if title.contains(": worker process is shutting down") => Child::Draining,
        None if title.contains(": worker process") => Child::Worker,
        None => Child::Other,
    })
}

fn command_line(pid: i32) -> Option<String> {
    // Neither 0 nor a negative number is one process.
    let title = read(&format!("/proc/{pid}/cmdline")).ok().filter(|_| pid > 1)?;
    Some(title.replace('\0', " "))
}

/// The real, effective, saved and file system user of a process.
fn users(pid: i32) -> Option<[u32; 4]> {
    let status = read(&format!("/proc/{pid}/status")).ok().filter(|_| pid > 1)?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let numbers: Vec<u32> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    numbers.try_into().ok()
}

fn is_elsewhere(pid: i32) -> bool {
    namespaces(&pid.to_string()).len() > namespaces("self").len().max(1)
}

fn namespaces(process: &str) -> Vec<i32> {
    let status = read(&format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// How long ago it was started.
pub(super) fn age(pid: i32) -> Option<Duration> {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    let started = stat::<u64>(pid, 19)? * 1000 / u64::try_from(ticks).ok()?;
    let uptime = read("/proc/uptime").ok()?;
    let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_secs_f64(seconds).saturating_sub(Duration::from_millis(started)))
}

fn parent(pid: i32) -> Option<i32> {
    stat(pid, 1)
}

/// A field of `/proc/PID/stat`, counted from the process's state.
fn stat<T: std::str::FromStr>(pid: i32, field: usize) -> Option<T> {
    let stat = read(&format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; what follows it does not.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(field)?.parse().ok()
}

/// Reads a file below `/proc`, at most its first [`MAX_PROC_FILE`] bytes: a process may have a command line of
/// megabytes.
fn read(path: &str) -> std::io::Result<String> {
    const USUAL: usize = 4096;
    let mut bytes = Vec::with_capacity(USUAL);
    crate::platform::open_to_read(path.as_ref())?.take(MAX_PROC_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
