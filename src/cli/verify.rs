//! `certhook verify`: handshakes now.

mod bindings;
mod proof;

use jiff::Timestamp;
use serde::Serialize;

use super::survey::{self, Finding};
use super::{Outcome, Result, say, say_json, show};
use crate::agent::judge::Wire;
use crate::agent::{Sighting, Unseen};
use crate::certificate::{ChainState, KeyType, Leaf};
use crate::config::{Config, Site};
use crate::ledger::Ledger;
use crate::probe::Chains;
use crate::problem::{Problem, UNPROVED, printable};
use crate::roster;
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
    /// Unknown where this host has none of the site's addresses, or where its server has loaded the certificate and no
    /// handshake shows any.
    ok: Option<bool>,
    on_disk: Option<OnDisk>,
    wire: Vec<OnWire>,
    problem: Option<Problem>,
}

#[derive(Debug, Serialize)]
struct OnDisk {
    fingerprint: String,
    not_after: Timestamp,
    days_left: i64,
    key_type: &'static str,
}

#[derive(Debug, Serialize)]
struct OnWire {
    endpoint: String,
    host: String,
    fingerprint: Option<String>,
    not_after: Option<Timestamp>,
    days_left: Option<i64>,
    key_type: Option<&'static str>,
    /// Unknown where the chain ends at an authority that this host does not know.
    chain_complete: Option<bool>,
    /// `incomplete` or `expired`.
    chain_problem: Option<&'static str>,
    matches: bool,
    error: Option<String>,
    /// It was not asked: this host does not have the address.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    not_here: bool,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> Result {
    let census = survey::census(config).await;
    let may_be = |site: &&roster::Site| may_be_called(&site.settings, &arguments.names);
    let sites: Vec<&roster::Site> = census.sites.iter().filter(may_be).collect();
    let asked: Vec<&Site> = sites.iter().map(|site| &*site.settings).collect();
    // What was recorded tells an older certificate from another site's; without it the names do.
    let ledger = Ledger::open_existing(&config.state_dir).ok().flatten();
    let recorded = ledger.and_then(|ledger| ledger.recorded().ok()).unwrap_or_default();
    let down = survey::down(config).await;
    let before = proof::workers(&census.servers).await;
    let findings = survey::look(&census.servers, &asked).await;
    let after = proof::workers(&census.servers).await;
    let agent = proof::agent(config, &asked).await;
    let now = Timestamp::now();
    let mut chains = Chains::default();
    let mut verdicts: Vec<Verdict> = sites
        .iter()
        .zip(&findings)
        .map(|(site, finding)| {
            let known = recorded.get(&*site.key());
            let of_chain = finding.chain_problem(&mut chains, now);
            let server = site.settings.server;
            let looks = [&before[server], &after[server]];
            let unproved = || {
                let seen = finding.seen.as_ref().ok()?;
                proof::old_worker(looks, seen.written_at)
                    .or_else(|| proof::by_agent(agent.as_ref(), config, &site.settings))
            };
            let unseen = finding.unseen(known, &site.settings, &down);
            let problem = match &unseen {
                Some(why) => Some(not_seen(why)),
                None => finding.problem(known).or_else(unproved).or(of_chain),
            };
            let ok = match finding.wire(known) {
                _ if unseen.is_some() => None,
                Some(Wire::NotHere(_)) => None,
                wire => Some(wire == Some(Wire::Served) && problem.is_none()),
            };
            Verdict { ok, problem, ..verdict(config, &site.settings, finding, &mut chains, now) }
        })
        .collect();
    if config.sites.is_empty() {
        verdicts.extend(bindings::verdicts(config, &census.problems, &mut chains, now).await);
    }
    verdicts.retain(|verdict| {
        arguments.names.is_empty() || arguments.names.iter().any(|name| verdict.is_called(name))
    });
    if let Some(name) =
        arguments.names.iter().find(|name| !verdicts.iter().any(|verdict| verdict.is_called(name)))
    {
        let message = format!("there is no site {}", printable(name, 100));
        return Err(Problem::new("no_such_site", message, "see certhook status for the names"));
    }
    let problems: Vec<_> = down
        .into_iter()
        .zip(&census.problems)
        .map(|(down, unread)| down.or_else(|| unread.clone()))
        .collect();
    for (server, problem) in config.servers.iter().zip(&problems) {
        if let Some(problem) = problem {
            super::complain(&format!("{}: {problem}", server.name));
        }
    }
    if verdicts.is_empty() {
        super::complain("there is no certificate to verify; see certhook discover");
    }
    let followed = !verdicts.is_empty() && problems.iter().all(Option::is_none);
    let well = followed && verdicts.iter().all(|verdict| verdict.ok != Some(false));
    if arguments.json {
        say_json(&verdicts);
    } else {
        say(&text(&verdicts));
    }
    Ok(Outcome::from(well))
}

