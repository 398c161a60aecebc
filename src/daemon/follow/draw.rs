//! The list of sites, drawn up anew as configurations and folders change.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::{Daemon, Site};
use super::News;
use crate::agent::{Event, PACE_WINDOW, Pace, Recorded, ServerId, SiteId, SiteSetup};
use crate::config::{Config, Kind};
use crate::courier::Order;
use crate::discover::Found;
use crate::inspect::Place;
use crate::ledger::Ledger;
use crate::roster;
use crate::watch::Topic;

/// The sites as they are now, with what the ledger has of them.
pub(in crate::daemon) struct Drawn {
    sites: Vec<roster::Site>,
    recorded: HashMap<String, Recorded>,
    paces: HashMap<String, Pace>,
    /// Of the servers of discovered sites that the ledger does not know: those whose workers started after their
    /// configuration was last written.
    loaded: HashSet<ServerId>,
}

/// Without a ledger certificates are reloaded and verified all the same; it is tried again at each record.
fn recorded(ledger: &Ledger) -> HashMap<String, Recorded> {
    ledger.recorded().unwrap_or_else(|error| {
        tracing::error!(problem = %error.problem(), "the ledger cannot be read");
        HashMap::new()
    })
}

/// A site's record, by its key or by the path of its certificate.
fn record_of(recorded: &HashMap<String, Recorded>, site: &roster::Site) -> Option<Recorded> {
    let by_path = || recorded.get(&site.settings.certificate.display().to_string());
    recorded.get(&*site.key()).or_else(by_path).copied()
}

/// How often each site has changed: neither a restart nor a site that goes and comes back begins anew.
fn paces(ledger: &Ledger, config: &Config) -> HashMap<String, Pace> {
    let (now, free) = (Timestamp::now(), config.limits.changes_free);
    // A hold-off of the longest kind began within an hour, and its changes within the one before.
    let since = now.checked_sub(2 * PACE_WINDOW).unwrap_or(Timestamp::UNIX_EPOCH);
    let reloads = if free == 0 { Ok(HashMap::new()) } else { ledger.reloads_since(since) };
    let reloads = reloads.unwrap_or_else(|error| {
        tracing::error!(problem = %error.problem(), "the ledger cannot be read");
        HashMap::new()
    });
    // Of a clock that was set back nobody knows how long ago it was.
    let age = |at: Timestamp| Duration::try_from(now.duration_since(at)).unwrap_or_default();
    let pace = |(site, reloads): (String, Vec<(Timestamp, bool)>)| {
        let reloads = reloads.into_iter().map(|(at, held_off)| (age(at), held_off));
        Some((site, Pace::after(reloads, Instant::now(), free)?))
    };
    reloads.into_iter().filter_map(pace).collect()
}

impl Daemon {
    /// Draws up the list of sites anew, off the loop.
    pub(super) fn draw(&mut self) {
        self.servers.redraw_at = None;
        if std::mem::replace(&mut self.servers.drawing, true) {
            self.servers.draw_again = true;
            return;
        }
        let found: Vec<Option<Found>> =
            self.servers.all.iter().map(|followed| followed.found.clone()).collect();
        let (config, ledger, watcher, news) =
            (Arc::clone(&self.config), Arc::clone(&self.ledger), self.watcher.clone(), self.servers.news());
        let servers: Vec<_> = (0..found.len()).map(|index| self.servers.get(ServerId(index))).collect();
        tokio::task::spawn_blocking(move || {
            let patterns = config.sites.iter().any(|site| site.is_pattern());
            if patterns {
                watcher.rearm(Topic::Patterns);
            }
            let mut roster = roster::draw(&config, &found);
            // Armed, so look.
            while patterns && watcher.follow(Topic::Patterns, Vec::new(), &roster.folders) {
                roster = roster::draw(&config, &found);
            }
            let recorded = recorded(&ledger);
            let is_unknown = |site: &&roster::Site| site.discovered && record_of(&recorded, site).is_none();
            let unknown = roster.sites.iter().filter(is_unknown).map(|site| site.settings.server);
            let unknown: BTreeSet<usize> = unknown.collect();
            let loaded = unknown.into_iter().filter(|index| servers[*index].has_loaded_its_configuration());
            let loaded = loaded.map(ServerId).collect();
            let drawn = Drawn { recorded, paces: paces(&ledger, &config), loaded, sites: roster.sites };
            // The loop is gone only when certhook ends.
            let _ = news.send(News::Drawn(Box::new(drawn)));
        });
    }

