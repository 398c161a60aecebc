//! Every renewal of a host, by what the portal is told of it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use certhook_test_support::portal::{Entry, What};

use crate::host::{Host, as_the_portal_wants};

/// More than a tick of any kernel.
const TICK: Duration = Duration::from_millis(50);

/// What the portal may be told of a certificate: the site's id, and the write time as the portal wants it.
pub type Told = (i64, String);

/// Which certificate is meant by it.
#[derive(Default)]
pub struct Renewals(BTreeMap<Told, String>);

impl Renewals {
    /// Renews a site; none twice within a second, lest two certificates look the same to the portal.
    pub fn renew(&mut self, host: &mut Host, site: usize, gap: Duration) {
        let id = host.sites[site].id;
        // File times are taken from a clock that lags behind by a tick.
        let taken = |at| self.0.contains_key(&(id, as_the_portal_wants(at)));
        while taken(SystemTime::now()) || taken(SystemTime::now() - TICK) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let written = as_the_portal_wants(host.renew(site, gap));
        let before = self.0.insert((id, written), host.sites[site].pair.fingerprint.clone());
        assert_eq!(before, None, "two certificates look the same to the portal");
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether a certificate is one of them.
    pub fn has(&self, fingerprint: &str) -> bool {
        self.0.values().any(|renewed| renewed == fingerprint)
    }

    /// The portal's answered POSTs of each certificate that was reported. Whatever was never renewed, or does
    /// not bear its site's name, is a lie.
    pub fn posts<'j>(&self, journal: &'j [Entry]) -> BTreeMap<String, Vec<&'j Entry>> {
        let mut posts: BTreeMap<String, Vec<&Entry>> = BTreeMap::new();
        let answered = |entry: &&Entry| entry.what == What::Report && entry.status == Some(200);
        for post in journal.iter().filter(answered) {
            let body = post.json();
            let id = body["id"].as_i64().unwrap();
            let told = (id, body["remoteCreateDate"].as_str().unwrap().to_owned());
            let fingerprint = self.0.get(&told).unwrap_or_else(|| panic!("never renewed: {post}"));
            assert_eq!(body["name"], format!("site{}.test", id - 158));
            posts.entry(fingerprint.clone()).or_default().push(post);
        }
        posts
    }
}
