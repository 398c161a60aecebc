//! A leaf that is served is written down, with the report that it calls for.

use std::sync::Arc;

use jiff::Timestamp;

use super::give::retire;
use super::{Daemon, wall};
use crate::agent::{self, Event, Installed, Recorded, ServerId, SiteId};
use crate::inspect::Place;
use crate::ledger::{Installation, NewReport};
use crate::status::display_name;

impl Daemon {
    pub(super) fn record(&self, id: SiteId, installed: &Installed) {
        let (Some(seen), Some(site)) = (self.agent.site(id).and_then(agent::Site::disk), self.sites.get(&id))
        else {
            return;
        };
        let (bundle, settings) = (&seen.bundle, &site.roster.settings);
        let installation = Installation {
            site: site.roster.key.clone(),
            name: display_name(settings, Some(&bundle.leaf)),
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
        let copies = site.roster.stage.clone().map(|stage| (stage, Place::of(settings), bundle.set));
        let server = self.servers.get(ServerId(settings.server));
        let publishing = self.servers.publishing(ServerId(settings.server));
        let (ledger, results) = (Arc::clone(&self.ledger), self.result_sender.clone());
        let acting = self.acting.hold();
        tokio::task::spawn_blocking(move || {
            let outcome = ledger.install(&installation, Timestamp::now()).map_err(|error| error.problem());
            let recorded = outcome.is_ok();
            let _ = results.send(Event::Recorded(id, outcome));
            if let (true, Some((stage, place, set))) = (recorded, copies) {
                let _while_nobody_loads = publishing.blocking_lock();
                // Where somebody else had it loaded from its source, the copy is behind.
                match stage.publish(&place, &set) {
                    Ok(_) => stage.tidy(),
                    Err(problem) => tracing::warn!(%problem, "the copy is behind its source"),
                }
            }
            if recorded {
                retire(&server, &[installation.recorded.leaf]);
            }
            drop(acting);
        });
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
