//! Performing the agent's actions.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::asking::{self, Names};
use super::follow::News;
use super::hanging::ended_or_hangs;
use super::{Daemon, PROBES_AT_ONCE, PROBES_WHILE_LOOKING, Site};
use crate::agent::{self, Action, Cause, Event, NOT_READ, Seen, SiteId, State};
use crate::config::Kind;
use crate::courier::Order;
use crate::crash;
use crate::inspect::{Place, inspect};
use crate::ledger::Entry;
use crate::problem::Problem;
use crate::stage::Stage;
use crate::watch::Topic;

/// A read that takes longer hangs (a dead network file system); it holds up nobody else then.
const HANGS: Duration = Duration::from_secs(2);
/// One handshake may take so long, even where more patience is configured for the whole.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A site whose files changed within this is not kept waiting for others.
const A_MOMENT: Duration = Duration::from_secs(10);

/// The sites whose files are being read, or whose reading hangs: each is read by one thread at most.
#[derive(Clone, Default)]
pub(super) struct Reading(Arc<Mutex<HashSet<SiteId>>>);

impl Reading {
    /// Whether the site is not being read.
    fn begin(&self, id: SiteId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id)
    }
}

/// A site being read.
struct Held {
    id: SiteId,
    reading: Reading,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.reading.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Daemon {
    /// Hands an event to the agent and performs what it says.
    pub(super) fn feed(&mut self, event: Event) {
        self.pass_crash_point(&event);
        self.log(&event);
        let is_tick = matches!(event, Event::Tick);
        let actions = self.agent.handle(Instant::now(), event);
        if !is_tick || !actions.is_empty() {
            self.changed();
        }
        for action in actions {
            tracing::trace!(?action, "action");
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        // Who is about to begin anew begins nothing new; what was served is still written down.
        if self.next.is_some() && !matches!(action, Action::Record(..) | Action::Tell(..)) {
            return;
        }
        let results = self.result_sender.clone();
        match action {
            Action::Inspect(id) => {
                let urgent = self.was_touched(id);
                if urgent {
                    self.looks.urgent(id);
                }
                if urgent || self.looks.wanted(id) {
                    self.begin_look(id);
                }
            }
            Action::Probe(id) => {
                // Behind thousands that a start asks for, a renewal would wait for seconds.
                let state = self.agent.site(id).map(agent::Site::state);
                let urgent = self.was_touched(id) || matches!(state, Some(State::Verifying { .. }));
                self.allot_probes();
                let turns = if urgent { &mut self.urgent_probes } else { &mut self.probes };
                if turns.wanted(id) {
                    self.begin_probe(id, urgent);
                }
            }
            Action::Reload(id) => self.reload(id),
            Action::Count(id) => {
                let server = self.servers.get(id);
                tokio::task::spawn_blocking(move || {
                    let draining = server.workers().map(|workers| workers.draining);
                    let _ = results.send(Event::Counted(id, draining));
                });
            }
            Action::LookAtWorkers(id) => {
                let server = self.servers.get(id);
                tokio::task::spawn_blocking(move || {
                    let _ = results.send(Event::Accepting(id, server.accepting()));
                });
            }
            Action::Record(id, installed) => {
                crash::point("verified");
                self.record(id, &installed);
            }
            Action::Tell(id, problem) => self.tell(id, problem),
        }
    }

    fn allot_probes(&mut self) {
        self.probes.at_once = if self.looks.are_waited_for() { PROBES_WHILE_LOOKING } else { PROBES_AT_ONCE };
    }

    /// Begins with whoever waits and has its turn now.
    pub(super) fn begin_next(&mut self) {
        while let Some(next) = self.looks.next() {
            self.begin_look(next);
        }
        while let Some(next) = self.urgent_probes.next() {
            self.begin_probe(next, true);
        }
        self.allot_probes();
        while let Some(next) = self.probes.next() {
            self.begin_probe(next, false);
        }
    }

    /// Reads a site's files off the loop. While an earlier reading hangs there is no second one.
    pub(super) fn begin_look(&mut self, id: SiteId) {
        let (results, ended, watcher) =
            (self.result_sender.clone(), self.servers.news(), self.watcher.clone());
        let site = self.sites.get(&id).filter(|_| self.reading.begin(id));
        let reading = site.map(|site| {
            let (place, stage) = (Place::of(&site.roster.settings), site.roster.stage.as_deref().cloned());
            let (news, reading) = (self.servers.news(), self.reading.clone());
            tokio::task::spawn_blocking(move || {
                let begun = Instant::now();
                let reading = Held { id, reading };
                // Arm, then look.
                watcher.follow(Topic::Site(id), place.files(), &[]);
                let seen = inspect(&place, Timestamp::now());
                if let (Some(stage), Ok(seen)) = (stage, &seen) {
                    publish_first(&stage, &place, seen);
                }
                // Before the answer: the next reading may be asked for at once.
                drop(reading);
                // The loop is gone only when certhook ends.
                let _ = results.send(Event::Inspected(id, seen));
                if begun.elapsed() >= HANGS {
                    let _ = news.send(News::ReadingEnded(id));
                }
            })
        });
        tokio::spawn(async move {
            if let Some(reading) = reading {
                ended_or_hangs(reading, HANGS).await;
            }
            let _ = ended.send(News::Looked);
        });
    }

    /// Reading a site's files hung, and has come to its end: they are looked at again.
    pub(super) fn reading_ended(&mut self, id: SiteId) {
        let waits = self
            .agent
            .site(id)
            .is_some_and(|site| site.problem().is_some_and(|(problem, _)| problem.code == NOT_READ));
        if waits {
            self.feed(Event::Look(id, Cause::Missed));
        }
    }

    /// Asks for what a site's clients are shown.
    pub(super) fn begin_probe(&mut self, id: SiteId, urgent: bool) {
        let (results, ended) = (self.result_sender.clone(), self.servers.news());
        let disk = self.agent.site(id).and_then(agent::Site::disk);
        let asking = disk.zip(self.sites.get(&id)).map(|(seen, site)| {
            let (leaf, site) = (Arc::clone(&seen.bundle.leaf), Arc::clone(&site.roster.settings));
            let server = self.servers.get(agent::ServerId(site.server));
            let patience = self.config.servers[site.server].verify_timeout.min(HANDSHAKE);
            let apart = self.apart.clone();
            let names = self.names_to_look_for(id);
            async move {
                let answer = asking::ask(Arc::clone(&server), site, apart, &leaf, patience).await;
                if let Some((names, files)) = names
                    && let Some(is_named) = asking::is_named(&answer.sightings, server, names, files).await
                {
                    let _ = results.send(Event::LoadIsEvidence(id, is_named));
                }
                if let Some(chain) = answer.chain {
                    let _ = results.send(Event::ChainSeen(id, chain));
                }
                let _ = results.send(Event::Probed(id, answer.sightings));
            }
        });
        let Some(asking) = asking else {
            // It is there no more.
            let _ = ended.send(News::Probed { urgent });
            return;
        };
        tokio::spawn(async move {
            asking.await;
            let _ = ended.send(News::Probed { urgent });
        });
    }

    /// Where the site's certificate may be named, if its server is an nginx whose configuration is not followed; while
    /// its handshakes decide whether it is reloaded.
    fn names_to_look_for(&self, id: SiteId) -> Option<(Arc<Names>, Vec<PathBuf>)> {
        let Site { roster, .. } = self.sites.get(&id)?;
        let server = &self.config.servers[roster.settings.server];
        let is_wanted = matches!(server.kind, Kind::Nginx(_)) && !server.discovers();
        if !is_wanted || self.agent.site(id)?.state() != State::Probing {
            return None;
        }
        let copy = roster.stage.as_deref().map(Stage::certificate);
        let files = copy.into_iter().chain([roster.settings.certificate.clone()]).collect();
        Some((self.servers.names(agent::ServerId(roster.settings.server)), files))
    }

    /// Whether one of its files changed a moment ago.
    fn was_touched(&self, id: SiteId) -> bool {
        let touched = self.agent.site(id).and_then(agent::Site::touched);
        touched.is_some_and(|touched| touched.elapsed() < A_MOMENT)
    }

    fn tell(&mut self, id: SiteId, problem: Option<Problem>) {
        let Some(Site { roster, .. }) = self.sites.get(&id) else { return };
        let (key, site) = (roster.key(), roster.settings.label());
        let entry = match &problem {
            Some(problem) => {
                tracing::warn!(
                    site,
                    code = problem.code,
                    problem = problem.message,
                    remedy = problem.remedy,
                    "problem"
                );
                Entry::new(Timestamp::now(), &key, "problem")
                    .saying(format!("{}: {}", problem.code, problem.message))
            }
            None => {
                tracing::info!(site, "well again");
                Entry::new(Timestamp::now(), &key, "well")
            }
        };
        if self.unwritten.add(entry) {
            let (unwritten, ledger) = (self.unwritten.clone(), Arc::clone(&self.ledger));
            self.notes.spawn_blocking(move || {
                unwritten.work_off(|entry| {
                    if let Err(error) = ledger.note(&entry) {
                        tracing::error!(problem = %error.problem(), "the history cannot be written");
                    }
                });
            });
        }
    }

    fn log(&self, event: &Event) {
        match event {
            Event::Reloaded(id, Ok(loaded)) => {
                tracing::info!(
                    server = self.servers.get(*id).name(),
                    milliseconds = loaded.took.as_millis(),
                    "reloaded"
                );
            }
            Event::Recorded(id, Ok(())) => {
                let (site, seen) = (self.label(*id), self.agent.site(*id).and_then(agent::Site::disk));
                let fingerprint =
                    seen.map(|seen| seen.bundle.leaf.fingerprint.to_string()).unwrap_or_default();
                match self.agent.site(*id).and_then(agent::Site::unseen) {
                    Some(Problem { message, .. }) => {
                        tracing::info!(site, fingerprint, reason = message, "loaded, not seen, and recorded");
                    }
                    None => tracing::info!(site, fingerprint, "served and recorded"),
                }
                if let Some((orders, _)) = &self.courier {
                    // It ends only with the loop.
                    let _ = orders.send(Order::Wake);
                }
            }
            Event::Inspected(id, Err(incomplete)) => {
                tracing::debug!(site = self.label(*id), code = incomplete.problem.code, "not whole");
            }
            _ => {}
        }
    }

    /// What the log calls it.
    fn label(&self, id: SiteId) -> String {
        self.sites.get(&id).map_or_else(|| "-".to_owned(), |site| site.roster.settings.label())
    }

    fn pass_crash_point(&self, event: &Event) {
        let name = match event {
            Event::Inspected(..) => "inspected",
            Event::Probed(id, _)
                if matches!(self.agent.site(*id).map(agent::Site::state), Some(State::Verifying { .. })) =>
            {
                "shown"
            }
            Event::Probed(..) => "asked",
            Event::Reloaded(..) => "reloaded",
            Event::Recorded(..) => "recorded",
            _ => return,
        };
        crash::point(name);
    }
}

/// A server that is to read copies finds the first one as soon as there is one to publish.
fn publish_first(stage: &Stage, place: &Place, seen: &Seen) {
    if stage.is_published() {
        return;
    }
    if let Err(problem) = stage.publish(place, &seen.bundle.set) {
        // It is tried again, and told of, when the server is to load it.
        tracing::warn!(%problem, "the first copy cannot be published");
    }
}
