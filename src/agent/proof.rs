//! When a certificate is proved to be served: this is the only place that says so.
//!
//! A handshake shows one worker's certificate. After a reload the workers of the load before accept connections beside
//! the new ones until they drain. So a leaf is proved when a handshake has shown it *and* every worker that still
//! accepts is of one generation:
//!
//! * after a reload of certhook's own, none that was there before accepts, and a handshake that began after that was
//!   seen shows the leaf;
//! * where another program may have reloaded, a handshake has shown the leaf between two looks that found the same workers,
//!   all started together.
//!
//! Where workers cannot be seen, or may not have started together, time stands in for them:
//! [`HANDSHAKES`] over [`UNSEEN`] or [`MIXED`].
//!
//! Where no handshake shows any certificate for as long as a server may take to show one, a reload of certhook's own is
//! the next best evidence ([`Evidence::Load`]): it loaded, no worker that was there before accepts, workers accept
//! now, and the files read before it are the same after it. It proves a set once: what is recorded so stays proved
//! while workers accept and the set is the same.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::schedule::Key;
use super::server::Server;
use super::{Action, Agent, Evidence, ServerId, SiteId, State};
use crate::problem::Problem;

/// So many handshakes in a row stand in for workers that cannot be seen.
const HANDSHAKES: u32 = 12;
/// They take so long, where no worker can be seen.
const UNSEEN: Duration = Duration::from_secs(2);
/// And so long, where some are seen and may be of two loads.
const MIXED: Duration = Duration::from_secs(10);
/// nginx's master sleeps 100 ms after it has started the workers of a load; the kernel counts in hundredths of a
/// second. Between two workers of one load there is less, but for one that was started in another's place.
const APART: Duration = Duration::from_millis(50);
/// The first workers of an nginx that has just been started have no such pause behind them.
const YOUNG: Duration = Duration::from_millis(300);
/// nginx tells the old workers to drain 100 ms after it has started the new ones.
const FIRST_LOOK: Duration = Duration::from_millis(101);
const LEAST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// An old worker that accepts for longer is a problem.
pub const OLD_WORKER_LIMIT: Duration = Duration::from_secs(60);

/// A worker that accepts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    /// Its process id.
    pub pid: i32,
    /// How long ago it was started, to a hundredth of a second.
    pub age: Duration,
}

/// Who accepts connections of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepting {
    /// It cannot be seen.
    Unseen,
    /// No worker of an earlier load: a load takes effect for all connections at once.
    AllNew,
    /// These workers.
    Workers(Vec<Worker>),
}

/// What is known of a server's workers.
#[derive(Debug, Default)]
pub(super) struct Workers {
    load: Option<Load>,
    /// When the look that is under way was asked for.
    looking: Option<Instant>,
    /// The last look since the load.
    seen: Option<Look>,
}

/// The last reload of certhook's own that loaded.
#[derive(Debug)]
struct Load {
    begun: Instant,
    loaded: Instant,
    /// The master's children before.
    before: BTreeSet<i32>,
    /// When it was seen that none of those accepts any more.
    alone: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    asked: Instant,
    generation: Generation,
}

/// What a look at a server's workers tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generation {
    /// Those that accept were started together, this one last.
    One(i32),
    /// They may be of two loads.
    Mixed,
    /// This one served before the last reload.
    Old(i32),
    /// There is nothing to see.
    Unseen,
}

/// Handshakes in a row that have shown the leaf on disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    first: Instant,
    last: Instant,
    count: u32,
    /// The last worker of the generation that was alone before the last of them.
    within: Option<i32>,
}

/// Whether a leaf is proved.
pub(super) enum Verdict {
    Proved,
    /// The workers' next look decides.
    Look,
    /// So does another handshake, at that time.
    Ask(Instant),
}

impl Shown {
    fn by_time(&self, now: Instant, span: Duration) -> Verdict {
        match self.count >= HANDSHAKES && now >= self.first + span {
            true => Verdict::Proved,
            false => Verdict::Ask(self.last + span / (HANDSHAKES - 1)),
        }
    }
}

impl Workers {
    /// A reload of certhook's own has loaded.
    pub(super) fn loaded(&mut self, begun: Instant, loaded: Instant, before: BTreeSet<i32>) {
        self.seen = None;
        self.load = Some(Load { begun, loaded, before, alone: None });
    }

