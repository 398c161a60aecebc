//! The only loop: it takes hints, results, deadlines and calls, hands them to the agent one at a time, and
//! performs what the agent says. Each action is a task whose result comes back as an event.

mod acting;
pub(crate) mod asking;
mod backlog;
mod claim;
mod follow;
mod give;
mod hanging;
mod perform;
mod prune;
mod record;
mod reload;
mod report;
mod reread;
mod rest;
mod sending;
mod status_socket;
mod turns;
mod waiters;

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep_until, timeout};

use crate::agent::{Agent, Cause, Event, ServerSetup, SiteId, Tuning};
use crate::apart::Apart;
use crate::config::Config;
use crate::control::{Call, Request};
use crate::courier::Order;
use crate::ledger::{Entry, Ledger};
use crate::outlets::Shared;
use crate::platform::{Manager, RereadSignal, StopSignals};
use crate::problem::Problem;
use crate::roster;
use crate::status::Status;
use crate::watch::{Hint, Keeper, Topic};
use acting::Acting;
use backlog::Backlog;
use claim::Claim;
pub use claim::try_lock;
use follow::{News, Servers};
use perform::Reading;
use prune::Pruning;
use record::Records;
use reread::Next;
use rest::Rest;
use sending::courier;
use turns::Turns;
use waiters::Waiters;

/// Files of several sites at once. More only wait for the same disk, and each costs a thread.
const LOOKS_AT_ONCE: usize = 4;
/// Handshakes of several sites at once; each site's are one after the other.
const PROBES_AT_ONCE: usize = 16;
/// The same while files wait to be read: what is new on disk is found first, and brought before the server.
const PROBES_WHILE_LOOKING: usize = 2;
/// For notes to be written when the agent stops; service managers wait half a minute for all of its end.
const GOODBYE: Duration = Duration::from_secs(2);
/// For a reload, an installation or a record to come to its end, where the half of it might not be served.
const LAST_ACT: Duration = Duration::from_secs(20);
/// For the courier to end the request it is at.
const LAST_REQUEST: Duration = Duration::from_secs(20);
/// For the outlets to say that the agent ends.
const LAST_ALERT: Duration = Duration::from_secs(8);
/// For another pass to end before the agent starts.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// Runs the agent until a signal ends it, or until `apart`, which speaks to the network, has ended.
///
/// # Errors
/// What kept it from starting.
pub async fn serve(config: Config, apart: Option<Apart>) -> Result<(), Problem> {
    let (stop, reread) = (StopSignals::new().map_err(no_signals)?, RereadSignal::new().map_err(no_signals)?);
    let claim = Claim::take(&config.state_dir, LOCK_PATIENCE).await?;
    let (sender, calls) = mpsc::unbounded_channel();
    let outlets = sender.clone();
    let (end, ended) = oneshot::channel();
    let keeping = tokio::spawn(claim.keep(config.watch.poll, sender, ended));
    let mut orders = Orders { stop, reread: Some(reread), calls: Some(calls) };
    let shared = Arc::new(Shared::new(Timestamp::now()));
    let mut daemon = Daemon::new(config, None, shared, apart);
    daemon.discover_first().await;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), sites = daemon.sites.len(), "certhook runs");
    daemon.open_outlets(&outlets, None);
    daemon.manager.ready();
    while let Some(config) = daemon.turn(&mut orders).await {
        daemon = daemon.succeed(*config, &outlets);
        daemon.discover_first().await;
        tracing::info!(sites = daemon.sites.len(), "the configuration was read again");
        daemon.manager.ready();
    }
    daemon.manager.stops();
    drop(end);
    let claim = keeping.await;
    let failed = daemon.end().await;
    drop(claim);
    tracing::info!("certhook ends");
    failed.map_or(Ok(()), Err)
}

