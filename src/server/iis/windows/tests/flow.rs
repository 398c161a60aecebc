//! All of them together, as [`super::super::super::system`] has them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::super::apply::Records as _;
use super::super::super::install::{Scene, Site, Tools};
use super::super::super::journal::JournalFile;
use super::super::super::record::{Key, Parameters, Record};
use super::super::super::seal::seal;
use super::super::super::store::{Mark, Sealed, Store as _};
use super::super::Programs;
use super::*;
use crate::config::Store;

#[test]
fn a_renewed_certificate_takes_the_place_of_the_old_one_everywhere() {
    let Some(mut service) = Service::new(true) else { return };
    let authority = Authority::new();
    let (old, new) = (
        issue(&authority, &["flow.test", "www.flow.test"], 60),
        issue(&authority, &["flow.test", "www.flow.test"], 1),
    );
    let mut store = machine_store(Store::WebHosting);
    let password = zeroize::Zeroizing::new("word".to_owned());
    let pfx = seal(&material(&old), &password).unwrap();
    assert!(store.import(&Sealed { pfx, password, hash: hash_of(&old) }).unwrap());
    let _ = store.mark("WebHosting", hash_of(&old), Mark::Imported);
    let parameters = Parameters { check_mode: 1, flags: 0x21, ..Parameters::default() };
    let record =
        |key| Record { parameters: parameters.clone(), ..Record::new(key, hash_of(&old), "WebHosting") };
    let before = [
        record(Key::IpPort("0.0.0.0:443".parse().unwrap())),
        record(Key::SniHost("www.flow.test".to_owned(), 443)),
    ];
    for record in &before {
        service.service.set(record).unwrap();
    }
    let journal = JournalFile(service.beside(".journal"));
    let beside = (service.beside(".log"), service.folder);
    let mut tools = Tools {
        store: Box::new(machine_store(Store::WebHosting)),
        records: Box::new(service.service),
        commands: Box::new(Programs::new(Path::new(FAKES), Duration::from_secs(60))),
        journal: Box::new(journal),
    };
    let scene = Scene { store: "WebHosting", bound: &[], shelf: None, create: false };
    let site = Site { material: &material(&new), bindings: &[], recorded: None, taken: &BTreeSet::new() };
    let installed = tools.install(&scene, &site).unwrap();
    assert_eq!((installed.changed, installed.notes), (2, Vec::new()));
    let after = tools.records.list().unwrap();
    assert_eq!(after, before.map(|record| record.with(hash_of(&new), "WebHosting")));
    let mark = |tools: &mut Tools| {
        let kept = tools.store.list().unwrap();
        kept.into_iter().find(|kept| kept.hash == hash_of(&old)).unwrap().mark
    };
    if mark(&mut tools) == Some(Mark::Replaced) || !wine::cannot_prove(PROPERTIES) {
        assert_eq!(mark(&mut tools), Some(Mark::Replaced));
        // Its time begins with the first proof, and it goes when that is over.
        let proved = new.fingerprint.parse().unwrap();
        let (day, now) = (Duration::from_secs(86_400), jiff::Timestamp::now());
        let ftp = BTreeSet::new();
        assert_eq!(tools.retire(&proved, &ftp, day, now).unwrap().removed, []);
        let later = now + SignedDuration::from_hours(25);
        assert_eq!(tools.retire(&proved, &ftp, day, later).unwrap().removed, [hash_of(&old)]);
    } else {
        tools.store.remove("WebHosting", hash_of(&old)).unwrap();
    }
    assert!(tools.store.list().unwrap().iter().all(|kept| kept.hash != hash_of(&old)));
    tools.store.remove("WebHosting", hash_of(&new)).unwrap();
    drop(beside);
    wine::cannot_prove("it has no keys of the machine: that the imported one signs was not asked");
}
