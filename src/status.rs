//! What `status --json` says: names and shapes that programs outside rely on.

mod outward;
mod portal_names;
mod summary;
mod vanished;

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agent::{Evidence, Seen};
use crate::certificate::{Fingerprint, Leaf};
use crate::config::Config;
use crate::ledger::{Ledger, LedgerError, ReportState};
use crate::problem::{NOT_ON_THIS_HOST, Problem, UNPROVED};
pub use outward::NOT_WHOLE;
pub use portal_names::PortalNames;
pub use summary::summary;

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The agent.
    pub agent: Agent,
    /// The portal; `null` where none is configured.
    pub portal: Option<Portal>,
    /// The last time that the portal was asked to renew; `null` where it never was.
    #[serde(default)]
    pub renewal: Option<Renewal>,
    /// How files are watched.
    pub watch: Watch,
    /// What keeps the ledger from being used, if anything.
    pub ledger_problem: Option<Problem>,
    /// What keeps the metrics from being had, if anything.
    #[serde(default)]
    pub metrics_problem: Option<Problem>,
    /// Why nobody could be told of the last problem, if so.
    #[serde(default)]
    pub alert_problem: Option<Problem>,
    /// What keeps every report from going out, or one whose site is not known.
    #[serde(default)]
    pub report_problem: Option<Problem>,
    /// What keeps renewals from being asked for and downloaded, where the last one does not say so itself.
    #[serde(default)]
    pub renewal_problem: Option<Problem>,
    /// Why the configuration's file could not be taken over when it was to be read again.
    #[serde(default)]
    pub config_problem: Option<Problem>,
    /// The servers, in the configuration's order.
    #[serde(default)]
    pub servers: Vec<Server>,
    /// The sites, in the configuration's order, then those that the servers have besides.
    pub sites: Vec<Site>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its name in the configuration.
    pub name: String,
    /// Whether its own configuration tells which sites there are.
    pub discover: bool,
    /// How many sites it has.
    pub sites: usize,
    /// Its workers that take connections; `null` where that cannot be told.
    pub workers: Option<usize>,
    /// Its workers of earlier loads that end their last connections.
    pub draining: Option<usize>,
    /// When it is reloaded next, while a reload waits.
    pub reload_at: Option<Timestamp>,
    /// Why it cannot be followed, or refused its last reload.
    pub problem: Option<SiteProblem>,
}

/// Whether an agent runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Whether it answered.
    pub running: bool,
    /// Its process.
    pub pid: Option<u32>,
    /// Its version.
    pub version: Option<String>,
}

/// This host's part of the week's requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portal {
    /// In the last seven days.
    pub requests_used: u32,
    /// Allowed in seven days.
    pub requests_per_week: u32,
    /// What this host may still ask for.
    pub requests_left: u32,
    /// When the oldest of them no longer counts.
    pub next_free_at: Option<Timestamp>,
}

/// One time that the portal was asked to renew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// When.
    pub asked_at: Timestamp,
    /// `asked`, `refused`, `waiting`, `fetching` or `done`.
    pub state: String,
    /// When it goes on, or when the portal is asked again.
    pub next_at: Timestamp,
    /// Why the last step failed.
    pub error: Option<String>,
    /// What was scheduled.
    pub certificates: Vec<Renewed>,
}

/// One certificate of a renewal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// The portal's name.
    pub name: String,
    /// `scheduled`, `renewed`, `fetched` or `failed`.
    pub state: String,
    /// Why it failed.
    pub error: Option<String>,
}

/// How files are watched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Sites whose files are polled, since events do not tell of every change to them.
    pub polled_sites: usize,
    /// Why.
    pub problem: Option<Problem>,
}

