//! The servers' own configurations: read at the start, followed as they change, and drawn into the list of sites.

mod draw;
mod life;
mod workers;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout_at;

use super::Daemon;
use super::asking::Names;
use crate::agent::{self, Cause, Event, Refused, ServerId, SiteId};
use crate::config::Config;
use crate::discover::Found;
use crate::inspect::Place;
use crate::problem::Problem;
use crate::roster;
use crate::server::{Life, Refusal, Server};
use crate::watch::Topic;
use draw::Drawn;

/// A configuration is read when it was left alone for so long; people and tools change several files.
const QUIET: Duration = Duration::from_millis(200);
/// A start waits so long for configurations and lists that a file system may keep back.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// Between looks at a file that keeps a server from being reloaded.
const BLOCKED_INTERVAL: Duration = Duration::from_millis(200);
/// But while it changes all the time it is read all the same.
const MOST_QUIET: Duration = Duration::from_secs(2);

/// What is heard of a server, or of what goes to the portal.
pub(super) enum News {
    /// Its configuration was read; whether other files are followed for it than before.
    Read(ServerId, Result<Found, Problem>, bool),
    /// The list of sites was drawn up.
    Drawn(Box<Drawn>),
    /// A site's files were read, however long that took.
    ReadingEnded(SiteId),
    /// It was told to reload.
    Reloaded(ServerId, Result<agent::Loaded, Refusal>),
    /// It was not told to reload: no site's new set could be put before it.
    KeptBack(ServerId, Vec<(SiteId, Problem)>),
    /// It may be reloaded again: no file keeps it waiting any more.
    Unblocked(ServerId),
    /// A report or a renewal stands otherwise than before.
    Reported,
    /// What an earlier certhook had begun on it was ended.
    Recovered(ServerId),
    /// A site's files were read, or reading them hangs.
    Looked,
    /// A site's handshakes were made; whether it is one that was just renewed.
    Probed { urgent: bool },
    /// Its workers, where they can be told.
    Serving(ServerId, Option<BTreeSet<i32>>),
    /// The masters of each server, unless looking at them took too long.
    Lives(Option<Vec<Result<Life, Problem>>>),
    /// A master that was seen has ended.
    MasterEnded(ServerId),
}

/// The servers, and what is known of each.
pub(super) struct Servers {
    all: Vec<Followed>,
    news: UnboundedSender<News>,
    /// The number of the next site.
    next: usize,
    /// Some of the configuration's sites are patterns.
    has_patterns: bool,
    /// When the list is drawn up anew because something came there or went, and since when that is put off.
    redraw_at: Option<(Instant, Instant)>,
    /// Whose reports count was told while not all sites were known.
    half_told: bool,
    /// Nothing was drawn up yet.
    starting: bool,
    /// The list is being drawn up, and whether it is to be once more.
    pub(super) drawing: bool,
    draw_again: bool,
    /// It is being looked which masters there are, and is to be once more.
    looking_at_masters: bool,
    look_at_masters_again: bool,
    /// When that is looked at next, while a server does not run.
    masters_at: Option<Instant>,
    /// When all of them are read again, whatever events told.
    rescan_at: Instant,
    rescan: Duration,
    poll: Duration,
}

struct Followed {
    server: Arc<Server>,
    discovers: bool,
    found: Option<Found>,
    /// When it is to be read, and since when that is put off.
    read_at: Option<(Instant, Instant)>,
    reading: bool,
    /// When it is read once more, because it could not be, or its server was not there.
    retry_at: Option<Instant>,
    /// Why its configuration cannot be followed, and why its last reload failed.
    unread: Option<(Problem, Instant)>,
    refused: Option<(Problem, Instant)>,
    /// Why it does not run.
    down: Option<(Problem, Instant)>,
    /// Its masters when they were last looked at.
    masters: Option<Vec<i32>>,
    /// Their end is waited for.
    watched: bool,
    /// The workers that served when its configuration began to change.
    workers: Option<BTreeSet<i32>>,
    /// When they are looked at next, and since when they are.
    workers_at: Option<(Instant, Instant)>,
    /// They are being looked at.
    looking: bool,
    /// A file would keep it waiting, and is looked at again and again.
    blocked: bool,
    /// Published copies are swapped and loaded by one at a time.
    publishing: Arc<tokio::sync::Mutex<()>>,
    /// What its configuration names, where that is not followed.
    names: Arc<Names>,
}

impl Followed {
    fn tells_all(&self) -> bool {
        self.found.is_some() && self.unread.is_none() && self.server.was_running()
    }
}

