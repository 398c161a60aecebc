//! A Windows of the tests' own: a store, HTTP.sys's records, and programs that write down how they were called.

mod applying;
mod central;
mod flow;
mod lines;
mod planning;
mod retiring;
mod rivals;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use super::apply::{Journal, Records, UpdateError};
use super::failure::Failure;
use super::fallback::{Commands, command_line};
use super::host_config::Bound;
use super::record::{AppId, Key, Parameters, Record};
use super::store::{Kept, Mark, Sealed, Store};
use crate::certificate::{Hosts, Thumbprint};
use crate::config::Binding;
use crate::discover::Place;
use crate::problem::Problem;

fn hash(byte: u8) -> Thumbprint {
    Thumbprint([byte; 20])
}

fn binding(text: &str) -> Binding {
    Binding::parse(text).unwrap_or_else(|| panic!("{text}"))
}

fn ip(text: &str) -> Key {
    Key::IpPort(text.parse().unwrap())
}

fn sni(host: &str) -> Key {
    Key::SniHost(host.to_owned(), 443)
}

fn names(text: &str) -> Hosts {
    Hosts::from_portal_name(text)
}

/// With parameters that tell it from every other.
fn record(key: Key, hash: Thumbprint) -> Record {
    let parameters = Parameters {
        check_mode: 1,
        revocation_freshness: 60,
        url_timeout: 5000,
        ctl_identifier: Some("Our issuers".to_owned()),
        ctl_store: Some("CA".to_owned()),
        flags: 2 | u32::from(key_port(&key)) << 8,
        more: vec![1, 2, 3],
    };
    Record { parameters, ..Record::new(key, hash, "My") }
}

fn key_port(key: &Key) -> u16 {
    match key {
        Key::IpPort(address) => address.port(),
        Key::SniHost(_, port) | Key::Ccs(port) => *port,
    }
}

/// `flags` as in `sslFlags`.
fn bound(text: &str, flags: u8) -> Bound {
    let place = Place { file: Path::new("applicationHost.config").into(), line: 1 };
    let (sni, central) = (flags & 1 != 0, flags & 2 != 0);
    Bound { binding: binding(text), sni, central, flags: flags.into(), place }
}

/// All that a test looks at afterwards.
#[derive(Default)]
struct Windows {
    records: BTreeMap<Key, Record>,
    /// It has `HttpUpdateServiceConfiguration`.
    updates: bool,
    /// It has HTTP.sys's calls; and those that change something.
    not_there: bool,
    read_only: bool,
    /// Calls of records so far, and what befalls which of them: an error, with its effect or without.
    calls: usize,
    failing: BTreeMap<usize, bool>,
    /// Those that say that all is well, and do nothing.
    lying: BTreeSet<usize>,
    /// What is in the stores.
    kept: Vec<Kept>,
    unusable: bool,
    /// `CA`, and whether it takes nothing.
    authorities: BTreeSet<Vec<u8>>,
    full: bool,
    /// What the journal has, and whether it takes nothing.
    journal: Vec<Record>,
    no_journal: bool,
    /// So many changes until certhook's process is gone.
    lives: Option<usize>,
    /// Every call that changes something, in order.
    log: Vec<String>,
    /// Command lines that fail.
    failing_lines: BTreeSet<String>,
    /// `netsh` and `appcmd` do what they say.
    obedient: bool,
}

#[derive(Clone, Default)]
struct Fake(Rc<RefCell<Windows>>);

/// So much for a call that is to fail.
const BROKEN: Failure = Failure(1450);

impl Fake {
    fn with(records: &[Record]) -> Self {
        let fake = Self::default();
        let by_key = |record: &Record| (record.key.clone(), record.clone());
        fake.0.borrow_mut().records = records.iter().map(by_key).collect();
        fake.0.borrow_mut().updates = true;
        fake
    }

    fn records(&self) -> Vec<Record> {
        self.0.borrow().records.values().cloned().collect()
    }

    fn log(&self) -> Vec<String> {
        self.0.borrow().log.clone()
    }

    /// Does it, unless the call is to fail.
    fn call<T>(
        &self,
        line: Option<String>,
        what: impl FnOnce(&mut Windows) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut windows = self.0.borrow_mut();
        if windows.not_there || windows.read_only && line.is_some() {
            return Err(super::failure::NOT_THERE);
        }
        if windows.lives == Some(0) || line.is_some() && !windows.steps() {
            return Err(BROKEN);
        }
        windows.calls += 1;
        let calls = windows.calls;
        match windows.failing.get(&calls).copied() {
            Some(false) => return Err(BROKEN),
            Some(true) => {
                let _ = what(&mut windows);
                return Err(BROKEN);
            }
            None => {}
        }
        let is_lie = windows.lying.contains(&calls);
        let before = windows.records.clone();
        let done = what(&mut windows)?;
        if is_lie {
            windows.records = before;
        }
        windows.log.extend(line);
        Ok(done)
    }
}

impl Records for Fake {
    fn list(&mut self) -> Result<Vec<Record>, Failure> {
        self.call(None, |windows| Ok(windows.records.values().cloned().collect()))
    }

