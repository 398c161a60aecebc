//! nginx: find its master, make sure it is one, tell it to reload, watch for new workers.
//!
//! A reload that fails leaves the old workers and writes `[emerg]` lines to the error log, and `kill`
//! returned 0 all the same. New children of the master are the quickest sign that it loaded; only the
//! wire is proof.

mod ask;
mod attempt;
mod blocked;
mod build;
mod find;
mod instance;
mod journal;
mod life;
mod log;
mod namespaces;
mod process;
mod systemd;
mod title;
mod words;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::command::Command;
use super::{Loaded, Refusal, Workers};
use crate::agent::{Accepting, Worker};
use crate::config::{self, Ask, Reload};
use crate::discover::{self, Found, Log, Opened};
use crate::platform::{self, Signature};
use crate::problem::{Problem, printable};
use ask::Rights;
use attempt::Attempt;
use blocked::{Blocked, Look};
use build::Build;
use find::Masters;
use namespaces::{Files, Network};
use process::{Child, Master, Trust, User};

/// One nginx instance.
#[derive(Debug, Clone)]
pub(super) struct Nginx {
    found_by: config::Nginx,
    told_by: Reload,
    patience: Duration,
    known: Arc<Known>,
}

/// What was found out and need not be asked again.
#[derive(Debug, Default)]
struct Known {
    builds: build::Builds,
    main_pid: find::MainPid,
    /// The number of the user that the configuration names.
    user: OnceLock<u32>,
    /// What matters of the configuration that was read last.
    configuration: Mutex<Option<Configuration>>,
    /// The master that was found last.
    master: Mutex<Option<i32>>,
    /// How it was started when it was seen last.
    instance: Mutex<Option<discover::Instance>>,
    /// What a master's paths mean, as it was when the configuration was read.
    files: Mutex<Option<(i32, Arc<Files>)>>,
}

/// What a reload needs to know of nginx's configuration.
#[derive(Debug, Clone)]
struct Configuration {
    logs: Vec<Log>,
    opened: Arc<Vec<Opened>>,
    /// Its files as they were, to see that they are still the same.
    files: Arc<Vec<(PathBuf, Option<Signature>)>>,
}

/// nginx reads its configuration before it starts workers, and clocks are coarse.
const LOADING: Duration = Duration::from_secs(1);

impl Nginx {
    pub(super) fn new(found_by: config::Nginx, told_by: Reload, patience: Duration) -> Self {
        Self { found_by, told_by, patience, known: Arc::default() }
    }

    /// Tells it to reload, and waits for new workers.
    pub(super) async fn reload(&self, server: &str) -> Result<Loaded, Refusal> {
        if self.found_by.pre_check {
            // The test would wait as the master would.
            self.off_the_loop(Self::not_blocked).await?;
        }
        if self.found_by.pre_check
            && let Ok(masters) = self.off_the_loop(Self::find).await
        {
            self.test(&masters.newest).await?.refused()?;
        }
        match self.off_the_loop(Self::begin).await {
            Ok(attempt) => attempt?.run(self, server).await,
            Err(problem) => self.reload_unseen(server, problem).await,
        }
    }

    /// From finding it to the signal, where that is how it is told, without another thread's turn in between.
    /// Blocking.
    fn begin(&self) -> Result<Result<Attempt, Refusal>, Problem> {
        // The look goes on beside the rest: the signal waits for both.
        let look = self.look();
        let attempt = Attempt::begin(self, self.find()?);
        Ok(judge(look).and_then(|()| match self.told_by {
            Reload::Signal => attempt.hang_up(),
            _ => Ok(attempt),
        }))
    }

    /// Begins a look at the files that its configuration names.
    fn look(&self) -> Look {
        let nginx = self.clone();
        Look::begin(move || {
            nginx.configuration().map(|configuration| configuration.opened).unwrap_or_default()
        })
    }

    /// Blocking.
    fn not_blocked(&self) -> Result<(), Refusal> {
        judge(self.look())
    }

