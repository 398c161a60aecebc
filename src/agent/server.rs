//! Group commit: when a server is reloaded, and for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::proof::Workers;
use super::schedule::Key;
use super::{
    Action, Agent, COUNT_EVERY, FIRST_ASKED, GATHER_SHARE, HOLD, Loaded, OVERLAP, OWN, Refused, SCAN_HOLD,
    STREAM_PAUSE, ServerId, ServerSetup, SiteId, State,
};
use crate::problem::Problem;

/// A server's reloads.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) setup: ServerSetup,
    /// The sites that wait for its next reload.
    ready: BTreeSet<SiteId>,
    /// When the first of them was found whole, and the last.
    first: Option<Instant>,
    last: Option<Instant>,
    /// The sites of the reload in flight, and when it began.
    in_flight: Option<(BTreeSet<SiteId>, Instant)>,
    /// When the last reload began, whatever came of it.
    begun: Option<Instant>,
    /// When the last reload that loaded began, and when it had loaded; of somebody else's, when it was seen.
    loaded: Option<(Instant, Instant)>,
    /// When the last reload came to its end, whatever came of it.
    ended: Option<Instant>,
    /// When the last set was found whole that wanted a reload, and how long after the one before.
    came: Option<Instant>,
    apart: Duration,
    /// Sites that are being looked at, and until when a reload waits for them: they may be half-written right now, or
    /// about to want the same reload.
    stirring: BTreeMap<SiteId, Instant>,
    /// Asked when a set was new, it last served another: it does not load certificates by itself.
    pub(super) loads_when_told: bool,
    /// How long a reload takes on this host, as last measured.
    pace: Duration,
    /// The sites that failed or await a load: the next load may help them.
    pub(super) unserved: BTreeSet<SiteId>,
    /// The old workers that drained when they were last counted.
    draining: Option<(Instant, usize)>,
    /// They are being counted.
    counting: bool,
    /// What is known of those that accept connections.
    pub(super) workers: Workers,
}

impl Server {
    pub(super) fn new(setup: ServerSetup) -> Self {
        Self {
            setup,
            ready: BTreeSet::new(),
            first: None,
            last: None,
            in_flight: None,
            begun: None,
            loaded: None,
            ended: None,
            came: None,
            apart: Duration::ZERO,
            stirring: BTreeMap::new(),
            loads_when_told: false,
            pace: Duration::ZERO,
            unserved: BTreeSet::new(),
            draining: None,
            counting: false,
            workers: Workers::default(),
        }
    }

    /// A site is there no more.
    pub(super) fn leave(&mut self, site: SiteId) {
        self.unready(site);
        self.stirring.remove(&site);
        self.unserved.remove(&site);
        if let Some((sites, _)) = &mut self.in_flight {
            sites.remove(&site);
        }
    }

    fn unready(&mut self, site: SiteId) {
        self.ready.remove(&site);
        if self.ready.is_empty() {
            (self.first, self.last) = (None, None);
        }
    }

    /// Whether a fresh set is loaded without asking first what is served. Where reloads are spared the answer says how
    /// long they may wait.
    pub(super) fn loads_unasked(&self) -> bool {
        let spared = self.setup.max_draining.is_some() || !self.setup.min_interval.is_zero();
        self.loads_when_told && !spared
    }

    fn gather(&self) -> Duration {
        if self.ready.len() < 2 { Duration::ZERO } else { self.pace / GATHER_SHARE }
    }

    /// Renewals come one after the other, some of them during the last reload: each reload is to serve several, and may
    /// meet the next set half-written. Until when the next one waits: it follows a set that has just become whole,
    /// after a pause, or the end of the stream.
    fn stream(&self, first: Instant, last: Instant) -> Option<Instant> {
        let ended = self.ended.filter(|ended| first <= *ended)?;
        (last < ended + self.pace * STREAM_PAUSE).then(|| last + self.apart * 2)
    }
}

impl Agent {
    /// A site is looked at and not decided yet; `touched` if something about its files changed.
    pub(super) fn stir(&mut self, now: Instant, site: SiteId, touched: bool) {
        if !self.sites[site].may_stir(now) {
            return;
        }
        let server = self.sites[site].server;
        let until = now + if touched { HOLD } else { SCAN_HOLD };
        let known = self.servers[server.0].stirring.entry(site).or_insert(until);
        *known = until.max(*known);
    }

