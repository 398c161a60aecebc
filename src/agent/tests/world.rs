//! A host made of numbers: files, a server that loads all or none, a wire, a ledger, and their delays.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::agent::*;
use crate::certificate::{Bundle, Doubt, Fingerprint, Hosts, Issuer, KeyType, Leaf};
use crate::problem::Problem;

/// What a site's files hold; leaves are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    Leaf(u8),
    Torn,
    Missing,
    NotYet(u8, Instant),
}

pub(super) struct World {
    pub(super) agent: Agent,
    pub(super) now: Instant,
    begun: Instant,
    queue: BTreeMap<(Instant, u64), Event>,
    order: u64,
    pub(super) disk: Vec<Disk>,
    /// What each site's server has loaded, and what it serves until then.
    pub(super) wire: Vec<u8>,
    before: Vec<(u8, Instant)>,
    servers: Vec<usize>,
    /// Every leaf that a handshake showed.
    ever_served: Vec<HashSet<u8>>,
    pub(super) recorded: Vec<Option<u8>>,
    /// What proved it.
    pub(super) evidence: Vec<Evidence>,
    pub(super) had_chain: bool,
    /// Of every server, from the next start on.
    pub(super) server_setup: ServerSetup,
    /// From the next start on.
    pub(super) changes_free: u32,
    /// When each site's server was reloaded for it, and for which leaf.
    pub(super) reloads_for: Vec<Vec<(Instant, u8)>>,
    /// Old workers that drain after each reload, and what `Count` is told.
    pub(super) draining: usize,
    pub(super) counts: usize,
    /// So much a look's wall clock lags behind.
    pub(super) wall_lags: Duration,
    /// When the leaves end.
    pub(super) leaves_end: Timestamp,
    /// Whose files the server names when it refuses.
    pub(super) at_fault: Option<BTreeSet<SiteId>>,
    pub(super) mark: Mark,
    pub(super) kept_back: Vec<(SiteId, Problem)>,

    pub(super) looking_takes: Duration,
    pub(super) reload_takes: Duration,
    /// For so long after a reload the old certificate is served too.
    pub(super) overlap: Duration,
    pub(super) doubt: Option<Doubt>,
    pub(super) age: Duration,
    pub(super) chain_version: u8,
    /// What the key's file holds, where the key cannot be checked.
    pub(super) key: u8,
    pub(super) key_elsewhere: bool,
    pub(super) refuses: bool,
    pub(super) loads_nothing: bool,
    pub(super) loads_each: bool,
    pub(super) reachable: bool,
    pub(super) one_is_silent: bool,
    /// Loads prove what handshakes do not show, from the next start on.
    pub(super) load_is_evidence: bool,
    /// The server answers, and shows no certificate.
    pub(super) refuses_handshakes: bool,
    /// The host does not have the address.
    pub(super) not_here: bool,
    pub(super) foreign: bool,
    pub(super) ledger_fails: bool,
    /// Reading never ends.
    pub(super) hangs: bool,
    /// What the next handshakes show, whatever is loaded.
    pub(super) script: Vec<u8>,

    /// The worker of the last load, and when it was started.
    generation: i32,
    generation_at: Instant,
    pub(super) workers_unseen: bool,
    /// The worker of the load before never ends.
    pub(super) old_accepts: bool,
    pub(super) looks_at_workers: u32,
    pub(super) reloads: Vec<Instant>,
    pub(super) failed_loads: usize,
    pub(super) probes: u32,
    records: Vec<(usize, u8, How)>,
    pub(super) record_times: Vec<Instant>,
    told: Vec<(usize, Option<String>)>,
}

impl World {
    pub(super) const SETTLE: Duration = Duration::from_secs(30);
    pub(super) const RESCAN: Duration = Duration::from_secs(3600);

    /// Sites on one server that serve leaf 1, unknown to the ledger.
    pub(super) fn new(sites: usize) -> Self {
        Self::make(&vec![0; sites], None, true)
    }

    /// As [`World::new`], known to the ledger.
    pub(super) fn known(sites: usize) -> Self {
        Self::make(&vec![0; sites], Some(1), true)
    }

