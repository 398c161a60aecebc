//! The portal's own certificates, their renewals and downloads, in the hands of a test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ca::{Authority, Pair};

use super::downloads::{Download, FileKind, Spoil};
use super::{Portal, TimedOut};

impl Portal {
    /// Who issues the portal's certificates; see [`Builder::authority`](super::Builder::authority).
    pub fn authority(&self) -> Arc<Authority> {
        self.house.read(|state| Arc::clone(&state.store.authority))
    }

    /// The pair that the portal has of a certificate; `None` when it does not issue it.
    pub fn issued(&self, id: i64) -> Option<Pair> {
        self.house.read(|state| Some(state.store.issued(id)?.pair.clone()))
    }

    /// The password of a certificate's PFX file.
    pub fn pfx_password(&self, id: i64) -> Option<String> {
        self.house.read(|state| Some(state.store.issued(id)?.password.clone()))
    }

    /// Takes a pair as a certificate's, as if it had been renewed with it. Panics when there is none.
    pub fn issue(&self, id: i64, pair: Pair) {
        self.house.change(|state| {
            let record = state.certificates.iter_mut().find(|record| record.id == id);
            let record = record.expect("a certificate to issue");
            let key = *record.issued.get_or_insert_default();
            record.remote_create_date = None;
            record.hosts = Some(pair.hosts.clone());
            state.store.put(record, pair, key);
            state.scheduled.remove(&id);
        });
    }

    /// The link to a file of a certificate, as a list answers it now; `None` when there is nothing.
    pub fn link(&self, id: i64, file: FileKind) -> Option<String> {
        self.house.read(|state| {
            let record = state.certificates.iter().find(|record| record.id == id)?;
            let links = state.links(record)?.0;
            let link = links.into_iter().find(|(field, _)| field == file.field());
            link.and_then(|(_, link)| link.as_str().map(str::to_owned))
        })
    }

    /// The certificates that are scheduled for renewal.
    pub fn scheduled(&self) -> Vec<i64> {
        self.house.read(|state| state.scheduled.keys().copied().collect())
    }

    /// Makes every scheduled renewal real now, or fail; gives the ids of those that became real.
    pub fn finish_renewals(&self) -> Vec<i64> {
        self.house.change(|state| state.renew_scheduled(|_| true, state.now()))
    }

    /// `http://127.0.0.1:PORT` of the download server.
    pub fn download_endpoint(&self) -> String {
        format!("http://{}", self.download_address())
    }

    /// The address that the download server listens on.
    pub fn download_address(&self) -> SocketAddr {
        self.downloads.address()
    }

    /// Every request that came to the download server, also refused ones, with nothing taken out.
    pub fn downloads(&self) -> Vec<Download> {
        self.house.read(|state| state.store.journal.clone())
    }

    /// Waits until the downloads are as wanted. A failure has the portal's journal, not the downloads.
    pub fn wait_for_downloads(
        &self,
        mut wanted: impl FnMut(&[Download]) -> bool,
        limit: Duration,
    ) -> Result<(), TimedOut> {
        let until = Instant::now().checked_add(limit);
        self.wait_until(|| wanted(&self.downloads()), until, limit)
    }

    /// Spoils downloads, after the spoils it was given before.
    pub fn spoil(&self, spoil: Spoil) {
        self.house.change(|state| state.store.spoils.push(spoil));
    }

    /// The spoils that have not come to their end.
    pub fn spoils(&self) -> Vec<Spoil> {
        let left = |spoil: &&Spoil| spoil.times != Some(0);
        self.house.read(|state| state.store.spoils.iter().filter(left).cloned().collect())
    }

    /// Downloads are good again. Those that hang already keep hanging.
    pub fn clear_spoils(&self) {
        self.house.change(|state| state.store.spoils.clear());
    }

    /// The download server goes down, while the portal stays; the port stays its own.
    pub fn stop_downloads(&self) {
        self.downloads.stop();
    }

    /// The download server comes back at the same address. Panics when it cannot.
    pub fn restart_downloads(&self) {
        self.downloads.restart();
    }
}
