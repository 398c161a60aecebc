//! The servers' own configurations: read at the start, followed as they change, and drawn into the list of sites.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;

use super::{Daemon, Site};
use crate::agent::{self, Cause, Event, Refused, ServerId, SiteId, SiteSetup};
use crate::config::Config;
use crate::discover::Found;
use crate::inspect::Place;
use crate::problem::Problem;
use crate::roster::{self, Roster};
use crate::server::{Refusal, Server};
use crate::watch::Topic;

/// A configuration is read when it was left alone for so long; people and tools change several files.
const QUIET: Duration = Duration::from_millis(200);
/// But while it changes all the time it is read all the same.
const MOST_QUIET: Duration = Duration::from_secs(2);
/// While a site's server has not loaded its part yet, its workers are looked at as often.
const WORKERS_EVERY: Duration = Duration::from_secs(1);

const MOST_WORKERS_EVERY: Duration = Duration::from_secs(60);

/// What is heard of a server.
pub(super) enum News {
    /// Its configuration was read.
    Read(ServerId, Result<Found, Problem>),
    /// It was told to reload.
    Reloaded(ServerId, Result<agent::Loaded, Refusal>),
}

/// The servers, and what is known of each.
pub(super) struct Servers {
    all: Vec<Followed>,
    news: UnboundedSender<News>,
    /// The number of the next site.
    next: usize,
    /// The sites' numbers by their keys.
    by_key: HashMap<String, SiteId>,
    /// Where more certificates may come that match a pattern of certhook's configuration.
    pattern_folders: Vec<PathBuf>,
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
    /// Why its configuration cannot be followed, and why its last reload failed.
    unread: Option<(Problem, Instant)>,
    refused: Option<(Problem, Instant)>,
    /// The workers that served when its configuration began to change.
    workers: Option<BTreeSet<i32>>,
    /// When they are looked at next, and since when they are.
    workers_at: Option<(Instant, Instant)>,
    /// Published copies are swapped and loaded by one at a time.
    publishing: Arc<tokio::sync::Mutex<()>>,
}

impl Servers {
    pub(super) fn new(config: &Config, news: UnboundedSender<News>) -> Self {
        let all = config.servers.iter().map(|server| Followed {
            server: Arc::new(Server::new(server)),
            discovers: server.discovers(),
            found: None,
            read_at: None,
            reading: false,
            unread: None,
            refused: None,
            workers: None,
            workers_at: None,
            publishing: Arc::default(),
        });
        Self {
            all: all.collect(),
            news,
            next: 0,
            by_key: HashMap::new(),
            pattern_folders: Vec::new(),
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

    /// What is wrong with a server, and since when.
    pub(super) fn problem(&self, id: ServerId) -> Option<(&Problem, Instant)> {
        let followed = &self.all[id.0];
        followed.refused.as_ref().or(followed.unread.as_ref()).map(|(problem, since)| (problem, *since))
    }

    /// Whether a configuration is being read, or about to be.
    pub(super) fn are_read(&self) -> bool {
        self.all.iter().any(|followed| followed.reading || followed.read_at.is_some())
    }

    fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        (0..self.all.len()).map(ServerId)
    }
}

impl Daemon {
    /// Reads all configurations and draws up the list, before anything else happens.
    pub(super) fn discover_first(&mut self) {
        for id in self.servers.ids() {
            if self.servers.all[id.0].discovers {
                let found = self.servers.all[id.0].server.discover();
                self.take(id, found);
            }
        }
        self.redraw();
    }

    /// Has every configuration read again.
    pub(super) fn discover_all(&mut self) {
        let now = Instant::now();
        for followed in self.servers.all.iter_mut().filter(|followed| followed.discovers) {
            followed.read_at = Some((now, now));
        }
        self.read_due();
    }

    /// A file of a server's configuration changes.
    pub(super) fn configuration_changes(&mut self, id: ServerId) {
        let now = Instant::now();
        let followed = &mut self.servers.all[id.0];
        let (_, since) = followed.read_at.unwrap_or((now, now));
        followed.read_at = Some(((now + QUIET).min(since + MOST_QUIET), since));
        if followed.workers.is_none() {
            followed.workers = followed.server.workers().map(|workers| workers.serving);
        }
    }

