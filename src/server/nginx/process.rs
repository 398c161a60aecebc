//! An nginx master as a process: what its title tells, its children, its signals.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::title::Title;
use crate::problem::Problem;

/// The kernel's mark of a process that was forked and runs its parent's program still.
const FORKED_ONLY: u64 = 0x40;

/// A reload's last worker is started soon after its first; a child older than this is of no reload under way.
const YOUNG: Duration = Duration::from_millis(300);
/// Between two workers of one reload, on a busy machine.
const SETTLED: Duration = Duration::from_millis(25);
const MOST_SETTLING: Duration = Duration::from_millis(500);

/// A process that calls itself an nginx master.
#[derive(Debug, Clone)]
pub(super) struct Master {
    pub(super) pid: i32,
    pub(super) title: Title,
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

impl Master {
    pub(super) fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, title: Title::parse(&command_line(pid)?)? })
    }

    /// The program it runs, where that may be seen.
    pub(super) fn program(&self) -> Option<PathBuf> {
        let path = std::fs::read_link(format!("/proc/{}/exe", self.pid)).ok()?;
        // A package upgrade leaves the running program without a name.
        path.exists().then_some(path)
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

    /// Whether it runs in a container that certhook is not in.
    pub(super) fn is_elsewhere(&self) -> bool {
        namespaces(&self.pid.to_string()).len() > namespaces("self").len().max(1)
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
        self.children().into_iter().filter_map(|pid| Some((pid, child(pid)?))).collect()
    }

    /// The master whose child it is, during an upgrade.
    pub(super) fn parent(&self) -> Option<Self> {
        Self::of(parent(self.pid)?)
    }

    pub(super) fn is_alive(&self) -> bool {
        Self::of(self.pid).is_some()
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
        kill(Pid::from_raw(self.pid), signal).map_err(|error| match error {
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

/// Whether a child has begun the life of a worker or helper; `false` for the first moments of an upgrade's
/// new master too, which end with another program.
pub(super) fn is_forked(pid: i32) -> bool {
    stat(pid, 6).is_some_and(|flags: u64| flags & FORKED_ONLY != 0)
}

fn child(pid: i32) -> Option<Child> {
    let title = command_line(pid)?;
    Some(match Title::parse(&title) {
        // A worker has its master's title until it has one of its own.
        Some(_) if is_forked(pid) => Child::Worker,
        Some(_) => Child::Master,
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

fn namespaces(process: &str) -> Vec<i32> {
    let status = read(&format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// How long ago it was started.
fn age(pid: i32) -> Option<Duration> {
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

/// A file below `/proc`. They tell no size, and what does not know it reads them in many small pieces.
fn read(path: &str) -> std::io::Result<String> {
    const USUAL: usize = 4096;
    let mut file = std::fs::File::open(path)?;
    let mut bytes = vec![0; USUAL];
    let mut length = 0;
    loop {
        let read = match file.read(&mut bytes[length..]) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            bytes.truncate(length);
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        length += read;
        if length == bytes.len() {
            bytes.resize(length * 2, 0);
        }
    }
}
