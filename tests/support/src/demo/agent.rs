//! The program that is played with, and its agent, which ends with the demo.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::Stop;

/// How long the agent may take to end: it lets a request that is under way come to its answer.
const FAREWELL: Duration = Duration::from_secs(15);

/// The program with its configuration.
pub(super) struct Certhook {
    program: PathBuf,
    config: PathBuf,
}

impl Certhook {
    pub(super) fn new(program: &Path, config: PathBuf) -> Self {
        Self { program: program.to_owned(), config }
    }

    /// In a process group of its own, so that Ctrl-C in a terminal reaches the demo alone, and without the
    /// proxies that this machine may have.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.arg("--config").arg(&self.config).args(arguments);
        command.process_group(0).stdin(Stdio::null());
        command
    }

    /// What a command prints, and whether it ended with 0.
    pub(super) fn text(&self, arguments: &[&str]) -> Result<(String, bool), Stop> {
        let output = self.command(arguments).output().map_err(|error| self.not_run(&error))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.is_empty() {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Stop::Failed(format!(
                "certhook {}: {}: {words}",
                arguments.join(" "),
                output.status
            )));
        }
        Ok((text, output.status.success()))
    }

    /// What a command prints, parsed.
    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value, Stop> {
        let (text, _) = self.text(arguments)?;
        serde_json::from_str(&text).map_err(|error| Stop::Failed(format!("{arguments:?}: {error}: {text}")))
    }

    fn not_run(&self, error: &io::Error) -> Stop {
        Stop::Failed(format!("{}: {error}", self.program.display()))
    }
}

/// Whether the agent answers and has nothing to do.
pub(super) fn is_at_rest(status: &Value) -> bool {
    let sites = status["sites"].as_array();
    let all_current = sites.is_some_and(|sites| sites.iter().all(|site| site["state"] == "current"));
    status["agent"]["running"] == true && all_current
}

/// A running agent. Dropping it ends it.
pub(super) struct Agent {
    child: Child,
    pid_file: PathBuf,
}

impl Agent {
    /// `folder` is the guard's.
    pub(super) fn start(certhook: &Certhook, folder: &Path, log: &Path) -> Result<Self, Stop> {
        let log = File::create(log)?;
        let mut command = certhook.command(&["run"]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn();
        let agent =
            Self { child: child.map_err(|error| certhook.not_run(&error))?, pid_file: pid_file(folder) };
        fs::write(&agent.pid_file, agent.pid().to_string())?;
        Ok(agent)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error when it has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), Stop> {
        match self.child.try_wait()? {
            Some(status) => Err(Stop::Failed(format!("certhook run has ended: {status}"))),
            None => Ok(()),
        }
    }

    /// Ends it as a service manager does.
    pub(super) fn end(mut self) -> Result<(), Stop> {
        match self.stop()? {
            status if status.success() => Ok(()),
            status => Err(Stop::Failed(format!("certhook run did not end well: {status}"))),
        }
    }

    fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let _ = fs::remove_file(&self.pid_file);
        // Not waited for yet, so the number is still its own.
        let pid = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        let until = Instant::now() + FAREWELL;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Whatever goes wrong here, the guard is left.
        let _ = self.stop();
    }
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("certhook.pid")
}

/// Kills the agent of the pid file and removes the folder when its input ends: that happens however the demo
/// dies, SIGKILL included.
const GUARD: &str =
    r#"read -r _; pid=$(cat "$1/certhook.pid" 2>/dev/null) && kill -s KILL "$pid"; rm -rf "$1""#;

/// A shell that cleans up after a demo that cannot. To be dropped when there is nothing left for it to do.
pub(super) struct Guard(Child);

impl Guard {
    pub(super) fn set(folder: &Path) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "certhook-demo-guard"]).arg(folder).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Self)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Waiting closes its input.
        let _ = self.0.wait();
    }
}
