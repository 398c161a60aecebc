//! A reload: what the server is to load is put before it first.

use std::sync::Arc;

use jiff::Timestamp;

use super::Daemon;
use super::follow::News;
use crate::agent::{Loaded, Mark, ServerId, SiteId};
use crate::certificate::Fingerprint;
use crate::config::Binding;
use crate::inspect::{self, Place};
use crate::ledger::{Entry, Ledger};
use crate::platform;
use crate::problem::{Problem, printable};
use crate::server::Server;
use crate::stage::Stage;

/// One site of a reload.
pub(super) struct Job {
    pub(super) id: SiteId,
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) bindings: Vec<Binding>,
    /// Those of other sites.
    pub(super) others: Vec<Binding>,
    /// The leaf that was last seen served.
    pub(super) recorded: Option<Fingerprint>,
    stage: Option<Stage>,
    pub(super) set: Fingerprint,
    /// The file system and the number of the certificate's file, as it was inspected.
    file: (u64, u64),
    /// The server takes its file for what it has loaded.
    seems_unchanged: bool,
    /// It was reloaded for the set and did not serve it, for whatever reason.
    in_vain: bool,
}

/// What was put before the server.
#[derive(Default)]
struct Prepared {
    marks: Vec<(SiteId, Mark)>,
    kept_back: Vec<(SiteId, Problem)>,
}

impl Daemon {
    pub(super) fn reload(&self, id: ServerId) {
        let (server, publishing) = (self.servers.get(id), self.servers.publishing(id));
        let sites = self.agent.reloading(id).into_iter().flatten();
        let jobs: Vec<Job> = sites.filter_map(|site| self.job(*site)).collect();
        tracing::info!(server = server.name(), sites = jobs.len(), "reloading");
        if server.takes_certificates() {
            return self.give(id, jobs);
        }
        let (ledger, news, acting) = (Arc::clone(&self.ledger), self.servers.news(), self.acting.hold());
        tokio::spawn(async move {
            let _while_nobody_publishes = publishing.lock().await;
            let count = jobs.len();
            let (for_server, for_ledger) = (Arc::clone(&server), Arc::clone(&ledger));
            let preparing = tokio::task::spawn_blocking(move || prepare(&for_server, &for_ledger, jobs));
            let prepared = preparing.await.unwrap_or_default();
            let told = if count > 0 && prepared.kept_back.len() == count {
                // There is nothing new for it to load.
                News::KeptBack(id, prepared.kept_back)
            } else {
                let outcome = server.reload().await.map(|loaded| Loaded {
                    took: loaded.took,
                    marks: prepared.marks,
                    kept_back: prepared.kept_back,
                    before: loaded.before,
                });
                News::Reloaded(id, outcome)
            };
            // The loop is gone only when certhook ends.
            let _ = news.send(told);
            drop(acting);
        });
    }

    fn job(&self, id: SiteId) -> Option<Job> {
        let (site, agent_site) = (self.sites.get(&id)?, self.agent.site(id)?);
        let seen = agent_site.disk()?;
        Some(Job {
            id,
            key: site.roster.key().into_owned(),
            place: Place::of(&site.roster.settings),
            bindings: site.roster.settings.bindings.clone(),
            others: self.bindings_beside(id),
            recorded: agent_site.last_recorded().map(|recorded| recorded.leaf),
            stage: site.roster.stage.as_deref().cloned(),
            set: seen.bundle.set,
            file: (seen.device, seen.mark.inode),
            seems_unchanged: agent_site.seems_unchanged(),
            in_vain: agent_site.was_reloaded_in_vain(),
        })
    }
}

impl Job {
    /// Whether more is to be done than a look at its files.
    fn has_work(&self) -> bool {
        self.stage.is_some() || self.seems_unchanged || self.in_vain
    }
}