    pub(super) fn on_servers(servers: &[usize]) -> Self {
        Self::make(servers, Some(1), true)
    }

    /// Known and started.
    pub(super) fn settled(sites: usize) -> Self {
        let mut world = Self::known(sites);
        world.start();
        world.run(Duration::from_secs(1));
        world.assert_settled();
        world
    }

    pub(super) fn with_chain(sites: usize, had_chain: bool) -> Self {
        let mut world = Self::make(&vec![0; sites], Some(1), had_chain);
        world.start();
        world.run(Duration::from_secs(1));
        world
    }

    pub(super) fn make(servers: &[usize], recorded: Option<u8>, had_chain: bool) -> Self {
        let now = Instant::now();
        let sites = servers.len();
        let mut world = Self {
            agent: Agent::new(Tuning { settle: Self::SETTLE, rescan: Self::RESCAN, changes_free: 0 }, &[]),
            now,
            begun: now,
            queue: BTreeMap::new(),
            order: 0,
            disk: vec![Disk::Leaf(1); sites],
            wire: vec![1; sites],
            before: vec![(1, now); sites],
            servers: servers.to_vec(),
            ever_served: vec![HashSet::new(); sites],
            recorded: vec![recorded; sites],
            evidence: vec![Evidence::Handshake; sites],
            had_chain,
            server_setup: ServerSetup {
                verify_timeout: Duration::from_secs(10),
                min_interval: Duration::ZERO,
                max_draining: None,
                staged: false,
            },
            changes_free: 0,
            reloads_for: vec![Vec::new(); sites],
            draining: 0,
            counts: 0,
            wall_lags: Duration::ZERO,
            leaves_end: Timestamp::MAX,
            at_fault: None,
            mark: Mark::default(),
            kept_back: Vec::new(),
            looking_takes: Duration::from_millis(1),
            reload_takes: Duration::from_millis(5),
            overlap: Duration::ZERO,
            doubt: None,
            age: Duration::ZERO,
            chain_version: 1,
            key: 0,
            key_elsewhere: false,
            refuses: false,
            loads_nothing: false,
            loads_each: false,
            reachable: true,
            one_is_silent: false,
            load_is_evidence: false,
            refuses_handshakes: false,
            not_here: false,
            foreign: false,
            ledger_fails: false,
            hangs: false,
            script: Vec::new(),
            generation: 100,
            generation_at: now - Duration::from_secs(3600),
            workers_unseen: false,
            old_accepts: false,
            looks_at_workers: 0,
            reloads: Vec::new(),
            failed_loads: 0,
            probes: 0,
            records: Vec::new(),
            record_times: Vec::new(),
            told: Vec::new(),
        };
        world.reboot();
        world
    }

    /// The wall clock, which began in 1970.
    pub(super) fn wall(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + (self.now - self.begun)
    }

    /// A new agent that knows what the ledger knows; whatever was under way is lost.
    pub(super) fn reboot(&mut self) {
        let servers = self.servers.iter().max().map_or(0, |most| most + 1);
        self.agent = Agent::new(
            Tuning { settle: Self::SETTLE, rescan: Self::RESCAN, changes_free: self.changes_free },
            &vec![self.server_setup; servers],
        );
        self.queue.clear();
    }

    pub(super) fn start(&mut self) {
        for site in 0..self.servers.len() {
            self.add(site, false);
        }
        self.event(Event::LookAtAll(Cause::Asked));
    }

    /// A site goes. Results that come later are told of its number, which nobody has again: here they are left out,
    /// because the world does give numbers again.
    pub(super) fn leave(&mut self, site: usize) {
        self.queue.retain(|_, event| event.site() != Some(SiteId(site)));
        self.event(Event::Removed(SiteId(site)));
    }

    /// As [`World::add`], unless it is there.
    pub(super) fn come(&mut self, site: usize, unloaded: bool) {
        if self.agent.site(SiteId(site)).is_none() {
            self.add(site, unloaded);
        }
    }

