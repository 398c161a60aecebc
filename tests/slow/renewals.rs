//! Every renewal of a host, by what the portal is told of it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use certhook_test_support::portal::{Entry, What};

use crate::host::{Host, as_the_portal_wants};

/// What the portal may be told of a certificate: the site's id, and the write time as the portal wants it.
pub type Told = (i64, String);

/// Which certificate is meant by it.
#[derive(Default)]
pub struct Renewals(BTreeMap<Told, String>);

impl Renewals {
    /// Renews a site; none twice within a second, lest two certificates look the same to the portal.
    pub fn renew(&mut self, host: &mut Host, site: usize, gap: Duration) {
        let id = host.sites[site].id;
        while self.0.contains_key(&(id, as_the_portal_wants(SystemTime::now()))) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let written = host.renew(site, gap);
        self.0.insert((id, as_the_portal_wants(written)), host.sites[site].pair.fingerprint.clone());
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