/// One site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The portal's name, if given, else the certificate's host names, else its path.
    pub name: String,
    /// Its server.
    pub server: String,
    /// `current`, `pending`, `reloading`, `verifying`, `waiting` or `unknown`.
    pub state: String,
    /// What is on disk.
    pub certificate: Certificate,
    /// What is on the wire; `null` while nobody has looked, or nobody answered.
    pub served: Option<Served>,
    /// What the portal knows.
    pub report: Report,
    /// Whether the portal has a certificate of these names: `known`, `unknown`, or `unconfigured` where nothing of it is
    /// reported; `null` before that was asked.
    #[serde(default)]
    pub portal: Option<String>,
    /// What is wrong; of several problems the gravest.
    pub problem: Option<SiteProblem>,
    /// All that is wrong, the gravest first, where that is more than one problem.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<SiteProblem>,
    /// Why the files are not whole, while they are not and it is no problem yet.
    pub pending: Option<String>,
    /// Why its files are polled: events do not tell of every change to them.
    #[serde(default)]
    pub polled: Option<String>,
}

/// A certificate on disk; all but its path is `null` until it was seen whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The file that holds the leaf.
    pub path: String,
    /// SHA-256 of the leaf.
    pub fingerprint: Option<String>,
    /// Its host names.
    pub hosts: Vec<String>,
    /// Its end.
    pub not_after: Option<Timestamp>,
    /// The file's write time.
    pub written_at: Option<Timestamp>,
}

/// A certificate on the wire: one that differs from the disk's, if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// SHA-256 of the leaf.
    pub fingerprint: String,
    /// Its end.
    #[serde(default)]
    pub not_after: Option<Timestamp>,
    /// When it was seen, or last looked for.
    pub checked_at: Timestamp,
    /// What says that it is served.
    #[serde(default)]
    pub evidence: Evidence,
    /// Why no handshake shows it, where its load is the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// `none`, `pending`, `delivered` or `held`.
    pub state: String,
    /// As the portal is told.
    pub remote_create_date: Option<String>,
    /// How often it was sent.
    pub attempts: u32,
    /// When it is sent next.
    pub next_attempt_at: Option<Timestamp>,
    /// Why it was not taken the last time.
    pub error: Option<String>,
    /// The code of that.
    #[serde(default)]
    pub code: Option<String>,
    /// What to do about it.
    #[serde(default)]
    pub remedy: Option<String>,
}

/// A problem with its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteProblem {
    /// A stable word.
    pub code: String,
    /// What is wrong and where.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Since when.
    pub since: Timestamp,
}

impl SiteProblem {
    /// With its beginning.
    pub fn since(problem: &Problem, since: Timestamp) -> Self {
        let Problem { code, message, remedy } = problem.clone();
        Self { code, message, remedy, since }
    }
}

impl Certificate {
    /// Of a file, as far as it was seen.
    pub fn of(path: &Path, seen: Option<&Seen>) -> Self {
        let leaf = seen.map(|seen| &seen.bundle.leaf);
        Self {
            path: path.display().to_string(),
            fingerprint: leaf.map(|leaf| leaf.fingerprint.to_string()),
            hosts: leaf.map(|leaf| leaf.hosts.iter().map(str::to_owned).collect()).unwrap_or_default(),
            not_after: leaf.map(|leaf| leaf.not_after),
            written_at: seen.map(|seen| whole_seconds(seen.written_at)),
        }
    }
}