    /// What the paths of a master mean. Blocking, unless that master's configuration was read.
    fn files(&self, master: &Master) -> Arc<Files> {
        let known = self.known.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some((pid, files)) if pid == master.pid => files,
            _ => Arc::new(Files::of(master.pid)),
        }
    }

    /// Whether nginx would wait for ever for a file. Blocking.
    pub(super) fn is_blocked(&self) -> bool {
        self.not_blocked().is_err()
    }

    /// What its configuration serves. Blocking.
    pub(super) fn discover(&self) -> Result<Found, Problem> {
        let known = || self.known.instance.lock().unwrap_or_else(PoisonError::into_inner);
        let mut elsewhere = None;
        let instance = match self.find() {
            Ok(masters) => {
                let instance = self.instance(Some(&masters.newest))?;
                let files = Arc::new(Files::of(masters.newest.pid));
                *self.known.files.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((masters.newest.pid, Arc::clone(&files)));
                if self.found_by.config.is_none() && !files.are_shared(&instance.config) {
                    return Err(instance::other_root(&masters.newest, &instance.config));
                }
                elsewhere = (!files.are_shared(&instance.config)).then_some((masters.newest, files));
                *known() = Some(instance.clone());
                instance
            }
            // What it will read when it is started, as it was before.
            Err(problem) if problem.code == "not_running" => {
                let before = known().clone();
                before.map_or_else(|| self.instance(None), Ok)?
            }
            Err(problem) => return Err(problem),
        };
        let mut found = discover::nginx(&instance);
        if let Some((master, files)) = &elsewhere {
            instance::keep_shared(&mut found, master, files, &instance.config)?;
        }
        let files = found.files.iter().map(|path| (path.clone(), platform::signature(path)));
        let configuration = Configuration {
            logs: found.error_logs.clone(),
            opened: Arc::new(found.opened.clone()),
            files: Arc::new(files.collect()),
        };
        *self.known.configuration.lock().unwrap_or_else(PoisonError::into_inner) = Some(configuration);
        Ok(found)
    }

    /// Why an address that its configuration names is not asked now: it is not of the network that it listens in.
    /// Blocking, for a few reads below `/proc`.
    pub(super) fn not_here(&self, asks: &[Ask]) -> Vec<Option<Problem>> {
        let pid = *self.known.master.lock().unwrap_or_else(PoisonError::into_inner);
        let network = Network::of(pid.filter(|pid| Master::of(*pid, self.trust()).is_some()));
        asks.iter().map(|ask| instance::not_here(&network, &ask.endpoint)).collect()
    }

    /// Whether it ran when it was looked for last.
    pub(super) fn was_running(&self) -> bool {
        self.known.master.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Those that serve, and how many end their last connections.
    pub(super) fn workers(&self) -> Option<Workers> {
        let masters = self.masters()?;
        let mut workers = Workers::default();
        for (pid, child) in masters.all().flat_map(Master::family) {
            match child {
                Child::Worker => drop(workers.serving.insert(pid)),
                Child::Draining => workers.draining += 1,
                Child::Master | Child::Other => {}
            }
        }
        Some(workers)
    }

    /// The workers that accept connections, those of a master that is being upgraded too. Blocking.
    pub(super) fn accepting(&self) -> Accepting {
        let Some(masters) = self.masters() else { return Accepting::Unseen };
        let workers = masters.all().flat_map(Master::family).filter(|(_, child)| *child == Child::Worker);
        // One that has no age has just ended.
        Accepting::Workers(
            workers.filter_map(|(pid, _)| Some(Worker { pid, age: process::age(pid)? })).collect(),
        )
    }

    /// Whether every worker that accepts was started after its configuration was last written. Blocking.
    pub(super) fn has_loaded_its_configuration(&self) -> bool {
        let Accepting::Workers(workers) = self.accepting() else { return false };
        let Some(oldest) = workers.iter().map(|worker| worker.age).max() else { return false };
        let Some(configuration) = self.configuration() else { return false };
        let is_older = |(_, signature): &(PathBuf, Option<Signature>)| {
            let age = signature.as_ref().and_then(Signature::age);
            age.is_some_and(|age| age > oldest + LOADING)
        };
        !configuration.files.is_empty() && configuration.files.iter().all(is_older)
    }

    /// Whether it keeps what it loaded over a reload where the file looks unchanged. Blocking.
    pub(super) fn keeps_unchanged(&self) -> bool {
        let masters = self.masters();
        let master = masters.as_ref().map(|masters| &masters.newest);
        self.build(master).is_some_and(|build| build.keeps_unchanged())
    }

    /// What stands in the way of a reload. Blocking.
    pub(super) fn obstacles(&self) -> Vec<Problem> {
        let found = self.find();
        let masters = found.as_ref().ok();
        let mut obstacles = match &self.told_by {
            Reload::Signal => found.as_ref().map_or_else(
                |problem| vec![problem.clone()],
                |masters| masters.newest.may_signal().err().into_iter().collect(),
            ),
            // A command may reach one that is not to be seen here.
            Reload::Command(argv) => Command::new(argv, self.patience).obstacles(),
            Reload::Systemd => self.systemd_command(masters.map(|masters| &masters.newest)).obstacles(),
        };
        obstacles.extend(masters.and_then(Masters::holdout).map(upgrading));
        obstacles.extend(self.unknown_user());
        let program = instance::program(&self.found_by, masters.map(|masters| &masters.newest));
        obstacles.extend(program.err().as_ref().map(instance::untrusted_program));
        obstacles
    }

    /// What an administrator may want to know of and what changes nothing. Blocking.
    pub(super) fn notes(&self) -> Vec<Problem> {
        let master = self.find().ok().map(|masters| masters.newest);
        let unknown = master.and_then(|master| {
            let called = master.title.program().filter(|called| called.starts_with('/'))?.to_owned();
            let known = !matches!(instance::program(&self.found_by, Some(&master)), Ok(None));
            (!known && !master.is_elsewhere()).then_some(called)
        });
        let unknown = unknown.map(|called| {
            let called = printable(&called, 200);
            Problem::new(
                "unknown_program",
                format!("nginx runs {called}, which certhook does not execute: its version and paths are not known"),
                format!("write binary = {called:?} in its [server.…], if that is so"),
            )
        });
        self.untrusted().into_iter().chain(unknown).collect()
    }

    /// The processes that call themselves its masters and are not trusted, in words.
    fn untrusted(&self) -> Option<Problem> {
        let found = process::untrusted(self.trust());
        let first = found.first()?;
        let (real, effective) = first.users;
        let user =
            if real == effective { format!("user {real}") } else { format!("users {real} and {effective}") };
        let more = match found.len() {
            1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        Some(Problem::new(
            "untrusted_process",
            format!("process {} of {user}{more} calls itself an nginx master and is not trusted", first.pid),
            format!(
                "see what it is: ps -fp {}; if it is nginx, name its user with user in its [server.…]",
                first.pid
            ),
        ))
    }

    /// Why the old certificate may be served after a reload that ended well. A few reads below `/proc`.
    pub(super) fn upgrading(&self) -> Option<Problem> {
        self.masters()?.holdout().map(upgrading)
    }

    /// Whose masters are trusted. Asks the system for the number of the configured user, until it has one.
    fn trust(&self) -> Trust {
        if let (None, Some(name)) = (self.known.user.get(), &self.found_by.user)
            && let Some((user, _)) = crate::platform::owner(name)
        {
            let _ = self.known.user.set(user);
        }
        Trust::new(self.known.user.get().copied())
    }

    fn unknown_user(&self) -> Option<Problem> {
        let name = self.found_by.user.as_ref()?;
        self.trust();
        self.known.user.get().is_none().then(|| {
            let message = format!("user = {name:?}: this host has no such user");
            Problem::new("unknown_user", message, "name the user that nginx's master runs as")
        })
    }

    fn find(&self) -> Result<Masters, Problem> {
        let named = || {
            let build = self.build(None);
            let built_in = build.as_ref().map(|build| build.prefix.join(&build.pid_file));
            let found = self.instance(None).ok().map(|instance| discover::nginx(&instance));
            found.and_then(|found| found.pid_file).into_iter().chain(built_in).collect::<Vec<PathBuf>>()
        };
        let found = find::find(&self.found_by, self.trust(), &self.known.main_pid, named);
        let pid = found.as_ref().ok().map(|masters| masters.newest.pid);
        *self.known.master.lock().unwrap_or_else(PoisonError::into_inner) = pid;
        found
    }

    /// The masters that were found last while they run, else those that are found now.
    fn masters(&self) -> Option<Masters> {
        self.last_masters().or_else(|| self.find().ok())
    }

    /// A look at few processes. Where a file says which it is, that may have changed.
    fn last_masters(&self) -> Option<Masters> {
        let pid = *self.known.master.lock().unwrap_or_else(PoisonError::into_inner);
        let trust = self.trust();
        let master =
            pid.filter(|_| self.found_by.pid_file.is_none()).and_then(|pid| Master::of(pid, trust))?;
        Some(Masters::around(master))
    }

    fn instance(&self, master: Option<&Master>) -> Result<discover::Instance, Problem> {
        instance::instance(&self.found_by, master, self.build(master).as_ref())
    }

    fn build(&self, master: Option<&Master>) -> Option<Build> {
        // That it is not trusted is a problem of its own.
        self.known.builds.of(&instance::program(&self.found_by, master).ok().flatten()?)
    }

    /// Its configuration as it was read last, and again if one of its files has changed since.
    fn configuration(&self) -> Option<Configuration> {
        let known = || self.known.configuration.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_current = |configuration: &Configuration| {
            configuration.files.iter().all(|(path, signature)| platform::signature(path) == *signature)
        };
        known().filter(is_current).or_else(|| self.discover().ok().and_then(|_| known()))
    }

    /// The error logs that its configuration names.
    fn logs(&self) -> Vec<Log> {
        let known = self.known.configuration.lock().unwrap_or_else(PoisonError::into_inner).clone();
        known.or_else(|| self.configuration()).map(|configuration| configuration.logs).unwrap_or_default()
    }

    fn unit(&self, master: Option<&Master>) -> String {
        let found = || master.map_or_else(|| systemd::usual_unit("nginx"), systemd::unit_of);
        systemd::full_name(&self.found_by.unit.clone().unwrap_or_else(found))
    }

    fn systemd_command(&self, master: Option<&Master>) -> Command {
        Command::new(&systemd::reload(&self.unit(master)), self.patience)
    }

    /// By a command, of an nginx that is not to be seen here.
    async fn reload_unseen(&self, server: &str, problem: Problem) -> Result<Loaded, Refusal> {
        let command = match &self.told_by {
            Reload::Signal => return Err(problem.into()),
            Reload::Command(argv) => Command::new(argv, self.patience),
            Reload::Systemd => self.systemd_command(None),
        };
        self.off_the_loop(Self::not_blocked).await?;
        let took = command.run(server).await?;
        Ok(Loaded { took, draining: 0, before: BTreeSet::new() })
    }

    /// nginx's own configuration test with the master's arguments.
    async fn test(&self, master: &Master) -> Result<Tested, Problem> {
        let program = instance::program(&self.found_by, Some(master)).ok().flatten();
        let Some(program) = program.filter(|_| instance::may_pass_arguments(master)) else {
            return Ok(Tested::default());
        };
        let mut argv = vec![program.display().to_string(), "-t".to_owned(), "-q".to_owned()];
        argv.extend(master.title.arguments());
        let rights = if master.user == User::Root { Rights::ReadAll } else { Rights::Own };
        let limit = self.patience;
        let ended = self.off_the_loop(move |_| ask::run(&argv, limit, rights)).await?;
        let mut tested = Tested { words: words::emergencies(&ended.output, None) };
        if ended.success {
            tested.words.clear();
        }
        // It wants to write the pid file and the logs, which the master may and certhook's user may not.
        if !nix::unistd::geteuid().is_root() {
            tested.words.retain(|words| !words.contains("(13: Permission denied)"));
        }
        Ok(tested)
    }

    /// For what reads files and asks programs.
    async fn off_the_loop<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        let nginx = self.clone();
        match tokio::task::spawn_blocking(move || work(&nginx)).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(Box::new(error)),
        }
    }
}

/// Blocking.
fn judge(look: Look) -> Result<(), Refusal> {
    match look.end() {
        Some(Blocked { problem, path }) => Err(Refusal { problem, files: vec![path], blocked: true }),
        None => Ok(()),
    }
}

fn upgrading(older: &Master) -> Problem {
    Problem::new(
        "upgrading",
        format!(
            "nginx is being upgraded: workers of its old master (process {0}) serve what they loaded",
            older.pid
        ),
        format!(
            "end the upgrade: kill -s WINCH {0} sends these workers away, kill -s QUIT {0} the master too",
            older.pid
        ),
    )
}

/// What nginx's own test says.
#[derive(Debug, Default)]
struct Tested {
    words: Vec<String>,
}

impl Tested {
    fn refused(self) -> Result<(), Refusal> {
        if self.words.is_empty() {
            Ok(())
        } else {
            Err(Refusal::of(words::refusal(&self.words), &self.words))
        }
    }
}

impl Refusal {
    fn of(problem: Problem, words: &[String]) -> Self {
        Self { problem, files: words::files(words), blocked: false }
    }
}