    pub(super) fn next_look_at_servers(&self) -> Option<Instant> {
        let followed = self.servers.all.iter();
        let first = |pair: Option<(Instant, Instant)>| pair.map(|(at, _)| at);
        let one = followed.flat_map(|followed| [first(followed.read_at), first(followed.workers_at)]);
        let all =
            self.servers.all.iter().any(|followed| followed.discovers).then_some(self.servers.rescan_at);
        one.flatten().chain(all).min()
    }

    /// Does what is due.
    pub(super) fn look_at_servers(&mut self) {
        let now = Instant::now();
        if self.servers.rescan_at <= now {
            self.servers.rescan_at = now + self.servers.rescan;
            self.discover_all();
        }
        self.read_due();
        for id in self.servers.ids() {
            if self.servers.all[id.0].workers_at.is_some_and(|(at, _)| at <= now) {
                self.look_at_workers(id);
            }
        }
    }

    fn read_due(&mut self) {
        let now = Instant::now();
        for (index, followed) in self.servers.all.iter_mut().enumerate() {
            // What changes while it is being read is read when that ended.
            if followed.reading || followed.read_at.is_none_or(|(at, _)| at > now) {
                continue;
            }
            followed.read_at = None;
            followed.reading = true;
            let (server, news) = (Arc::clone(&followed.server), self.servers.news.clone());
            tokio::task::spawn_blocking(move || {
                let found = server.discover();
                // The loop is gone only when certhook ends.
                let _ = news.send(News::Read(ServerId(index), found));
            });
        }
    }