    fn update(&mut self, record: &Record) -> Result<(), UpdateError> {
        let windows = self.0.borrow();
        if !windows.updates && !windows.read_only {
            return Err(UpdateError::Unsupported);
        }
        drop(windows);
        self.call(Some(format!("update {}", record.key)), |windows| {
            let there = windows.records.get_mut(&record.key).ok_or(Failure(2))?;
            *there = record.clone();
            Ok(())
        })
        .map_err(UpdateError::Failed)
    }

    fn set(&mut self, record: &Record) -> Result<(), Failure> {
        self.call(Some(format!("set {}", record.key)), |windows| {
            if windows.records.contains_key(&record.key) {
                return Err(Failure(183));
            }
            windows.records.insert(record.key.clone(), record.clone());
            Ok(())
        })
    }

    fn delete(&mut self, key: &Key) -> Result<(), Failure> {
        self.call(Some(format!("delete {key}")), |windows| {
            windows.records.remove(key).map(drop).ok_or(Failure(2))
        })
    }
}

impl Windows {
    /// Whether certhook lives to do one more.
    fn steps(&mut self) -> bool {
        let lives = self.lives != Some(0);
        self.lives = self.lives.map(|left| left.saturating_sub(1));
        lives
    }

    fn at(&mut self, store: &str, hash: Thumbprint) -> Result<usize, Failure> {
        let found = self.kept.iter().position(|kept| (kept.store, kept.hash) == (store, hash));
        found.ok_or(Failure(2))
    }

    fn kept(&self, hash: Thumbprint) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.hash == hash)
    }
}

impl Journal for Fake {
    fn keep(&mut self, records: &[Record]) -> Result<(), Problem> {
        let mut windows = self.0.borrow_mut();
        if !windows.steps() || windows.no_journal {
            return Err(Problem::new("journal", "it cannot be written", "see why"));
        }
        windows.journal = records.to_vec();
        Ok(())
    }

    fn kept(&mut self) -> Result<Vec<Record>, Problem> {
        Ok(self.0.borrow().journal.clone())
    }
}

impl Store for Fake {
    fn import(&mut self, sealed: &Sealed) -> Result<bool, Failure> {
        let opened = crate::certificate::pfx::open(&sealed.pfx, &sealed.password).map_err(|_| Failure(86))?;
        let material = crate::certificate::Material::of_pem(&opened.full_chain, &opened.key).unwrap();
        let key = format!("of {}", sealed.hash);
        let kept = Kept::of_der(&material.certificates[0], "My", key, None).unwrap();
        assert_eq!(kept.hash, sealed.hash);
        let mut windows = self.0.borrow_mut();
        windows.log.push("import".to_owned());
        let is_new = windows.at("My", kept.hash).is_err();
        if is_new {
            windows.kept.push(kept);
        }
        Ok(is_new)
    }

    fn add_authority(&mut self, der: &[u8]) -> Result<(), Failure> {
        let mut windows = self.0.borrow_mut();
        if windows.full {
            return Err(BROKEN);
        }
        windows.authorities.insert(der.to_vec());
        Ok(())
    }

    fn prove(&mut self, hash: Thumbprint) -> Result<(), Failure> {
        let mut windows = self.0.borrow_mut();
        windows.log.push("prove".to_owned());
        let usable = windows.at("My", hash).is_ok() && !windows.unusable;
        usable.then_some(()).ok_or(Failure(0x8009_0016))
    }

    fn list(&mut self) -> Result<Vec<Kept>, Failure> {
        Ok(self.0.borrow().kept.clone())
    }

    fn mark(&mut self, store: &str, hash: Thumbprint, mark: Mark) -> Result<(), Failure> {
        let mut windows = self.0.borrow_mut();
        let index = windows.at(store, hash)?;
        windows.kept[index].mark = Some(mark);
        Ok(())
    }

    fn remove(&mut self, store: &str, hash: Thumbprint) -> Result<(), Failure> {
        let mut windows = self.0.borrow_mut();
        windows.log.push(format!("remove {}", hash.to_string().get(..2).unwrap()));
        let index = windows.at(store, hash)?;
        windows.kept.remove(index);
        Ok(())
    }
}

impl Commands for Fake {
    fn run(&mut self, words: &[String]) -> Result<(), Problem> {
        let mut windows = self.0.borrow_mut();
        let line = command_line(words);
        windows.log.push(line.clone());
        if windows.failing_lines.iter().any(|failing| line.contains(failing)) {
            return Err(Problem::new("program", "it ended with 1", "see why"));
        }
        let of = |word: &str| words.iter().find_map(|it| it.strip_prefix(word));
        if let (true, Some(old), Some(new)) = (windows.obedient, of("/oldcert:"), of("/newcert:")) {
            let (old, new) = (old.parse().unwrap(), new.parse().unwrap());
            for record in windows.records.values_mut().filter(|record| record.hash == Some(old)) {
                record.hash = Some(new);
            }
        }
        if let (true, Some(new), Some(place)) = (windows.obedient, of("certhash="), of("hostnameport=")) {
            let new = new.parse().unwrap();
            for record in windows.records.values_mut().filter(|record| record.key.to_string() == place) {
                record.hash = Some(new);
            }
        }
        Ok(())
    }
}

#[test]
fn the_id_of_iis_is_written_as_windows_writes_it() {
    assert_eq!(AppId::IIS.to_string(), "{4dc3e181-e14b-4a21-b022-59fc669b0914}");
}