/// Its server has loaded it; no handshake tells whether it serves it.
fn not_seen(why: &Problem) -> Problem {
    Problem::new(
        UNPROVED,
        format!("not seen: {}", why.message),
        "nginx has loaded it; to see what clients are shown, connect with a client that the listener admits",
    )
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

fn verdict(config: &Config, site: &Site, finding: &Finding, chains: &mut Chains, now: Timestamp) -> Verdict {
    let leaf = finding.seen.as_ref().ok().map(|seen| &*seen.bundle.leaf);
    let wire = finding.sightings.iter().zip(&finding.chains);
    Verdict {
        name: status::display_name(site, leaf),
        certificate: site.certificate.display().to_string(),
        server: config.servers[site.server].name.clone(),
        ok: Some(false),
        on_disk: leaf.map(|leaf| OnDisk {
            fingerprint: leaf.fingerprint.to_string(),
            not_after: leaf.not_after,
            days_left: days_left(leaf, now),
            key_type: key_type(leaf),
        }),
        wire: wire
            .map(|(sighting, chain)| {
                let chain = chain.as_ref().map(|chain| chains.judge(chain, now));
                on_wire(sighting, leaf, chain.as_ref(), now)
            })
            .collect(),
        problem: None,
    }
}

fn on_wire(sighting: &Sighting, disk: Option<&Leaf>, chain: Option<&ChainState>, now: Timestamp) -> OnWire {
    let leaf = sighting.outcome.as_deref().ok();
    OnWire {
        endpoint: sighting.endpoint.clone(),
        host: sighting.host.clone(),
        fingerprint: leaf.map(|leaf| leaf.fingerprint.to_string()),
        not_after: leaf.map(|leaf| leaf.not_after),
        days_left: leaf.map(|leaf| days_left(leaf, now)),
        key_type: leaf.map(key_type),
        chain_complete: chain.and_then(ChainState::is_complete),
        chain_problem: match chain {
            Some(ChainState::Incomplete { .. }) => Some("incomplete"),
            Some(ChainState::Expired { .. }) => Some("expired"),
            _ => None,
        },
        matches: leaf.zip(disk).is_some_and(|(leaf, disk)| leaf.fingerprint == disk.fingerprint),
        error: sighting.outcome.as_ref().err().map(|unseen| match unseen {
            Unseen::Unreachable(problem) | Unseen::Refused(problem) | Unseen::NotHere(problem) => {
                problem.message.clone()
            }
        }),
        not_here: matches!(sighting.outcome, Err(Unseen::NotHere(_))),
    }
}

/// Whole days; negative once it has expired.
fn days_left(leaf: &Leaf, now: Timestamp) -> i64 {
    leaf.not_after.duration_since(now).as_hours().div_euclid(24)
}

fn key_type(leaf: &Leaf) -> &'static str {
    match leaf.key_type {
        KeyType::Rsa => "rsa",
        KeyType::Ecdsa => "ecdsa",
        KeyType::Other => "other",
    }
}

/// So many listeners of a site that show the same have a row each; more of them share one.
const FEW: usize = 4;

const HEAD: [&str; 10] =
    ["", "SITE", "HOST", "ENDPOINT", "KEY", "ON DISK", "ON THE WIRE", "EXPIRES", "DAYS", "CHAIN"];

