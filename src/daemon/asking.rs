//! Where a site is asked for its certificate, and where not.

use std::sync::Arc;
use std::time::Duration;

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
