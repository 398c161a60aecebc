//! Where a site is asked for its certificate, and where not.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::Sighting;
use crate::apart::Apart;
use crate::certificate::Leaf;
use crate::config::Site;
use crate::probe;
use crate::server::{Server, part};

/// Asks a site's endpoints for `leaf`. Of those that the server's configuration names, only the ones whose address this
/// host has, before and after: it may move to another host in between, whose answer then proves nothing.
pub(super) async fn ask(
    server: Arc<Server>,
    site: Arc<Site>,
    apart: Option<Apart>,
    leaf: &Arc<Leaf>,
    patience: Duration,
) -> Vec<Sighting> {
    let asks = probe::asks(&site, leaf);
    if !site.verify_is_found {
        return probe::sightings(apart.as_ref(), asks, leaf, patience).await;
    }
    let (here, mut not_here) = part(&server, asks).await;
    if here.is_empty() {
        return not_here;
    }
    let mut sightings = probe::sightings(apart.as_ref(), here.clone(), leaf, patience).await;
    let (_, moved) = part(&server, here).await;
    sightings.retain(|seen| moved.iter().all(|moved| moved.endpoint != seen.endpoint));
    not_here.extend(moved);
    sightings.extend(not_here);
    sightings
}