/// A row for each site, listener and kind of key; what differs is never hidden behind what agrees.
fn text(verdicts: &[Verdict]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    let mut notes = Vec::new();
    for verdict in verdicts {
        rows.extend(of_site(verdict));
        if let Some(problem) = &verdict.problem {
            notes.push(format!(
                "{} {}: {}\n  {}",
                if verdict.ok.is_none() { "-" } else { "!" },
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

fn of_site(verdict: &Verdict) -> Vec<[String; 10]> {
    // The hosts of one listener that are shown the same.
    let mut listeners: Vec<(&OnWire, usize)> = Vec::new();
    for seen in &verdict.wire {
        match listeners.iter_mut().find(|(other, _)| other.endpoint == seen.endpoint && seen.shows_as(other))
        {
            Some((_, hosts)) => *hosts += 1,
            None => listeners.push((seen, 1)),
        }
    }
    // The listeners of a site that agree with the disk, where they are many.
    let mut folded: Vec<(&OnWire, usize, usize)> = Vec::new();
    for (seen, hosts) in &listeners {
        let alike = |(other, of_other): &&(&OnWire, usize)| {
            other.shows_as(seen) && of_other == hosts && other.host == seen.host
        };
        let many = seen.matches && listeners.iter().filter(alike).count() > FEW;
        match folded.iter_mut().find(|(other, of_other, _)| many && alike(&&(*other, *of_other))) {
            Some((_, _, listeners)) => *listeners += 1,
            None => folded.push((seen, *hosts, 1)),
        }
    }
    if folded.is_empty() {
        return vec![row(verdict, None, 0, 0)];
    }
    folded.into_iter().map(|(seen, hosts, listeners)| row(verdict, Some(seen), hosts, listeners)).collect()
}

impl OnWire {
    /// Whether a reader sees the same in both.
    fn shows_as(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.matches == other.matches
            && self.chain_complete == other.chain_complete
            && self.chain_problem == other.chain_problem
            && self.not_here == other.not_here
    }
}

fn row(verdict: &Verdict, seen: Option<&OnWire>, hosts: usize, listeners: usize) -> [String; 10] {
    let none = || "-".to_owned();
    let and_more = |first: &str, count: usize| match count {
        0 | 1 => first.to_owned(),
        _ => format!("{first} (+{})", count - 1),
    };
    let short = |fingerprint: &str| fingerprint[..fingerprint.len().min(12)].to_owned();
    let disk = verdict.on_disk.as_ref();
    let fingerprint = seen.and_then(|seen| seen.fingerprint.as_deref());
    // What clients see; where nobody sees anything, what is on disk.
    let ends = seen.and_then(|seen| seen.not_after).or(disk.map(|disk| disk.not_after));
    let days = seen.and_then(|seen| seen.days_left).or(disk.map(|disk| disk.days_left));
    let key = match (disk.map(|disk| disk.key_type), seen.and_then(|seen| seen.key_type)) {
        (Some(disk), Some(shown)) if disk != shown => format!("{} (sent: {})", upper(disk), upper(shown)),
        (Some(key), _) | (None, Some(key)) => upper(key),
        (None, None) => none(),
    };
    [
        if verdict.ok.is_none() || seen.is_some_and(|seen| seen.matches || seen.not_here) { "" } else { "!" }
            .to_owned(),
        printable(&verdict.name, 120),
        seen.map_or_else(none, |seen| match seen.host.as_str() {
            "" => and_more("(none)", hosts),
            host => and_more(&printable(host, 120), hosts),
        }),
        seen.map_or_else(none, |seen| and_more(&printable(&seen.endpoint, 120), listeners)),
        key,
        disk.map_or_else(none, |disk| short(&disk.fingerprint)),
        match seen {
            Some(seen) if seen.not_here => "not here".to_owned(),
            Some(_) if verdict.ok.is_none() => "not seen".to_owned(),
            _ => fingerprint.map_or_else(none, short),
        },
        ends.map_or_else(none, |at| at.strftime("%Y-%m-%d").to_string()),
        days.map_or_else(none, |days| if days < 0 { "expired".to_owned() } else { days.to_string() }),
        match (fingerprint, seen.and_then(|seen| seen.chain_complete)) {
            (None, _) => "-",
            (_, Some(false)) if seen.is_some_and(|seen| seen.chain_problem == Some("expired")) => "expired",
            (_, Some(true)) => "yes",
            (_, Some(false)) => "no",
            (_, None) => "?",
        }
        .to_owned(),
    ]
}

fn upper(key_type: &str) -> String {
    if key_type == "other" { key_type.to_owned() } else { key_type.to_uppercase() }
}
