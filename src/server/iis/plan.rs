//! What is to be done to bind a certificate: records, bindings and the site in, a plan out. Pure.
//!
//! HTTP.sys asks in this order, and the first record that fits has the word: the connection's own address and port,
//! the host that the client asks for, the central store, any address with that port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::host_config::{self, Bound, flags_of};
use super::record::{AppId, Key, Parameters, Record};
use super::store::Earlier;
use crate::certificate::{Hosts, Thumbprint};
use crate::config::Binding;
use crate::problem::Problem;

/// What a site wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The bindings that are to have its certificate, whatever they have.
    pub bindings: &'a [Binding],
    /// The names of the new certificate.
    pub names: &'a Hosts,
    /// The new certificate.
    pub hash: Thumbprint,
    /// Where it is.
    pub store: &'a str,
    /// The certificates of exactly these names that came before it.
    pub earlier: &'a Earlier,
    /// The records that other sites name, by their bindings.
    pub taken: &'a BTreeSet<Key>,
    /// A binding that is named and not there is to be made.
    pub create: bool,
    /// There is a Central Certificate Store that certhook may write.
    pub central: bool,
}

/// One record, as it is and as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// It must be so still when it is changed.
    pub from: Record,
    /// The same but for the certificate.
    pub to: Record,
}

/// What to do, and what not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Records that get the new certificate.
    pub changes: Vec<Change>,
    /// Records that are not there yet.
    pub additions: Vec<Record>,
    /// Bindings that IIS does not have yet; whether by host.
    pub bindings: Vec<(Binding, bool)>,
    /// Records that have it already.
    pub satisfied: BTreeSet<Key>,
    /// Hosts whose certificate is a file of the central store.
    pub central: BTreeSet<String>,
    /// Those of them that the site names.
    pub named_central: BTreeSet<String>,
    /// What is not done, and why.
    pub refused: Vec<(Key, Problem)>,
    /// What may make all of it vain.
    pub notes: Vec<Problem>,
}

impl Plan {
    /// Whether all is as it should be: the records at least; the central store's files are not looked at here.
    pub fn nothing_to_do(&self) -> bool {
        self.changes.is_empty() && self.additions.is_empty() && self.bindings.is_empty()
    }

    /// Whether no binding uses the certificate or is to use it.
    pub fn has_no_use(&self) -> bool {
        self.nothing_to_do() && self.satisfied.is_empty() && self.central.is_empty()
    }

    /// The records that the certificate is to be shown by.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        let changed = self.changes.iter().map(|change| &change.to.key);
        changed.chain(self.additions.iter().map(|record| &record.key)).chain(&self.satisfied)
    }
}

/// Plans.
pub fn plan(records: &[Record], bound: &[Bound], wanted: &Wanted<'_>) -> Plan {
    let by_key: BTreeMap<&Key, &Record> = records.iter().map(|record| (&record.key, record)).collect();
    let named = wanted.bindings.iter().map(|binding| host_config::key_of(binding, bound)).collect();
    let mut planner =
        Planner { by_key, bound, wanted, named, plan: Plan::default(), decided: BTreeSet::new() };
    for record in records {
        planner.seen(record);
    }
    for bound in bound.iter().filter(|bound| bound.central && wanted.central) {
        if wanted.names.cover(bound.binding.host()) {
            planner.plan.central.insert(bound.binding.host().to_owned());
        }
    }
    for binding in wanted.bindings {
        planner.configured(binding);
    }
    planner.hidden();
    planner.plan
}

const NAME_IT: &str =
    "if it is to have the new certificate, name its binding: bindings = [\"SITE/*:443:HOST\"]; else nothing";

struct Planner<'a> {
    by_key: BTreeMap<&'a Key, &'a Record>,
    bound: &'a [Bound],
    wanted: &'a Wanted<'a>,
    /// The records of the bindings that the site names.
    named: BTreeSet<Key>,
    plan: Plan,
    /// Those that need no second decision.
    decided: BTreeSet<Key>,
}

