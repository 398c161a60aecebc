//! Statuses for people.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::problem::{Problem, printable};
use crate::status::{Renewal, Server, Site, SiteProblem, Status};
use crate::telemetry;

/// Every site, a line each, with what is wrong below it.
pub(super) fn status(status: &Status) -> String {
    let mut rows = vec![["SITE", "STATE", "EXPIRES", "ON THE WIRE", "REPORTED"].map(str::to_owned)];
    rows.extend(status.sites.iter().map(row));
    let mut lines = table(&rows).into_iter();
    let mut out: Vec<String> = lines.next().into_iter().collect();
    for (site, line) in status.sites.iter().zip(lines) {
        out.push(line);
        out.extend(troubles(site));
    }
    out.push(String::new());
    out.push(footer(status));
    out.extend(status.renewal.iter().flat_map(renewal));
    out.extend(status.servers.iter().flat_map(server));
    let of = |site: &Site| Some((site.name.clone(), site.polled.clone()?));
    out.extend(polled(status.sites.iter().filter_map(of)));
    out.extend(of_all(status));
    out.join("\n")
}

/// Which sites are polled, each with its reason: a line for each reason.
pub(super) fn polled(sites: impl Iterator<Item = (String, String)>) -> Vec<String> {
    const NAMED: usize = 5;
    let mut by_reason = BTreeMap::<String, Vec<String>>::new();
    for (site, reason) in sites {
        by_reason.entry(reason).or_default().push(printable(&site, 120));
    }
    let line = |(reason, sites): (String, Vec<String>)| {
        let named = sites[..sites.len().min(NAMED)].join(", ");
        let more = match sites.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let are = if sites.len() == 1 { "is" } else { "are" };
        format!("{} {are} polled ({}): {named}{more}", count(sites.len(), "site"), printable(&reason, 200))
    };
    by_reason.into_iter().map(line).collect()
}

/// What a pass came to, in few lines.
pub(super) fn summary(status: &Status) -> String {
    let put_off: Vec<(&Site, Timestamp)> =
        status.sites.iter().filter_map(|site| Some((site, status.put_off(site)?))).collect();
    if status.is_settled() {
        let mut out =
            vec![format!("{} served and recorded", count(status.sites.len() - put_off.len(), "site"))];
        out.extend(put_off.iter().map(|(site, at)| {
            format!("{}: its server is spared, and reloaded at {at}", printable(&site.name, 120))
        }));
        return out.join("\n");
    }
    let settled =
        |site: &&Site| !site.is_well() || (site.state != "current" && status.put_off(site).is_none());
    let unwell: Vec<&Site> = status.sites.iter().filter(settled).collect();
    let mut out = vec![format!("{} of {} not well", unwell.len(), count(status.sites.len(), "site"))];
    for site in unwell {
        out.push(format!("{}: {}", printable(&site.name, 120), site.state));
        out.extend(troubles(site));
    }
    out.extend(status.servers.iter().flat_map(server));
    out.extend(of_all(status));
    out.join("\n")
}

/// The last renewal in a line, with what failed of it below.
fn renewal(renewal: &Renewal) -> Vec<String> {
    let of = |state: &str| renewal.certificates.iter().filter(|one| one.state == state).count();
    let next = match renewal.state.as_str() {
        "done" | "refused" => "asked again",
        _ => "goes on",
    };
    let mut out = vec![format!(
        "renewals asked for at {}: {} scheduled, {} renewed, {} fetched, {} failed; {next} at {}",
        renewal.asked_at,
        of("scheduled"),
        of("renewed"),
        of("fetched"),
        of("failed"),
        renewal.next_at
    )];
    out.extend(renewal.error.iter().map(|error| format!("! {}", printable(error, 500))));
    for one in renewal.certificates.iter().filter(|one| one.state == "failed") {
        let why = printable(one.error.as_deref().unwrap_or_default(), 500);
        out.push(format!("! {}: {why}", printable(&one.name, 120)));
    }
    out
}

/// What is to be known of a server: nothing, where all is as usual.
fn server(server: &Server) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(draining @ 1..) = server.draining {
        out.push(format!("{}: {} of earlier loads still drain", server.name, count(draining, "worker")));
    }
    if let Some(at) = server.reload_at {
        out.push(format!("{}: reloaded next at {at}", server.name));
    }
    if let Some(problem) = &server.problem {
        let SiteProblem { code, message, remedy, .. } = problem;
        out.push(format!("! {}: {code}: {}", server.name, printable(message, 500)));
        out.push(format!("  {}", printable(remedy, 500)));
    }
    out
}

