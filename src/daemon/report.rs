//! The agent's own view of things, as `status` tells it.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::{Daemon, wall};
use crate::agent::{self, HOLD, ServerId, SiteId, State};
use crate::status::{self, Certificate, Portal, Renewal, Report, Served, SiteProblem, Status, Watch};
use crate::watch::Topic;

impl Daemon {
    pub(super) fn status(&self) -> Status {
        let leaves: Vec<_> =
            self.agent.sites().map(|(_, site)| site.last_recorded().map(|recorded| recorded.leaf)).collect();
        // What keeps the ledger from being read is told once, below.
        let reports = self.ledger.reports_of(&leaves).unwrap_or_default();
        let reports = reports.into_iter().chain(std::iter::repeat_with(|| None));
        let sites = self.agent.sites().zip(reports);
        let sites: Vec<status::Site> =
            sites.filter_map(|((id, site), report)| self.site_status(id, site, report)).collect();
        let polled_sites = sites.iter().filter(|site| site.polled.is_some()).count();
        let servers =
            (0..self.config.servers.len()).map(|index| self.server_status(ServerId(index))).collect();
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
            // What keeps the ledger from being read is told once, above.
            renewal: Renewal::of(Some(&self.ledger)).ok().flatten(),
            watch: Watch { polled_sites, problem: self.watcher.problem() },
            ledger_problem,
            config_problem: self.config_problem.clone(),
            metrics_problem: self.shared.metrics_problem(),
            alert_problem: self.shared.alert_problem(),
            servers,
            sites,
        }
    }

    fn server_status(&self, id: ServerId) -> status::Server {
        let configured = &self.config.servers[id.0];
        let server = self.servers.get(id);
        let workers = server.workers();
        let problem =
            self.servers.problem(id).map(|(problem, since)| SiteProblem::since(problem, wall(since)));
        let upgrading = || server.upgrading().map(|problem| SiteProblem::since(&problem, Timestamp::now()));
        let next =
            self.agent.next_reload(id).filter(|at| at.saturating_duration_since(Instant::now()) > HOLD);
        status::Server {
            name: configured.name.clone(),
            discover: configured.discovers(),
            sites: self.agent.sites().filter(|(_, site)| site.server() == id).count(),
            workers: workers.as_ref().map(|workers| workers.serving.len()),
            draining: workers.map(|workers| workers.draining),
            reload_at: next.map(|at| status::whole_seconds(wall(at))),
            problem: problem.or_else(upgrading),
        }
    }

    fn site_status(
        &self,
        id: SiteId,
        site: &agent::Site,
        report: Option<crate::ledger::Report>,
    ) -> Option<status::Site> {
        let configured = &self.sites.get(&id)?.roster.settings;
        let leaf = site.disk().map(|seen| &*seen.bundle.leaf);
        let (shown, probed_at) = site.shown();
        let problem = site.problem().map(|(problem, since)| SiteProblem::since(problem, wall(since)));
        let state = match site.state() {
            State::Unknown => "unknown",
            State::Pending { .. } | State::Awaiting { .. } => "pending",
            State::Inspecting if site.fault().is_some() => "pending",
            // Nothing is known before the first look at the wire.
            State::Inspecting if probed_at.is_none() => "unknown",
            State::Current => "current",
            State::Ready | State::Reloading { .. } => "reloading",
            State::Inspecting | State::Probing | State::Verifying { .. } | State::Recording => "verifying",
            State::Waiting { .. } | State::HeldOff { .. } => "waiting",
        };
        let awaits = matches!(site.state(), State::Awaiting { .. });
        let pending = site.fault().map(|fault| fault.message.clone());
        let pending = pending.or_else(|| awaits.then(|| "its server has not loaded it yet".to_owned()));
        Some(status::Site {
            name: status::display_name(configured, leaf),
            server: self.config.servers[configured.server].name.clone(),
            state: state.to_owned(),
            certificate: Certificate::of(&configured.certificate, site.disk()),
            served: probed_at.and_then(|at| Served::of(shown.iter().map(Arc::as_ref), leaf, wall(at))),
            report: Report::told(report),
            pending: pending.filter(|_| problem.is_none()),
            polled: self.watcher.blind(Topic::Site(id)).map(|why| why.reason().to_owned()),
            problem,
        })
    }
}