impl Planner<'_> {
    /// A record that is there, named or not.
    fn seen(&mut self, record: &Record) {
        let Some(hash) = record.hash else { return };
        let (wanted, is_named) = (self.wanted, self.named.contains(&record.key));
        let is_foreign = record.app != AppId::IIS && !is_named;
        if record.shows(wanted.hash, wanted.store) || hash == wanted.hash && is_foreign {
            self.plan.satisfied.insert(record.key.clone());
        } else if wanted.taken.contains(&record.key) && !is_named {
            // The site that names it sees to it.
        } else if hash == wanted.hash || wanted.earlier.previous.contains(&hash) {
            // Its certificate has these very names: whoever is not covered was not covered before.
            if is_foreign { self.leave_foreign(record) } else { self.change(record) }
        } else if wanted.earlier.doubtful.contains(&hash) && !is_named {
            let message = format!(
                "{} shows a certificate of the same names by another issuer, {hash}: it is left as it is",
                record.key
            );
            self.plan.notes.push(Problem::new("other_issuer", message, NAME_IT));
        }
    }

    fn leave_foreign(&mut self, record: &Record) {
        let message = format!(
            "the record of {} has an earlier certificate, and was made by another program, {}: it is left as it is",
            record.key, record.app
        );
        self.plan.notes.push(Problem::new("foreign_record", message, NAME_IT));
    }

    fn change(&mut self, record: &Record) {
        if self.decided.insert(record.key.clone()) {
            let to = record.with(self.wanted.hash, self.wanted.store);
            self.plan.changes.push(Change { from: record.clone(), to });
        }
    }

    fn configured(&mut self, binding: &Binding) {
        let bound: Vec<&Bound> = self.bound.iter().filter(|bound| bound.binding.is_same(binding)).collect();
        let key = host_config::key_of(binding, self.bound);
        if !binding.host().is_empty() && !self.wanted.names.cover(binding.host()) {
            let message = format!(
                "the binding {binding} is for {}, which the new certificate does not cover",
                binding.host()
            );
            return self.refuse(
                key,
                "not_covered",
                message,
                "take the binding from the site, or name its certificate",
            );
        }
        if bound.iter().any(|bound| bound.central) {
            return self.by_file(binding, key);
        }
        if let Some(there) = bound.first() {
            let flags = flags_of(there.flags);
            self.record(&key, flags);
        } else if let (Some(_), true) = (binding.site(), self.wanted.create) {
            let new = (binding.clone(), matches!(key, Key::SniHost(..)));
            if self.record(&key, 0) && !self.plan.bindings.contains(&new) {
                self.plan.bindings.push(new);
            }
        } else if !self.plan.satisfied.contains(&key) && !self.decided.contains(&key) {
            // Who has a record without a binding of IIS's has it for something else.
            self.no_binding(binding, key);
        }
    }

    fn by_file(&mut self, binding: &Binding, key: Key) {
        if binding.host().is_empty() {
            let message = format!(
                "the binding {binding} takes its certificate from the central store, and has no host that a file is called by"
            );
            let remedy = "give it a host name in the IIS manager, and Require Server Name Indication; or take it from bindings";
            self.refuse(key, "no_host", message, remedy);
        } else if self.wanted.central {
            self.plan.central.insert(binding.host().to_owned());
            self.plan.named_central.insert(binding.host().to_owned());
        } else {
            let message = format!("the binding {binding} takes its certificate from the central store");
            self.refuse(key, "no_central_store", message, "set central_store to its folder");
        }
    }

    fn no_binding(&mut self, binding: &Binding, key: Key) {
        let message = format!("IIS has no binding {binding}");
        let remedy = match binding.site() {
            Some(_) => {
                "make it in the IIS manager (certhook discover prints those that are there), or set create_bindings = true at the server: then certhook makes it"
            }
            None => {
                "make it in the IIS manager; certhook discover prints those that are there. With its site (\"Home/*:443:contoso.com\") and create_bindings = true certhook makes it"
            }
        };
        self.refuse(key, "no_binding", message, remedy);
    }

    /// Whether the record is or will be right; `flags` are for one that is not there yet.
    fn record(&mut self, key: &Key, flags: u32) -> bool {
        if self.plan.satisfied.contains(key) || self.decided.contains(key) {
            return !self.plan.refused.iter().any(|(refused, _)| refused == key);
        }
        let Some(record) = self.by_key.get(key).copied() else {
            self.decided.insert(key.clone());
            let parameters = Parameters { flags, ..Parameters::default() };
            let new = Record::new(key.clone(), self.wanted.hash, self.wanted.store);
            self.plan.additions.push(Record { parameters, ..new });
            return true;
        };
        if record.app != AppId::IIS {
            let message = format!("the record of {key} was made by another program, {}", record.app);
            let remedy =
                "see which it is by: netsh http show sslcert; delete the record, or leave the binding out";
            self.refuse(key.clone(), "foreign_record", message, remedy);
            return false;
        }
        if let Some(host) = self.uncovered(key) {
            let message = format!("{key} also serves {host}, which the new certificate does not cover");
            let remedy = "give that binding a record of its own (Require Server Name Indication), or have its name in the certificate";
            self.refuse(key.clone(), "shared_record", message, remedy);
            return false;
        }
        self.change(record);
        true
    }

    /// A host that a record serves and the new certificate does not cover.
    fn uncovered(&self, key: &Key) -> Option<&str> {
        let on_it =
            self.bound.iter().filter(|bound| !bound.central && Key::of(&bound.binding, bound.sni) == *key);
        on_it
            .map(|bound| bound.binding.host())
            .find(|host| !host.is_empty() && !self.wanted.names.cover(host))
    }

    fn refuse(&mut self, key: Key, code: &str, message: String, remedy: &str) {
        self.decided.insert(key.clone());
        self.plan.refused.push((key, Problem::new(code, message, remedy)));
    }

    /// A record of an address goes before those of hosts: what it shows is not changed here.
    fn hidden(&mut self) {
        let all: Vec<Key> = self.plan.keys().cloned().collect();
        let hosts = all.iter().filter_map(|key| match key {
            Key::SniHost(host, port) => Some((host, *port)),
            Key::IpPort(_) | Key::Ccs(_) => None,
        });
        let mut notes = Vec::new();
        for (host, port) in hosts {
            let of_an_address = |key: &Key| match key {
                Key::IpPort(address) => {
                    Some(*address).filter(|at| at.port() == port && !at.ip().is_unspecified())
                }
                Key::SniHost(..) | Key::Ccs(_) => None,
            };
            let hiding =
                self.by_key.keys().filter(|key| !all.contains(key)).filter_map(|key| of_an_address(key));
            notes.extend(hiding.map(|address: SocketAddr| {
                let message = format!(
                    "whoever connects to {address} is shown that record's certificate, also for {host}"
                );
                let remedy = format!("if that is not meant, run: netsh http delete sslcert ipport={address}");
                Problem::new("hidden_record", message, remedy)
            }));
        }
        self.plan.notes.extend(notes);
    }
}