/// What is wrong with more than one site.
fn of_all(status: &Status) -> Vec<String> {
    let line = |problem: &Problem| {
        let remedy = printable(&problem.remedy, 500);
        format!("! {}: {}\n  {remedy}", problem.code, printable(&problem.message, 500))
    };
    status.problems().map(line).collect()
}

fn row(site: &Site) -> [String; 5] {
    let expires = site.certificate.not_after.map_or("-".to_owned(), |at| {
        let days = at.duration_since(Timestamp::now()).as_hours().div_euclid(24);
        format!("{} ({})", at.strftime("%Y-%m-%d"), count_days(days))
    });
    let wire = match (&site.served, &site.certificate.fingerprint) {
        (None, _) => "not seen",
        (Some(served), _) if !served.is_shown() => "loaded, not seen",
        (Some(served), Some(disk)) if served.fingerprint == *disk => "yes",
        _ => "NO",
    };
    let reported = match (site.report.state.as_str(), &site.report.remote_create_date) {
        ("none", _) => "-".to_owned(),
        ("delivered", Some(date)) => date.clone(),
        (state, _) => state.to_owned(),
    };
    [printable(&site.name, 120), site.state.clone(), expires, wire.to_owned(), reported]
}

fn troubles(site: &Site) -> Vec<String> {
    let mut out = Vec::new();
    for problem in site.all_problems() {
        out.push(format!("  ! {}: {}", problem.code, printable(&problem.message, 500)));
        let remedy = printable(&problem.remedy, 500);
        out.push(format!("    since {}; {remedy}", problem.since.strftime("%Y-%m-%dT%H:%M:%SZ")));
    }
    if let (None, Some(pending)) = (&site.problem, &site.pending) {
        out.push(format!("  . {}", printable(pending, 500)));
    }
    if let Some(reason) = site.served.as_ref().and_then(|served| served.reason.as_ref()) {
        out.push(format!("  . not seen: {}", printable(reason, 500)));
    }
    if let (None, Some(code)) = (&site.report.error, &site.report.code) {
        let remedy = site.report.remedy.as_deref().unwrap_or_default();
        out.push(format!("  . not reported: {code}; {}", printable(remedy, 500)));
    }
    if let Some(error) = &site.report.error {
        let next = match (&site.report.next_attempt_at, site.report.state.as_str()) {
            (Some(at), _) => format!("; sent again at {at}"),
            (None, "held") if site.report.remedy.is_none() => {
                "; held until: certhook sync --retry".to_owned()
            }
            _ => String::new(),
        };
        let attempts = count(site.report.attempts as usize, "attempt");
        out.push(format!(
            "  ! report {} after {attempts}: {}{next}",
            site.report.state,
            printable(error, 500)
        ));
        out.extend(site.report.remedy.iter().map(|remedy| format!("    {}", printable(remedy, 500))));
    }
    out
}

fn footer(status: &Status) -> String {
    let agent = match (status.agent.running, status.agent.pid) {
        (true, Some(pid)) => format!("agent running (process {pid})"),
        (true, None) => "agent running".to_owned(),
        (false, _) => "no agent answers".to_owned(),
    };
    let portal = match &status.portal {
        Some(portal) => {
            let next = match (portal.requests_left, portal.next_free_at) {
                (0, Some(at)) => format!(", the next is free at {at}"),
                _ => String::new(),
            };
            format!(
                "{} of {} portal requests used this week{next}",
                portal.requests_used, portal.requests_per_week
            )
        }
        None => "no portal".to_owned(),
    };
    format!("{agent}; {portal}")
}

/// Columns as wide as their widest cell, two spaces apart.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// What is well, on a terminal in its colour.
pub(super) fn green(text: &str) -> String {
    coloured(text, 32)
}

/// What is not.
pub(super) fn yellow(text: &str) -> String {
    coloured(text, 33)
}

pub(super) fn red(text: &str) -> String {
    coloured(text, 31)
}

fn coloured(text: &str, colour: u8) -> String {
    if telemetry::may_colour(&std::io::stdout()) {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

pub(super) fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

pub(super) fn count_days(days: i64) -> String {
    match days {
        ..=-1 => "expired".to_owned(),
        1 => "1 day".to_owned(),
        _ => format!("{days} days"),
    }
}
