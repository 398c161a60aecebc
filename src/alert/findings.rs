//! What a status says of each thing that may be wrong.

use jiff::Timestamp;

use crate::problem::{NOT_ON_THIS_HOST, Problem};
use crate::status::{Renewal, Report, Server, Site, SiteProblem, Status};

/// How something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// A problem, since when if that is known.
    Wrong {
        /// Its code.
        code: String,
        /// Its words.
        message: String,
        /// What to do.
        remedy: String,
        /// Since when.
        since: Option<Timestamp>,
    },
    /// Something is under way, or was not looked at yet: nobody knows.
    Unknown,
    /// Nothing is wrong with it.
    Well,
}

/// One thing that may be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What tells it from all others, also after a restart.
    pub subject: String,
    /// The site, as people call it; empty where it is about none.
    pub site: String,
    /// The server; empty where it is about none.
    pub server: String,
    /// How it stands.
    pub standing: Standing,
}

impl Standing {
    pub(super) fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong { .. })
    }

    fn of(problem: &SiteProblem) -> Self {
        let SiteProblem { code, message, remedy, since } = problem.clone();
        Self::Wrong { code, message, remedy, since: Some(since) }
    }

    pub(super) fn since_now(code: &str, message: &str, remedy: &str) -> Self {
        let (code, message, remedy) = (code.to_owned(), message.to_owned(), remedy.to_owned());
        Self::Wrong { code, message, remedy, since: None }
    }
}

/// Everything that the status says something of; and whether that is all there is, so that what is missing is gone.
pub fn findings(status: &Status) -> (Vec<Finding>, bool) {
    let looked = status.sites.iter().all(|site| site.state != "unknown");
    let agent = |name: &str, standing| Finding {
        subject: format!("agent {name}"),
        site: String::new(),
        server: String::new(),
        standing,
    };
    let of = |problem: &Option<Problem>| match problem {
        Some(Problem { code, message, remedy }) => Standing::since_now(code, message, remedy),
        None if looked => Standing::Well,
        None => Standing::Unknown,
    };
    let mut found = vec![
        agent("ledger", of(&status.ledger_problem)),
        agent("configuration", of(&status.config_problem)),
        agent("watch", of(&status.watch.problem)),
        agent("metrics", of(&status.metrics_problem)),
        agent("reports", of(&status.report_problem)),
        agent("renewal", renewal(status)),
    ];
    found.extend(status.servers.iter().map(|server| of_server(server, status)));
    found.extend(status.sites.iter().flat_map(|site| of_site(site, status.ledger_problem.is_none())));
    let known = status.servers.iter().all(|server| server.problem.is_none());
    (found, looked && known && status.config_problem.is_none())
}

/// What is known of renewals stands in the ledger.
fn renewal(status: &Status) -> Standing {
    const REMEDY: &str = "see certhook status; certhook tries again by itself, or: certhook renew";
    if status.ledger_problem.is_some() {
        return Standing::Unknown;
    }
    if let Some(Problem { code, message, remedy }) = &status.renewal_problem {
        return Standing::since_now(code, message, remedy);
    }
    let Some(message) = status.renewal.as_ref().and_then(Renewal::what_failed) else {
        return Standing::Well;
    };
    Standing::since_now("renewal_failed", &message, REMEDY)
}

fn of_server(server: &Server, status: &Status) -> Finding {
    let under_way = |site: &&Site| {
        site.server == server.name && matches!(site.state.as_str(), "unknown" | "reloading" | "verifying")
    };
    let standing = match &server.problem {
        Some(problem) => Standing::of(problem),
        // A server that refused a reload before a restart has not been asked again yet.
        None if status.sites.iter().any(|site| under_way(&site)) => Standing::Unknown,
        None => Standing::Well,
    };
    Finding {
        subject: format!("server {}", server.name),
        site: String::new(),
        server: server.name.clone(),
        standing,
    }
}

/// The site itself, and its report: the one may be well while the other is not.
fn of_site(site: &Site, ledger_is_read: bool) -> [Finding; 2] {
    let at_rest = site.state == "current";
    let itself = match &site.problem {
        // Neither wrong nor well.
        Some(problem) if problem.code == NOT_ON_THIS_HOST => Standing::Unknown,
        Some(problem) => Standing::of(problem),
        None if at_rest => Standing::Well,
        None => Standing::Unknown,
    };
    let report = if ledger_is_read { of_report(&site.report, at_rest) } else { Standing::Unknown };
    let finding = |what: &str, standing| Finding {
        subject: format!("{what} {}@{}", site.certificate.path, site.server),
        site: site.name.clone(),
        server: site.server.clone(),
        standing,
    };
    [finding("site", itself), finding("report", report)]
}

fn of_report(report: &Report, at_rest: bool) -> Standing {
    let remedy = |usual| report.remedy.as_deref().unwrap_or(usual);
    match (report.state.as_str(), report.error.as_deref()) {
        ("held", error) => Standing::since_now(
            "report_held",
            error.unwrap_or("the portal refused it"),
            remedy("mend what it says, then: certhook sync --retry"),
        ),
        (_, Some(error)) => Standing::since_now(
            "report_failed",
            error,
            remedy("see the way to the portal; certhook tries again by itself"),
        ),
        ("delivered", None) => Standing::Well,
        // Before the site was looked at, nobody knows which report is its.
        ("none", None) if at_rest => Standing::Well,
        _ => Standing::Unknown,
    }
}