    /// What those who accept tell, as they were after `asked`.
    fn judge(&self, asked: Instant, accepting: &Accepting) -> Generation {
        let workers = match accepting {
            Accepting::Workers(workers) if !workers.is_empty() => workers,
            Accepting::AllNew => return Generation::One(0),
            Accepting::Workers(_) | Accepting::Unseen => return Generation::Unseen,
        };
        let load_age = self.load.as_ref().map(|load| asked.saturating_duration_since(load.begun));
        if let (Some(load), Some(load_age)) = (&self.load, load_age) {
            // A number may have been given again since.
            let is_old =
                |worker: &&Worker| load.before.contains(&worker.pid) && worker.age + APART >= load_age;
            if let Some(old) = workers.iter().find(is_old) {
                return Generation::Old(old.pid);
            }
        }
        let mut workers = workers.clone();
        workers.sort_unstable_by_key(|worker| (worker.age, worker.pid));
        let apart = workers.windows(2).any(|pair| pair[1].age - pair[0].age > APART);
        let newest = workers[0];
        let of_our_load = load_age.is_some_and(|load_age| load_age < newest.age + Duration::from_secs(1));
        let just_started = newest.age < YOUNG && !of_our_load;
        if apart || just_started { Generation::Mixed } else { Generation::One(newest.pid) }
    }
}

impl Agent {
    /// A handshake has shown the leaf on disk: the site goes on when that is proved.
    pub(super) fn shown(&mut self, now: Instant, id: SiteId) {
        let site = &mut self.sites[id];
        let within = site.asked_within;
        let (first, count) = site.proof.map_or((now, 0), |before| (before.first, before.count));
        site.proof = Some(Shown { first, last: now, count: count + 1, within });
        self.weigh(now, id);
    }

    fn weigh(&mut self, now: Instant, id: SiteId) {
        let site = &self.sites[id];
        let (server, Some(shown)) = (site.server, site.proof) else { return };
        let verdict = match site.state {
            State::Verifying { .. } => self.after_own_load(now, id, &shown),
            State::Probing => {
                let seen = self.servers[server.0].workers.seen.filter(|look| look.asked >= shown.last);
                match seen.map(|look| look.generation) {
                    Some(Generation::One(newest)) if shown.within != Some(newest) => Verdict::Ask(now),
                    seen => seen.map_or(Verdict::Look, |generation| generation.verdict(now, &shown)),
                }
            }
            _ => return,
        };
        match verdict {
            Verdict::Proved => {
                self.sites[id].proof = None;
                self.proved(now, id, shown.first, Evidence::Handshake);
            }
            // Its files have changed meanwhile.
            _ if self.look_again(now, id) => {}
            Verdict::Look => self.look_at_workers_soon(now, server),
            Verdict::Ask(at) if at <= now => self.ask(now, id),
            Verdict::Ask(at) => {
                self.schedule.set(Key::Site(id), at);
                self.look_at_workers_soon(now, server);
            }
        }
    }

    /// Of a site that the server was reloaded for. Loads of others that come later bring the same set, or a newer one.
    fn after_own_load(&self, now: Instant, id: SiteId, shown: &Shown) -> Verdict {
        let site = &self.sites[id];
        let workers = &self.servers[site.server.0].workers;
        match workers.load.as_ref().and_then(|load| load.alone) {
            Some(alone) if site.asked_at.is_some_and(|asked| asked >= alone) => Verdict::Proved,
            Some(_) => Verdict::Ask(now),
            None => workers.seen.map_or(Verdict::Look, |look| look.generation.verdict(now, shown)),
        }
    }

    /// Whether its load proves the set on disk, of a site that was looked at after the load; `None` where a load does
    /// not. [`Verdict::Ask`] is the time until which a handshake may still show it.
    pub(super) fn by_load(&self, id: SiteId) -> Option<Verdict> {
        let site = &self.sites[id];
        let Server { setup, workers, .. } = &self.servers[site.server.0];
        let unseen_at = site.unseen_at().filter(|_| site.load_is_evidence)?;
        let loaded = site.load_of_set().filter(|_| !site.was_written_during_load());
        if loaded.is_none() && !site.proved_by_load() {
            return None;
        }
        // Of a server that has ended nothing can be seen either.
        let Some(look) = workers.seen.filter(|look| look.asked >= unseen_at) else {
            return Some(Verdict::Look);
        };
        if look.generation == Generation::Unseen {
            return None;
        }
        if site.proved_by_load() {
            return Some(Verdict::Proved);
        }
        let until = loaded? + setup.verify_timeout;
        let is_alone = workers.load.as_ref().is_some_and(|load| load.alone.is_some());
        match look.generation {
            _ if is_alone && unseen_at >= until => Some(Verdict::Proved),
            _ if is_alone => Some(Verdict::Ask(until)),
            Generation::Old(_) => Some(Verdict::Ask(until)),
            _ => None,
        }
    }

