//! One reload: what was there before, what was said since, and what became of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::find::Masters;
use super::journal::Journal;
use super::log::ErrorLogs;
use super::namespaces::Files;
use super::process::{Child, Master, is_forked};
use super::{Command, Nginx, instance, words};
use crate::config::Reload;
use crate::discover::Log;
use crate::problem::{Problem, printable};
use crate::server::{Loaded, Refusal};

/// After an `[emerg]` line nginx may still go on (it tries to bind several times).
const AFTER_EMERGENCY: Duration = Duration::from_millis(50);
/// The journal is asked by a program of its own: not before so long, then ever less often.
const FIRST_JOURNAL: Duration = Duration::from_secs(1);
/// Between looks for a master that took another's place.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// What is watched from just before nginx is told.
pub(super) struct Attempt {
    masters: Masters,
    /// The new master's children before.
    before: BTreeSet<i32>,
    errors: ErrorLogs,
    /// The first of its error logs that is in another root.
    unshared: Option<PathBuf>,
    /// Where errors go that no file has.
    journal: Option<Journal>,
    begun: Instant,
}

impl Attempt {
    /// From here on everything counts. Blocking.
    pub(super) fn begin(nginx: &Nginx, masters: Masters) -> Self {
        masters.newest.settle();
        let configured = nginx.logs();
        let mut paths: Vec<PathBuf> = vec![masters.newest.standard_error()];
        let build = nginx.build(Some(&masters.newest));
        if let Ok(instance) = nginx.instance(Some(&masters.newest)) {
            paths.extend(instance::first_log(&masters.newest, build.as_ref(), &instance.prefix));
        }
        paths.extend(configured.iter().filter_map(|log| match log {
            Log::File(path) => Some(path.clone()),
            Log::Stderr | Log::Syslog | Log::Other(_) => None,
        }));
        let unshared = leave_unshared(&mut paths, &nginx.files(&masters.newest));
        let pids: Vec<i32> = masters.newest.names();
        // What a command starts writes for itself.
        let by_signal = nginx.told_by == Reload::Signal;
        let unit = (!by_signal || nginx.found_by.unit.is_some()).then(|| nginx.unit(Some(&masters.newest)));
        let errors = ErrorLogs::open(paths.iter().map(PathBuf::as_path), by_signal.then(|| pids.clone()));
        let elsewhere = configured.iter().any(|log| matches!(log, Log::Stderr | Log::Syslog));
        let journal = (elsewhere || errors.is_blind() || !by_signal).then(|| Journal::from_now(pids, unit));
        let before = masters.newest.children().into_iter().collect();
        Self { masters, before, errors, unshared, journal, begun: Instant::now() }
    }

    /// Tells nginx by its signal. Blocking.
    pub(super) fn hang_up(self) -> Result<Self, Refusal> {
        self.masters.newest.hang_up()?;
        Ok(self)
    }

    /// Tells nginx by its command, unless the signal did, and waits for what comes of it.
    pub(super) async fn run(mut self, nginx: &Nginx, server: &str) -> Result<Loaded, Refusal> {
        let command = match &nginx.told_by {
            Reload::Signal => None,
            Reload::Command(argv) => Some(Command::new(argv, nginx.patience)),
            Reload::Systemd => Some(nginx.systemd_command(Some(&self.masters.newest))),
        };
        if let Some(command) = command {
            self.command(&command, server).await?;
        }
        crate::crash::point("reload-signalled");
        self.watch(nginx).await
    }

