use certhook_test_support::ca::{Authority, Order, Pair};

use super::flow::{World, after, days_ago, kept, of, start};
use super::*;

#[test]
fn what_certhook_did_not_import_is_never_removed_and_told_when_it_is_replaced() {
    let mut world = World::new();
    world.fake.0.borrow_mut().kept[0].mark = None;
    let left = world.install(&[]).unwrap().left;
    assert_eq!((left, world.mark()), (vec![of(&world.old)], None));
    let new = world.new.clone();
    for days in [0, 31, 62] {
        assert_eq!(world.retired(&new, after(days)), Default::default());
    }
    assert!(world.fake.0.borrow().kept(of(&world.old)).is_some());
    assert_eq!(world.install(&[]).unwrap().left, []);
}

#[test]
fn what_is_imported_is_noted_unless_it_was_there() {
    let mut world = World::new();
    world.install(&[]).unwrap();
    let mark = |world: &World| world.fake.0.borrow().kept(of(&world.new)).unwrap().mark;
    assert_eq!(mark(&world), Some(Mark::Imported));
    let mut world = World::new();
    world.fake.0.borrow_mut().kept.push(kept(&world.new, "My", None));
    world.install(&[]).unwrap();
    assert_eq!(mark(&world), None, "an administrator imported it");
}

#[test]
fn what_others_use_stays_and_that_is_told_once() {
    let of_its_key = |old: &Pair| {
        let other = Authority::new().issue(Order::default());
        Kept { key: kept(old, "My", None).key, ..kept(&other, "Remote Desktop", None) }
    };
    let world = World::new();
    let table = [
        ("FTP", None),
        ("another store has it too", Some(kept(&world.old, "WebHosting", None))),
        ("remote desktops have it too", Some(kept(&world.old, "Remote Desktop", None))),
        ("another certificate has its key", Some(of_its_key(&world.old))),
    ];
    for (what, other) in table {
        let mut world = world.again();
        let (old, new) = (world.old.clone(), world.new.clone());
        world.install(&[]).unwrap();
        match other {
            Some(other) => world.fake.0.borrow_mut().kept.push(other),
            None => world.ftp = [of(&old)].into(),
        }
        assert_eq!(world.retired(&new, start()), Default::default(), "{what}");
        let retired = world.retired(&new, after(31));
        assert_eq!((retired.left, retired.removed), (vec![of(&old)], vec![]), "{what}");
        assert_eq!(
            (world.retired(&new, after(62)), world.mark()),
            (Default::default(), Some(Mark::Left)),
            "{what}"
        );
        assert!(!world.fake.log().iter().any(|line| line.starts_with("remove")), "{what}");
    }
}

#[test]
fn earlier_certificates_are_found_in_both_stores() {
    let mut world = World::new();
    {
        let mut windows = world.fake.0.borrow_mut();
        windows.kept[0].store = "WebHosting";
        for record in windows.records.values_mut() {
            record.store = "WebHosting".to_owned();
        }
    }
    assert_eq!(world.install(&[]).unwrap().changed, 2);
    assert_eq!(world.mark(), Some(Mark::Replaced));
    let (new, changed) = (world.new.clone(), world.fake.records());
    assert!(changed.iter().filter(|record| record.hash == Some(of(&new))).all(|record| record.store == "My"));
    assert_eq!(world.retire(&new, start()), 0);
    assert_eq!(world.retire(&new, after(31)), 1, "out of the store that it is in");
    // What remote desktops have is not IIS's.
    let mut world = World::new();
    world.fake.0.borrow_mut().kept[0].store = "Remote Desktop";
    assert_eq!(world.install(&[]).unwrap_err().code, "no_binding");
}

#[test]
fn of_another_issuer_only_what_certhook_knows_is_replaced() {
    let world = || {
        let mut world = World::new();
        world.new = Authority::new().issue(Order {
            hosts: &["contoso.com", "www.contoso.com"],
            valid: days_ago(1),
            ..Order::default()
        });
        world.fake.0.borrow_mut().kept[0].mark = None;
        world
    };
    let mut unknown = world();
    assert_eq!(unknown.install(&[]).unwrap_err().code, "other_issuer");
    assert_eq!(unknown.fake.log(), [""; 0]);
    let mut imported = world();
    imported.fake.0.borrow_mut().kept[0].mark = Some(Mark::Imported);
    assert_eq!(imported.install(&[]).unwrap().changed, 2);
    let mut recorded = world();
    recorded.recorded = Some(recorded.old.fingerprint.parse().unwrap());
    assert_eq!(recorded.install(&[]).unwrap().changed, 2);
    let mut named = world();
    named.bound = vec![bound("Home/*:443:contoso.com", 1)];
    let installed = named.install(&["*:443:contoso.com"]).unwrap();
    assert_eq!((installed.changed, installed.notes[0].code.as_str()), (1, "other_issuer"));
}

#[test]
fn a_chain_that_could_not_be_added_is_added_the_next_time() {
    let mut world = World::new();
    world.fake.0.borrow_mut().kept.push(kept(&world.new, "My", None));
    world.fake.0.borrow_mut().full = true;
    world.install(&[]).unwrap_err();
    assert_eq!(world.showing(&world.new), 0);
    world.fake.0.borrow_mut().full = false;
    world.install(&[]).unwrap();
    assert_eq!(world.fake.0.borrow().authorities.len(), 1, "the intermediate, though the leaf was there");
}
