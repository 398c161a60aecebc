//! A server that is given its certificates (IIS): what a reload is to others is an installation of each here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::Daemon;
use super::acting::Hold;
use super::follow::News;
use super::reload::Job;
use crate::agent::{Loaded, ServerId, Site, SiteId};
use crate::certificate::Fingerprint;
use crate::config::Binding;
use crate::inspect;
use crate::problem::Problem;
use crate::server::{Claimant, Installing, Refusal, Server};

impl Daemon {
    /// What fails for one site keeps no other back.
    pub(super) fn give(&self, id: ServerId, jobs: Vec<Job>) {
        let (server, news, acting) = (self.servers.get(id), self.servers.news(), self.acting.hold());
        let all = self.claimants(id);
        tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let count = jobs.len();
            let kept_back = install(&server, jobs, &all, &acting);
            let outcome = match in_common(&kept_back, count) {
                // It is the server's, then.
                Some(problem) => Err(Refusal::from(problem)),
                None => Ok(Loaded {
                    took: begun.elapsed(),
                    marks: Vec::new(),
                    kept_back,
                    before: BTreeSet::new(),
                }),
            };
            // The loop is gone only when certhook ends.
            let _ = news.send(News::Reloaded(id, outcome));
            drop(acting);
        });
    }

    /// Every site of a server that has a whole set.
    fn claimants(&self, id: ServerId) -> Vec<Claimant> {
        let of_it = self.agent.sites().filter(|(_, site)| site.server() == id);
        let claimant = |(id, site): (SiteId, &Site)| {
            let roster = &self.sites.get(&id)?.roster;
            Some(Claimant {
                key: roster.key().into_owned(),
                label: roster.settings.label(),
                leaf: Arc::clone(&site.disk()?.bundle.leaf),
                bindings: roster.settings.bindings.clone(),
            })
        };
        of_it.filter_map(claimant).collect()
    }

    /// The bindings that other sites of its server name, whether their sets are whole or not; other servers have none.
    pub(super) fn bindings_beside(&self, id: SiteId) -> Vec<Binding> {
        let Some(site) = self.agent.site(id) else { return Vec::new() };
        if !self.servers.get(site.server()).takes_certificates() {
            return Vec::new();
        }
        let others = self.agent.sites().filter(|(other, _)| *other != id);
        let others = others.filter(|(_, other)| other.server() == site.server());
        let named = others.filter_map(|(other, _)| Some(&self.sites.get(&other)?.roster.settings.bindings));
        named.flatten().cloned().collect()
    }

    /// What proved certificates replaced long enough ago is removed, whenever that became long enough.
    pub(super) fn retire_all(&self) {
        for id in self.servers.ids().filter(|id| self.servers.get(*id).takes_certificates()) {
            let of_it = self.agent.sites().filter(|(_, site)| site.server() == id);
            let proved = of_it.filter_map(|(_, site)| Some(site.last_recorded()?.leaf)).collect::<Vec<_>>();
            let (server, acting) = (self.servers.get(id), self.acting.hold());
            tokio::task::spawn_blocking(move || {
                retire(&server, &proved);
                drop(acting);
            });
        }
    }
}

fn install(server: &Server, jobs: Vec<Job>, all: &[Claimant], acting: &Hold) -> Vec<(SiteId, Problem)> {
    let mut kept_back = Vec::new();
    let (mut ids, mut sites) = (Vec::new(), Vec::new());
    for Job { id, key, place, bindings, others, recorded, set, .. } in jobs {
        match inspect::material(&place, &set) {
            Ok(material) => {
                ids.push(id);
                sites.push(Installing { label: key, material, bindings, recorded, others });
            }
            Err(problem) => kept_back.push((id, problem)),
        }
    }
    // One at a time: where the end is waiting, the others are begun at the next start.
    for (id, site) in ids.into_iter().zip(&sites).take_while(|_| !acting.is_to_end()) {
        let outcomes = server.install(std::slice::from_ref(site), all);
        kept_back.extend(outcomes.into_iter().filter_map(|outcome| Some((id, outcome.err()?))));
    }
    kept_back
}

/// The one problem that all of several sites have, if there is one.
fn in_common(kept_back: &[(SiteId, Problem)], count: usize) -> Option<Problem> {
    let (_, first) = kept_back.first()?;
    (count > 1 && kept_back.len() == count && kept_back.iter().all(|(_, problem)| problem == first))
        .then(|| first.clone())
}

/// Blocking. What cannot be removed does no harm, and is tried again.
pub(super) fn retire(server: &Server, proved: &[Fingerprint]) {
    for leaf in proved {
        match server.retire(leaf, Timestamp::now()) {
            Ok(gone) => {
                for certificate in gone {
                    tracing::info!(server = server.name(), %certificate, "a replaced certificate was removed");
                }
            }
            Err(problem) => {
                tracing::warn!(server = server.name(), %problem, "replaced certificates cannot be removed");
                return;
            }
        }
    }
}