    /// Shakes hands, unless it is being done.
    pub(super) fn ask(&mut self, now: Instant, id: SiteId) {
        let site = &mut self.sites[id];
        if !std::mem::replace(&mut site.asking, true) {
            let seen = self.servers[site.server.0].workers.seen;
            site.asked_at = Some(now);
            site.asked_within = seen.and_then(|look| look.generation.newest());
            self.schedule.clear(Key::Site(id));
            self.actions.push(Action::Probe(id));
        }
    }

    /// Looks at who accepts when that can tell something new.
    pub(super) fn look_at_workers_soon(&mut self, now: Instant, id: ServerId) {
        let workers = &self.servers[id.0].workers;
        if workers.looking.is_some() || self.schedule.of(Key::Workers(id)).is_some() {
            return;
        }
        let at = match (&workers.load, &workers.seen) {
            (Some(load), None) if !load.before.is_empty() => load.loaded + FIRST_LOOK,
            (load, Some(Look { asked, generation: Generation::Old(_) | Generation::Mixed, .. })) => {
                let since = load.as_ref().map(|load| now.saturating_duration_since(load.loaded));
                *asked
                    + since.map_or(LONGEST_PAUSE / 5, |since| (since / 16).clamp(LEAST_PAUSE, LONGEST_PAUSE))
            }
            _ => now,
        };
        match at <= now {
            true => self.look_at_workers(now, id),
            false => self.schedule.set(Key::Workers(id), at),
        }
    }

    fn look_at_workers(&mut self, now: Instant, id: ServerId) {
        self.servers[id.0].workers.looking = Some(now);
        self.actions.push(Action::LookAtWorkers(id));
    }

    /// Who accepts, as a look found it.
    pub(super) fn accepting(&mut self, now: Instant, id: ServerId, accepting: &Accepting) {
        let workers = &mut self.servers[id.0].workers;
        let Some(asked) = workers.looking.take() else { return };
        // What was asked for before a load says nothing of it.
        if workers.load.as_ref().is_none_or(|load| asked >= load.loaded) {
            let generation = workers.judge(asked, accepting);
            workers.seen = Some(Look { asked, generation });
            if let (Some(load), Generation::One(_)) = (&mut workers.load, generation) {
                load.alone.get_or_insert(now);
            }
        }
        let old = self.old_worker(id);
        let overdue = old.filter(|(_, since)| now >= *since + OLD_WORKER_LIMIT);
        let alone = self.servers[id.0].workers.load.as_ref().is_some_and(|load| load.alone.is_some());
        let mut awaited = false;
        for site in self.sites.ids() {
            if self.sites[site].server != id {
                continue;
            }
            let verifying = matches!(self.sites[site].state, State::Verifying { .. });
            if let (Some((pid, _)), true) = (overdue, verifying) {
                self.complain(now, site, old_worker_accepts(pid));
            }
            awaited |= verifying;
            match self.sites[site].proof {
                Some(_) if !self.sites[site].asking => self.weigh(now, site),
                None if verifying && alone => self.ask(now, site),
                None if !self.sites[site].asking => self.weigh_unseen(now, site),
                _ => {}
            }
        }
        if awaited && !alone {
            self.look_at_workers_soon(now, id);
        }
    }

    /// Whether the last load is under way, or its old workers were not seen to be gone.
    pub(super) fn may_be_old(&self, id: ServerId) -> bool {
        let server = &self.servers[id.0];
        let load = server.workers.load.as_ref();
        self.reloading(id).is_some() || load.is_some_and(|load| load.alone.is_none())
    }

    /// A worker from before the last load that still accepts, and when that had loaded.
    pub(super) fn old_worker(&self, id: ServerId) -> Option<(i32, Instant)> {
        let workers = &self.servers[id.0].workers;
        let Some(Look { generation: Generation::Old(pid), .. }) = workers.seen else { return None };
        Some((pid, workers.load.as_ref()?.loaded))
    }
}

impl Generation {
    /// The last worker of one that is alone.
    fn newest(self) -> Option<i32> {
        match self {
            Self::One(newest) => Some(newest),
            Self::Mixed | Self::Old(_) | Self::Unseen => None,
        }
    }

    fn verdict(self, now: Instant, shown: &Shown) -> Verdict {
        match self {
            Self::One(_) => Verdict::Proved,
            Self::Old(_) => Verdict::Look,
            Self::Mixed => shown.by_time(now, MIXED),
            Self::Unseen => shown.by_time(now, UNSEEN),
        }
    }
}

/// The problem of a worker from before the last reload that accepts connections.
pub fn old_worker_accepts(pid: i32) -> Problem {
    Problem::new(
        "old_worker_accepts",
        format!(
            "process {pid}, a worker from before the last reload, still accepts connections: clients may be shown the old certificate"
        ),
        format!("see what it does: ps -fp {pid}; if it hangs, end it: kill {pid}"),
    )
}
