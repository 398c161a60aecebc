//! `certhook list`: the portal's certificates beside what this host has.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::Serialize;

use super::{Outcome, Result, say, say_json, second_process, show, survey};
use crate::apart::Apart;
use crate::certificate::{Hosts, Leaf};
use crate::config::{self, Config};
use crate::courier::as_list;
use crate::fetch;
use crate::ledger::{Ledger, Purpose, Refusal};
use crate::portal::{Certificate, Portal};
use crate::problem::{Problem, printable};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// As a JSON array.
    #[arg(long)]
    json: bool,
}

/// One certificate, as `--json` prints it. The names of the fields are stable; an absent value is `null`.
#[derive(Debug, Serialize)]
struct Row {
    /// The portal's number.
    id: i64,
    /// The portal's name, as it spells it.
    name: String,
    /// What kind of certificate it is.
    target: Option<String>,
    /// `Automatic` or `Manual`.
    renewal: Option<String>,
    /// As the portal spells it, UTC.
    issue_date: Option<String>,
    /// UTC.
    expiry_date: Option<Timestamp>,
    /// Whole days; negative once it has expired.
    days_left: Option<i64>,
    /// When it was reported installed, as it was reported; `null` until then.
    remote_create_date: Option<DateTime>,
    /// `here`: a site has it; `other`: sites have only others of the same hosts; `not_here`.
    here: &'static str,
    /// The certificate files of the sites with these hosts.
    sites: Vec<String>,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> Result {
    let portal = portal(config)?;
    let certificates = ask(config, portal, second_process(false)?).await?;
    let sites = survey::census(config).await.sites;
    let leafs: Vec<(PathBuf, Leaf)> = sites
        .into_iter()
        .filter_map(|site| {
            let leaf = fetch::leaf_at(&site.settings.certificate)?;
            Some((site.settings.certificate.clone(), leaf))
        })
        .collect();
    let now = Timestamp::now();
    let mut rows: Vec<Row> = certificates.iter().map(|certificate| row(certificate, &leafs, now)).collect();
    rows.sort_by_key(|row| row.expiry_date);
    if arguments.json {
        say_json(&rows);
    } else {
        say(&text(&rows));
    }
    Ok(Outcome::Well)
}

/// The portal of the configuration.
pub(super) fn portal(config: &Config) -> std::result::Result<&config::Portal, Problem> {
    config.portal.as_ref().ok_or_else(|| {
        let message = "the configuration names no portal";
        Problem::new("no_portal", message, "write a [portal] with tenant_id and client_id")
    })
}

/// The portal's list, by one request of this host's allowance; it is kept for the agent.
pub(super) async fn ask(
    config: &Config,
    portal: &config::Portal,
    apart: Option<Apart>,
) -> std::result::Result<Vec<Certificate>, Problem> {
    let client = Portal::apart(portal.clone(), apart);
    client.authorise().await.map_err(|failure| failure.problem)?;
    let ledger = Ledger::open_existing(&config.state_dir).map_err(|error| error.problem())?;
    let spend = |ledger: &Ledger| ledger.spend(Purpose::Look, portal.requests_per_week, Timestamp::now());
    // Without a ledger no agent has run here yet, and nothing was counted.
    let spent = ledger.as_ref().map(spend).transpose().map_err(|refusal| match refusal {
        Refusal::Spent(until) => {
            let message = format!("this host's requests for looking around are spent until {until}");
            Problem::new("requests_spent", message, "wait until then")
        }
        Refusal::Limited(limited) => limited.problem(),
        Refusal::Ledger(error) => error.problem(),
    })?;
    let asked = Timestamp::now();
    match client.list().await {
        Ok(list) => {
            if let Some(ledger) = ledger {
                // It saves the agent a request; if it cannot be kept, the agent asks.
                let _ = ledger.keep_portal_list(&as_list(list.clone(), asked));
            }
            Ok(list)
        }
        Err(failure) => {
            if let Some((ledger, spent)) = ledger.zip(spent).filter(|_| !failure.sent) {
                // It never left: if that cannot be noted, it counts.
                let _ = ledger.refund(spent);
            }
            Err(failure.problem)
        }
    }
}

fn row(certificate: &Certificate, leafs: &[(PathBuf, Leaf)], now: Timestamp) -> Row {
    let hosts = Hosts::from_portal_name(&certificate.name);
    let expires = certificate.expires();
    let found: Vec<_> = leafs.iter().filter(|(_, leaf)| leaf.hosts == hosts).collect();
    let is_it = |leaf: &Leaf| expires.is_none_or(|end| fetch::is_same_end(end, leaf.not_after));
    let here = match found.iter().any(|(_, leaf)| is_it(leaf)) {
        true => "here",
        false if found.is_empty() => "not_here",
        false => "other",
    };
    let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Row {
        id: certificate.id,
        name: certificate.name.clone(),
        target: said(&certificate.target),
        renewal: said(&certificate.renewal),
        issue_date: said(&certificate.issue_date),
        expiry_date: expires,
        days_left: expires.map(|end| end.duration_since(now).as_hours().div_euclid(24)),
        remote_create_date: certificate.remote_create_date,
        here,
        sites: found.into_iter().map(|(path, _)| path.display().to_string()).collect(),
    }
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "the portal has no certificates".to_owned();
    }
    let mut table =
        vec![["ID", "NAME", "TARGET", "RENEWAL", "EXPIRES", "REPORTED", "THIS HOST"].map(str::to_owned)];
    table.extend(rows.iter().map(|row| {
        let shown = |text: &Option<String>| text.as_ref().map_or("-".to_owned(), |text| printable(text, 40));
        let expires = row.expiry_date.zip(row.days_left).map_or("-".to_owned(), |(at, days)| {
            format!("{} ({})", at.strftime("%Y-%m-%d"), show::count_days(days))
        });
        let reported = row.remote_create_date.map_or("-".to_owned(), |date| date.to_string());
        let here = match row.here {
            "here" => "here",
            "other" => "other certificate",
            _ => "not here",
        };
        [
            row.id.to_string(),
            printable(&row.name, 120),
            shown(&row.target),
            shown(&row.renewal),
            expires,
            reported,
            here.to_owned(),
        ]
    }));
    show::table(&table).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::{Fingerprint, Issuer, KeyType};