    /// A site is decided: whatever waits for it may go on.
    pub(super) fn calm(&mut self, now: Instant, site: SiteId) {
        let server = self.sites[site].server;
        if self.servers[server.0].stirring.remove(&site).is_some() {
            self.try_reload(now, server);
        }
    }

    /// A site needs a reload; it was found whole at `whole`.
    pub(super) fn want_reload(&mut self, now: Instant, site: SiteId, whole: Instant) {
        let id = self.sites[site].server;
        let server = &mut self.servers[id.0];
        server.stirring.remove(&site);
        server.ready.insert(site);
        server.first.get_or_insert(now);
        server.last = server.last.max(Some(whole));
        if let Some(before) = server.came.filter(|before| *before < whole) {
            server.apart = whole - before;
        }
        server.came = server.came.max(Some(whole));
        self.try_reload(now, id);
    }

    /// A site that waited for a reload is looked at again first.
    pub(super) fn withdraw(&mut self, site: SiteId) {
        self.servers[self.sites[site].server.0].unready(site);
    }

    /// Reloads if the time has come, else says when to ask again.
    pub(super) fn try_reload(&mut self, now: Instant, id: ServerId) {
        let Some(wanted) = self.wanted(id) else {
            self.schedule.clear(Key::Server(id));
            return;
        };
        let urgent = self.urgent(id);
        let server = &self.servers[id.0];
        let allowed = server.begun.map_or(wanted, |begun| begun + server.setup.min_interval);
        let at = wanted.max(urgent.map_or(allowed, |urgent| allowed.min(urgent)));
        if now < at {
            self.schedule.set(Key::Server(id), at);
            return;
        }
        if urgent.is_none_or(|urgent| now < urgent) && self.must_drain(now, id, urgent) {
            return;
        }
        self.reload(now, id);
    }

    /// When the sites that are ready want it; `None` while nobody does, or a reload is under way.
    ///
    /// It waits for a little quiet after the last finished site, for some more of a stream, and for sites that are not
    /// decided (changed within [`HOLD`], asked for within [`SCAN_HOLD`]), but never longer than [`HOLD`] after the
    /// first.
    fn wanted(&self, id: ServerId) -> Option<Instant> {
        let server = &self.servers[id.0];
        let (None, Some(first), Some(last)) = (&server.in_flight, server.first, server.last) else {
            return None;
        };
        // Of published copies none is half-written, whatever happens to their sources.
        let harmless =
            |site: &SiteId| server.setup.staged && matches!(self.sites[*site].state, State::Pending { .. });
        let undecided = server.stirring.iter().filter(|(site, _)| !harmless(site)).map(|(_, until)| *until);
        let wanted = undecided.chain(server.stream(first, last)).fold(last + server.gather(), Instant::max);
        Some(wanted.min(first + HOLD))
    }

    /// When the first certificate ends that a ready site is to replace: that is later than anything can wait.
    fn urgent(&self, id: ServerId) -> Option<Instant> {
        self.servers[id.0].ready.iter().filter_map(|site| self.sites[*site].urgent_at).min()
    }

    /// Whether so many old workers drain that no more may come; they are counted first.
    fn must_drain(&mut self, now: Instant, id: ServerId, urgent: Option<Instant>) -> bool {
        let server = &mut self.servers[id.0];
        let Some(most) = server.setup.max_draining else { return false };
        match server.draining {
            Some((counted, draining)) if now < counted + COUNT_EVERY => {
                if draining >= most {
                    let next = counted + COUNT_EVERY;
                    self.schedule.set(Key::Server(id), urgent.map_or(next, |urgent| next.min(urgent)));
                }
                draining >= most
            }
            _ => {
                if !std::mem::replace(&mut server.counting, true) {
                    self.actions.push(Action::Count(id));
                }
                // Whatever becomes of the count.
                self.schedule.set(Key::Server(id), urgent.unwrap_or(now + HOLD).min(now + HOLD));
                true
            }
        }
    }

    pub(super) fn counted(&mut self, now: Instant, id: ServerId, draining: Option<usize>) {
        let server = &mut self.servers[id.0];
        server.counting = false;
        server.draining = Some((now, draining.unwrap_or(0)));
        self.try_reload(now, id);
    }

    fn reload(&mut self, now: Instant, id: ServerId) {
        self.schedule.clear(Key::Server(id));
        let server = &mut self.servers[id.0];
        let going = std::mem::take(&mut server.ready);
        (server.first, server.last) = (None, None);
        for site in &going {
            self.count_change(now, *site);
            let site = &mut self.sites[*site];
            site.state = State::Reloading { attempt: site.failures + 1 };
        }
        let server = &mut self.servers[id.0];
        server.in_flight = Some((going, now));
        server.begun = Some(now);
        self.actions.push(Action::Reload(id));
    }

