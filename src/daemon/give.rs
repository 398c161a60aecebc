//! A server that is given its certificates (IIS): what a reload is to others is an installation of each here.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::Daemon;
use super::follow::News;
use super::reload::Job;
use crate::agent::{Loaded, ServerId, SiteId};
use crate::certificate::Fingerprint;
use crate::inspect;
use crate::problem::Problem;
use crate::server::{Installing, Refusal, Server};

impl Daemon {
    /// What fails for one site keeps no other back.
    pub(super) fn give(&self, id: ServerId, jobs: Vec<Job>) {
        let (server, news, acting) = (self.servers.get(id), self.servers.news(), Arc::clone(&self.acting));
        tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let count = jobs.len();
            let kept_back = install(&server, jobs);
            let outcome = match in_common(&kept_back, count) {
                // It is the server's, then.
                Some(problem) => Err(Refusal::from(problem)),
                None => Ok(Loaded { took: begun.elapsed(), marks: Vec::new(), kept_back }),
            };
            // The loop is gone only when certhook ends.
            let _ = news.send(News::Reloaded(id, outcome));
            drop(acting);
        });
    }

    /// What proved certificates replaced long enough ago is removed, whenever that became long enough.
    pub(super) fn retire_all(&self) {
        for id in self.servers.ids().filter(|id| self.servers.get(*id).takes_certificates()) {
            let of_it = self.agent.sites().filter(|(_, site)| site.server() == id);
            let proved = of_it.filter_map(|(_, site)| Some(site.last_recorded()?.leaf)).collect::<Vec<_>>();
            let server = self.servers.get(id);
            tokio::task::spawn_blocking(move || retire(&server, &proved));
        }
    }
}

fn install(server: &Server, jobs: Vec<Job>) -> Vec<(SiteId, Problem)> {
    let mut kept_back = Vec::new();
    let (mut ids, mut sites) = (Vec::new(), Vec::new());
    for Job { id, key, place, bindings, set, .. } in jobs {
        match inspect::material(&place, &set) {
            Ok(material) => {
                ids.push(id);
                sites.push(Installing { label: key, material, bindings });
            }
            Err(problem) => kept_back.push((id, problem)),
        }
    }
    let outcomes = ids.into_iter().zip(server.install(&sites));
    kept_back.extend(outcomes.filter_map(|(id, outcome)| Some((id, outcome.err()?))));
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
