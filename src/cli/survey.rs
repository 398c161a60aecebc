//! How things are, seen without an agent: the disk, the wire and the ledger are asked here and now.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::agent::judge::{Wire, is_unseen, judge};
use crate::agent::{ACCEPTED, Incomplete, NOT_READ, Recorded, Seen, Sighting, Unseen};
use crate::certificate::{Leaf, ServedChain};
use crate::config::{self, Ask, Config, Site};
use crate::daemon::asking::part;
use crate::discover::Found;
use crate::inspect::{Place, inspect};
use crate::ledger::{Ledger, LedgerError};
use crate::probe::{self, Chains};
use crate::problem::Problem;
use crate::roster;
use crate::server::{Server, problems_of_lives};
use crate::status::{
    self, Certificate, Portal, PortalNames, Renewal, Report, Served, SiteProblem, Status, Watch,
};

/// For one handshake, when a person waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// For the files of one site, or a server's configuration.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Sites that are asked at once; one that has waited for [`BUSY_TIME`] counts no more among them.
const AT_ONCE: usize = 16;
/// After so long a site most likely waits for an address that swallows packets, and costs nothing but a socket.
const BUSY_TIME: Duration = Duration::from_millis(300);
/// Sites that are asked or waited for at once.
const MAX_WAITING: usize = 128;

/// The sites that there are now, and what is wrong with each server's configuration.
pub(super) struct Census {
    pub(super) sites: Vec<roster::Site>,
    pub(super) found: Vec<Option<Found>>,
    pub(super) problems: Vec<Option<Problem>>,
    /// Each as it was asked, so that it knows its processes.
    pub(super) servers: Vec<Arc<Server>>,
}

/// Asks the servers what they have. One whose configuration is on a file system that hangs has a problem.
pub(super) async fn census(config: &Config) -> Census {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    let mut servers = Vec::new();
    for configured in &config.servers {
        let server = Arc::new(Server::new(configured));
        servers.push(Arc::clone(&server));
        let answer = match configured.discovers() {
            true => {
                Some(within(move || server.discover()).await.unwrap_or_else(|| Err(hangs(&configured.name))))
            }
            false => None,
        };
        let (have, problem) = match answer {
            Some(Ok(have)) => (Some(have.clone()), have.problem),
            Some(Err(problem)) => (None, Some(problem)),
            None => (None, None),
        };
        found.push(have);
        problems.push(problem);
    }
    let (for_roster, drawn_from) = (config.clone(), found.clone());
    let roster = within(move || roster::draw(&for_roster, &drawn_from)).await;
    let Some(roster) = roster else {
        let problem = problems.iter_mut().find(|problem| problem.is_none());
        problem.into_iter().for_each(|problem| *problem = Some(hangs("certhook")));
        return Census { sites: Vec::new(), found, problems, servers };
    };
    Census { sites: roster.sites, found, problems, servers }
}

/// Does blocking work; `None` if it takes longer than a person waits. What hangs is left behind.
pub(super) async fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    timeout(READ_TIMEOUT, tokio::task::spawn_blocking(work)).await.ok()?.ok()
}

fn hangs(name: &str) -> Problem {
    let message =
        format!("the configuration of {name} could not be read within {} s", READ_TIMEOUT.as_secs());
    Problem::new(NOT_READ, message, "see the file system that holds its files")
}

/// One site's disk and wire.
pub(super) struct Finding {
    pub(super) seen: Result<Seen, Incomplete>,
    pub(super) sightings: Vec<Sighting>,
    /// What was sent with each of them.
    pub(super) chains: Vec<Option<Arc<ServedChain>>>,
}

impl Finding {
    /// What the wire shows against the disk; `None` where the disk has no whole set.
    pub(super) fn wire(&self, recorded: Option<&Recorded>) -> Option<Wire> {
        self.seen.as_ref().ok().map(|seen| judge(seen, recorded, &self.sightings))
    }

    fn shown(&self) -> impl Iterator<Item = &Leaf> + Clone {
        self.sightings.iter().filter_map(|sighting| sighting.outcome.as_deref().ok())
    }

    /// Why no handshake shows the set on disk, where the ledger has it as one that its load proved. Of a server that
    /// does not run nothing is seen either.
    pub(super) fn unseen(
        &self,
        recorded: Option<&Recorded>,
        site: &Site,
        down: &[Option<Problem>],
    ) -> Option<Problem> {
        let set = self.seen.as_ref().ok()?.bundle.set;
        let is_down = down.get(site.server).is_some_and(Option::is_some);
        let is_proved = recorded.is_some_and(|known| known.proves_by_load(&set));
        if !is_proved || is_down || !is_unseen(&self.sightings) {
            return None;
        }
        self.wire(recorded)?.problem().cloned()
    }

