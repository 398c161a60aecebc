//! The agent's own view of things, as `status` tells it.

use jiff::Timestamp;

use super::{Daemon, wall};
use crate::agent::{SiteId, State};
use crate::status::{self, Certificate, Portal, Report, Served, SiteProblem, Status, Watch};

impl Daemon {
    pub(super) fn status(&self) -> Status {
        let sites = self.agent.sites().map(|(id, _)| self.site_status(id)).collect();
        let now = Timestamp::now();
        let (portal, ledger_problem) = match Portal::of(&self.config, Some(&self.ledger), now) {
            Ok(portal) => (portal, None),
            Err(error) => (Portal::of(&self.config, None, now).unwrap_or_default(), Some(error.problem())),
        };
        Status {
            agent: status::Agent {
                running: true,
                pid: Some(std::process::id()),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            },
            portal,
            watch: Watch { polled_sites: self.watcher.polled(), problem: self.watcher.problem().cloned() },
            ledger_problem,
            sites,
        }
    }

    fn site_status(&self, id: SiteId) -> status::Site {
        let (site, configured) = (self.agent.site(id), &self.config.sites[id.0]);
        let leaf = site.disk().map(|seen| &seen.bundle.leaf);
        let (sightings, probed_at) = site.sightings();
        let problem = site.problem().map(|(problem, since)| SiteProblem::since(problem, wall(since)));
        let recorded = site.last_recorded().map(|recorded| recorded.leaf);
        // What keeps the ledger from being read is told once, for all.
        let report = Report::of(Some(&self.ledger), recorded.as_ref()).unwrap_or_else(|_| Report::none());
        let state = match site.state() {
            State::Unknown => "unknown",
            State::Pending { .. } => "pending",
            State::Inspecting if site.fault().is_some() => "pending",
            // Nothing is known before the first look at the wire.
            State::Inspecting if probed_at.is_none() => "unknown",
            State::Current => "current",
            State::Ready | State::Reloading { .. } => "reloading",
            State::Inspecting | State::Probing | State::Verifying { .. } | State::Recording => "verifying",
            State::Waiting { .. } => "waiting",
        };
        status::Site {
            name: status::display_name(configured, leaf),
            server: self.config.servers[configured.server].name.clone(),
            state: state.to_owned(),
            certificate: Certificate::of(&configured.certificate, site.disk()),
            served: probed_at.and_then(|at| Served::of(sightings, leaf, wall(at))),
            report,
            pending: site.fault().filter(|_| problem.is_none()).map(|fault| fault.message.clone()),
            problem,
        }
    }
}