fn prepare(server: &Server, ledger: &Ledger, jobs: Vec<Job>) -> Prepared {
    let mut prepared = Prepared::default();
    let touches = jobs.iter().any(Job::has_work) && server.keeps_unchanged();
    for job in jobs {
        let outcome = match &job.stage {
            Some(stage) => stage.publish(&job.place, &job.set).map(drop),
            None if touches && job.seems_unchanged => touch(&job, ledger),
            // That the file was kept is only a guess then: another reload may help without.
            None if touches && job.in_vain => touch(&job, ledger).or(Ok(())),
            None => Ok(()),
        };
        match outcome {
            Err(problem) => prepared.kept_back.push((job.id, problem)),
            // Of a copy the server sees another file each time.
            Ok(()) if job.stage.is_some() => {}
            Ok(()) => {
                let mark = inspect::mark_of(&job.place.certificate);
                prepared.marks.extend(mark.map(|mark| (job.id, mark)));
            }
        }
    }
    prepared
}

/// nginx would keep what it has loaded from a file whose inode and whole-second write time are as they were; the
/// next second cures that, and changes nothing else.
fn touch(job: &Job, ledger: &Ledger) -> Result<(), Problem> {
    let file = &job.place.certificate;
    let path = printable(&file.display().to_string(), 300);
    let (device, inode) = job.file;
    let is_same = platform::touch(file, device, inode).map_err(|error| {
        Problem::new(
            "kept_by_server",
            format!("nginx would keep what it had loaded from {path}, and its write time cannot be changed: {error}"),
            "run: touch on that file, or set ssl_object_cache_inheritable off, or use stage",
        )
    })?;
    if !is_same {
        return Err(Problem::new(
            "changing",
            format!("{path} is another file than the one that was inspected; its write time is left alone"),
            "nothing: it is looked at again",
        ));
    }
    tracing::info!(
        site = job.key,
        file = path,
        "the write time was moved by a second, lest nginx keep what it had"
    );
    let entry = Entry::new(Timestamp::now(), &job.key, "touched").saying(path);
    if let Err(error) = ledger.note(&entry) {
        tracing::error!(problem = %error.problem(), "the history cannot be written");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[cfg(unix)] // nginx's
    #[test]
    fn a_guess_that_cannot_be_acted_on_keeps_no_reload_back() {
        use std::os::unix::fs::PermissionsExt;

        use super::*;
        use crate::config::{Config, KeyAt};
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("nginx");
        let says =
            "#!/bin/sh\necho 'nginx version: nginx/1.29.0'; echo 'configure arguments: --prefix=/none'\n";
        std::fs::write(&program, says).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let text = format!("[server.nginx]\ndiscover = true\nbinary = {program:?}\n");
        let config = Config::parse(std::path::Path::new("certhook.toml"), &text).unwrap();
        let (server, ledger) = (Server::new(&config.servers[0]), Ledger::at(folder.path()));
        // Its write time cannot be changed.
        let certificate = folder.path().join("none");
        let job = |seems_unchanged| Job {
            id: SiteId(0),
            key: "a".to_owned(),
            place: Place { certificate: certificate.clone(), key: KeyAt::File(certificate.clone()) },
            bindings: Vec::new(),
            others: Vec::new(),
            recorded: None,
            stage: None,
            set: Fingerprint::of(b""),
            file: (0, 0),
            seems_unchanged,
            in_vain: true,
        };
        let codes = |prepared: Prepared| -> Vec<String> {
            prepared.kept_back.into_iter().map(|(_, problem)| problem.code).collect()
        };
        assert_eq!(codes(prepare(&server, &ledger, vec![job(true)])), ["kept_by_server"]);
        assert_eq!(codes(prepare(&server, &ledger, vec![job(false)])), [] as [String; 0]);
        // It was swapped for a link to another user's file since it was inspected.
        let other = folder.path().join("other");
        std::fs::write(&other, "").unwrap();
        let written = std::fs::metadata(&other).unwrap().modified().unwrap();
        std::os::unix::fs::symlink(&other, &certificate).unwrap();
        assert_eq!(codes(prepare(&server, &ledger, vec![job(true)])), ["changing"]);
        assert_eq!(codes(prepare(&server, &ledger, vec![job(false)])), [] as [String; 0]);
        assert_eq!(std::fs::metadata(&other).unwrap().modified().unwrap(), written);
    }
}