    /// A command that fails is told with nginx's own words where there are any.
    async fn command(&mut self, command: &Command, server: &str) -> Result<(), Refusal> {
        let ended = command.output().await?;
        let Err(problem) = command.judge(server, &ended) else { return Ok(()) };
        let mut said = words::emergencies(&ended.output, None);
        for pause in [0, 300, 1000] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            said.extend_from_slice(self.errors.emergencies());
            if let (Some(journal), true) = (&self.journal, said.is_empty()) {
                said.extend(journal.emergencies().await);
            }
            if !said.is_empty() || self.journal.is_none() {
                break;
            }
        }
        said.dedup();
        if said.is_empty() {
            return Err(problem.into());
        }
        let refusal = words::refusal(&said);
        let message = format!("{} ({})", refusal.message, problem.message);
        Err(Refusal::of(Problem { message, ..refusal }, &said))
    }

    async fn watch(mut self, nginx: &Nginx) -> Result<Loaded, Refusal> {
        let told = Instant::now();
        let mut refused: Option<Instant> = None;
        let mut next_journal = FIRST_JOURNAL;
        loop {
            let children = self.masters.newest.children();
            if children.iter().any(|child| !self.before.contains(child) && is_forked(*child)) {
                return Ok(self.loaded());
            }
            if refused.is_none() && !self.errors.emergencies().is_empty() {
                refused = Some(Instant::now());
            }
            if refused.is_some_and(|since| since.elapsed() >= AFTER_EMERGENCY) {
                let said = self.errors.emergencies();
                return Err(Refusal::of(words::refusal(said), said));
            }
            if !self.masters.newest.is_alive() {
                return self.replaced(nginx, told).await;
            }
            if let Some(journal) = self.journal.as_ref().filter(|_| told.elapsed() >= next_journal) {
                let said = journal.emergencies().await;
                if !said.is_empty() {
                    return Err(Refusal::of(words::refusal(&said), &said));
                }
                next_journal = told.elapsed() * 2;
            }
            if told.elapsed() >= nginx.patience {
                return Err(self.nothing(nginx).await);
            }
            // Fine while a small configuration loads, coarser for a large one.
            let pause = (told.elapsed() / 50).clamp(Duration::from_millis(1), Duration::from_millis(20));
            tokio::time::sleep(pause).await;
        }
    }

    /// The master is gone: a command may have started nginx anew.
    async fn replaced(self, nginx: &Nginx, told: Instant) -> Result<Loaded, Refusal> {
        while nginx.told_by != Reload::Signal && told.elapsed() < nginx.patience {
            if nginx.off_the_loop(|nginx| nginx.find().is_ok()).await {
                return Ok(Loaded { took: self.begun.elapsed(), draining: 0, before: self.before });
            }
            tokio::time::sleep(RESTART_PAUSE).await;
        }
        let words = "nginx ended during the reload";
        Err(Problem::new("not_running", words, "start nginx; certhook goes on by itself").into())
    }

    /// No new workers, and no word of why.
    async fn nothing(&self, nginx: &Nginx) -> Refusal {
        // A test that cannot be run says nothing.
        let said = nginx.test(&self.masters.newest).await.unwrap_or_default().words;
        let seconds = nginx.patience.as_secs();
        if said.is_empty() {
            let message = format!("nginx started no new workers within {seconds} s of being told to reload");
            let blind = match &self.unshared {
                Some(path) => {
                    let path = printable(&path.display().to_string(), 200);
                    format!(
                        ", and its error log is not read: {path} is another file in its container or chroot"
                    )
                }
                None if self.errors.is_blind() => ", and none of its error logs can be read".to_owned(),
                None => String::new(),
            };
            return Problem::new("not_loaded", format!("{message}{blind}"), "see nginx's error log").into();
        }
        let refusal = words::refusal(&said);
        let test = "by its own configuration test, which may see it otherwise than the master did";
        Refusal::of(Problem { message: format!("{} ({test})", refusal.message), ..refusal }, &said)
    }

    fn loaded(self) -> Loaded {
        let family = self.masters.all().flat_map(Master::family);
        let draining = family.filter(|(_, child)| *child == Child::Draining).count();
        Loaded { took: self.begun.elapsed(), draining, before: self.before }
    }
}

/// Leaves out the logs that are other files to nginx than to certhook, which must not be taken for its own. The first
/// of them. Its standard error, which comes first, is opened by way of the process.
fn leave_unshared(paths: &mut Vec<PathBuf>, files: &Files) -> Option<PathBuf> {
    let configured = paths.split_off(1);
    let (shared, others): (Vec<_>, Vec<_>) = configured.into_iter().partition(|path| files.are_shared(path));
    paths.extend(shared);
    let first = others.into_iter().next();
    if let Some(path) = &first {
        tracing::warn!(path = %path.display(), "nginx's error log is in another root, and not read");
    }
    first
}
