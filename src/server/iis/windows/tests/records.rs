use super::super::super::apply::{Records as _, Undone, UpdateError, apply};
use super::super::super::failure::Failure;
use super::super::super::journal::JournalFile;
use super::super::super::plan::{Change, Plan};
use super::super::super::record::{AppId, Key, Parameters, Record};
use super::*;

fn ip(text: &str) -> Key {
    Key::IpPort(text.parse().unwrap())
}

fn sni(host: &str) -> Key {
    Key::SniHost(host.to_owned(), 443)
}

/// With parameters that tell it from every other.
fn record(key: Key, hash: u8) -> Record {
    let parameters = Parameters {
        check_mode: 0x1_0001,
        revocation_freshness: 60 + u32::from(hash),
        url_timeout: 5000,
        ctl_identifier: Some("Our issuers é".to_owned()),
        ctl_store: Some("CA".to_owned()),
        flags: 0x8000_007b,
        more: Vec::new(),
    };
    let app = AppId([hash, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    Record { parameters, app, ..Record::new(key, Thumbprint([hash; 20]), "WebHosting") }
}

fn all() -> Vec<Record> {
    let bare = Record { hash: None, store: "MY".to_owned(), ..record(Key::Ccs(443), 7) };
    let odd = Parameters { more: vec![9; 32], ..Parameters::default() };
    vec![
        record(ip("0.0.0.0:443"), 1),
        record(ip("[2001:db8::1]:8443"), 2),
        Record { parameters: Parameters::default(), ..record(ip("192.0.2.7:443"), 3) },
        Record { hash: None, parameters: odd, ..record(ip("192.0.2.8:443"), 4) },
        record(sni("shop.test"), 5),
        record(sni("*.shop.test"), 6),
        bare,
    ]
}

fn filled(updates: bool) -> Option<Service> {
    let mut service = Service::new(updates)?;
    for record in all() {
        service.service.set(&record).unwrap_or_else(|error| panic!("{}: {error:?}", record.key));
    }
    service.forget();
    Some(service)
}

fn run(service: &mut Service) -> Result<(), Undone> {
    let mut journal = JournalFile(service.beside(".journal"));
    let done = apply(&plan(), &mut service.service, &mut journal);
    assert!(!journal.0.exists(), "it is there only in between");
    done
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(|record| record.key.clone());
    records
}

/// One of an address and one of a host get another certificate, and one is new.
fn plan() -> Plan {
    let all = all();
    let changes = [&all[0], &all[4]]
        .map(|from| Change { from: from.clone(), to: from.with(Thumbprint([99; 20]), "My") });
    Plan { changes: changes.into(), additions: vec![record(sni("new.test"), 99)], ..Plan::default() }
}

#[test]
fn every_kind_of_record_is_read_as_it_was_written() {
    let Some(mut service) = filled(true) else { return };
    assert_eq!(sorted(service.service.list().unwrap()), sorted(all()));
    for record in all() {
        service.service.delete(&record.key).unwrap();
    }
    assert_eq!(service.service.list().unwrap(), []);
}

#[test]
fn what_is_refused_has_its_number() {
    let Some(mut service) = filled(true) else { return };
    let (there, not_there) = (record(sni("shop.test"), 8), record(sni("gone.test"), 8));
    assert_eq!(service.service.set(&there), Err(Failure(183)));
    assert_eq!(service.service.delete(&not_there.key), Err(Failure(2)));
    assert_eq!(service.service.update(&not_there), Err(UpdateError::Failed(Failure(2))));
    let without = Record { hash: None, ..there };
    assert_eq!(service.service.set(&without), Err(Failure(87)));
    let no_library = Path::new(FAKES).join("none.dll");
    assert_eq!(HttpSys::of(&no_library).err(), Some(Failure(120)));
}

#[test]
fn records_are_changed_in_place_and_keep_all_the_rest() {
    let Some(mut service) = filled(true) else { return };
    run(&mut service).unwrap();
    let log = ["update ip 0.0.0.0:443", "update sni shop.test:443", "set sni new.test:443"];
    assert_eq!(service.log(), log);
    let mut expected = all();
    for index in [0, 4] {
        (expected[index].hash, expected[index].store) = (Some(Thumbprint([99; 20])), "My".to_owned());
    }
    expected.push(record(sni("new.test"), 99));
    assert_eq!(sorted(service.service.list().unwrap()), sorted(expected));
}

#[test]
fn where_they_cannot_be_updated_they_are_deleted_and_set() {
    let Some(mut service) = filled(false) else { return };
    run(&mut service).unwrap();
    assert_eq!(service.log().iter().filter(|line| line.starts_with("delete")).count(), 2);
    let records = service.service.list().unwrap();
    let changed = records.iter().find(|record| record.key == sni("shop.test")).unwrap();
    assert_eq!(*changed, all()[4].with(Thumbprint([99; 20]), "My"));
}

#[test]
fn whichever_change_fails_the_records_are_as_before() {
    for updates in [true, false] {
        let Some(counted) = filled(updates) else { return };
        let mut service = counted;
        run(&mut service).unwrap();
        let changes = service.log().len();
        assert_eq!(changes, if updates { 3 } else { 5 });
        for number in 1..=changes {
            let mut service = filled(updates).unwrap();
            service.fail(number, 1450);
            let undone = run(&mut service).unwrap_err();
            assert!(undone.problem.message.contains("1450"), "{}", undone.problem);
            assert_eq!(sorted(service.service.list().unwrap()), sorted(all()), "{updates} {number}");
        }
    }
}
