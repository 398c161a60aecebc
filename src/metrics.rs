//! A status as Prometheus reads it, in its text format.
//!
//! What people graph already keeps its name: `x509_cert_not_after` is on disk, `ssl_cert_not_after` and
//! `ssl_probe_success` are on the wire. What is certhook's own begins with `certhook_`. Whoever
//! may read a page may not read everything that certhook may: it is made of the outward status.

mod counters;
mod endpoint;
mod page;

use std::collections::HashSet;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::files;
use crate::problem::Problem;
use crate::status::{Report, Served, Site, Status};
pub use counters::Counters;
pub use endpoint::{Listener, serve};
use page::Page;

/// The states of sites, all of which are counted, be it to nought.
const STATES: [&str; 6] = ["current", "pending", "reloading", "verifying", "waiting", "unknown"];
/// The states of a renewal's certificates.
const RENEWED: [&str; 4] = ["scheduled", "renewed", "fetched", "failed"];
/// Problems of a site that say that its listeners could not be asked, or not all of them.
const NO_PROBE: [&str; 4] = ["unreachable", "no_handshake", "not_served", "no_endpoint"];

/// All of it, as it is `now`.
pub fn text(status: &Status, counters: &Counters, now: Timestamp) -> String {
    let mut page = Page::default();
    let status = &status.outward();
    about_agent(&mut page, status, counters, now);
    about_sites(&mut page, status);
    about_portal(&mut page, status);
    about_servers(&mut page, status, counters);
    counters.events(&mut page);
    page.text()
}

/// What is left to say when the agent ends: of everything else nobody knows any more.
pub fn farewell() -> String {
    let mut page = Page::default();
    up(&mut page, false);
    page.text()
}

/// Puts the text into a file that another program hands on, in one step: who reads it never sees a part.
///
/// # Errors
/// The system's; the file is as it was.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    files::replace(path, text.as_bytes())
}

fn up(page: &mut Page, running: bool) {
    page.gauge("certhook_up", "Whether the agent runs.").value(&[], i64::from(running));
}

fn about_agent(page: &mut Page, status: &Status, counters: &Counters, now: Timestamp) {
    up(page, status.agent.running);
    let version = status.agent.version.as_deref().unwrap_or_default();
    page.gauge("certhook_build_info", "Which certhook it is; always 1.").value(&[("version", version)], 1);
    page.gauge("certhook_start_time_seconds", "When the agent began, since 1970.")
        .value(&[], counters.started().as_second());
    page.gauge("certhook_status_timestamp_seconds", "When all this was so, since 1970.")
        .value(&[], now.as_second());
    let mut of_host =
        page.gauge("certhook_problem", "What is wrong with the agent itself, by its code; always 1.");
    let mut told = HashSet::new();
    for Problem { code, .. } in status.problems() {
        if told.insert(code) {
            of_host.value(&[("code", code)], 1);
        }
    }
    let polled = i64::try_from(status.watch.polled_sites).unwrap_or(i64::MAX);
    page.gauge(
        "certhook_polled_sites",
        "Sites whose files are polled, since events do not tell of every change to them.",
    )
    .value(&[], polled);
}

/// What tells one site's series from another's.
type Labels<'a> = [(&'static str, &'a str); 2];

