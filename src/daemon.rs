//! The only loop: it takes hints, results, deadlines and calls, hands them to the agent one at a time, and
//! performs what the agent says. Each action is a task whose result comes back as an event.

mod claim;
mod perform;
mod report;
mod waiters;

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::agent::{Agent, Cause, Event, ServerId, SiteId, SiteSetup, Tuning};
use crate::config::Config;
use crate::control::{Call, Request};
use crate::courier::{Courier, Known, Order};
use crate::inspect::Place;
use crate::ledger::Ledger;
use crate::platform::StopSignals;
use crate::problem::Problem;
use crate::server::Server;
use crate::status::Status;
use crate::watch::{Hint, Watcher};
use claim::Claim;
pub use claim::try_lock;
use waiters::Waiters;

/// Handshakes of several sites at once; each site's are one after the other.
const PROBES_AT_ONCE: usize = 16;
/// For the courier to end the request it is at, beyond the request's own time, when the agent stops.
const GOODBYE: Duration = Duration::from_secs(2);
/// For another pass to end before the agent starts.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// Runs the agent until a signal ends it.
///
/// # Errors
/// What kept it from starting.
pub async fn serve(config: Config) -> Result<(), Problem> {
    let mut stop = StopSignals::new()
        .map_err(|error| Problem::new("signals", error.to_string(), "see the system's log"))?;
    let claim = Claim::take(&config.state_dir, LOCK_PATIENCE).await?;
    let (sender, calls) = mpsc::unbounded_channel();
    let (end, ended) = oneshot::channel();
    let keeping = tokio::spawn(claim.keep(config.watch.poll, sender, ended));
    let mut daemon = Daemon::new(config);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), sites = daemon.sites.len(), "certhook runs");
    daemon.feed(Event::LookAtAll(Cause::Asked));
    daemon.turn(Some(calls), &mut stop).await;
    drop(end);
    let claim = keeping.await;
    daemon.end().await;
    drop(claim);
    tracing::info!("certhook ends");
    Ok(())
}