    /// What is wrong, if anything.
    pub(super) fn problem(&self, recorded: Option<&Recorded>) -> Option<Problem> {
        match &self.seen {
            Err(incomplete) => Some(incomplete.problem.clone()),
            Ok(_) => self.wire(recorded)?.problem().cloned(),
        }
    }
}

impl Finding {
    /// What is wrong with the chains that listeners send with the leaf on disk, if anything.
    pub(super) fn chain_problem(&self, chains: &mut Chains, now: Timestamp) -> Option<Problem> {
        let on_disk = self.seen.as_ref().ok()?.bundle.leaf.fingerprint;
        let seen = self.sightings.iter().zip(self.chains.iter().map(Option::as_ref));
        chains.verdict(on_disk, seen, now)?.err()
    }
}

fn not_read(site: &Site) -> Incomplete {
    let message =
        format!("{} could not be read within {} s", site.certificate.display(), READ_TIMEOUT.as_secs());
    let problem = Problem::new(NOT_READ, message, "see the file system that holds it");
    Incomplete { problem, after: None }
}

/// Looks at the disk, and at the wire for what is whole there; in the order of `sites`.
pub(super) async fn look(servers: &[Arc<Server>], sites: &[&Site]) -> Vec<Finding> {
    let permits = Arc::new(Permits {
        busy: Semaphore::new(AT_ONCE),
        all: Semaphore::new(MAX_WAITING),
        waiting: Mutex::default(),
    });
    let silent = Arc::new(Silent::default());
    let looking: Vec<_> = sites
        .iter()
        .map(|site| {
            let server = Arc::clone(&servers[site.server]);
            tokio::spawn(one(server, (*site).clone(), Arc::clone(&permits), Arc::clone(&silent)))
        })
        .collect();
    let mut found = Vec::new();
    for look in looking {
        if let Ok(finding) = look.await {
            found.push(finding);
        }
    }
    found
}

/// Limits how many sites are asked at once.
struct Permits {
    busy: Semaphore,
    all: Semaphore,
    /// How many sites of each endpoint were let wait beside those that count.
    waiting: Mutex<HashMap<String, usize>>,
}

impl Permits {
    /// Does a site's work in its turn.
    async fn wait_for<T>(&self, site: &Site, work: impl Future<Output = T>) -> T {
        // Nobody closes them.
        let _waiting = self.all.acquire().await;
        let busy = self.busy.acquire().await;
        let mut work = std::pin::pin!(work);
        if let Ok(done) = timeout(BUSY_TIME, work.as_mut()).await {
            return done;
        }
        let _busy = Some(busy).filter(|_| !self.may_wait(site));
        work.await
    }

    /// Whether others may be asked while a site is waited for: few sites wait for the same endpoint.
    fn may_wait(&self, site: &Site) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoints: Vec<String> = site.verify.iter().map(|ask| ask.endpoint.to_string()).collect();
        let is_new = |endpoint: &String| waiting.get(endpoint).is_none_or(|count| *count < SILENT_AFTER);
        let may = endpoints.iter().all(is_new);
        if may {
            endpoints.into_iter().for_each(|endpoint| *waiting.entry(endpoint).or_default() += 1);
        }
        may
    }
}

/// Looks at one site in its turn.
async fn one(server: Arc<Server>, site: Site, permits: Arc<Permits>, silent: Arc<Silent>) -> Finding {
    permits.wait_for(&site, look_at(server, &site, &silent)).await
}

/// Looks; what seems stale is asked once more when old workers of a reload just now no longer answer.
async fn look_at(server: Arc<Server>, site: &Site, silent: &Silent) -> Finding {
    let place = Place::of(site);
    let seen = within(move || inspect(&place, Timestamp::now())).await.unwrap_or_else(|| Err(not_read(site)));
    let Ok(set) = &seen else {
        return Finding { seen, sightings: Vec::new(), chains: Vec::new() };
    };
    let (mut sightings, mut chains) = shown(&server, site, set, silent).await;
    if matches!(judge(set, None, &sightings), Wire::Stale(_)) {
        sleep(ACCEPTED).await;
        (sightings, chains) = shown(&server, site, set, silent).await;
    }
    Finding { seen, sightings, chains }
}

type Sightings = (Vec<Sighting>, Vec<Option<Arc<ServedChain>>>);