impl Served {
    /// The sum of what clients were shown.
    pub fn of<'l>(
        mut shown: impl Iterator<Item = &'l Leaf> + Clone,
        on_disk: Option<&Leaf>,
        checked_at: Timestamp,
    ) -> Option<Self> {
        let differs = |leaf: &&Leaf| {
            on_disk.is_none_or(|disk| disk.fingerprint != leaf.fingerprint && disk.hosts == leaf.hosts)
        };
        let same = |leaf: &&Leaf| on_disk.is_some_and(|disk| disk.fingerprint == leaf.fingerprint);
        let leaf =
            shown.clone().find(differs).or_else(|| shown.clone().find(same)).or_else(|| shown.next())?;
        Some(Self {
            fingerprint: leaf.fingerprint.to_string(),
            not_after: Some(leaf.not_after),
            checked_at: whole_seconds(checked_at),
            evidence: Evidence::Handshake,
            reason: None,
        })
    }

    /// Whether a handshake showed it.
    pub fn is_shown(&self) -> bool {
        self.evidence == Evidence::Handshake
    }

    /// The leaf that its server has loaded, where no handshake shows any.
    pub fn loaded(leaf: &Leaf, checked_at: Timestamp, reason: &Problem) -> Self {
        Self {
            fingerprint: leaf.fingerprint.to_string(),
            not_after: Some(leaf.not_after),
            checked_at: whole_seconds(checked_at),
            evidence: Evidence::Load,
            reason: Some(reason.message.clone()),
        }
    }
}

impl Report {
    /// No report was ever wanted.
    pub fn none() -> Self {
        Self {
            state: "none".into(),
            remote_create_date: None,
            attempts: 0,
            next_attempt_at: None,
            error: None,
            code: None,
            remedy: None,
        }
    }

    /// As it is, unless there is none: then none is made while no handshake shows the certificate.
    #[must_use]
    pub fn or_unproved(self) -> Self {
        if self.state != "none" {
            return self;
        }
        let remedy = "to report it all the same, set report_unproved = true in [portal] and restart certhook";
        Self { code: Some(UNPROVED.to_owned()), remedy: Some(remedy.to_owned()), ..self }
    }

    /// What the ledger has of a certificate.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn of(ledger: Option<&Ledger>, leaf: Option<&Fingerprint>) -> Result<Self, LedgerError> {
        let report = match (ledger, leaf) {
            (Some(ledger), Some(leaf)) => ledger.report_of(leaf)?,
            _ => None,
        };
        Ok(Self::told(report))
    }

    /// How a report of the ledger's is told.
    pub fn told(report: Option<crate::ledger::Report>) -> Self {
        let Some(report) = report else { return Self::none() };
        let state = match report.state {
            // Nothing is to be told of it, as far as is known.
            ReportState::Known => return Self::none(),
            ReportState::Unasked if report.error.is_none() => return Self::none(),
            // Whether it is to be reported cannot be asked.
            ReportState::Unasked | ReportState::Pending => "pending",
            ReportState::Delivered => "delivered",
            ReportState::Held => "held",
        };
        Self {
            state: state.to_owned(),
            remote_create_date: Some(report.remote_create_date),
            attempts: report.attempts,
            next_attempt_at: matches!(report.state, ReportState::Unasked | ReportState::Pending)
                .then(|| whole_seconds(report.next_attempt_at)),
            code: report.error.as_ref().map(|error| error.code.clone()),
            remedy: report.error.as_ref().map(|error| error.remedy.clone()).filter(|text| !text.is_empty()),
            error: report.error.map(|error| error.message),
        }
    }
}

impl Renewal {
    /// The last one that the ledger has.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn of(ledger: Option<&Ledger>) -> Result<Option<Self>, LedgerError> {
        let last = ledger.map(Ledger::last_renewal).transpose()?.flatten();
        Ok(last.map(|last| Self {
            asked_at: whole_seconds(last.asked_at),
            state: last.stage.word().to_owned(),
            next_at: whole_seconds(last.next_at),
            error: last.error.map(|(_, words)| words),
            certificates: last
                .certificates
                .into_iter()
                .map(|one| Renewed {
                    name: one.name,
                    state: one.progress.word().to_owned(),
                    error: one.error,
                })
                .collect(),
        }))
    }

    /// What failed of it, in words.
    pub fn what_failed(&self) -> Option<String> {
        let failed = self.certificates.iter().filter(|one| one.state == "failed");
        let words: Vec<String> = failed
            .map(|one| format!("{}: {}", one.name, one.error.as_deref().unwrap_or("it was not renewed")))
            .collect();
        let of_certificates = Some(words.join("; ")).filter(|words| !words.is_empty());
        self.error.clone().or(of_certificates)
    }

    /// Whether nothing of it failed.
    pub fn is_well(&self) -> bool {
        self.error.is_none() && self.certificates.iter().all(|one| one.state != "failed")
    }
}