    /// A configuration was read.
    pub(super) fn heard(&mut self, news: News) {
        match news {
            News::Read(id, found) => {
                self.servers.all[id.0].reading = false;
                self.take(id, found);
                self.redraw();
                self.look_at_workers(id);
                // What it refused it may take now, unless it is plain that it will not.
                if self.servers.all[id.0].unread.is_none() {
                    self.feed(Event::Mended(id));
                }
                self.read_due();
            }
            News::Reloaded(id, Ok(loaded)) => {
                set(&mut self.servers.all[id.0].refused, None);
                self.feed(Event::Reloaded(id, Ok(loaded)));
            }
            News::Reloaded(id, Err(refusal)) => {
                set(&mut self.servers.all[id.0].refused, Some(refusal.problem.clone()));
                let at_fault = self.at_fault(id, &refusal.files);
                self.feed(Event::Reloaded(id, Err(Refused { problem: refusal.problem, at_fault })));
            }
        }
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
    fn take(&mut self, id: ServerId, found: Result<Found, Problem>) {
        let poll = self.servers.poll;
        let followed = &mut self.servers.all[id.0];
        let problem = match found {
            Ok(mut found) => {
                let topic = Topic::Server(id);
                let new = followed
                    .found
                    .as_ref()
                    .is_none_or(|known| (&known.files, &known.folders) != (&found.files, &found.folders));
                if new {
                    self.watcher.follow(topic, found.files.clone(), &found.folders);
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
                problem
            }
            Err(problem) => {
                // The server may come, or come back.
                let now = Instant::now();
                followed.read_at.get_or_insert((now + poll, now));
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

    /// Draws up the list of sites anew; whoever came, went or changed is told to the agent.
    pub(super) fn redraw(&mut self) {
        let found: Vec<Option<Found>> =
            self.servers.all.iter().map(|followed| followed.found.clone()).collect();
        let Roster { sites: drawn, folders } = roster::draw(&self.config, &found);
        if folders != self.servers.pattern_folders {
            self.watcher.follow(Topic::Patterns, Vec::new(), &folders);
            self.servers.pattern_folders = folders;
            // Armed, so look.
            return self.redraw();
        }
        let keys: BTreeSet<&str> = drawn.iter().map(|site| site.key.as_str()).collect();
        let mut events = Vec::new();
        let gone = self.servers.by_key.extract_if(|key, _| !keys.contains(key.as_str()));
        for (key, id) in gone.collect::<Vec<_>>() {
            tracing::info!(site = key, "the site is there no more");
            self.sites.remove(&id);
            self.watcher.forget(Topic::Site(id));
            events.push(Event::Removed(id));
        }
        let came = drawn.iter().any(|site| !self.servers.by_key.contains_key(&site.key));
        let changed_list = came || !events.is_empty();
        // Without a ledger certificates are reloaded and verified all the same; it is tried again at each record.
        let recorded = if came { self.recorded() } else { HashMap::new() };
        let first = self.sites.is_empty();
        for site in drawn {
            match self.servers.by_key.get(&site.key) {
                Some(id) => events.extend(self.update(*id, site)),
                None => {
                    let id = SiteId(self.servers.next);
                    self.servers.next += 1;
                    self.servers.by_key.insert(site.key.clone(), id);
                    let path = site.settings.certificate.display().to_string();
                    let recorded = recorded.get(&site.key).or_else(|| recorded.get(&path)).copied();
                    let setup = SiteSetup {
                        server: ServerId(site.settings.server),
                        recorded,
                        unloaded: site.discovered && recorded.is_none(),
                    };
                    if !first {
                        tracing::info!(site = site.key, "there is a new site");
                    }
                    self.watcher.follow(Topic::Site(id), Place::of(&site.settings).files(), &[]);
                    self.sites.insert(id, Site::new(site, &self.config));
                    events.push(Event::Added(id, setup));
                }
            }
        }
        if changed_list {
            self.tell_who_reports();
        }
        for event in events {
            self.feed(event);
        }
    }

    /// A site that was there before: only what is asked, and where its files are, concerns the agent.
    fn update(&mut self, id: SiteId, new: roster::Site) -> Option<Event> {
        let known = self.sites.get_mut(&id)?;
        let old = std::mem::replace(&mut known.roster, new);
        let new = &known.roster.settings;
        if Place::of(&old.settings) != Place::of(new) {
            self.watcher.follow(Topic::Site(id), Place::of(new).files(), &[]);
        } else if old.settings.verify == new.verify {
            return None;
        }
        Some(Event::Changed(id))
    }

    fn recorded(&self) -> HashMap<String, crate::agent::Recorded> {
        self.ledger.recorded().unwrap_or_else(|error| {
            tracing::error!(problem = %error.problem(), "the ledger cannot be read");
            HashMap::new()
        })
    }

    fn tell_who_reports(&self) {
        if self.config.portal.is_none() {
            return;
        }
        let reporting = self.sites.values().filter(|site| site.report);
        let reporting: Vec<String> = reporting.map(|site| site.roster.key.clone()).collect();
        if let Err(error) = self.ledger.report_only(&reporting, Timestamp::now()) {
            tracing::error!(problem = %error.problem(), "which sites report cannot be written down");
        }
    }

    /// While sites wait for their server to load its configuration: new workers show that somebody had it loaded.
    fn look_at_workers(&mut self, id: ServerId) {
        let awaits = self.agent.awaits_load(id);
        let followed = &mut self.servers.all[id.0];
        if !awaits {
            (followed.workers, followed.workers_at) = (None, None);
            return;
        }
        let now = Instant::now();
        let (_, since) = followed.workers_at.unwrap_or((now, now));
        // Who does not load it soon may do so much later.
        let pause = (now.duration_since(since) / 10).clamp(WORKERS_EVERY, MOST_WORKERS_EVERY);
        followed.workers_at = Some((now + pause, since));
        let Some(now) = followed.server.workers().map(|workers| workers.serving) else { return };
        let before = followed.workers.replace(now.clone());
        if before.is_some_and(|before| !now.is_subset(&before)) {
            tracing::info!(server = followed.server.name(), "somebody reloaded it");
            self.feed(Event::LoadedByOthers(id));
        }
    }

    /// `sync`, and whoever else asks, means the servers' configurations too.
    pub(super) fn look_at_everything(&mut self) {
        self.discover_all();
        self.redraw();
        self.feed(Event::LookAtAll(Cause::Asked));
    }
}

/// Keeps the first moment of a problem of one kind.
fn set(known: &mut Option<(Problem, Instant)>, problem: Option<Problem>) {
    let same = |old: &Problem| problem.as_ref().is_some_and(|new| new.code == old.code);
    let since = known.as_ref().filter(|(old, _)| same(old)).map_or_else(Instant::now, |(_, since)| *since);
    *known = problem.map(|problem| (problem, since));
}