/// As the agent asks: of endpoints that the server's configuration names only those that this host has.
async fn shown(server: &Arc<Server>, site: &Site, set: &Seen, silent: &Silent) -> Sightings {
    let leaf = &set.bundle.leaf;
    let (asks, mut unasked) = silent.part(probe::asks(site, leaf));
    let asks = if site.verify_is_found {
        let (here, not_here) = part(server, asks).await;
        unasked.extend(not_here);
        here
    } else {
        asks
    };
    let mut shown = probe::look(&asks, leaf, PATIENCE).await;
    if site.verify_is_found {
        let (_, moved) = part(server, asks).await;
        shown.retain(|shown| moved.iter().all(|moved| moved.endpoint != shown.sighting.endpoint));
        unasked.extend(moved);
    }
    let (mut sightings, mut chains): Sightings =
        shown.into_iter().map(|shown| (shown.sighting, shown.chain)).unzip();
    silent.note(&sightings);
    chains.extend(unasked.iter().map(|_| None));
    sightings.extend(unasked);
    (sightings, chains)
}

/// After so many sites an endpoint that answered none of them is not asked for the others: an address that swallows
/// packets costs [`PATIENCE`] each time.
const SILENT_AFTER: usize = 3;

/// The endpoints that gave no answer, for how many sites, and why; `None` for one that answered.
#[derive(Default)]
struct Silent(Mutex<HashMap<String, Option<(usize, Problem)>>>);

impl Silent {
    /// The asks that are worth it, and a sighting for each of the others.
    fn part(&self, asks: Vec<Ask>) -> (Vec<Ask>, Vec<Sighting>) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut worth, mut unasked) = (Vec::new(), Vec::new());
        for ask in asks {
            let endpoint = ask.endpoint.to_string();
            match known.get(&endpoint) {
                Some(Some((count, problem))) if *count >= SILENT_AFTER => unasked.push(Sighting {
                    endpoint,
                    host: ask.hosts.into_iter().next().unwrap_or_default(),
                    outcome: Err(Unseen::Unreachable(problem.clone())),
                }),
                _ => worth.push(ask),
            }
        }
        (worth, unasked)
    }

    fn note(&self, sightings: &[Sighting]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Sighting { endpoint, outcome, .. } in sightings {
            match outcome {
                Err(Unseen::Unreachable(problem)) => {
                    let times = known.entry(endpoint.clone()).or_insert_with(|| Some((0, problem.clone())));
                    times.iter_mut().for_each(|(count, _)| *count += 1);
                }
                Err(Unseen::NotHere(_)) => {}
                Ok(_) | Err(Unseen::Refused(_)) => drop(known.insert(endpoint.clone(), None)),
            }
        }
    }
}

/// A status without an agent. A ledger that cannot be used is told of, and done without.
pub(super) async fn status(config: &Config) -> Status {
    let Census { sites, problems, servers, .. } = census(config).await;
    let down = down(config).await;
    let settings: Vec<&Site> = sites.iter().map(|site| &*site.settings).collect();
    let findings = look(&servers, &settings).await;
    let now = Timestamp::now();
    let read = || {
        let ledger = Ledger::open_existing(&config.state_dir)?;
        let recorded = ledger.as_ref().map(Ledger::recorded).transpose()?.unwrap_or_default();
        let unreadable = ledger.as_ref().map(Ledger::unreadable_report).transpose()?.flatten();
        let known = (&recorded, ledger.as_ref());
        let (portal, told) = tell_all(config, &sites, &findings, &down, known, now)?;
        Ok::<_, LedgerError>((portal, told, unreadable))
    };
    let tells_all: Vec<bool> = servers
        .iter()
        .zip(&problems)
        .map(|(server, problem)| problem.is_none() && server.was_running())
        .collect();
    let renewal = || Renewal::of(Ledger::open_existing(&config.state_dir).ok()?.as_ref()).ok()?;
    let (portal, told, report_problem, ledger_problem) = match read() {
        Ok((portal, told, unreadable)) => (portal, told, unreadable, None),
        Err(error) => {
            let (portal, told) =
                tell_all(config, &sites, &findings, &down, (&HashMap::new(), None), now).unwrap_or_default();
            (portal, told, None, Some(error.problem()))
        }
    };
    let mut status = Status {
        agent: status::Agent { running: false, pid: None, version: None },
        portal,
        renewal: renewal(),
        watch: Watch::default(),
        ledger_problem,
        report_problem,
        renewal_problem: None,
        config_problem: None,
        metrics_problem: None,
        alert_problem: None,
        servers: config
            .servers
            .iter()
            .zip(problems.into_iter().zip(down))
            .enumerate()
            .map(|(index, (server, (problem, down)))| {
                tell_server(server, down.or(problem), count(&sites, index), now)
            })
            .collect(),
        sites: told,
    };
    if let Ok(Some(ledger)) = Ledger::open_existing(&config.state_dir) {
        let present = sites.iter().map(|site| site.key().into_owned()).collect();
        // The status has the ledger's problem already.
        let _ = status.add_vanished(config, &ledger, &present, |index| tells_all[index]);
    }
    status
}

