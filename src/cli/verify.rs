//! `certhook verify`: handshakes now.

use jiff::Timestamp;
use serde::Serialize;

use super::survey::{self, Finding};
use super::{Outcome, Result, say, say_json, show};
use crate::agent::judge::Wire;
use crate::agent::{Sighting, Unseen};
use crate::config::{Config, Site};
use crate::ledger::Ledger;
use crate::problem::{Problem, printable};
use crate::status;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// These sites only: names, or certificates' paths.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// As a JSON array.
    #[arg(long)]
    json: bool,
}

/// One site, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Verdict {
    name: String,
    certificate: String,
    server: String,
    ok: bool,
    on_disk: Option<OnDisk>,
    wire: Vec<OnWire>,
    problem: Option<Problem>,
}

#[derive(Debug, Serialize)]
struct OnDisk {
    fingerprint: String,
    not_after: Timestamp,
}

#[derive(Debug, Serialize)]
struct OnWire {
    endpoint: String,
    host: String,
    fingerprint: Option<String>,
    not_after: Option<Timestamp>,
    matches: bool,
    error: Option<String>,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> Result {
    let sites: Vec<&Site> =
        config.sites.iter().filter(|site| may_be_called(site, &arguments.names)).collect();
    // What was recorded tells an older certificate from another site's; without it the names do.
    let ledger = Ledger::open_existing(&config.state_dir).ok().flatten();
    let recorded = ledger.and_then(|ledger| ledger.recorded().ok()).unwrap_or_default();
    let findings = survey::look(&sites).await;
    let verdicts: Vec<Verdict> = sites
        .iter()
        .zip(&findings)
        .map(|(site, finding)| {
            let known = recorded.get(&config.site_key(site));
            let ok = finding.wire(known) == Some(Wire::Served);
            verdict(config, site, finding, ok, finding.problem(known))
        })
        .filter(|verdict| {
            arguments.names.is_empty() || arguments.names.iter().any(|name| verdict.is_called(name))
        })
        .collect();
    if let Some(name) =
        arguments.names.iter().find(|name| !verdicts.iter().any(|verdict| verdict.is_called(name)))
    {
        let message = format!("there is no site {}", printable(name, 100));
        return Err(Problem::new("no_such_site", message, "see certhook status for the names"));
    }
    let well = verdicts.iter().all(|verdict| verdict.ok);
    if arguments.json {
        say_json(&verdicts);
    } else {
        say(&text(&verdicts));
    }
    Ok(Outcome::from(well))
}

/// Whether a site can be one of those asked for: an unnamed one is called by its certificate's host names, which
/// have to be read first.
fn may_be_called(site: &Site, names: &[String]) -> bool {
    let called = |name: &String| site.label() == *name || site.certificate.display().to_string() == *name;
    names.is_empty() || site.name.is_none() || names.iter().any(called)
}

impl Verdict {
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.certificate == name
    }
}

fn verdict(config: &Config, site: &Site, finding: &Finding, ok: bool, problem: Option<Problem>) -> Verdict {
    let leaf = finding.seen.as_ref().ok().map(|seen| &seen.bundle.leaf);
    Verdict {
        name: status::display_name(site, leaf),
        certificate: site.certificate.display().to_string(),
        server: config.servers[site.server].name.clone(),
        ok,
        on_disk: leaf
            .map(|leaf| OnDisk { fingerprint: leaf.fingerprint.to_string(), not_after: leaf.not_after }),
        wire: finding
            .sightings
            .iter()
            .map(|sighting| on_wire(sighting, leaf.map(|leaf| leaf.fingerprint.to_string())))
            .collect(),
        problem,
    }
}

fn on_wire(sighting: &Sighting, disk: Option<String>) -> OnWire {
    let leaf = sighting.outcome.as_ref().ok();
    let fingerprint = leaf.map(|leaf| leaf.fingerprint.to_string());
    OnWire {
        endpoint: sighting.endpoint.clone(),
        host: sighting.host.clone(),
        matches: fingerprint.is_some() && fingerprint == disk,
        fingerprint,
        not_after: leaf.map(|leaf| leaf.not_after),
        error: sighting.outcome.as_ref().err().map(|unseen| match unseen {
            Unseen::Unreachable(problem) | Unseen::Refused(problem) => problem.message.clone(),
        }),
    }
}

fn text(verdicts: &[Verdict]) -> String {
    let mut rows =
        vec![["", "SITE", "HOST", "ENDPOINT", "ON DISK", "ON THE WIRE", "EXPIRES"].map(str::to_owned)];
    let short = |fingerprint: &str| fingerprint[..fingerprint.len().min(12)].to_owned();
    let mut notes = Vec::new();
    for verdict in verdicts {
        let disk = verdict.on_disk.as_ref().map_or("-".to_owned(), |disk| short(&disk.fingerprint));
        for seen in &verdict.wire {
            let days = seen.not_after.map(|at| at.duration_since(Timestamp::now()).as_hours().div_euclid(24));
            rows.push([
                if seen.matches { "" } else { "!" }.to_owned(),
                printable(&verdict.name, 120),
                printable(&seen.host, 120),
                seen.endpoint.clone(),
                disk.clone(),
                seen.fingerprint.as_deref().map_or("-".to_owned(), short),
                days.map_or("-".to_owned(), show::count_days),
            ]);
        }
        if let Some(problem) = &verdict.problem {
            notes.push(format!(
                "! {}: {}\n  {}",
                printable(&verdict.name, 120),
                printable(&problem.message, 500),
                printable(&problem.remedy, 500)
            ));
        }
    }
    let mut out = show::table(&rows);
    out.extend(notes);
    out.join("\n")
}