impl Portal {
    /// `None` where no portal is configured.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn of(config: &Config, ledger: Option<&Ledger>, now: Timestamp) -> Result<Option<Self>, LedgerError> {
        let Some(portal) = &config.portal else { return Ok(None) };
        let usage = ledger.map(|ledger| ledger.usage(now)).transpose()?;
        let requests_used = usage.map_or(0, |usage| usage.used);
        Ok(Some(Self {
            requests_used,
            requests_per_week: portal.requests_per_week,
            requests_left: portal.requests_per_week.saturating_sub(requests_used),
            next_free_at: usage.and_then(|usage| usage.next_free_at).map(whole_seconds),
        }))
    }
}

impl Site {
    /// All that is wrong with it, the gravest first.
    pub fn all_problems(&self) -> &[SiteProblem] {
        match self.problems.as_slice() {
            [] => self.problem.as_slice(),
            several => several,
        }
    }

    /// Whether this host has none of its addresses: another node serves it.
    fn is_elsewhere(&self) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.code == NOT_ON_THIS_HOST)
    }

    /// Whether anything about it wants an eye: a problem, or a report that was not taken.
    pub fn is_well(&self) -> bool {
        (self.is_elsewhere()
            || self.problem.is_none() && matches!(self.state.as_str(), "current" | "reloading" | "verifying"))
            && self.report.state != "held"
            && self.report.error.is_none()
    }
}

impl Status {
    /// Whether all is well.
    pub fn is_well(&self) -> bool {
        self.sites.iter().all(Site::is_well)
            && self.problems().next().is_none()
            && self.renewal.as_ref().is_none_or(Renewal::is_well)
            && self.servers.iter().all(|server| server.problem.is_none())
    }

    /// Whether all is well and nothing is under way any more, but what is put off because the configuration spares
    /// the server.
    pub fn is_settled(&self) -> bool {
        let rests =
            |site: &Site| site.state == "current" || site.is_elsewhere() || self.put_off(site).is_some();
        self.is_well() && self.sites.iter().all(rests)
    }

    /// When a site is reloaded for that waits only because its server is spared.
    pub fn put_off(&self, site: &Site) -> Option<Timestamp> {
        let server = self.servers.iter().find(|server| server.name == site.server)?;
        server.reload_at.filter(|_| site.state == "reloading" && site.problem.is_none())
    }

    /// What is wrong with more than one site, but for servers.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.watch
            .problem
            .iter()
            .chain(&self.ledger_problem)
            .chain(&self.metrics_problem)
            .chain(&self.alert_problem)
            .chain(&self.report_problem)
            .chain(&self.renewal_problem)
            .chain(&self.config_problem)
    }
}

/// The two members of a [`Site`] that its problems make, which come the gravest first.
pub fn gravest(mut problems: Vec<SiteProblem>) -> (Option<SiteProblem>, Vec<SiteProblem>) {
    let first = problems.first().cloned();
    if problems.len() < 2 {
        problems.clear();
    }
    (first, problems)
}

/// For people and JSON alike, fractions of a second say nothing.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// What a site is called: the configured name, else the certificate's host names, else its path.
pub fn display_name(site: &crate::config::Site, leaf: Option<&Leaf>) -> String {
    let hosts = leaf.map(|leaf| leaf.hosts.to_string()).filter(|hosts| !hosts.is_empty());
    site.name.clone().or(hosts).unwrap_or_else(|| site.certificate.display().to_string())
}

#[cfg(test)]
pub(crate) mod samples;
