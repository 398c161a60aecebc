//! Whether a leaf that handshakes have shown is what every client is shown: workers of an earlier load may accept
//! connections beside the new ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::sleep;

use crate::agent::{Accepting, old_worker_accepts};
use crate::cli::survey::within;
use crate::config::{Config, Site};
use crate::control::{self, Request};
use crate::problem::Problem;
use crate::server::Server;
use crate::status::{self, Status};

/// For the agent to end what is under way for a site.
const AGENT_PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// Clocks of processes and files count in hundredths of a second.
const CLOCKS: Duration = Duration::from_millis(20);

/// The workers that accept connections of one server, with the time of their start.
pub(super) struct Workers(Vec<(i32, Timestamp)>);

/// Looks at the workers of every server; none where they cannot be seen.
pub(super) async fn workers(servers: &[Arc<Server>]) -> Vec<Workers> {
    let looking = servers.to_vec();
    let look = move || looking.iter().map(|server| started(&server.accepting())).collect();
    within(look).await.unwrap_or_else(|| servers.iter().map(|_| Workers(Vec::new())).collect())
}

fn started(accepting: &Accepting) -> Workers {
    let now = Timestamp::now();
    let Accepting::Workers(workers) = accepting else { return Workers(Vec::new()) };
    Workers(
        workers.iter().filter_map(|worker| Some((worker.pid, now.checked_sub(worker.age).ok()?))).collect(),
    )
}

/// Finds a worker that was started before the certificate was written, beside others that were started after it: it has
/// an older one. Where all are older, nginx has not been reloaded, and the handshakes decide.
pub(super) fn old_worker(looks: [&Workers; 2], written_at: Timestamp) -> Option<Problem> {
    let is_old = |(_, started): &&(i32, Timestamp)| *started + CLOCKS < written_at;
    let old = |Workers(workers): &Workers| {
        let old = workers.iter().find(is_old)?;
        workers.iter().any(|worker| !is_old(&worker)).then_some(old.0)
    };
    looks.into_iter().find_map(old).map(old_worker_accepts)
}

/// Asks the agent how these sites are, and waits a moment for what is under way; `None` where none answers.
pub(super) async fn agent(config: &Config, sites: &[&Site]) -> Option<Status> {
    let until = Instant::now() + AGENT_PATIENCE;
    loop {
        let status = control::ask(&config.state_dir, &Request::Status).await.ok()??;
        let is_open = |site: &&Site| of_site(&status, config, site).is_some_and(is_under_way);
        if Instant::now() >= until || !sites.iter().any(is_open) {
            return Some(status);
        }
        sleep(PAUSE).await;
    }
}

/// Why the agent has not proved yet that a site's certificate is served.
pub(super) fn by_agent(agent: Option<&Status>, config: &Config, site: &Site) -> Option<Problem> {
    let site = of_site(agent?, config, site).filter(|site| is_under_way(site))?;
    Some(match &site.problem {
        Some(problem) => Problem::new(&problem.code, &problem.message, &problem.remedy),
        None => Problem::new(
            "proof_pending",
            "the agent has not proved yet that every worker of the server shows this certificate",
            "wait a minute, then run: certhook status",
        ),
    })
}

/// What a status says of a site.
fn of_site<'s>(status: &'s Status, config: &Config, site: &Site) -> Option<&'s status::Site> {
    let (server, path) = (&config.servers[site.server].name, site.certificate.display().to_string());
    status.sites.iter().find(|known| known.server == *server && known.certificate.path == path)
}

fn is_under_way(site: &status::Site) -> bool {
    matches!(site.state.as_str(), "reloading" | "verifying")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_worker_beside_new_ones_is_found() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let workers = |starts: &[i64]| Workers((7..).zip(starts.iter().map(|start| at(*start))).collect());
        for (before, after, expected) in [
            (&[][..], &[][..], false),
            // All of one load, earlier or later.
            (&[90, 90], &[90, 90], false),
            (&[110], &[110], false),
            // Two later loads.
            (&[110, 120], &[120], false),
            (&[90, 110], &[90, 110], true),
            (&[90, 110], &[110], true),
            (&[90], &[90, 110], true),
        ] {
            let found = old_worker([&workers(before), &workers(after)], at(100));
            assert_eq!(found.is_some(), expected, "{before:?} {after:?}");
            let is_named = found.is_none_or(|found| {
                found.code == "old_worker_accepts" && found.message.contains("process 7,")
            });
            assert!(is_named);
        }
    }
}