    /// A site comes, or comes back.
    pub(super) fn add(&mut self, site: usize, unloaded: bool) {
        let evidence = self.evidence[site];
        let recorded = self.recorded[site].map(|leaf| Recorded { evidence, ..self.record_of(leaf) });
        let ages = self.reloads_for[site].iter().map(|(at, _)| (self.now - *at, false));
        let recent = ages.filter(|(age, _)| *age < 2 * PACE_WINDOW);
        let pace = Pace::after(recent, self.now, self.changes_free).filter(|_| self.changes_free > 0);
        let server = ServerId(self.servers[site]);
        let load_is_evidence = self.load_is_evidence;
        let setup = SiteSetup { server, recorded, unloaded, load_is_evidence, pace };
        self.event(Event::Added(SiteId(site), setup));
    }

    /// Puts a whole set in place, with its hint.
    pub(super) fn write(&mut self, site: usize, leaf: u8) {
        self.set(site, Disk::Leaf(leaf));
    }

    pub(super) fn set(&mut self, site: usize, disk: Disk) {
        self.disk[site] = disk;
        self.event(Event::Look(SiteId(site), Cause::Changed));
    }

    pub(super) fn event(&mut self, event: Event) {
        for action in self.agent.handle(self.now, event) {
            self.perform(action);
        }
    }

