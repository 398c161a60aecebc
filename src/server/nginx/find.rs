//! Which of the host's masters is meant.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::process::{Child, Master, Trust, is_forked, processes};
use super::systemd;
use crate::config;
use crate::files;
use crate::problem::Problem;

/// Where packages of nginx and its relatives put the master's pid.
const PID_FILES: [&str; 9] = [
    "/run/nginx.pid",
    "/run/angie.pid",
    "/run/angie/angie.pid",
    "/run/freenginx.pid",
    "/usr/local/nginx/logs/nginx.pid",
    "/usr/local/openresty/nginx/logs/nginx.pid",
    "/usr/local/tengine/logs/nginx.pid",
    "/usr/local/angie/logs/angie.pid",
    "/var/run/nginx/nginx.pid",
];

/// The master of one instance; two while its program is being upgraded.
#[derive(Debug, Clone)]
pub(super) struct Masters {
    /// Of the newest program.
    pub(super) newest: Master,
    /// Of the program that is being replaced, as long as it is there.
    pub(super) older: Option<Master>,
}

/// What systemd said last. It is asked again when that is no master any more.
#[derive(Debug, Default)]
pub(super) struct MainPid(Mutex<Option<i32>>);

impl Masters {
    pub(super) fn around(found: Master) -> Self {
        let child = found.family().into_iter().find(|(_, child)| *child == Child::Master);
        if let Some(newest) = child.and_then(|(pid, _)| found.child(pid)) {
            return Self { newest, older: Some(found) };
        }
        Self { older: found.parent(), newest: found }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Master> {
        [&self.newest].into_iter().chain(&self.older)
    }

    /// The master of the replaced program, if workers of it still take connections. They keep what they loaded,
    /// and it cannot be told: while there is a newer master, nginx takes a SIGHUP to the older one as the wish
    /// to have its workers back, and starts more of them with the old configuration.
    pub(super) fn holdout(&self) -> Option<&Master> {
        let serves = |older: &&Master| older.family().iter().any(|(_, child)| *child == Child::Worker);
        self.older.as_ref().filter(serves)
    }
}

/// The masters of this configuration's instance. May run `systemctl` for a moment.
///
/// `named` are pid files that nginx's own configuration names; they are asked for only where it must be told
/// which of several masters is meant.
pub(super) fn find(
    found_by: &config::Nginx,
    trust: Trust,
    main_pid: &MainPid,
    named: impl FnOnce() -> Vec<PathBuf>,
) -> Result<Masters, Problem> {
    let fits = |master: &Master| likeness(master, found_by).is_some();
    if let Some(path) = &found_by.pid_file {
        let found = from_pid_file(path, trust).filter(fits).ok_or_else(|| {
            let message = format!("nginx is not running: {} does not name a master of it", path.display());
            Problem::new("not_running", message, "start nginx, or mend pid_file")
        });
        return found.map(Masters::around);
    }
    if let Some(unit) = &found_by.unit {
        return main_pid.of(unit, trust).map(Masters::around);
    }
    let usual = found_by.config.is_none() && found_by.prefix.is_none();
    let from_file = || PID_FILES.iter().find_map(|path| from_pid_file(Path::new(path), trust));
    if let Some(master) = usual.then(from_file).flatten() {
        return Ok(Masters::around(master));
    }
    let running = running(trust);
    let found = likest(found_by, &running).or_else(|problem| {
        let from_named = || named().iter().find_map(|path| from_pid_file(path, trust).filter(fits));
        (problem.code == "several_masters").then(from_named).flatten().ok_or(problem)
    });
    found.map(Masters::around)
}

impl MainPid {
    fn of(&self, unit: &str, trust: Trust) -> Result<Master, Problem> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(master) = known.and_then(|pid| Master::of(pid, trust)) {
            return Ok(master);
        }
        let pid = systemd::main_pid(unit);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pid;
        pid.and_then(|pid| Master::of(pid, trust)).ok_or_else(|| {
            let message = format!("nginx is not running: systemd knows of no master of it in {unit}");
            Problem::new("not_running", message, "start nginx, or mend unit")
        })
    }
}

/// Those of containers count only where there are no others; a master that another is upgraded to does not
/// count beside it, and neither does a worker that has no title of its own yet.
pub(super) fn running(trust: Trust) -> Vec<Master> {
    let mut all: Vec<Master> = processes().filter_map(|pid| Master::of(pid, trust)).collect();
    let pids: Vec<i32> = all.iter().map(|master| master.pid).collect();
    all.retain(|master| master.parent().is_none_or(|parent| !pids.contains(&parent.pid)));
    if all.iter().any(|master| !master.is_elsewhere()) {
        all.retain(|master| !master.is_elsewhere());
    }
    all
}

/// The one that was started with most of the options asked for, and with none of another value.
fn likest(found_by: &config::Nginx, running: &[Master]) -> Result<Master, Problem> {
    let most = running.iter().filter_map(|master| likeness(master, found_by)).max();
    let mut fitting = running.iter().filter(|master| most.is_some() && likeness(master, found_by) == most);
    match (fitting.next(), fitting.count()) {
        (Some(master), 0) => Ok(master.clone()),
        (Some(_), others) => Err(Problem::new(
            "several_masters",
            format!("{} masters of nginx are running", others + 1),
            "say which one with unit or pid_file in its [server.…]",
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

fn from_pid_file(path: &Path, trust: Trust) -> Option<Master> {
    /// A number and the end of its line.
    const MAX_PID_FILE: u64 = 64;
    let content = files::read_beside_writers(path, MAX_PID_FILE).ok()?;
    let text = std::str::from_utf8(&content.bytes).ok()?;
    let master = Master::of(text.trim().parse().ok()?, trust)?;
    // A worker may have been given the number of a master that is gone.
    let young_worker = is_forked(master.pid) && master.parent().is_some();
    (!young_worker).then_some(master)
}

/// How many of the options asked for it was started with; `None` if one has another value. One that it was
/// not started with has a value that only nginx knows: it may be the right one.
fn likeness(master: &Master, found_by: &config::Nginx) -> Option<u8> {
    let base = master.title.option("-p").map(PathBuf::from).unwrap_or_default();
    let likeness = |wanted: &Option<PathBuf>, option: &str| match (wanted, master.title.option(option)) {
        (None, _) | (_, None) => Some(0),
        (Some(wanted), Some(given)) => same_file(&base.join(given), wanted).then_some(1),
    };
    Some(likeness(&found_by.config, "-c")? + likeness(&found_by.prefix, "-p")?)
}

fn same_file(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    a == b || real(a) == real(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(pid: i32, command: &str) -> Master {
        Master::with_title(pid, &format!("nginx: master process {command}"))
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
        assert_eq!(code("/etc/nginx/nginx.conf", &[debian.clone(), debian]), "several_masters");
        assert_eq!(code("/etc/nginx/nginx.conf", &[]), "not_running");
    }
}