/// One pass over everything, without an agent: it ends when all is at rest, or when `wait` is over.
///
/// # Errors
/// What kept it from starting.
pub async fn pass(config: Config, lock: File, retry: bool, wait: Duration) -> Result<Status, Problem> {
    let mut stop = StopSignals::new()
        .map_err(|error| Problem::new("signals", error.to_string(), "see the system's log"))?;
    let mut daemon = Daemon::new(config);
    let mut outcome = daemon.sync_locally(retry, wait);
    daemon.turn(None, &mut stop).await;
    let status = outcome.try_recv();
    daemon.end().await;
    drop(lock);
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

/// One site, as the loop needs it.
struct Site {
    key: String,
    /// What the log calls it.
    label: String,
    place: Place,
    /// Whether the portal is to know of it.
    report: bool,
}

struct Daemon {
    config: Config,
    agent: Agent,
    sites: Vec<Site>,
    servers: Vec<Arc<Server>>,
    watcher: Watcher,
    hints: mpsc::UnboundedReceiver<Hint>,
    results: mpsc::UnboundedReceiver<Event>,
    result_sender: mpsc::UnboundedSender<Event>,
    ledger: Arc<Ledger>,
    courier: Option<(mpsc::UnboundedSender<Order>, oneshot::Receiver<()>)>,
    probes: Arc<Semaphore>,
    /// Writes to the ledger that nobody waits for, but the end.
    notes: JoinSet<()>,
    waiters: Waiters,
}

impl Daemon {
    fn new(config: Config) -> Self {
        let ledger = Arc::new(Ledger::at(&config.state_dir));
        // Without a ledger certificates are reloaded and verified all the same; it is tried again at each record.
        let recorded = ledger.recorded().unwrap_or_else(|error| {
            tracing::error!(problem = %error.problem(), "the ledger cannot be read");
            HashMap::new()
        });
        let sites: Vec<Site> = config
            .sites
            .iter()
            .map(|site| Site {
                key: config.site_key(site),
                label: site.label(),
                place: Place::of(site),
                report: site.report && config.portal.is_some(),
            })
            .collect();
        let setups: Vec<SiteSetup> = sites
            .iter()
            .zip(&config.sites)
            .map(|(site, configured)| SiteSetup {
                server: ServerId(configured.server),
                recorded: recorded.get(&site.key).copied(),
            })
            .collect();
        let verify_timeouts: Vec<Duration> =
            config.servers.iter().map(|server| server.verify_timeout).collect();
        let tuning = Tuning { settle: config.watch.settle, rescan: config.watch.rescan };
        let (hint_sender, hints) = mpsc::unbounded_channel();
        let mut watcher = Watcher::new(hint_sender);
        for (index, site) in sites.iter().enumerate() {
            watcher.follow(SiteId(index), site.place.files());
        }
        let (result_sender, results) = mpsc::unbounded_channel();
        Self {
            agent: Agent::new(tuning, &verify_timeouts, &setups),
            servers: config.servers.iter().map(|server| Arc::new(Server::new(server))).collect(),
            courier: courier(&config, &sites, &ledger),
            sites,
            watcher,
            hints,
            results,
            result_sender,
            ledger,
            probes: Arc::new(Semaphore::new(PROBES_AT_ONCE)),
            notes: JoinSet::new(),
            waiters: Waiters::default(),
            config,
        }
    }

    /// Turns until a signal comes, or, where there is no agent's socket, until the last waiter was answered.
    async fn turn(&mut self, mut calls: Option<mpsc::UnboundedReceiver<Call>>, stop: &mut StopSignals) {
        let mut next_poll = Instant::now() + self.config.watch.poll;
        loop {
            self.answer_waiters();
            if calls.is_none() && self.waiters.is_empty() {
                return;
            }
            let poll = (self.watcher.polled() > 0).then_some(next_poll);
            let deadline =
                [self.agent.next_deadline(), self.waiters.next_deadline(), poll].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = stop.wait() => return,
                Some(event) = self.results.recv() => self.feed(event),
                Some(hint) = self.hints.recv() => self.hinted(hint),
                Some(call) = receive(calls.as_mut()) => self.called(call),
                Some(waiter) = self.waiters.flushed() => self.waiters.mark_flushed(waiter),
                () = until(deadline) => {
                    if poll.is_some_and(|at| at <= Instant::now()) {
                        next_poll = Instant::now() + self.config.watch.poll;
                        for site in self.watcher.poll() {
                            self.hinted(Hint::Site(site, Cause::Changed));
                        }
                    }
                    self.feed(Event::Tick);
                }
            }
            while self.notes.try_join_next().is_some() {}
        }
    }

    fn hinted(&mut self, hint: Hint) {
        tracing::trace!(?hint, "hint");
        match hint {
            Hint::Site(site, cause) => {
                crate::crash::arm();
                crate::crash::point("hinted");
                self.feed(Event::Look(site, cause));
            }
            Hint::Lost => {
                tracing::warn!("file events were lost; everything is looked at");
                for site in (0..self.sites.len()).map(SiteId) {
                    self.watcher.rearm(site);
                }
                self.feed(Event::LookAtAll(Cause::Missed));
            }
        }
    }

    fn called(&mut self, call: Call) {
        match call.request {
            Request::Status => {
                // Whoever asked may have left.
                let _ = call.answer.send(self.status());
            }
            Request::Sync { retry, wait_ms } => {
                self.sync(retry, Duration::from_millis(wait_ms), call.answer);
            }
        }
    }

    /// Lets what is under way come to a good end, within bounds.
    async fn end(mut self) {
        if let Some((orders, courier)) = self.courier.take() {
            drop(orders);
            let request = self.config.portal.as_ref().map_or(Duration::ZERO, |portal| portal.timeout);
            if timeout(request + GOODBYE, courier).await.is_err() {
                tracing::warn!(
                    "a request to the portal was still under way; it is made again at the next start"
                );
            }
        }
        let all_noted = async { while self.notes.join_next().await.is_some() {} };
        // What is not noted is seen again at the next start.
        let _ = timeout(GOODBYE, all_noted).await;
    }
}

/// The courier on a thread of its own, and what becomes true when it has ended.
fn courier(
    config: &Config,
    sites: &[Site],
    ledger: &Ledger,
) -> Option<(mpsc::UnboundedSender<Order>, oneshot::Receiver<()>)> {
    let portal = config.portal.as_ref()?;
    let reporting: Vec<String> =
        sites.iter().filter(|site| site.report).map(|site| site.key.clone()).collect();
    if let Err(error) = ledger.report_only(&reporting, Timestamp::now()) {
        tracing::error!(problem = %error.problem(), "which sites report cannot be written down");
    }
    let known: HashMap<String, Known> = sites
        .iter()
        .zip(&config.sites)
        .map(|(site, configured)| {
            (site.key.clone(), Known { name: configured.name.clone(), id: configured.id })
        })
        .collect();
    let (orders, receiver) = mpsc::unbounded_channel();
    let (done, ended) = oneshot::channel();
    let courier = Courier::new(Ledger::at(&config.state_dir), portal, known);
    let work = move || {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(courier.run(receiver)),
            Err(error) => tracing::error!(%error, "the courier cannot work"),
        }
        // Whoever waited for it may be gone.
        let _ = done.send(());
    };
    match std::thread::Builder::new().name("courier".into()).spawn(work) {
        Ok(_) => Some((orders, ended)),
        Err(error) => {
            tracing::error!(%error, "the courier cannot be started; nothing is reported until the next start");
            None
        }
    }
}

async fn receive(calls: Option<&mut mpsc::UnboundedReceiver<Call>>) -> Option<Call> {
    match calls {
        Some(calls) => calls.recv().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// The wall-clock time of a moment of the steady clock.
fn wall(at: Instant) -> Timestamp {
    let ago = Instant::now().saturating_duration_since(at);
    Timestamp::now().checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH)
}
