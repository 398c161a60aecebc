//! The agent's own view of things, as `status` tells it.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::{Daemon, wall};
use crate::agent::{self, HOLD, ServerId, SiteId, State};
use crate::ledger::LedgerError;
use crate::platform;
use crate::problem::Problem;
use crate::status::{
    self, Certificate, Portal, PortalNames, Renewal, Report, Served, SiteProblem, Status, Watch,
};
use crate::watch::Topic;

/// Returns what was read; what cannot be is told once.
fn or_told<T: Default>(read: Result<T, LedgerError>, problem: &mut Option<Problem>) -> T {
    read.unwrap_or_else(|error| {
        problem.get_or_insert_with(|| error.problem());
        T::default()
    })
}

impl Daemon {
    pub(super) fn status(&self) -> Status {
        let leaves: Vec<_> =
            self.agent.sites().map(|(_, site)| site.last_recorded().map(|recorded| recorded.leaf)).collect();
        let mut ledger_problem = None;
        let reports = or_told(self.ledger.reports_of(&leaves), &mut ledger_problem);
        let reports = reports.into_iter().chain(std::iter::repeat_with(|| None));
        let names = or_told(PortalNames::of(&self.config, Some(&self.ledger)), &mut ledger_problem);
        let sites = self.agent.sites().zip(reports);
        let sites: Vec<status::Site> =
            sites.filter_map(|((id, site), report)| self.site_status(id, site, report, &names)).collect();
        let polled_sites = sites.iter().filter(|site| site.polled.is_some()).count();
        let servers =
            (0..self.config.servers.len()).map(|index| self.server_status(ServerId(index))).collect();
        let now = Timestamp::now();
        let portal = or_told(Portal::of(&self.config, Some(&self.ledger), now), &mut ledger_problem);
        let portal = portal.or_else(|| Portal::of(&self.config, None, now).ok().flatten());
        let renewal = or_told(Renewal::of(Some(&self.ledger)), &mut ledger_problem);
        let unreadable = or_told(self.ledger.unreadable_report(), &mut ledger_problem);
        let stopped = self.config.portal.as_ref().and_then(|_| self.courier_problem());
        let renewals = self.config.portal.as_ref().and(self.config.renewal.as_ref());
        let mut status = Status {
            agent: status::Agent {
                running: true,
                pid: Some(std::process::id()),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            },
            portal,
            renewal,
            watch: Watch { polled_sites, problem: self.watcher.problem() },
            ledger_problem,
            report_problem: stopped.or(unreadable),
            renewal_problem: renewals.and_then(|_| self.shared.renewal_problem()),
            config_problem: self.config_problem.clone(),
            metrics_problem: self.shared.metrics_problem(),
            alert_problem: self.shared.alert_problem(),
            servers,
            sites,
        };
        if status.servers.iter().any(|server| server.problem.is_some()) {
            let present = self.sites.values().map(|site| site.roster.key().into_owned()).collect();
            let has_all = |index| self.servers.tells_all(ServerId(index));
            let added = status.add_vanished(&self.config, &self.ledger, &present, has_all);
            or_told(added, &mut status.ledger_problem);
        }
        status
    }

    /// What keeps every report from going out.
    fn courier_problem(&self) -> Option<Problem> {
        if self.courier.as_ref().is_some_and(|(orders, _)| !orders.is_closed()) {
            return self.shared.report_problem();
        }
        let message = "nothing is reported: the thread that sends reports has ended or could not be started";
        Some(Problem::new("courier_ended", message, platform::WORDS.restart))
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
        names: &PortalNames,
    ) -> Option<status::Site> {
        let configured = &self.sites.get(&id)?.roster.settings;
        let leaf = site.disk().map(|seen| &*seen.bundle.leaf);
        let (shown, probed_at) = site.shown();
        let problems = site.problem().into_iter().chain(site.chain_problem());
        let problems = problems.map(|(problem, since)| SiteProblem::since(problem, wall(since)));
        let (problem, problems) = status::gravest(problems.collect());
        let state = match site.state() {
            State::Unknown => "unknown",
            State::Pending { .. } | State::Awaiting { .. } => "pending",
            State::Inspecting if site.fault().is_some() => "pending",
            // Nothing is known before the first look at the wire.
            State::Inspecting if probed_at.is_none() => "unknown",
            State::Current => "current",
            State::Ready | State::Reloading { .. } => "reloading",
            State::Inspecting | State::Probing | State::Verifying { .. } | State::Recording { .. } => {
                "verifying"
            }
            State::Waiting { .. } | State::HeldOff { .. } => "waiting",
        };
        let served = probed_at.and_then(|at| Served::of(shown.iter().map(Arc::as_ref), leaf, wall(at)));
        let loaded = (probed_at.zip(leaf).zip(site.unseen()))
            .map(|((at, leaf), reason)| Served::loaded(leaf, wall(at), reason));
        let awaits = matches!(site.state(), State::Awaiting { .. });
        let pending = site.fault().map(|fault| fault.message.clone());
        let pending = pending.or_else(|| awaits.then(|| "its server has not loaded it yet".to_owned()));
        let report = Report::told(report);
        Some(status::Site {
            name: status::display_name(configured, leaf),
            server: self.config.servers[configured.server].name.clone(),
            state: state.to_owned(),
            certificate: Certificate::of(&configured.certificate, site.disk()),
            served: served.or(loaded),
            portal: names.word(configured, leaf, &report),
            report: match site.unseen() {
                Some(_) if configured.report && !self.config.reports_unproved() => report.or_unproved(),
                _ => report,
            },
            pending: pending.filter(|_| problem.is_none()),
            polled: self.watcher.blind(Topic::Site(id)).map(|why| why.reason().to_owned()),
            problem,
            problems,
        })
    }
}