/// One pass over everything, without an agent: it ends when all is at rest, or when `wait` is over.
///
/// # Errors
/// What kept it from starting.
pub async fn pass(
    mut config: Config,
    lock: File,
    (retry, wait): (bool, Duration),
    apart: Option<Apart>,
) -> Result<Status, Problem> {
    let mut orders = Orders { stop: StopSignals::new().map_err(no_signals)?, reread: None, calls: None };
    // An operator, or cron, says when: nothing is held off.
    config.limits.changes_free = 0;
    let mut daemon = Daemon::new(config, None, Arc::new(Shared::new(Timestamp::now())), apart);
    daemon.discover_first().await;
    let mut outcome = daemon.sync_locally(retry, wait);
    daemon.turn(&mut orders).await;
    let status = outcome.try_recv();
    let failed = daemon.end().await;
    drop(lock);
    if let Some(problem) = failed {
        return Err(problem);
    }
    let mut status = status.map_err(|_| {
        Problem::new(
            "interrupted",
            "the pass was interrupted",
            "run it again; what was begun is made good then",
        )
    })?;
    status.agent = crate::status::Agent { running: false, pid: None, version: None };
    Ok(status)
}

fn no_signals(error: std::io::Error) -> Problem {
    Problem::new("signals", error.to_string(), "see the system's log")
}

/// Whom the loop obeys.
struct Orders {
    stop: StopSignals,
    /// An agent's only: a pass has one configuration.
    reread: Option<RereadSignal>,
    calls: Option<mpsc::UnboundedReceiver<Call>>,
}

/// One site, as the loop needs it.
struct Site {
    roster: roster::Site,
    /// Whether the portal is to know of it.
    report: bool,
}

impl Site {
    fn new(roster: roster::Site, config: &Config) -> Self {
        let report = roster.settings.report && config.portal.is_some();
        Self { report, roster }
    }
}

struct Daemon {
    config: Arc<Config>,
    agent: Agent,
    sites: BTreeMap<SiteId, Site>,
    servers: Servers,
    watcher: Keeper,
    hints: mpsc::UnboundedReceiver<Hint>,
    results: mpsc::UnboundedReceiver<Event>,
    result_sender: mpsc::UnboundedSender<Event>,
    news: mpsc::UnboundedReceiver<News>,
    ledger: Arc<Ledger>,
    courier: Option<(mpsc::UnboundedSender<Order>, oneshot::Receiver<()>)>,
    /// Whose files are read.
    looks: Turns,
    reading: Reading,
    records: Records,
    /// Whose handshakes are made.
    probes: Turns,
    /// The same, of sites that were just renewed or reloaded for.
    urgent_probes: Turns,
    /// Writes to the ledger that nobody waits for, but the end.
    notes: JoinSet<()>,
    /// What they are to write.
    unwritten: Backlog<Entry>,
    waiters: Waiters,
    /// Who waits for a status.
    statuses: Vec<oneshot::Sender<Status>>,
    manager: Manager,
    acting: Acting,
    rest: Rest,
    pruning: Pruning,
    /// What the loop and its outlets tell each other, for as long as the process lives.
    shared: Arc<Shared>,
    /// Whatever may be told outside has changed. Without it the outlets come to their end.
    changes: watch::Sender<u64>,
    outlets: Option<JoinHandle<()>>,
    /// Another configuration was read: what is under way comes to its end before it.
    next: Option<Next>,
    /// Why the configuration's file is not what is gone by.
    config_problem: Option<Problem>,
    /// Who speaks to the network, if it is not this process.
    apart: Option<Apart>,
    /// Why certhook cannot go on.
    failed: Option<Problem>,
}

