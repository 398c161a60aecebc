//! Performing the agent's actions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Daemon, Site, wall};
use crate::agent::{Action, Event, Installed, Recorded, SiteId, State};
use crate::courier::Order;
use crate::inspect::inspect;
use crate::ledger::{Entry, Installation, NewReport};
use crate::problem::Problem;
use crate::status::display_name;
use crate::{crash, probe};

/// One handshake may take so long, even where more patience is configured for the whole.
const HANDSHAKE: Duration = Duration::from_secs(5);

impl Daemon {
    /// Hands an event to the agent and performs what it says.
    pub(super) fn feed(&mut self, event: Event) {
        self.pass_crash_point(&event);
        self.log(&event);
        for action in self.agent.handle(Instant::now(), event) {
            tracing::trace!(?action, "action");
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        let results = self.result_sender.clone();
        match action {
            Action::Inspect(id) => {
                // Arm, then look.
                self.watcher.rearm(id);
                let place = self.sites[id.0].place.clone();
                tokio::task::spawn_blocking(move || {
                    let seen = inspect(&place, Timestamp::now());
                    // The loop is gone only when certhook ends.
                    let _ = results.send(Event::Inspected(id, seen));
                });
            }
            Action::Probe(id) => {
                let Some(leaf) = self.agent.site(id).disk().map(|seen| seen.bundle.leaf.clone()) else {
                    return;
                };
                let site = &self.config.sites[id.0];
                let asks = site.verify.clone();
                let patience = self.config.servers[site.server].verify_timeout.min(HANDSHAKE);
                let permits = Arc::clone(&self.probes);
                tokio::spawn(async move {
                    let _permit = permits.acquire_owned().await;
                    let sightings = probe::sightings(&asks, &leaf, patience).await;
                    let _ = results.send(Event::Probed(id, sightings));
                });
            }
            Action::Reload(id) => {
                let server = Arc::clone(&self.servers[id.0]);
                let sites = self.agent.reloading(id).map_or(0, std::collections::BTreeSet::len);
                tracing::info!(server = server.name(), sites, "reloading");
                tokio::spawn(async move {
                    let outcome = server.reload().await;
                    let _ = results.send(Event::Reloaded(id, outcome));
                });
            }
            Action::Record(id, installed) => {
                crash::point("verified");
                self.record(id, &installed);
            }
            Action::Tell(id, problem) => self.tell(id, problem),
        }
    }

    fn record(&self, id: SiteId, installed: &Installed) {
        let (Some(seen), site) = (self.agent.site(id).disk(), &self.sites[id.0]) else { return };
        let bundle = &seen.bundle;
        let installation = Installation {
            site: site.key.clone(),
            name: display_name(&self.config.sites[id.0], Some(&bundle.leaf)),
            recorded: Recorded {
                leaf: bundle.leaf.fingerprint,
                set: bundle.set,
                intermediates: bundle.intermediates,
            },
            how: installed.how,
            whole_at: wall(installed.whole),
            reloaded_at: installed.reloaded.map(wall),
            served_at: wall(installed.served),
            report: site.report.then(|| NewReport {
                hosts: bundle.leaf.hosts.to_string(),
                remote_create_date: remote_create_date(seen.written_at),
                not_after: bundle.leaf.not_after,
            }),
        };
        let (ledger, results) = (Arc::clone(&self.ledger), self.result_sender.clone());
        tokio::task::spawn_blocking(move || {
            let outcome = ledger.install(&installation, Timestamp::now()).map_err(|error| error.problem());
            let _ = results.send(Event::Recorded(id, outcome));
        });
    }

    fn tell(&mut self, id: SiteId, problem: Option<Problem>) {
        let Site { key, label: site, .. } = &self.sites[id.0];
        let entry = match &problem {
            Some(problem) => {
                tracing::warn!(
                    site,
                    code = problem.code,
                    problem = problem.message,
                    remedy = problem.remedy,
                    "problem"
                );
                Entry::new(Timestamp::now(), key, "problem")
                    .saying(format!("{}: {}", problem.code, problem.message))
            }
            None => {
                tracing::info!(site, "well again");
                Entry::new(Timestamp::now(), key, "well")
            }
        };
        let ledger = Arc::clone(&self.ledger);
        self.notes.spawn_blocking(move || {
            if let Err(error) = ledger.note(&entry) {
                tracing::error!(problem = %error.problem(), "the history cannot be written");
            }
        });
    }

    fn log(&self, event: &Event) {
        match event {
            Event::Reloaded(id, Ok(took)) => {
                tracing::info!(
                    server = self.servers[id.0].name(),
                    milliseconds = took.as_millis(),
                    "reloaded"
                );
            }
            Event::Recorded(id, Ok(())) => {
                let (site, seen) = (&self.sites[id.0].label, self.agent.site(*id).disk());
                let fingerprint =
                    seen.map(|seen| seen.bundle.leaf.fingerprint.to_string()).unwrap_or_default();
                tracing::info!(site, fingerprint, "served and recorded");
                if let Some((orders, _)) = &self.courier {
                    // It ends only with the loop.
                    let _ = orders.send(Order::Wake);
                }
            }
            Event::Inspected(id, Err(incomplete)) => {
                tracing::debug!(site = self.sites[id.0].label, code = incomplete.problem.code, "not whole");
            }
            _ => {}
        }
    }

    fn pass_crash_point(&self, event: &Event) {
        let name = match event {
            Event::Inspected(..) => "inspected",
            Event::Probed(id, _) if matches!(self.agent.site(*id).state(), State::Verifying { .. }) => {
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

/// The portal's form of a write time: UTC, whole seconds, no offset.
fn remote_create_date(written_at: Timestamp) -> String {
    written_at.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::remote_create_date;

    #[test]
    fn write_times_are_cut_to_seconds_of_utc() {
        let at = "2021-01-30T01:04:32.999999999Z".parse().unwrap();
        assert_eq!(remote_create_date(at), "2021-01-30T01:04:32");
        assert_eq!(remote_create_date("1970-01-01T00:00:00Z".parse().unwrap()), "1970-01-01T00:00:00");
    }
}
