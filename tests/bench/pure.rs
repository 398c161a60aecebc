//! The parts without I/O: what judging a set costs, and what one renewal costs the agent, of few sites and of many.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use certhook::agent::{
    Accepting, Action, Agent, Cause, Event, Loaded, Mark, Seen, ServerId, ServerSetup, Sighting, SiteId,
    SiteSetup, State, Tuning,
};
use certhook::certificate::{self, Key};
use certhook_test_support::ca::{Authority, KeyType, Order, Pair};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;

fn look(pair: &Pair) -> certificate::Bundle {
    let key = Key::Pem(pair.key_pem.as_bytes());
    certificate::inspect(pair.fullchain_pem.as_bytes(), key, Timestamp::now()).expect("a whole set")
}

fn judging(criterion: &mut Criterion) {
    let ca = Authority::new();
    for (name, key_type) in [("P-256", KeyType::EcdsaP256), ("RSA 2048", KeyType::Rsa2048)] {
        let pair = ca.issue(Order { key: key_type, ..Order::default() });
        criterion.bench_function(&format!("judge a set, {name}"), |bencher| bencher.iter(|| look(&pair)));
    }
}

/// Sites on one server, which answers at once and loads what it is told to.
struct World {
    agent: Agent,
    now: Instant,
    sets: [Seen; 2],
    /// Which of the two is on disk, and served, for each site.
    disk: Vec<usize>,
    wire: Vec<usize>,
}

impl World {
    fn new(sites: usize) -> Self {
        let ca = Authority::new();
        let sets = [0, 1].map(|_| {
            let (bundle, now) = (look(&ca.issue(Order::default())), Timestamp::now());
            Seen {
                bundle,
                written_at: now,
                age: Duration::ZERO,
                read_at: now,
                mark: Mark::default(),
                device: 0,
            }
        });
        let tuning =
            Tuning { settle: Duration::from_secs(30), rescan: Duration::from_secs(1 << 30), changes_free: 0 };
        let setup = ServerSetup {
            verify_timeout: Duration::from_secs(10),
            min_interval: Duration::ZERO,
            max_draining: None,
            staged: false,
        };
        let (disk, wire) = (vec![0; sites], vec![0; sites]);
        let mut world = Self { agent: Agent::new(tuning, &[setup]), now: Instant::now(), sets, disk, wire };
        for site in 0..sites {
            let setup = SiteSetup {
                server: ServerId(0),
                recorded: None,
                unloaded: false,
                load_is_evidence: true,
                pace: None,
            };
            world.run(Event::Added(SiteId(site), setup));
        }
        world.rest();
        world
    }

    fn run(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.agent.handle(self.now, event) {
                events.extend(self.answer(action));
            }
        }
    }

    fn answer(&mut self, action: Action) -> Option<Event> {
        Some(match action {
            Action::Inspect(site) => Event::Inspected(site, Ok(self.sets[self.disk[site.0]].clone())),
            Action::Probe(site) => {
                let leaf = self.sets[self.wire[site.0]].bundle.leaf.clone();
                let (endpoint, host) = ("127.0.0.1:443".to_owned(), "contoso.com".to_owned());
                Event::Probed(site, vec![Sighting { endpoint, host, outcome: Ok(leaf) }])
            }
            Action::Reload(server) => {
                for site in self.agent.reloading(server).into_iter().flatten() {
                    self.wire[site.0] = self.disk[site.0];
                }
                let (marks, kept_back, before) = (Vec::new(), Vec::new(), BTreeSet::new());
                Event::Reloaded(
                    server,
                    Ok(Loaded { took: Duration::from_millis(10), marks, kept_back, before }),
                )
            }
            Action::LookAtWorkers(server) => Event::Accepting(server, Accepting::AllNew),
            Action::Record(site, _) => Event::Recorded(site, Ok(())),
            Action::Count(_) | Action::Tell(..) => return None,
        })
    }

    /// Lets time pass until every site is in order.
    fn rest(&mut self) {
        while self.agent.sites().any(|(_, site)| site.state() != State::Current) {
            self.tick();
        }
    }

    fn tick(&mut self) {
        self.now = self.agent.next_deadline().map_or(self.now, |at| at.max(self.now));
        self.run(Event::Tick);
    }

    /// One renewal, to its end.
    fn renew(&mut self, site: usize) {
        self.disk[site] = 1 - self.disk[site];
        self.run(Event::Look(SiteId(site), Cause::Changed));
        while self.agent.site(SiteId(site)).is_some_and(|site| site.state() != State::Current) {
            self.tick();
        }
    }
}

fn deciding(criterion: &mut Criterion) {
    for sites in [10, 1_000, 10_000] {
        let mut world = World::new(sites);
        criterion.bench_function(&format!("a renewal, one of {sites} sites"), |bencher| {
            bencher.iter_batched(
                || fastrand::usize(..sites),
                |site| world.renew(site),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, judging, deciding);
criterion_main!(benches);