impl Daemon {
    /// Reports go out when the courier of an earlier configuration has ended.
    fn new(
        config: Config,
        earlier: Option<oneshot::Receiver<()>>,
        shared: Arc<Shared>,
        apart: Option<Apart>,
    ) -> Self {
        let ledger = Arc::new(Ledger::at(&config.state_dir));
        let setups: Vec<ServerSetup> = config.servers.iter().map(setup_of).collect();
        let tuning = Tuning {
            settle: config.watch.settle,
            rescan: config.watch.rescan,
            changes_free: config.limits.changes_free,
        };
        let (hint_sender, hints) = mpsc::unbounded_channel();
        let (result_sender, results) = mpsc::unbounded_channel();
        let (news_sender, news) = mpsc::unbounded_channel();
        let teller = news_sender.clone();
        // The loop is gone only when certhook ends, or goes on with another configuration.
        let told = move || drop(teller.send(News::Reported));
        Self {
            agent: Agent::new(tuning, &setups),
            sites: BTreeMap::new(),
            servers: Servers::new(&config, news_sender),
            watcher: Keeper::new(hint_sender),
            hints,
            results,
            result_sender,
            news,
            courier: courier(&config, &ledger, apart.clone(), earlier, &shared, told),
            ledger,
            shared,
            changes: watch::Sender::new(0),
            outlets: None,
            looks: Turns::new(LOOKS_AT_ONCE),
            reading: Reading::default(),
            records: Records::default(),
            probes: Turns::new(PROBES_AT_ONCE),
            urgent_probes: Turns::new(PROBES_AT_ONCE),
            notes: JoinSet::new(),
            unwritten: Backlog::default(),
            waiters: Waiters::default(),
            statuses: Vec::new(),
            manager: Manager::default(),
            acting: Acting::default(),
            rest: Rest::default(),
            pruning: Pruning::default(),
            next: None,
            config_problem: None,
            apart,
            failed: None,
            config: Arc::new(config),
        }
    }

    /// Turns until a signal comes, or, where there is no agent's socket, until the last waiter was answered; with
    /// the configuration to go on with, if that is what it ended for.
    async fn turn(&mut self, orders: &mut Orders) -> Option<Box<Config>> {
        let mut next_poll = Instant::now() + self.config.watch.poll;
        let beats = orders.calls.as_ref().and_then(|_| self.manager.wants_a_beat_every());
        let mut next_beat = beats.map(|_| Instant::now());
        loop {
            if let Some(config) = self.next_configuration() {
                return Some(config);
            }
            self.answer_waiters();
            if orders.calls.is_none() && self.waiters.is_empty() {
                return None;
            }
            let work = earliest([
                self.agent.next_deadline(),
                self.waiters.next_deadline(),
                self.next_look_at_servers(),
                self.next_look_at_what_acts(),
            ]);
            let deadline = earliest([
                work,
                Some(next_poll),
                next_beat,
                self.rest.next_deadline(),
                Some(self.pruning.next_deadline()),
            ]);
            let mut worked = true;
            tokio::select! {
                biased;
                () = orders.stop.wait() => return None,
                problem = ended(self.apart.as_ref()) => {
                    tracing::error!(%problem, "certhook cannot go on");
                    self.failed = Some(problem);
                    return None;
                }
                () = hang_up(orders.reread.as_mut()) => self.reread(),
                Some(event) = self.results.recv() => self.feed(event),
                Some(hint) = self.hints.recv() => self.hinted(hint),
                Some(news) = self.news.recv() => self.heard(news),
                Some(call) = receive(orders.calls.as_mut()) => self.called(call),
                Some(waiter) = self.waiters.flushed() => self.waiters.mark_flushed(waiter),
                () = until(deadline) => {
                    worked = work.is_some_and(|at| at <= Instant::now());
                    if next_poll <= Instant::now() {
                        next_poll = Instant::now() + self.config.watch.poll;
                        self.poll();
                    }
                    self.look_at_servers();
                    self.prune_if_due();
                    self.feed(Event::Tick);
                }
            }
            // From nowhere but here: it tells that this loop turns.
            if let (Some(every), Some(_)) = (beats, next_beat.filter(|at| *at <= Instant::now())) {
                self.manager.beat();
                next_beat = Some(Instant::now() + every);
            }
            while self.notes.try_join_next().is_some() {}
            if worked {
                self.rest.put_off();
            } else {
                self.rest.look(&self.ledger, &self.watcher);
            }
        }
    }

    /// Each on a thread that nobody waits for: file systems hang.
    fn poll(&self) {
        let (polls, sweeps) = (self.watcher.clone(), self.watcher.clone());
        if polls.polled() > 0 {
            tokio::task::spawn_blocking(move || polls.poll());
        }
        let sweep = std::thread::Builder::new().name("sweep".into()).spawn(move || sweeps.sweep());
        if let Err(error) = sweep {
            tracing::debug!(%error, "no thread to sweep with: the next poll tries again");
        }
    }