impl Servers {
    pub(super) fn new(config: &Config, news: UnboundedSender<News>) -> Self {
        let all = config.servers.iter().map(|server| Followed {
            server: Arc::new(Server::new(server)),
            discovers: server.discovers(),
            found: None,
            read_at: None,
            reading: false,
            retry_at: None,
            unread: None,
            refused: None,
            down: None,
            masters: None,
            watched: false,
            workers: None,
            workers_at: None,
            looking: false,
            blocked: false,
            publishing: Arc::default(),
            names: Arc::default(),
        });
        Self {
            all: all.collect(),
            news,
            next: 0,
            has_patterns: config.sites.iter().any(|site| site.is_pattern()),
            redraw_at: None,
            half_told: false,
            starting: false,
            drawing: false,
            draw_again: false,
            looking_at_masters: false,
            look_at_masters_again: false,
            masters_at: None,
            rescan_at: Instant::now() + config.watch.rescan,
            rescan: config.watch.rescan,
            poll: config.watch.poll,
        }
    }

    pub(super) fn get(&self, id: ServerId) -> Arc<Server> {
        Arc::clone(&self.all[id.0].server)
    }

    /// Where the outcome of a reload goes.
    pub(super) fn news(&self) -> UnboundedSender<News> {
        self.news.clone()
    }

    pub(super) fn publishing(&self, id: ServerId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.all[id.0].publishing)
    }

    pub(super) fn names(&self, id: ServerId) -> Arc<Names> {
        Arc::clone(&self.all[id.0].names)
    }

    /// What is wrong with a server, and since when.
    pub(super) fn problem(&self, id: ServerId) -> Option<(&Problem, Instant)> {
        let followed = &self.all[id.0];
        let first = followed.down.as_ref().or(followed.refused.as_ref());
        first.or(followed.unread.as_ref()).map(|(problem, since)| (problem, *since))
    }

    /// Whether a configuration is being read, or about to be.
    pub(super) fn are_read(&self) -> bool {
        self.redraw_at.is_some()
            || self.drawing
            || self.looking_at_masters
            || self.all.iter().any(|followed| followed.reading || followed.read_at.is_some())
    }

    /// Whether every server told all that it has: a site that is not known then is there no more.
    fn are_known(&self) -> bool {
        self.all.iter().filter(|followed| followed.discovers).all(Followed::tells_all)
    }

    /// Whether all sites of a server are known.
    pub(super) fn tells_all(&self, id: ServerId) -> bool {
        self.all[id.0].tells_all()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        (0..self.all.len()).map(ServerId)
    }
}

impl Daemon {
    /// Reads all configurations and draws up the list before anything else happens, unless a file system hangs: what
    /// is read later then comes later.
    pub(super) async fn discover_first(&mut self) {
        let until = tokio::time::Instant::now() + START_TIMEOUT;
        self.servers.starting = true;
        self.look_at_masters();
        for id in self.servers.ids() {
            self.read_configuration(id);
        }
        while self.servers.all.iter().any(|followed| followed.reading) {
            match timeout_at(until, self.news.recv()).await {
                Ok(Some(news)) => self.heard(news),
                Ok(None) | Err(_) => break,
            }
        }
        self.servers.starting = false;
        self.draw();
        while self.servers.drawing {
            match timeout_at(until, self.news.recv()).await {
                Ok(Some(news)) => self.heard(news),
                Ok(None) | Err(_) => break,
            }
        }
    }

    /// Has every configuration read again.
    pub(super) fn discover_all(&mut self) {
        let now = Instant::now();
        for followed in self.servers.all.iter_mut().filter(|followed| followed.discovers) {
            followed.read_at = Some((now, now));
        }
        if self.servers.has_patterns {
            self.servers.redraw_at = Some((now, now));
        }
        self.read_due();
    }

    /// A file of a server's configuration changes.
    pub(super) fn configuration_changes(&mut self, id: ServerId) {
        let followed = &mut self.servers.all[id.0];
        let has_begun = followed.read_at.is_none();
        followed.read_at = Some(after_quiet(followed.read_at));
        if has_begun && followed.workers.is_none() {
            self.ask_for_workers(id);
        }
    }

    /// Something came or went where a pattern is looked for. To draw up the list is work, and a tool that renews a
    /// thousand certificates tells of each file.
    pub(super) fn redraw(&mut self) {
        self.servers.redraw_at = Some(after_quiet(self.servers.redraw_at));
    }