    fn leaf(name: &str, not_after: &str) -> Leaf {
        Leaf {
            fingerprint: Fingerprint::of(name.as_bytes()),
            hosts: Hosts::from_portal_name(name),
            not_before: Timestamp::UNIX_EPOCH,
            not_after: not_after.parse().unwrap(),
            key_type: KeyType::Ecdsa,
            issuer: Issuer::default(),
        }
    }

    #[test]
    fn a_certificate_is_here_where_its_hosts_and_its_end_are() {
        let end = "2026-04-30T01:04:32Z";
        let certificate = Certificate {
            id: 158,
            name: "contoso.com, WWW.contoso.com".into(),
            issue_date: String::new(),
            expiry_date: Some("2026-04-30T02:00:00".parse().unwrap()),
            remote_create_date: None,
            target: "Azure DNS".into(),
            renewal: String::new(),
            links: Default::default(),
            pfx_password: None,
        };
        let now = "2026-04-20T02:00:00Z".parse().unwrap();
        for (leafs, here, sites) in [
            (vec![("a", leaf("www.contoso.com,contoso.com", end))], "here", 1),
            (vec![("a", leaf("www.contoso.com,contoso.com", "2026-05-30T01:04:32Z"))], "other", 1),
            (vec![("a", leaf("contoso.com", end))], "not_here", 0),
            (
                vec![
                    ("a", leaf("www.contoso.com,contoso.com", "2026-01-30T01:04:32Z")),
                    ("b", leaf("contoso.com,www.contoso.com", end)),
                ],
                "here",
                2,
            ),
        ] {
            let leafs: Vec<_> = leafs.into_iter().map(|(path, leaf)| (PathBuf::from(path), leaf)).collect();
            let row = row(&certificate, &leafs, now);
            assert_eq!((row.here, row.sites.len(), row.days_left), (here, sites, Some(10)), "{leafs:?}");
            assert_eq!((row.target.as_deref(), row.renewal), (Some("Azure DNS"), None));
        }
    }
}