    fn hinted(&mut self, hint: Hint) {
        tracing::trace!(?hint, "hint");
        match hint {
            Hint::Look(Topic::Server(server), _) => self.configuration_changes(server),
            Hint::Look(Topic::Patterns, _) => self.redraw(),
            Hint::Look(Topic::Site(site), cause) => {
                crate::crash::arm();
                crate::crash::point("hinted");
                self.feed(Event::Look(site, cause));
                if self.looks.hurry(site) {
                    self.begin_look(site);
                }
                if self.probes.hurry(site) {
                    self.begin_probe(site, false);
                }
            }
            Hint::Lost => {
                tracing::warn!("file events were lost; everything is looked at");
                self.discover_all();
                self.feed(Event::LookAtAll(Cause::Missed));
            }
        }
    }

    fn called(&mut self, call: Call) {
        match call.request {
            Request::Status => self.answer_status(call.answer),
            Request::Sync { retry, reloaded, wait_ms } => {
                self.sync(retry, reloaded, Duration::from_millis(wait_ms), call.answer);
            }
        }
    }

    /// Lets what is under way come to a good end, within bounds. Why certhook could not go on, if that is so.
    async fn end(mut self) -> Option<Problem> {
        drop(self.changes);
        let (courier, outlets) = (self.courier.take(), self.outlets.take());
        let sent = async {
            let Some((orders, courier)) = courier else { return };
            drop(orders);
            if timeout(LAST_REQUEST, courier).await.is_err() {
                tracing::warn!(
                    "a request to the portal was still under way; it is made again at the next start"
                );
            }
        };
        let told = async {
            if let Some(outlets) = outlets {
                // An alert that is being told has time to be.
                let _ = timeout(LAST_ALERT, outlets).await;
            }
        };
        let noted = async {
            let all = async { while self.notes.join_next().await.is_some() {} };
            // What is not noted is seen again at the next start.
            let _ = timeout(GOODBYE, all).await;
        };
        let acted = async {
            if !self.acting.rests() {
                tracing::info!("the end waits for what is under way");
            }
            if !self.acting.end(LAST_ACT).await {
                tracing::warn!(
                    "a reload or an installation was still under way; it is made good at the next start"
                );
            }
        };
        tokio::join!(sent, told, noted, acted);
        self.failed
    }
}

fn setup_of(server: &crate::config::Server) -> ServerSetup {
    ServerSetup {
        verify_timeout: server.verify_timeout,
        min_interval: server.min_interval,
        max_draining: server.max_draining,
        staged: server.stage.is_some(),
    }
}

/// Never, where all is done here.
async fn ended(apart: Option<&Apart>) -> Problem {
    match apart {
        Some(apart) => apart.ended().await,
        None => std::future::pending().await,
    }
}

fn earliest<const N: usize>(deadlines: [Option<Instant>; N]) -> Option<Instant> {
    deadlines.into_iter().flatten().min()
}

async fn receive(calls: Option<&mut mpsc::UnboundedReceiver<Call>>) -> Option<Call> {
    match calls {
        Some(calls) => calls.recv().await,
        None => std::future::pending().await,
    }
}

async fn hang_up(signal: Option<&mut RereadSignal>) {
    match signal {
        Some(signal) => signal.wait().await,
        None => std::future::pending().await,
    }
}

/// The timer counts whole milliseconds, upwards: for less than one it would wait for two. That is where a reload's
/// delay would come from, so the loop turns instead.
async fn until(deadline: Option<Instant>) {
    const COARSE: Duration = Duration::from_millis(1);
    let Some(at) = deadline else { return std::future::pending().await };
    if at > Instant::now() + COARSE {
        return sleep_until(at.into()).await;
    }
    while Instant::now() < at {
        tokio::task::yield_now().await;
    }
}

/// The wall-clock time of a moment of the steady clock.
fn wall(at: Instant) -> Timestamp {
    let ago = Instant::now().saturating_duration_since(at);
    Timestamp::now().checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