    /// Lets time pass, with everything that becomes due in it.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        loop {
            let event_at = self.queue.first_key_value().map(|((at, _), _)| *at);
            let next =
                [event_at, self.agent.next_deadline()].into_iter().flatten().min().filter(|at| *at <= end);
            let Some(at) = next else { break };
            self.now = self.now.max(at);
            let event = match event_at {
                Some(event_at) if event_at <= at => self.queue.pop_first().map(|(_, event)| event),
                _ => None,
            };
            self.event(event.unwrap_or(Event::Tick));
            steps += 1;
            assert!(steps < 200_000, "the agent runs in circles");
        }
        self.now = end;
    }

    fn later(&mut self, delay: Duration, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + delay, self.order), event);
    }

    fn are_all_kept_back(&self, id: ServerId) -> bool {
        let is_kept_back = |site: &SiteId| self.kept_back.iter().any(|(kept, _)| kept == site);
        self.agent.reloading(id).is_some_and(|sites| sites.iter().all(is_kept_back))
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Inspect(_) if self.hangs => {}
            Action::Inspect(id) => {
                let outcome = self.inspect(id.0);
                self.later(self.looking_takes, Event::Inspected(id, outcome));
            }
            Action::Probe(id) => {
                self.probes += 1;
                let mut sightings = vec![self.handshake(id.0)];
                if self.one_is_silent {
                    let problem = Problem::new("unreachable", "nobody answers", "start it");
                    let outcome = Err(Unseen::Unreachable(problem));
                    let (endpoint, host) = ("[::1]:443".into(), "site.test".into());
                    sightings.push(Sighting { endpoint, host, outcome });
                }
                self.later(self.looking_takes, Event::Probed(id, sightings));
            }
            // All of them: the server is not told to reload.
            Action::Reload(id) if self.are_all_kept_back(id) => {
                let kept_back = std::mem::take(&mut self.kept_back);
                self.later(self.reload_takes, Event::KeptBack(id, kept_back));
            }
            Action::Reload(id) => {
                self.reloads.push(self.now);
                for site in self.agent.reloading(id).into_iter().flatten() {
                    let set =
                        self.agent.site(*site).and_then(Site::disk).map(|disk| disk.bundle.leaf.fingerprint);
                    let leaf = (0..=255).find(|number| Some(leaf_of(*number).fingerprint) == set).unwrap();
                    self.reloads_for[site.0].push((self.now, leaf));
                }
                let outcome = self.load(id.0).map(|took| Loaded {
                    took,
                    marks: match self.load_is_evidence {
                        true => self
                            .agent
                            .reloading(id)
                            .into_iter()
                            .flatten()
                            .map(|site| (*site, self.mark))
                            .collect(),
                        false => Vec::new(),
                    },
                    kept_back: std::mem::take(&mut self.kept_back),
                    before: BTreeSet::from([self.generation]),
                });
                if outcome.is_ok() {
                    self.generation += 1;
                    self.generation_at = self.now + self.reload_takes;
                }
                let at_fault = self.at_fault.clone();
                let outcome = outcome.map_err(|problem| Refused { problem, at_fault });
                self.later(self.reload_takes, Event::Reloaded(id, outcome));
            }
            Action::Record(id, installed) => {
                let outcome = if self.ledger_fails {
                    Err(Problem::new("ledger", "the disk is full", "make room"))
                } else {
                    let leaf = self.agent.site(id).unwrap().disk().unwrap().bundle.leaf.fingerprint;
                    let leaf = (0..=255).find(|number| leaf_of(*number).fingerprint == leaf).unwrap();
                    match installed.evidence {
                        Evidence::Handshake => assert!(
                            self.ever_served[id.0].contains(&leaf),
                            "recorded before the wire showed it"
                        ),
                        Evidence::Load => assert!(
                            self.wire[id.0] == leaf && self.now >= self.before[id.0].1,
                            "recorded before it was loaded"
                        ),
                    }
                    self.recorded[id.0] = Some(leaf);
                    self.evidence[id.0] = installed.evidence;
                    self.records.push((id.0, leaf, installed.how));
                    self.record_times.push(installed.served);
                    Ok(())
                };
                self.later(Duration::from_millis(3), Event::Recorded(id, outcome));
            }
            Action::Count(id) => {
                self.counts += 1;
                self.later(self.looking_takes, Event::Counted(id, Some(self.draining)));
            }
            Action::LookAtWorkers(id) => {
                self.looks_at_workers += 1;
                let accepting = self.accepting();
                self.later(self.looking_takes, Event::Accepting(id, accepting));
            }
            Action::Tell(id, problem) => self.told.push((id.0, problem.map(|problem| problem.code))),
        }
    }

    /// The workers of the last load, and those of the one before for as long as they overlap.
    fn accepting(&self) -> Accepting {
        if self.workers_unseen {
            return Accepting::Unseen;
        }
        let age = self.now.saturating_duration_since(self.generation_at);
        let old = Worker { pid: self.generation - 1, age: Duration::from_secs(3600) };
        let overlaps = self.before.iter().any(|(_, until)| self.now < *until) || self.old_accepts;
        let new = (self.now >= self.generation_at).then_some(Worker { pid: self.generation, age });
        Accepting::Workers(new.into_iter().chain(overlaps.then_some(old)).collect())
    }

    fn inspect(&self, site: usize) -> Result<Seen, Incomplete> {
        let problem = |code: &str| Problem::new(code, code, "mend it");
        match self.disk[site] {
            Disk::Leaf(leaf) => Ok(self.seen(leaf)),
            Disk::NotYet(leaf, from) if self.now >= from => Ok(self.seen(leaf)),
            Disk::NotYet(_, from) => {
                Err(Incomplete { problem: problem("not_yet_valid"), after: Some(from - self.now) })
            }
            Disk::Torn => Err(Incomplete { problem: problem("torn"), after: None }),
            Disk::Missing => Err(Incomplete { problem: problem("missing"), after: None }),
        }
    }

    fn handshake(&mut self, site: usize) -> Sighting {
        let overlapping = self.now < self.before[site].1;
        let leaf = match self.script.is_empty() {
            false => self.script.remove(0),
            true if overlapping => self.before[site].0,
            true => self.wire[site],
        };
        if self.reachable && !self.refuses_handshakes && !self.not_here {
            self.ever_served[site].insert(leaf);
        }
        let mut leaf = Leaf { not_after: self.leaves_end, ..leaf_of(leaf) };
        if self.foreign {
            leaf = Leaf { hosts: Hosts::from_portal_name("other.test"), ..leaf_of(99) };
        }
        let problem = Problem::new("unreachable", "nobody answers", "start it");
        Sighting {
            endpoint: "127.0.0.1:443".into(),
            host: "site.test".into(),
            outcome: match (self.reachable, self.not_here) {
                (_, true) => {
                    Err(Unseen::NotHere(Problem::new("not_on_this_host", "it is not here", "nothing")))
                }
                (true, false) if self.refuses_handshakes => {
                    Err(Unseen::Refused(Problem::new("no_handshake", "it shows none", "see it")))
                }
                (true, false) => Ok(leaf.into()),
                (false, false) => Err(Unseen::Unreachable(problem)),
            },
        }
    }

    /// All certificates or none, as nginx does.
    fn load(&mut self, server: usize) -> Result<Duration, Problem> {
        let sites: Vec<usize> =
            (0..self.servers.len()).filter(|site| self.servers[*site] == server).collect();
        let torn = sites.iter().any(|site| matches!(self.disk[*site], Disk::Torn | Disk::Missing));
        if self.refuses || (torn && !self.loads_each) {
            self.failed_loads += 1;
            return Err(Problem::new("refused", "the server refused", "mend it"));
        }
        if !self.loads_nothing {
            for site in sites {
                if let Disk::Leaf(leaf) | Disk::NotYet(leaf, _) = self.disk[site] {
                    self.before[site] = (self.wire[site], self.now + self.reload_takes + self.overlap);
                    self.wire[site] = leaf;
                }
            }
        }
        Ok(self.reload_takes)
    }

    fn record_of(&self, leaf: u8) -> Recorded {
        Recorded {
            leaf: leaf_of(leaf).fingerprint,
            set: Fingerprint::of(&[leaf, 1, 0]),
            intermediates: u32::from(self.had_chain),
            evidence: Evidence::Handshake,
        }
    }

    fn seen(&self, leaf: u8) -> Seen {
        Seen {
            bundle: Bundle {
                leaf: leaf_of(leaf).into(),
                set: Fingerprint::of(&[leaf, self.chain_version, self.key]),
                unchecked_key: self
                    .doubt
                    .as_ref()
                    .filter(|_| !self.key_elsewhere)
                    .map(|_| Fingerprint::of(&[self.key])),
                intermediates: u32::from(self.had_chain),
                doubts: self.doubt.iter().cloned().collect(),
            },
            written_at: Timestamp::UNIX_EPOCH,
            age: self.age,
            read_at: self.wall() - self.wall_lags,
            mark: self.mark,
            device: 0,
        }
    }

    /// Somebody else reloads the server.
    pub(super) fn reload_by_somebody(&mut self, server: usize) {
        // Whether it loads is the server's affair.
        let _ = self.load(server);
    }

    /// How many records there were, each site's leaves told apart from their records anew.
    pub(super) fn count_records(&self) -> (usize, usize) {
        let distinct: HashSet<(usize, u8)> =
            self.records.iter().map(|(site, leaf, _)| (*site, *leaf)).collect();
        (self.records.len(), distinct.len())
    }

    /// The records since the last call.
    pub(super) fn records(&mut self) -> Vec<(usize, u8, How)> {
        std::mem::take(&mut self.records)
    }

    pub(super) fn records_seen(&mut self) {
        self.records.clear();
    }

    /// What was told of a site: a problem's code, or that it is well.
    pub(super) fn told(&self, site: usize) -> Vec<Option<&str>> {
        self.told.iter().filter(|(told, _)| *told == site).map(|(_, code)| code.as_deref()).collect()
    }

    /// Disk, wire and record agree everywhere, and nothing is under way.
    pub(super) fn assert_settled(&self) {
        for (id, site) in self.agent.sites() {
            assert_eq!(site.state(), State::Current, "site {}", id.0);
            assert!(site.at_rest() && site.problem().is_none());
            assert_eq!(self.disk[id.0], Disk::Leaf(self.wire[id.0]), "site {}", id.0);
            assert_eq!(self.recorded[id.0], Some(self.wire[id.0]), "site {}", id.0);
        }
    }
}

fn leaf_of(number: u8) -> Leaf {
    Leaf {
        fingerprint: Fingerprint::of(&[number]),
        hosts: Hosts::from_portal_name("site.test"),
        not_before: Timestamp::MIN,
        not_after: Timestamp::MAX,
        key_type: KeyType::Ecdsa,
        issuer: Issuer::default(),
    }
}