    /// Tells the agent which sites came, went or changed.
    pub(super) fn take_drawn(&mut self, drawn: Drawn) {
        self.servers.drawing = false;
        if std::mem::take(&mut self.servers.draw_again) {
            self.draw();
        }
        let Drawn { sites: drawn, recorded, paces, loaded } = drawn;
        let keys: BTreeSet<Cow<'_, str>> = drawn.iter().map(roster::Site::key).collect();
        let (mut events, mut forgotten) = (Vec::new(), Vec::new());
        let gone = self.sites.iter().filter(|(_, site)| !keys.contains(&site.roster.key()));
        for id in gone.map(|(id, _)| *id).collect::<Vec<_>>() {
            if let Some(site) = self.sites.remove(&id) {
                tracing::info!(site = &*site.roster.key(), "the site is there no more");
            }
            forgotten.push(Topic::Site(id));
            events.push(Event::Removed(id));
        }
        let known = self.sites.iter().map(|(id, site)| (site.roster.key().into_owned(), *id));
        let known: HashMap<String, SiteId> = known.collect();
        let came = drawn.iter().any(|site| !known.contains_key(&*site.key()));
        let changed_list = came || !events.is_empty();
        if !forgotten.is_empty() {
            let watcher = self.watcher.clone();
            tokio::task::spawn_blocking(move || watcher.forget(&forgotten));
        }
        let first = self.sites.is_empty();
        let mut new = Vec::new();
        for site in drawn {
            match known.get(&*site.key()) {
                Some(id) => events.extend(self.update(*id, site)),
                None => {
                    let id = SiteId(self.servers.next);
                    self.servers.next += 1;
                    let recorded = record_of(&recorded, &site);
                    let server = ServerId(site.settings.server);
                    let setup = SiteSetup {
                        server,
                        recorded,
                        unloaded: site.discovered && recorded.is_none() && !loaded.contains(&server),
                        load_is_evidence: self.load_is_evidence(&site),
                        pace: paces.get(&*site.key()).copied(),
                    };
                    if !first {
                        tracing::info!(site = &*site.key(), "there is a new site");
                    }
                    new.push((id, Site::new(site, &self.config)));
                    events.push(Event::Added(id, setup));
                }
            }
        }
        // All at once: one after the other, each at the end, they would need twice the room.
        self.sites.append(&mut new.into_iter().collect());
        if changed_list || (self.servers.half_told && self.servers.are_known()) {
            self.tell_who_reports();
        }
        for event in events {
            self.feed(event);
        }
    }

    /// Whether a load that ended well has loaded the site's certificate: nginx's configuration names it.
    fn load_is_evidence(&self, site: &roster::Site) -> bool {
        let server = &self.config.servers[site.settings.server];
        matches!(server.kind, Kind::Nginx(_)) && !site.places.is_empty()
    }

    /// A site that was there before: only what is asked, and where its files are, concerns the agent.
    fn update(&mut self, id: SiteId, new: roster::Site) -> Option<Event> {
        let is_evidence = self.load_is_evidence(&new);
        let known = self.sites.get_mut(&id)?;
        let old = std::mem::replace(&mut known.roster, new);
        if old.places.is_empty() != known.roster.places.is_empty() {
            self.feed(Event::LoadIsEvidence(id, is_evidence));
        }
        let new = &self.sites.get(&id)?.roster.settings;
        let moved = Place::of(&old.settings) != Place::of(new);
        if !moved
            && old.settings.verify == new.verify
            && old.settings.bindings == new.bindings
            && old.settings.bound == new.bound
        {
            return None;
        }
        Some(Event::Changed(id))
    }

    fn tell_who_reports(&mut self) {
        if self.config.portal.is_none() {
            return;
        }
        let keys: HashSet<Cow<'_, str>> = self.sites.values().map(|site| site.roster.key()).collect();
        let is_other = |key: &String| !keys.contains(key.as_str());
        let mut reporting = Vec::new();
        for site in self.sites.values().filter(|site| site.report) {
            reporting.push(site.roster.key().into_owned());
            // Under its path alone it was known while it had no second server.
            reporting.extend(Some(site.roster.settings.certificate.display().to_string()).filter(is_other));
        }
        self.servers.half_told = !self.servers.are_known();
        if self.servers.half_told {
            // Those that are recorded and not seen yet are not gone for that.
            reporting.extend(recorded(&self.ledger).into_keys().filter(is_other));
        }
        if let Err(error) =
            self.ledger.report_only(&reporting, self.config.reports_unproved(), Timestamp::now())
        {
            tracing::error!(problem = %error.problem(), "which sites report cannot be written down");
        }
        // Some may be taken up that were put aside.
        if let Some((orders, _)) = &self.courier {
            // It ends only with the loop.
            let _ = orders.send(Order::Wake);
        }
    }
}