    pub(super) fn reloaded(&mut self, now: Instant, id: ServerId, outcome: Result<Loaded, Refused>) {
        let server = &mut self.servers[id.0];
        let Some((sites, begun)) = server.in_flight.take() else { return };
        server.ended = Some(now);
        match outcome {
            Ok(mut loaded) => {
                server.pace = loaded.took;
                server.loaded = Some((begun, now));
                // There is one generation more to drain.
                server.draining = None;
                server.workers.loaded(begun, now, std::mem::take(&mut loaded.before));
                self.has_loaded(now, id, &sites, loaded);
            }
            Err(refused) => {
                for site in sites {
                    self.failed(now, site, refused.for_site(site));
                }
            }
        }
        self.try_reload(now, id);
    }

    /// Ends a reload that was not carried out; each of its sites fails with its own problem.
    pub(super) fn kept_back(&mut self, now: Instant, id: ServerId, problems: Vec<(SiteId, Problem)>) {
        let server = &mut self.servers[id.0];
        let Some((sites, _)) = server.in_flight.take() else { return };
        server.ended = Some(now);
        for (site, problem) in problems {
            // It may be there no more.
            if sites.contains(&site) {
                self.failed(now, site, problem);
            }
        }
        self.try_reload(now, id);
    }

    fn has_loaded(&mut self, now: Instant, id: ServerId, sites: &BTreeSet<SiteId>, loaded: Loaded) {
        // What an earlier reload was refused for may be loaded by now.
        self.look_at_unserved(now, id, true);
        let mut kept_back: BTreeMap<SiteId, Problem> = loaded.kept_back.into_iter().collect();
        let marks: BTreeMap<SiteId, _> = loaded.marks.into_iter().collect();
        let mut eager = FIRST_ASKED;
        for site in sites {
            match kept_back.remove(site) {
                Some(problem) => self.failed(now, *site, problem),
                None => {
                    self.verify(now, *site, marks.get(site).copied(), eager > 0);
                    eager = eager.saturating_sub(1);
                }
            }
        }
        self.look_at_workers_soon(now, id);
    }

    /// Somebody else had it loaded; its old workers may answer for a moment more.
    pub(super) fn loaded_by_others(&mut self, now: Instant, server: ServerId) {
        self.servers[server.0].loaded = Some((now, now));
        self.look_at_unserved(now, server, true);
    }

    /// Whether what is told of as a reload is one of certhook's own.
    pub(super) fn has_just_reloaded(&self, now: Instant, id: ServerId) -> bool {
        let server = &self.servers[id.0];
        let last = server.begun.max(server.loaded.map(|(_, loaded)| loaded));
        server.in_flight.is_some() || last.is_some_and(|last| now < last + OWN)
    }

    /// The sites of the reload in flight, if there is one.
    pub fn reloading(&self, id: ServerId) -> Option<&BTreeSet<SiteId>> {
        self.servers[id.0].in_flight.as_ref().map(|(sites, _)| sites)
    }

    /// Whether sites of the server wait for it to load its configuration, which somebody else wrote.
    pub fn awaits_load(&self, id: ServerId) -> bool {
        self.servers[id.0].unserved.iter().any(|site| self.sites[*site].unloaded.is_some())
    }

    /// When the server is reloaded next, while sites are ready and it is spared.
    pub fn next_reload(&self, id: ServerId) -> Option<Instant> {
        self.schedule.of(Key::Server(id))
    }

    /// Whether old workers may still answer of a server that has loaded the set which was whole at `whole`.
    pub(super) fn overlaps(&self, now: Instant, id: ServerId, whole: Instant) -> bool {
        let loaded = self.servers[id.0].loaded;
        loaded.is_some_and(|(begun, loaded)| whole <= begun && now < loaded + OVERLAP)
    }
}

impl Refused {
    /// What it is to one of the sites that wanted the reload.
    fn for_site(&self, site: SiteId) -> Problem {
        match &self.at_fault {
            Some(at_fault) if !at_fault.contains(&site) => Problem::new(
                "blocked",
                format!("its server refuses every reload: {}", self.problem.message),
                self.problem.remedy.clone(),
            ),
            _ => self.problem.clone(),
        }
    }
}
