//! What the portal's certificates can be downloaded as, from another port: as from a storage account.
//!
//! Nothing here is the portal: no token is wanted, and whatever comes is journaled as it came.

mod encode;
mod file;
mod journal;
mod judge;
mod spoil;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::ca::{Authority, KeyType, Order, Pair, Validity};

use super::House;
use super::http::{Reply, Request};
use super::record::{self, Record};
use super::server::Desk;
use super::trouble::Delivery;

pub use file::FileKind;
pub use journal::Download;
pub use spoil::{How, Spoil};

/// How long a certificate is good for when its record does not say.
pub(super) const LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The version of the signatures, as Azure names them.
const SIGNED_VERSION: &str = "2020-02-10";

/// A certificate that the portal has the files of.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) pair: Pair,
    pub(super) password: String,
    key: KeyType,
    /// Part of the links: those of an earlier certificate lead nowhere.
    version: u64,
    other: OnceCell<Pair>,
    expired: OnceCell<Pair>,
}

impl Issued {
    fn is_for(&self, record: &Record, key: KeyType) -> bool {
        let dates = (record::utc(self.pair.not_before), record::utc(self.pair.not_after));
        dates == (record.issue_date, record.expiry_date)
            && self.key == key
            && self.pair.hosts == record.certificate_hosts()
    }

    /// A certificate for somebody else.
    fn other(&self, authority: &Authority) -> &Pair {
        let order = Order { hosts: &["other.test"], key: self.key, ..Order::default() };
        self.other.get_or_init(|| authority.issue(order))
    }

    /// One for the same names and with the same key, but of the past.
    fn expired(&self, authority: &Authority) -> &Pair {
        let hosts: Vec<&str> = self.pair.hosts.iter().map(String::as_str).collect();
        let valid = Validity::EXPIRED;
        let order = Order { hosts: &hosts, valid, reuse_key: Some(&self.pair), ..Order::default() };
        self.expired.get_or_init(|| authority.issue(order))
    }
}

/// Everything that can be downloaded, and what was.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) authority: Arc<Authority>,
    /// The download server, without a slash at the end.
    pub(super) origin: String,
    pub(super) spoils: Vec<Spoil>,
    pub(super) journal: Vec<Download>,
    issued: BTreeMap<i64, Issued>,
    versions: u64,
    signing: hmac::Key,
}

impl Store {
    pub(super) fn new() -> Self {
        let random = SystemRandom::new();
        let signing = hmac::Key::generate(hmac::HMAC_SHA256, &random).expect("the system has randomness");
        Self {
            authority: Arc::default(),
            origin: String::new(),
            spoils: Vec::new(),
            journal: Vec::new(),
            issued: BTreeMap::new(),
            versions: 0,
            signing,
        }
    }

    pub(super) fn issued(&self, id: i64) -> Option<&Issued> {
        self.issued.get(&id)
    }

    pub(super) fn forget(&mut self, id: i64) {
        self.issued.remove(&id);
    }

    /// Issues what the record says, unless that is there already; the record gets the pair's dates.
    pub(super) fn stock(&mut self, record: &mut Record) {
        let Some(key) = record.issued else {
            return self.forget(record.id);
        };
        if self.issued.get(&record.id).is_some_and(|issued| issued.is_for(record, key)) {
            return;
        }
        let to = record::from_utc(record.expiry_date);
        // Hosts live by the system's clock: what is issued while the portal's is ahead must be valid for them.
        let mut from = record::from_utc(record.issue_date).min(Timestamp::now());
        if from >= to {
            from = to - LIFE;
        }
        let hosts = record.certificate_hosts();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let order = Order { hosts: &hosts, key, ..Order::default() };
        let pair = self.authority.issue_between(order, from, to);
        self.put(record, pair, key);
    }

    /// Takes a pair as the record's; the record gets its dates.
    pub(super) fn put(&mut self, record: &mut Record, pair: Pair, key: KeyType) {
        record.issue_date = record::utc(pair.not_before);
        record.expiry_date = record::utc(pair.not_after);
        self.versions += 1;
        let (other, expired) = (OnceCell::new(), OnceCell::new());
        let issued = Issued { pair, password: password(), key, version: self.versions, other, expired };
        self.issued.insert(record.id, issued);
    }

    /// The link to a file, signed until then; unsigned when `None`.
    pub(super) fn link(&self, id: i64, kind: FileKind, until: Option<Timestamp>) -> Option<String> {
        let path = path(id, self.issued.get(&id)?.version, kind);
        let query = until.map_or(String::new(), |until| {
            let until = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let signature = encode::percent(&self.signature(&path, &until));
            let until = encode::percent(&until);
            format!("?sv={SIGNED_VERSION}&se={until}&sr=b&sp=r&sig={signature}")
        });
        Some(format!("{}{path}{query}", self.origin))
    }

    fn signature(&self, path: &str, until: &str) -> String {
        let text = format!("r\n{until}\n{path}\n{SIGNED_VERSION}\nb");
        encode::base64(hmac::sign(&self.signing, text.as_bytes()).as_ref())
    }

    /// The certificate and the file that a path is of.
    fn find(&self, wanted: &str) -> Option<(i64, FileKind, &Issued)> {
        self.issued.iter().find_map(|(id, issued)| {
            let kind = FileKind::ALL.into_iter().find(|kind| path(*id, issued.version, *kind) == wanted)?;
            Some((*id, kind, issued))
        })
    }
}

fn path(id: i64, version: u64, kind: FileKind) -> String {
    format!("/certificates/{id}-{version}/{}", kind.file_name())
}

fn password() -> String {
    let mut random = [0_u8; 8];
    SystemRandom::new().fill(&mut random).expect("the system has randomness");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The download server's side of a connection.
#[derive(Debug)]
pub(super) struct Counter(pub(super) Arc<House>);

impl Desk for Counter {
    fn answer(&self, request: &Request) -> Delivery {
        self.0.change(|state| judge::take(state, request))
    }

    fn refuse(&self, reply: Reply) -> Delivery {
        self.0.change(|state| judge::take_broken(state, reply))
    }
}
