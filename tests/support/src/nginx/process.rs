//! The processes of an nginx: finding them, and making sure that none outlives its test.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Kills the process group of the pid file and removes the folder when its input ends:
/// that happens however the test process dies, SIGKILL included.
const GUARD: &str =
    r#"read -r _; pid=$(cat "$1/nginx.pid" 2>/dev/null) && kill -s KILL -- "-$pid"; rm -rf "$1""#;

/// A shell that cleans up after a test that cannot.
pub(super) struct Guard(Child);

impl Guard {
    /// In a process group of its own, so that Ctrl-C in a terminal does not end it first.
    pub(super) fn set(prefix: &Path) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "certhook-test-guard"]).arg(prefix).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Self)
    }

    /// Lets it end; `wait` closes its input.
    pub(super) fn dismiss(&mut self) {
        let _ = self.0.wait();
    }
}

/// Asks every millisecond until there is an answer.
pub(super) fn poll<T>(timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if start.elapsed() >= timeout {
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A master and its workers are one process group, the master's: so are workers whose master is dead.
pub(super) fn kill_group(master: i32) {
    let _ = killpg(Pid::from_raw(master), Signal::SIGKILL);
}

/// Live processes of a master's group.
pub(super) fn group(master: i32) -> Vec<i32> {
    live().filter(|process| process.group == master).map(|process| process.pid).collect()
}

/// Workers of a master, and whether each is an old one that is shutting down.
pub(super) fn workers(master: i32) -> Vec<(i32, bool)> {
    let children = live().filter(|process| process.parent == master);
    children
        .filter_map(|process| {
            let title = fs::read(format!("/proc/{}/cmdline", process.pid)).ok()?;
            let title = String::from_utf8_lossy(&title).into_owned();
            title.starts_with("nginx: worker process").then(|| (process.pid, title.contains("shutting down")))
        })
        .collect()
}

struct Process {
    pid: i32,
    parent: i32,
    group: i32,
}

/// Every process but the dead that nobody has waited for.
fn live() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The program's name stands in brackets and may itself have brackets and blanks.
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?;
        let process =
            Process { pid, parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? };
        (state != "Z" && state != "X").then_some(process)
    })
}
