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
        return from_pid_file(path).filter(|master| master.likeness(found_by).is_some()).ok_or_else(|| {
            let message = format!("nginx is not running: {} does not name a master of it", path.display());
            Problem::new("not_running", message, "start nginx, or mend pid_file")
        });
    }
    let usual = found_by.config.is_none() && found_by.prefix.is_none();
    let from_file = || PID_FILES.iter().find_map(|path| from_pid_file(Path::new(path)));
    if let Some(master) = usual.then(from_file).flatten() {
        return Ok(master);
    }
    likest(found_by, &processes().filter_map(Master::of).collect::<Vec<_>>())
}

/// The one that was started with most of the options asked for, and with none of another value.
fn likest(found_by: &config::Nginx, running: &[Master]) -> Result<Master, Problem> {
    let most = running.iter().filter_map(|master| master.likeness(found_by)).max();
    let mut fitting = running.iter().filter(|master| most.is_some() && master.likeness(found_by) == most);
    match (fitting.next(), fitting.count()) {
        (Some(master), 0) => Ok(master.clone()),
        (Some(_), others) => Err(Problem::new(
            "several_masters",
            format!("{} masters of nginx are running", others + 1),
            "say which one with pid_file in its [server.…]",
        )),
        (None, _) if running.is_empty() => Err(Problem::new(
            "not_running",
            "nginx is not running",
            "start nginx; certhook goes on by itself",
        )),
        (None, _) => Err(Problem::new(
            "not_running",
            "nginx is running, but not with this configuration and prefix",
            "start it, or mend config and prefix in its [server.…]",
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

    /// How many of the options asked for it was started with; `None` if one has another value. One that it was
    /// not started with has a value that only nginx knows: it may be the right one.
    fn likeness(&self, found_by: &config::Nginx) -> Option<u8> {
        let base = self.option("-p").map(PathBuf::from).unwrap_or_default();
        let likeness = |wanted: &Option<PathBuf>, option: &str| match (wanted, self.option(option)) {
            (None, _) | (_, None) => Some(0),
            (Some(wanted), Some(given)) => same_file(&base.join(given), wanted).then_some(1),
        };
        Some(likeness(&found_by.config, "-c")? + likeness(&found_by.prefix, "-p")?)
    }

    /// `-c FILE` or `-cFILE`.
    fn option(&self, name: &str) -> Option<&str> {
        let at = self.words.iter().position(|word| word.starts_with(name))?;
        match &self.words[at][name.len()..] {
            "" => self.words.get(at + 1).map(String::as_str),
            joined => Some(joined),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn master(pid: i32, command: &str) -> Master {
        Master { pid, words: command.split_whitespace().map(str::to_owned).collect() }
    }

    #[test]
    fn the_master_that_was_started_so_is_found() {
        let debian = master(1, "/usr/sbin/nginx -g daemon on; master_process on;");
        let private = master(2, "nginx -p /srv/a -c conf/nginx.conf");
        let joined = master(3, "nginx -c/srv/b/nginx.conf");
        let asked = |config: &str| config::Nginx { config: Some(config.into()), ..Default::default() };
        let all = [debian.clone(), private.clone(), joined];
        let found =
            |config: &str, running: &[Master]| likest(&asked(config), running).map(|master| master.pid);
        assert_eq!(found("/srv/a/conf/nginx.conf", &all), Ok(2));
        assert_eq!(found("/srv/b/nginx.conf", &all), Ok(3));
        // Only nginx knows what it was built with.
        assert_eq!(found("/etc/nginx/nginx.conf", &all), Ok(1));
        let code = |config: &str, running: &[Master]| found(config, running).unwrap_err().code;
        assert_eq!(code("/etc/nginx/nginx.conf", std::slice::from_ref(&private)), "not_running");
        assert_eq!(code("/etc/nginx/nginx.conf", &[debian.clone(), debian.clone()]), "several_masters");
        assert_eq!(code("/etc/nginx/nginx.conf", &[]), "not_running");
        assert_eq!(debian.arguments(), ["-g", "daemon on; master_process on;"]);
        assert_eq!(private.arguments(), ["-p", "/srv/a", "-c", "conf/nginx.conf"]);
    }
}
