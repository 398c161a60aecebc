//! How things are, seen without an agent: the disk, the wire and the ledger are asked here and now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::agent::judge::{Wire, judge};
use crate::agent::{ACCEPTED, Incomplete, Recorded, Seen, Sighting};
use crate::config::{Config, Site};
use crate::inspect::{Place, inspect};
use crate::ledger::{Ledger, LedgerError};
use crate::probe;
use crate::problem::Problem;
use crate::status::{self, Certificate, Portal, Report, Served, SiteProblem, Status, Watch};

/// For one handshake, when a person waits.
const PATIENCE: Duration = Duration::from_secs(3);
/// Sites that are asked at once.
const AT_ONCE: usize = 16;

/// One site's disk and wire.
pub(super) struct Finding {
    pub(super) seen: Result<Seen, Incomplete>,
    pub(super) sightings: Vec<Sighting>,
}

impl Finding {
    /// What the wire shows against the disk; `None` where the disk has no whole set.
    pub(super) fn wire(&self, recorded: Option<&Recorded>) -> Option<Wire> {
        self.seen.as_ref().ok().map(|seen| judge(seen, recorded, &self.sightings))
    }

    /// What is wrong, if anything.
    pub(super) fn problem(&self, recorded: Option<&Recorded>) -> Option<Problem> {
        match &self.seen {
            Err(incomplete) => Some(incomplete.problem.clone()),
            Ok(_) => match self.wire(recorded)? {
                Wire::Served => None,
                Wire::Stale(problem) | Wire::Unreachable(problem) | Wire::Foreign(problem) => Some(problem),
            },
        }
    }
}

/// Looks at the disk, and at the wire for what is whole there; in the order of `sites`.
pub(super) async fn look(sites: &[&Site]) -> Vec<Finding> {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let looking: Vec<_> =
        sites.iter().map(|site| tokio::spawn(one((*site).clone(), Arc::clone(&permits)))).collect();
    let mut found = Vec::new();
    for look in looking {
        if let Ok(finding) = look.await {
            found.push(finding);
        }
    }
    found
}

/// Looks; what seems stale is asked once more when old workers of a reload just now no longer answer.
async fn one(site: Site, permits: Arc<Semaphore>) -> Finding {
    let _permit = permits.acquire_owned().await;
    let seen = inspect(&Place::of(&site), Timestamp::now());
    let Ok(set) = &seen else { return Finding { seen, sightings: Vec::new() } };
    let mut sightings = probe::sightings(&site.verify, &set.bundle.leaf, PATIENCE).await;
    if matches!(judge(set, None, &sightings), Wire::Stale(_)) {
        sleep(ACCEPTED).await;
        sightings = probe::sightings(&site.verify, &set.bundle.leaf, PATIENCE).await;
    }
    Finding { seen, sightings }
}

/// A status without an agent. A ledger that cannot be used is told of, and done without.
pub(super) async fn status(config: &Config) -> Status {
    let sites: Vec<&Site> = config.sites.iter().collect();
    let findings = look(&sites).await;
    let now = Timestamp::now();
    let read = || {
        let ledger = Ledger::open_existing(&config.state_dir)?;
        let recorded = ledger.as_ref().map(Ledger::recorded).transpose()?.unwrap_or_default();
        tell_all(config, &sites, &findings, &recorded, ledger.as_ref(), now)
    };
    let (portal, told, ledger_problem) = match read() {
        Ok((portal, told)) => (portal, told, None),
        Err(error) => {
            let (portal, told) =
                tell_all(config, &sites, &findings, &HashMap::new(), None, now).unwrap_or_default();
            (portal, told, Some(error.problem()))
        }
    };
    Status {
        agent: status::Agent { running: false, pid: None, version: None },
        portal,
        watch: Watch::default(),
        ledger_problem,
        sites: told,
    }
}

type Told = (Option<Portal>, Vec<status::Site>);

fn tell_all(
    config: &Config,
    sites: &[&Site],
    findings: &[Finding],
    recorded: &HashMap<String, Recorded>,
    ledger: Option<&Ledger>,
    now: Timestamp,
) -> Result<Told, LedgerError> {
    let told = sites.iter().zip(findings).map(|(site, finding)| {
        tell(config, site, finding, recorded.get(&config.site_key(site)), ledger, now)
    });
    Ok((Portal::of(config, ledger, now)?, told.collect::<Result<_, _>>()?))
}

fn tell(
    config: &Config,
    site: &Site,
    finding: &Finding,
    recorded: Option<&Recorded>,
    ledger: Option<&Ledger>,
    now: Timestamp,
) -> Result<status::Site, LedgerError> {
    let seen = finding.seen.as_ref().ok();
    let leaf = seen.map(|seen| &seen.bundle.leaf);
    let problem = finding.problem(recorded);
    let is_recorded = recorded.zip(leaf).is_some_and(|(recorded, leaf)| recorded.leaf == leaf.fingerprint);
    let state = match (&finding.seen, finding.wire(recorded)) {
        (Err(_), _) => "pending",
        (_, Some(Wire::Served)) if is_recorded => "current",
        (_, Some(Wire::Served)) => "unknown",
        _ => "waiting",
    };
    Ok(status::Site {
        name: status::display_name(site, leaf),
        server: config.servers[site.server].name.clone(),
        state: state.to_owned(),
        certificate: Certificate::of(&site.certificate, seen),
        served: Served::of(&finding.sightings, leaf, now),
        report: Report::of(ledger, leaf.map(|leaf| &leaf.fingerprint))?,
        problem: problem.map(|problem| SiteProblem::since(&problem, now)),
        pending: None,
    })
}
