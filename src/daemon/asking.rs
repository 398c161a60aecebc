//! Where a site is asked for its certificate, and where not.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::agent::judge::is_unseen;
use crate::agent::{Sighting, Unseen};
use crate::apart::Apart;
use crate::certificate::Leaf;
use crate::config::{Ask, Site};
use crate::probe::{self, Answer};
use crate::server::Server;

/// Asks a site's endpoints for `leaf`. Of those that the server's configuration names, only the ones whose address this
/// host has, before and after: it may move to another host in between, whose answer then proves nothing.
pub(super) async fn ask(
    server: Arc<Server>,
    site: Arc<Site>,
    apart: Option<Apart>,
    leaf: &Arc<Leaf>,
    patience: Duration,
) -> Answer {
    let asks = probe::asks(&site, leaf);
    if !site.verify_is_found {
        return probe::sightings(apart.as_ref(), asks, leaf, patience).await;
    }
    let (here, mut not_here) = part(&server, asks).await;
    if here.is_empty() {
        // This host sends no chain to anybody.
        return Answer { sightings: not_here, chain: Some(Ok(())) };
    }
    let Answer { mut sightings, chain } =
        probe::sightings(apart.as_ref(), here.clone(), leaf, patience).await;
    let (_, moved) = part(&server, here).await;
    let chain = chain.filter(|_| moved.is_empty());
    sightings.retain(|seen| moved.iter().all(|moved| moved.endpoint != seen.endpoint));
    not_here.extend(moved);
    sightings.extend(not_here);
    Answer { sightings, chain }
}

/// Parts endpoints that a server's configuration names: those that may be asked now, and a sighting for each of the
/// others. See [`Server::not_here`].
pub(crate) async fn part(server: &Arc<Server>, asks: Vec<Ask>) -> (Vec<Ask>, Vec<Sighting>) {
    let looking = Arc::clone(server);
    let looked = tokio::task::spawn_blocking(move || (looking.not_here(&asks), asks)).await;
    let (not_here, asks) = looked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    let (mut here, mut others) = (Vec::new(), Vec::new());
    for (ask, problem) in asks.into_iter().zip(not_here) {
        match problem {
            None => here.push(ask),
            Some(problem) => others.push(Sighting {
                endpoint: ask.endpoint.to_string(),
                host: ask.hosts.into_iter().next().unwrap_or_default(),
                outcome: Err(Unseen::NotHere(problem)),
            }),
        }
    }
    (here, others)
}

/// The names of a configuration are read again after so long.
const NAMES_AGE: Duration = Duration::from_secs(2);

/// A file system that hangs keeps a handshake's place no longer than this.
const NAMES_TIMEOUT: Duration = Duration::from_secs(5);

/// The certificates that the configuration of a server names which certhook does not follow; many sites ask at once.
#[derive(Default)]
pub(super) struct Names(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known(Option<(Instant, HashSet<PathBuf>)>);

impl Known {
    /// Whether the server's configuration names one of these files now. Blocking.
    fn have(&mut self, server: &Server, files: &[PathBuf]) -> bool {
        if self.0.as_ref().is_none_or(|(at, _)| at.elapsed() > NAMES_AGE) {
            let pairs = server.discover().map(|found| found.pairs).unwrap_or_default();
            let paths = pairs.into_iter().map(|pair| resolved(pair.certificate));
            self.0 = Some((Instant::now(), paths.collect()));
        }
        let names =
            |file: &PathBuf| self.0.as_ref().is_some_and(|(_, all)| all.contains(&resolved(file.clone())));
        files.iter().any(names)
    }
}

fn resolved(path: PathBuf) -> PathBuf {
    path.canonicalize().unwrap_or(path)
}

/// Whether the server's configuration names one of these files, where the sightings show no certificate; `None` where
/// they do, or where a file system does not answer.
pub(super) async fn is_named(
    sightings: &[Sighting],
    server: Arc<Server>,
    names: Arc<Names>,
    files: Vec<PathBuf>,
) -> Option<bool> {
    if !is_unseen(sightings) {
        return None;
    }
    let look = async {
        // The thread keeps it: where it hangs, no second one follows it.
        let mut known = Arc::clone(&names.0).lock_owned().await;
        tokio::task::spawn_blocking(move || known.have(&server, &files)).await.ok()
    };
    timeout(NAMES_TIMEOUT, look).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::problem::Problem;

    #[tokio::test(start_paused = true)]
    #[cfg_attr(windows, ignore = "nginx is Unix's")]
    async fn configuration_that_hangs_keeps_no_handshake() {
        let config = Config::parse(Path::new("certhook.toml"), "[server.nginx]\ndiscover = true\n").unwrap();
        let server = Arc::new(Server::new(&config.servers[0]));
        let names = Arc::new(Names::default());
        let outcome = Err(Unseen::Refused(Problem::new("no_handshake", "", "")));
        let sightings = [Sighting { endpoint: String::new(), host: String::new(), outcome }];
        let _reading = Arc::clone(&names.0).lock_owned().await;
        assert_eq!(is_named(&sightings, server, names, Vec::new()).await, None);
    }
}
