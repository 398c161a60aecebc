use certhook_test_support::ca::{Authority, KeyType, Order, Validity};
use jiff::SignedDuration;

use super::super::rivals::{Claimant, same_names, same_record};
use super::*;
use crate::certificate::Leaf;

/// A site whose certificate was issued so many hours ago.
fn site(label: &str, hosts: &[&str], key: KeyType, hours: i64, bindings: &[&str]) -> Claimant {
    let valid =
        Validity { from: SignedDuration::from_hours(-hours), to: SignedDuration::from_hours(24 * 60) };
    let pair = Authority::new().issue(Order { hosts, key, valid, ..Order::default() });
    let bindings = bindings.iter().map(|text| binding(text)).collect();
    Claimant {
        key: format!("C:/{label}.pfx"),
        label: label.to_owned(),
        leaf: Leaf::from_der(&pair.leaf_der).unwrap().into(),
        bindings,
    }
}

const HOSTS: &[&str] = &["contoso.com", "www.contoso.com"];

#[test]
fn sites_of_the_same_names_are_refused_where_they_would_take_turns() {
    let (rsa, ecdsa) = (KeyType::Rsa2048, KeyType::EcdsaP256);
    let one = |key, hours, bindings: &[&str]| site("one", HOSTS, key, hours, bindings);
    let two = |key, hours, bindings: &[&str]| site("two", HOSTS, key, hours, bindings);
    let bound = &["*:443:contoso.com"][..];
    let other = site("two", &["contoso.com"], rsa, 5, bound);
    let table = [
        ("RSA and ECDSA", one(rsa, 5, &[]), two(ecdsa, 9, &[]), true),
        ("RSA and ECDSA, of two bindings", one(rsa, 5, bound), two(ecdsa, 9, &["*:444:contoso.com"]), true),
        ("an old copy", one(rsa, 5, &[]), two(rsa, 9, &[]), false),
        ("an old copy of what is named", one(rsa, 5, bound), two(rsa, 9, &[]), false),
        ("an old copy that is named", one(rsa, 5, &[]), two(rsa, 9, bound), true),
        ("other names", one(rsa, 5, &[]), other, false),
        ("the same site", one(rsa, 5, bound), one(ecdsa, 5, bound), false),
    ];
    for (what, one, two, wanted) in table {
        let both = [one.clone(), two.clone()];
        let (first, second) = (same_names(&one, &both), same_names(&two, &both));
        assert_eq!((first.is_some(), second.is_some()), (wanted, wanted), "{what}: both are told");
        if let Some(problem) = first {
            assert!(problem.message.starts_with("one and two "), "{problem}");
            assert_eq!(problem.code, "same_names");
        }
    }
    // The same certificate twice is nobody's rival.
    let one = site("one", HOSTS, rsa, 5, bound);
    let twin = Claimant { key: "D:/one.pfx".into(), ..one.clone() };
    assert_eq!(same_names(&one, &[twin]), None);
}

#[test]
fn sites_that_name_bindings_of_one_record_are_refused() {
    let site = |label: &str, binding: &str| {
        let host = format!("{label}.test");
        site(label, &[&host, "shared.test"], KeyType::EcdsaP256, 5, &[binding])
    };
    let table = [
        ("one binding", "*:443:shared.test", "A/*:443:shared.test", &[][..], true),
        ("one host's record, by two addresses", "192.0.2.1:443:shared.test", "*:443:shared.test", &[], true),
        ("two ports", "*:443:shared.test", "*:444:shared.test", &[], false),
        ("two hosts with SNI", "*:443:one.test", "*:443:two.test", &[], false),
        (
            "two hosts of one address, without SNI",
            "*:443:one.test",
            "*:443:two.test",
            &[("A/*:443:one.test", 0), ("B/*:443:two.test", 0)],
            true,
        ),
        (
            "two hosts of the central store",
            "*:443:one.test",
            "*:443:one.test",
            &[("A/*:443:one.test", 3)],
            false,
        ),
    ];
    for (what, one, two, flags, wanted) in table {
        let bound: Vec<Bound> = flags.iter().map(|(text, flags)| bound(text, *flags)).collect();
        let both = [site("one", one), site("two", two)];
        let problem = same_record(&both[0], &both, &bound);
        assert_eq!(problem.is_some(), wanted, "{what}: {problem:?}");
        if let Some(problem) = problem {
            assert!(problem.message.contains("one and two "), "{problem}");
        }
    }
}