/// Which servers do not run. One whose processes cannot be looked at in time has another problem.
pub(super) async fn down(config: &Config) -> Vec<Option<Problem>> {
    let servers: Vec<Server> = config.servers.iter().map(Server::new).collect();
    let look = move || problems_of_lives(&servers.iter().map(Server::life).collect::<Vec<_>>());
    within(look).await.unwrap_or_else(|| vec![None; config.servers.len()])
}

fn count(sites: &[roster::Site], server: usize) -> usize {
    sites.iter().filter(|site| site.settings.server == server).count()
}

fn tell_server(
    server: &config::Server,
    problem: Option<Problem>,
    sites: usize,
    now: Timestamp,
) -> status::Server {
    let workers = Server::new(server).workers();
    status::Server {
        name: server.name.clone(),
        discover: server.discovers(),
        sites,
        workers: workers.as_ref().map(|workers| workers.serving.len()),
        draining: workers.map(|workers| workers.draining),
        reload_at: None,
        problem: problem.map(|problem| SiteProblem::since(&problem, now)),
    }
}

type Told = (Option<Portal>, Vec<status::Site>);

fn tell_all(
    config: &Config,
    sites: &[roster::Site],
    findings: &[Finding],
    down: &[Option<Problem>],
    (recorded, ledger): (&HashMap<String, Recorded>, Option<&Ledger>),
    now: Timestamp,
) -> Result<Told, LedgerError> {
    let names = PortalNames::of(config, ledger)?;
    let mut chains = Chains::default();
    let told = sites.iter().zip(findings).map(|(site, finding)| {
        let recorded = recorded.get(&*site.key());
        let unseen = finding.unseen(recorded, &site.settings, down);
        let of_wire = finding.problem(recorded).filter(|_| unseen.is_none());
        let of_chain = finding.chain_problem(&mut chains, now);
        let problems = of_wire.into_iter().chain(of_chain).collect();
        let told = tell(config, &site.settings, finding, (recorded, unseen.as_ref()), problems, ledger, now)?;
        let leaf = finding.seen.as_ref().ok().map(|seen| &*seen.bundle.leaf);
        let portal = names.word(&site.settings, leaf, &told.report);
        Ok::<_, LedgerError>(status::Site { portal, ..told })
    });
    Ok((Portal::of(config, ledger, now)?, told.collect::<Result<_, _>>()?))
}

fn tell(
    config: &Config,
    site: &Site,
    finding: &Finding,
    (recorded, unseen): (Option<&Recorded>, Option<&Problem>),
    problems: Vec<Problem>,
    ledger: Option<&Ledger>,
    now: Timestamp,
) -> Result<status::Site, LedgerError> {
    let seen = finding.seen.as_ref().ok();
    let leaf = seen.map(|seen| &*seen.bundle.leaf);
    let problems = problems.iter().map(|problem| SiteProblem::since(problem, now)).collect();
    let (problem, problems) = status::gravest(problems);
    let is_recorded = recorded.zip(leaf).is_some_and(|(recorded, leaf)| recorded.leaf == leaf.fingerprint);
    let state = match (&finding.seen, finding.wire(recorded)) {
        (Err(_), _) => "pending",
        (_, Some(Wire::Served)) if is_recorded => "current",
        (_, Some(Wire::Served)) => "unknown",
        _ if unseen.is_some() => "current",
        _ => "waiting",
    };
    let loaded = leaf.zip(unseen).map(|(leaf, reason)| Served::loaded(leaf, now, reason));
    let report = Report::of(ledger, leaf.map(|leaf| &leaf.fingerprint))?;
    let is_put_aside = unseen.is_some() && site.report && !config.reports_unproved();
    Ok(status::Site {
        name: status::display_name(site, leaf),
        server: config.servers[site.server].name.clone(),
        state: state.to_owned(),
        certificate: Certificate::of(&site.certificate, seen),
        served: Served::of(finding.shown(), leaf, now).or(loaded),
        report: if is_put_aside { report.or_unproved() } else { report },
        portal: None,
        problem,
        problems,
        pending: None,
        polled: None,
    })
}
