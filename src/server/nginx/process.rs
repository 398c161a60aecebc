//! nginx's master among the processes of the host.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::config;
use crate::problem::Problem;

/// Where packages of nginx and its relatives put the master's pid.
const PID_FILES: [&str; 6] = [
    "/run/nginx.pid",
    "/run/angie.pid",
    "/run/freenginx.pid",
    "/usr/local/nginx/logs/nginx.pid",
    "/usr/local/openresty/nginx/logs/nginx.pid",
    "/var/run/nginx/nginx.pid",
];

/// A process that calls itself an nginx master.
#[derive(Debug, Clone)]
pub(super) struct Master {
    pid: i32,
    /// Its command line, as its title repeats it.
    words: Vec<String>,
}

/// The master of this configuration's instance.
pub(super) fn find(found_by: &config::Nginx) -> Result<Master, Problem> {
    if let Some(path) = &found_by.pid_file {
        return from_pid_file(path).filter(|master| master.fits(found_by)).ok_or_else(|| {
            let message = format!("nginx is not running: {} does not name a master of it", path.display());
            Problem::new("not_running", message, "start nginx, or mend pid_file")
        });
    }
    let in_prefix = found_by.prefix.iter().map(|prefix| prefix.join("logs/nginx.pid"));
    let usual = PID_FILES.iter().map(PathBuf::from);
    let from_files =
        in_prefix.chain(usual).find_map(|path| from_pid_file(&path).filter(|master| master.fits(found_by)));
    if let Some(master) = from_files {
        return Ok(master);
    }
    let mut running =
        processes().filter_map(Master::of).filter(|master| master.fits(found_by)).collect::<Vec<_>>();
    match (running.pop(), running.len()) {
        (Some(master), 0) => Ok(master),
        (None, _) => Err(Problem::new(
            "not_running",
            "nginx is not running",
            "start nginx; certhook goes on by itself",
        )),
        (Some(_), others) => Err(Problem::new(
            "several_masters",
            format!("{} masters of nginx are running", others + 1),
            "say which one with pid_file in its [server.…]",
        )),
    }
}

fn from_pid_file(path: &Path) -> Option<Master> {
    let text = std::fs::read_to_string(path).ok()?;
    Master::of(text.trim().parse().ok()?)
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

impl Master {
    fn of(pid: i32) -> Option<Self> {
        // Neither 0 nor a negative number is one process.
        let title = std::fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|_| pid > 1)?;
        let title = String::from_utf8_lossy(&title).replace('\0', " ");
        let (program, command) = title.split_once(": master process ")?;
        let known = ["nginx", "angie", "freenginx"].contains(&program);
        known.then(|| Self { pid, words: command.split_whitespace().map(str::to_owned).collect() })
    }

    /// Whether it was started with the configuration and prefix that are asked for.
    fn fits(&self, found_by: &config::Nginx) -> bool {
        let same = |wanted: &Option<PathBuf>, option: &str| match wanted {
            Some(wanted) => self.option(option).is_some_and(|given| same_file(Path::new(given), wanted)),
            None => true,
        };
        same(&found_by.config, "-c") && same(&found_by.prefix, "-p")
    }

    fn option(&self, name: &str) -> Option<&str> {
        let at = self.words.iter().position(|word| word == name)?;
        self.words.get(at + 1).map(String::as_str)
    }

    /// The options that its configuration test needs.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut found = Vec::new();
        for name in ["-p", "-c", "-e"] {
            found.extend(
                self.option(name).map(|value| [name.to_owned(), value.to_owned()]).into_iter().flatten(),
            );
        }
        // The title has lost the quotes around what follows -g; it ends where another option begins.
        if let Some(at) = self.words.iter().position(|word| word == "-g") {
            let rest =
                self.words[at + 1..].iter().take_while(|word| !["-p", "-c", "-e"].contains(&word.as_str()));
            found.extend(["-g".to_owned(), rest.cloned().collect::<Vec<_>>().join(" ")]);
        }
        found
    }

    /// The program it runs, where that may be seen.
    pub(super) fn binary(&self) -> Option<PathBuf> {
        let path = std::fs::read_link(format!("/proc/{}/exe", self.pid)).ok()?;
        // A package upgrade leaves the running program without a name.
        path.exists().then_some(path)
    }

    /// The file behind its standard error.
    pub(super) fn standard_error(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/2", self.pid))
    }

    /// Its workers and helpers, old and new.
    pub(super) fn children(&self) -> Vec<i32> {
        let listed = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid));
        match listed {
            Ok(list) => list.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
            // A kernel without that file.
            Err(_) => processes().filter(|pid| parent(*pid) == Some(self.pid)).collect(),
        }
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

fn same_file(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    a == b || real(a) == real(b)
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; what follows it does not.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}