fn about_sites(page: &mut Page, status: &Status) {
    let names = distinct(&status.sites);
    let sites: Vec<(Labels<'_>, &Site)> = status
        .sites
        .iter()
        .zip(&names)
        .map(|(site, name)| ([("site", name.as_str()), ("server", &site.server)], site))
        .collect();
    let mut each = |name, help, value: &dyn Fn(&Site) -> Option<i64>| {
        let mut family = page.gauge(name, help);
        for (labels, site) in &sites {
            if let Some(value) = value(site) {
                family.value(labels, value);
            }
        }
    };
    let seconds = |at: Option<Timestamp>| at.map(Timestamp::as_second);
    each("x509_cert_not_after", "End of the certificate on disk, since 1970.", &|site| {
        seconds(site.certificate.not_after)
    });
    each("ssl_cert_not_after", "End of the certificate on the wire, since 1970.", &|site| {
        seconds(site.served.as_ref().filter(|served| served.is_shown())?.not_after)
    });
    each(
        "ssl_probe_success",
        "Whether every listener showed a certificate of this name when it was asked last.",
        &|site| probed(site).map(i64::from),
    );
    each("certhook_certificate_served", "Whether the certificate on disk is the one on the wire.", &|site| {
        let (served, on_disk) = (site.served.as_ref()?, site.certificate.fingerprint.as_ref()?);
        Some(i64::from(served.fingerprint == *on_disk))
    });
    each("certhook_probe_timestamp_seconds", "When the wire was asked last, since 1970.", &|site| {
        Some(site.served.as_ref()?.checked_at.as_second())
    });
    each("certhook_certificate_written_timestamp_seconds", "Write time of the file, since 1970.", &|site| {
        seconds(site.certificate.written_at)
    });
    if status.portal.is_some() {
        let state = |site: &Site, wanted: &str| Some(i64::from(site.report.state == wanted));
        each("certhook_report_pending", "Whether the portal is still to be told.", &|site| {
            state(site, "pending")
        });
        each("certhook_report_held", "Whether the report waits for somebody to look.", &|site| {
            state(site, "held")
        });
        each("certhook_report_failing", "Whether the last attempt to tell the portal failed.", &|site| {
            let Report { state, error, .. } = &site.report;
            Some(i64::from(state == "pending" && error.is_some()))
        });
        each("certhook_report_attempts", "How often the report was sent.", &|site| {
            Some(i64::from(site.report.attempts))
        });
    }
    let mut family = page.gauge("certhook_site_state", "The state of the site; always 1.");
    for ([site, server], Site { state, .. }) in &sites {
        family.value(&[*site, *server, ("state", state)], 1);
    }
    let mut family =
        page.gauge("certhook_site_problem", "What is wrong with the site, by its code; always 1.");
    for ([site, server], Site { problem, .. }) in &sites {
        if let Some(problem) = problem {
            family.value(&[*site, *server, ("code", &problem.code)], 1);
        }
    }
    let mut family = page.gauge("certhook_sites", "How many sites are in each state.");
    for state in STATES {
        let count = status.sites.iter().filter(|site| site.state == state).count();
        family.value(&[("state", state)], i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// `None` while nobody has asked.
fn probed(site: &Site) -> Option<bool> {
    let failed = site.problem.as_ref().is_some_and(|problem| NO_PROBE.contains(&problem.code.as_str()));
    (site.served.as_ref().is_some_and(Served::is_shown) || failed).then_some(!failed)
}

/// The sites' names, numbered where several of a server have one (RSA and ECDSA certificates of the same names are two
/// sites): two equal series would spoil the page.
fn distinct(sites: &[Site]) -> Vec<String> {
    let mut seen = HashSet::new();
    let name = |site: &Site| {
        let (name, server) = (page::tame(&site.name), page::tame(&site.server));
        let nth = |n: usize| if n == 1 { name.clone() } else { format!("{name} ({n})") };
        let free = (1..).map(nth).find(|name| seen.insert((name.clone(), server.clone())));
        free.unwrap_or(name)
    };
    sites.iter().map(name).collect()
}

fn about_portal(page: &mut Page, status: &Status) {
    if let Some(portal) = &status.portal {
        page.gauge("certhook_portal_requests_used", "Requests to the portal in the last seven days.")
            .value(&[], i64::from(portal.requests_used));
        page.gauge("certhook_portal_requests_allowed", "Requests that the portal allows in seven days.")
            .value(&[], i64::from(portal.requests_per_week));
    }
    let Some(renewal) = &status.renewal else { return };
    page.gauge(
        "certhook_renewal_asked_timestamp_seconds",
        "When the portal was last asked to renew, since 1970.",
    )
    .value(&[], renewal.asked_at.as_second());
    page.gauge("certhook_renewal_failed", "Whether anything of the last renewal failed.")
        .value(&[], i64::from(!renewal.is_well()));
    let mut family =
        page.gauge("certhook_renewal_certificates", "How many certificates of it are in each state.");
    for state in RENEWED {
        let count = renewal.certificates.iter().filter(|one| one.state == state).count();
        family.value(&[("state", state)], i64::try_from(count).unwrap_or(i64::MAX));
    }
}

fn about_servers(page: &mut Page, status: &Status, counters: &Counters) {
    let mut family =
        page.gauge("certhook_server_problem", "What is wrong with the server, by its code; always 1.");
    for server in &status.servers {
        if let Some(problem) = &server.problem {
            family.value(&[("server", &server.name), ("code", &problem.code)], 1);
        }
    }
    let mut family = page.gauge("certhook_server_workers", "Workers that take connections, and that drain.");
    for server in &status.servers {
        for (state, count) in [("serving", server.workers), ("draining", server.draining)] {
            if let Some(count) = count {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                family.value(&[("server", &server.name), ("state", state)], count);
            }
        }
    }
    let names: Vec<&str> = status.servers.iter().map(|server| server.name.as_str()).collect();
    counters.reloads(page, &names);
}

#[cfg(test)]
mod tests;
