//! Group commit: when a server is reloaded, and for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::schedule::Key;
use super::{
    ACCEPTED, Action, Agent, Cause, GATHER_SHARE, HOLD, LEAST_GATHER, OVERLAP, ServerId, SiteId, State,
};
use crate::problem::Problem;

/// A server's reloads.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) verify_timeout: Duration,
    /// The sites that wait for its next reload.
    ready: BTreeSet<SiteId>,
    /// When the first of them was found whole, and the last.
    first: Option<Instant>,
    last: Option<Instant>,
    /// The sites of the reload in flight, and when it began.
    in_flight: Option<(BTreeSet<SiteId>, Instant)>,
    /// When the last reload that loaded began, and when it had loaded.
    loaded: Option<(Instant, Instant)>,
    /// Sites that are being looked at, and when that began or their files were last touched: they may be
    /// half-written right now, or about to want the same reload.
    stirring: BTreeMap<SiteId, Instant>,
    /// How long a reload takes on this host, as last measured.
    pace: Duration,
}

impl Server {
    pub(super) fn new(verify_timeout: Duration) -> Self {
        Self {
            verify_timeout,
            ready: BTreeSet::new(),
            first: None,
            last: None,
            in_flight: None,
            loaded: None,
            stirring: BTreeMap::new(),
            pace: Duration::ZERO,
        }
    }

    fn gather(&self) -> Duration {
        (self.pace / GATHER_SHARE).max(LEAST_GATHER)
    }
}

impl Agent {
    /// A site is looked at and not decided yet.
    pub(super) fn stir(&mut self, now: Instant, site: SiteId) {
        let server = self.sites[site.0].server;
        self.servers[server.0].stirring.insert(site, now);
    }

    /// A site is decided: whatever waits for it may go on.
    pub(super) fn calm(&mut self, now: Instant, site: SiteId) {
        let server = self.sites[site.0].server;
        if self.servers[server.0].stirring.remove(&site).is_some() {
            self.try_reload(now, server);
        }
    }

    /// A site needs a reload; it was found whole at `whole`.
    pub(super) fn want_reload(&mut self, now: Instant, site: SiteId, whole: Instant) {
        let id = self.sites[site.0].server;
        let server = &mut self.servers[id.0];
        server.stirring.remove(&site);
        server.ready.insert(site);
        server.first.get_or_insert(now);
        server.last = server.last.max(Some(whole));
        self.try_reload(now, id);
    }

    /// A site that waited for a reload is looked at again first.
    pub(super) fn withdraw(&mut self, site: SiteId) {
        let server = &mut self.servers[self.sites[site.0].server.0];
        server.ready.remove(&site);
        if server.ready.is_empty() {
            (server.first, server.last) = (None, None);
        }
    }

    /// Reloads if the time has come, else says when to ask again.
    ///
    /// It waits for a little quiet after the last finished site, and for sites that are not decided (changed
    /// or asked for within [`HOLD`]), but never longer than [`HOLD`] after the first.
    pub(super) fn try_reload(&mut self, now: Instant, id: ServerId) {
        let server = &self.servers[id.0];
        let (None, Some(first), Some(last)) = (&server.in_flight, server.first, server.last) else {
            self.schedule.clear(Key::Server(id));
            return;
        };
        let undecided = server.stirring.values().map(|since| *since + HOLD);
        let wanted = undecided.fold(last + server.gather(), Instant::max);
        let at = wanted.min(first + HOLD);
        if now < at {
            self.schedule.set(Key::Server(id), at);
            return;
        }
        self.schedule.clear(Key::Server(id));
        let server = &mut self.servers[id.0];
        let going = std::mem::take(&mut server.ready);
        (server.first, server.last) = (None, None);
        for site in &going {
            let site = &mut self.sites[site.0];
            site.state = State::Reloading { attempt: site.failures + 1 };
        }
        server.in_flight = Some((going, now));
        self.actions.push(Action::Reload(id));
    }

    pub(super) fn reloaded(&mut self, now: Instant, id: ServerId, outcome: Result<Duration, Problem>) {
        let server = &mut self.servers[id.0];
        let Some((sites, begun)) = server.in_flight.take() else { return };
        if let Ok(took) = outcome {
            server.pace = took;
            server.loaded = Some((begun, now));
        }
        for site in sites {
            match &outcome {
                Ok(_) => self.verify(now, site),
                Err(problem) => self.failed(now, site, problem.clone()),
            }
        }
        if outcome.is_ok() {
            // What an earlier reload was refused for may be loaded by now.
            let of_server = (0..self.sites.len()).map(SiteId).filter(|site| self.sites[site.0].server == id);
            let waiting = of_server.filter(|site| matches!(self.sites[site.0].state, State::Waiting { .. }));
            for site in waiting.collect::<Vec<_>>() {
                self.look(now, site, Cause::Asked);
            }
        }
        self.try_reload(now, id);
    }

    /// The sites of the reload in flight, if there is one.
    pub fn reloading(&self, id: ServerId) -> Option<&BTreeSet<SiteId>> {
        self.servers[id.0].in_flight.as_ref().map(|(sites, _)| sites)
    }

    /// Whether a reload that began before `whole` is under way, or its old workers may still answer.
    pub(super) fn is_changing(&self, now: Instant, id: ServerId, whole: Instant) -> bool {
        let server = &self.servers[id.0];
        let in_flight = server.in_flight.as_ref().is_some_and(|(_, begun)| *begun < whole);
        let overlaps = |(begun, loaded): (Instant, Instant)| begun < whole && now < loaded + ACCEPTED;
        in_flight || server.loaded.is_some_and(overlaps)
    }

    /// Whether old workers may still answer of a server that has loaded the set which was whole at `whole`.
    pub(super) fn overlaps(&self, now: Instant, id: ServerId, whole: Instant) -> bool {
        let loaded = self.servers[id.0].loaded;
        loaded.is_some_and(|(begun, loaded)| whole <= begun && now < loaded + OVERLAP)
    }
}