    pub(super) fn next_look_at_servers(&self) -> Option<Instant> {
        let followed = self.servers.all.iter();
        let first = |pair: Option<(Instant, Instant)>| pair.map(|(at, _)| at);
        let one = followed.flat_map(|followed| {
            // What is read already is heard of by itself.
            let read_at = first(followed.read_at).filter(|_| !followed.reading);
            [read_at, first(followed.workers_at), followed.retry_at]
        });
        let follows = self.servers.all.iter().any(|followed| followed.discovers) || self.servers.has_patterns;
        let all = [
            follows.then_some(self.servers.rescan_at),
            first(self.servers.redraw_at),
            self.servers.masters_at,
        ];
        one.chain(all).flatten().min()
    }

    /// Does what is due.
    pub(super) fn look_at_servers(&mut self) {
        let now = Instant::now();
        if self.servers.rescan_at <= now {
            self.servers.rescan_at = now + self.servers.rescan;
            self.look_at_masters();
            self.retire_all();
            self.discover_all();
        }
        for followed in &mut self.servers.all {
            if followed.retry_at.take_if(|at| *at <= now).is_some() {
                followed.read_at = Some((now, now));
            }
        }
        if self.servers.masters_at.is_some_and(|at| at <= now) {
            self.look_at_masters();
        }
        self.read_due();
        if self.servers.redraw_at.is_some_and(|(at, _)| at <= now) {
            self.draw();
        }
        for id in self.servers.ids() {
            if self.servers.all[id.0].workers_at.is_some_and(|(at, _)| at <= now) {
                self.look_at_workers(id);
            }
        }
    }

    fn read_due(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        for (index, followed) in self.servers.all.iter().enumerate() {
            // What changes while it is being read is read when that ended.
            if followed.reading || followed.read_at.is_none_or(|(at, _)| at > now) {
                continue;
            }
            due.push(ServerId(index));
        }
        for id in due {
            self.read_configuration(id);
        }
    }

    /// Off the loop.
    fn read_configuration(&mut self, id: ServerId) {
        let starting = self.servers.starting;
        let followed = &mut self.servers.all[id.0];
        (followed.read_at, followed.retry_at) = (None, None);
        followed.reading = true;
        let discovers = followed.discovers;
        let (server, news, watcher) =
            (Arc::clone(&followed.server), self.servers.news.clone(), self.watcher.clone());
        tokio::task::spawn_blocking(move || {
            if starting && let Err(problem) = server.recover() {
                tracing::warn!(server = server.name(), %problem, "what was interrupted cannot be ended");
            }
            let read = discovers.then(|| {
                // Arm, then look: a link may lead elsewhere, and a folder be another, under the names that are known.
                watcher.rearm(Topic::Server(id));
                let found = server.discover();
                let follow =
                    |found: &Found| watcher.follow(Topic::Server(id), found.files.clone(), &found.folders);
                let news = found.as_ref().is_ok_and(follow);
                (found, news)
            });
            // The loop is gone only when certhook ends.
            let _ = match read {
                Some((found, follows_others)) => news.send(News::Read(id, found, follows_others)),
                None => news.send(News::Recovered(id)),
            };
        });
    }

    /// A configuration was read, a server told to reload, or something reported.
    pub(super) fn heard(&mut self, news: News) {
        let is_routine = matches!(news, News::Looked | News::Probed { .. } | News::ReadingEnded(_));
        // It tells of changes by itself: each status begins with a look.
        if !is_routine && !matches!(news, News::Lives(_)) {
            self.changed();
        }
        match news {
            News::Looked => {
                self.looks.ended();
                self.begin_next();
            }
            News::Probed { urgent } => {
                let turns = if urgent { &mut self.urgent_probes } else { &mut self.probes };
                turns.ended();
                self.begin_next();
            }
            News::Reported => {}
            News::Recovered(id) => self.servers.all[id.0].reading = false,
            News::Drawn(drawn) => self.take_drawn(*drawn),
            News::ReadingEnded(id) => self.reading_ended(id),
            News::Read(id, found, follows_others) => {
                self.servers.all[id.0].reading = false;
                self.take(id, found, follows_others);
                if self.servers.starting {
                    return;
                }
                self.draw();
                self.look_at_workers(id);
                // What it refused it may take now, unless it is plain that it will not.
                let followed = &self.servers.all[id.0];
                if followed.unread.is_none() && followed.server.was_running() {
                    self.feed(Event::Mended(id));
                }
                self.read_due();
            }
            News::Serving(id, serving) => self.serving(id, serving),
            News::Lives(lives) => self.take_lives(lives),
            News::MasterEnded(id) => self.master_ended(id),
            News::Reloaded(id, Ok(loaded)) => {
                self.shared.counters.reloaded(self.servers.all[id.0].server.name());
                set(&mut self.servers.all[id.0].refused, None);
                self.feed(Event::Reloaded(id, Ok(loaded)));
            }
            News::Unblocked(id) => {
                self.servers.all[id.0].blocked = false;
                self.feed(Event::Mended(id));
            }
            News::KeptBack(id, problems) => self.feed(Event::KeptBack(id, problems)),
            News::Reloaded(id, Err(refusal)) => {
                if refusal.blocked {
                    self.wait_until_unblocked(id);
                } else {
                    self.shared.counters.reload_refused(self.servers.all[id.0].server.name());
                }
                set(&mut self.servers.all[id.0].refused, Some(refusal.problem.clone()));
                let at_fault = self.at_fault(id, &refusal.files);
                self.feed(Event::Reloaded(id, Err(Refused { problem: refusal.problem, at_fault })));
            }
        }
    }

    /// Has its sites looked at again as soon as no file keeps the server waiting.
    fn wait_until_unblocked(&mut self, id: ServerId) {
        if std::mem::replace(&mut self.servers.all[id.0].blocked, true) {
            return;
        }
        let (server, news) = (self.servers.get(id), self.servers.news());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(BLOCKED_INTERVAL).await;
                let server = Arc::clone(&server);
                let blocked = tokio::task::spawn_blocking(move || server.is_blocked()).await;
                if !blocked.unwrap_or(false) {
                    // The loop ends only with certhook, or goes on with another configuration.
                    let _ = news.send(News::Unblocked(id));
                    return;
                }
            }
        });
    }

    /// The sites of the server whose files are among those that it named; `None` where it named none.
    fn at_fault(&self, id: ServerId, named: &[PathBuf]) -> Option<BTreeSet<SiteId>> {
        let is_named = |file: PathBuf| named.contains(&file);
        let has = |site: &roster::Site| {
            site.settings.server == id.0
                && (Place::of(&site.settings).files().into_iter().any(is_named)
                    || site.stage.iter().any(|stage| is_named(stage.certificate()) || is_named(stage.key())))
        };
        let at_fault = self.sites.iter().filter(|(_, site)| has(&site.roster)).map(|(id, _)| *id);
        (!named.is_empty()).then(|| at_fault.collect())
    }

    /// What can be read of a broken configuration adds sites and takes none away.
    fn take(&mut self, id: ServerId, found: Result<Found, Problem>, follows_others: bool) {
        let retry_at = Instant::now() + self.servers.poll;
        let followed = &mut self.servers.all[id.0];
        let problem = match found {
            Ok(mut found) => {
                if follows_others {
                    // Armed, so look: what changed meanwhile told nobody.
                    let now = Instant::now();
                    followed.read_at.get_or_insert((now + QUIET, now));
                }
                let problem = found.problem.clone();
                if let (true, Some(known)) = (problem.is_some(), &followed.found) {
                    let has: BTreeSet<_> = found.pairs.iter().map(|pair| pair.certificate.clone()).collect();
                    let kept = known.pairs.iter().filter(|pair| !has.contains(&pair.certificate));
                    found.pairs.extend(kept.cloned().collect::<Vec<_>>());
                }
                followed.found = Some(found);
                // It may be started with another configuration than that which is usual.
                followed.retry_at = (!followed.server.was_running()).then_some(retry_at);
                problem
            }
            Err(problem) => {
                // The server may come, or come back.
                followed.retry_at = Some(retry_at);
                Some(problem)
            }
        };
        let known = followed.unread.as_ref().map(|(known, _)| known);
        if let Some(problem) = problem.as_ref().filter(|problem| known != Some(problem)) {
            tracing::warn!(
                server = followed.server.name(),
                code = problem.code,
                problem = problem.message,
                remedy = problem.remedy,
                "the configuration cannot be followed"
            );
        }
        set(&mut followed.unread, problem);
    }

    /// `sync`, and whoever else asks, means the servers' configurations too.
    pub(super) fn look_at_everything(&mut self) {
        self.look_at_masters();
        self.discover_all();
        self.draw();
        self.feed(Event::LookAtAll(Cause::Requested));
    }
}

/// When what changes is looked at, by when that was to be and since when it is put off.
fn after_quiet(known: Option<(Instant, Instant)>) -> (Instant, Instant) {
    let now = Instant::now();
    let since = known.map_or(now, |(_, since)| since);
    ((now + QUIET).min(since + MOST_QUIET), since)
}

/// Keeps the first moment of a problem of one kind.
fn set(known: &mut Option<(Problem, Instant)>, problem: Option<Problem>) {
    let same = |old: &Problem| problem.as_ref().is_some_and(|new| new.code == old.code);
    let since = known.as_ref().filter(|(old, _)| same(old)).map_or_else(Instant::now, |(_, since)| *since);
    *known = problem.map(|problem| (problem, since));
}
