use certhook_test_support::ca::{Authority, Order, Pair, Validity};
use jiff::SignedDuration;
use zeroize::Zeroizing;

use super::super::central::{Shelf, file_name, wanted};
use super::*;
use crate::certificate::{Material, pfx};

fn material(pair: &Pair) -> Material {
    Material::of_pem(pair.fullchain_pem.as_bytes(), pair.key_pem.as_bytes()).unwrap()
}

#[test]
fn a_certificate_gets_the_files_that_are_used_or_there() {
    let files = |certificate: &str, used: &[&str], there: &[&str]| {
        let used = used.iter().map(|host| (*host).to_owned()).collect();
        let found = wanted(&names(certificate), &used, |file| there.contains(&file));
        found.into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(files("contoso.com,www.contoso.com", &["contoso.com"], &[]), "contoso.com.pfx");
    assert_eq!(
        files("contoso.com,www.contoso.com", &[], &["www.contoso.com.pfx", "x.pfx"]),
        "www.contoso.com.pfx"
    );
    assert_eq!(files("contoso.com,*.contoso.com", &["a.contoso.com"], &[]), "_.contoso.com.pfx");
    assert_eq!(files("*.contoso.com", &["*.contoso.com"], &[]), "_.contoso.com.pfx");
    assert_eq!(files("*.contoso.com", &["contoso.com", "a.b.contoso.com"], &[]), "");
    assert_eq!(files("a.contoso.com,*.contoso.com", &["a.contoso.com"], &[]), "a.contoso.com.pfx");
    assert_eq!(files("..\\x,a/b,c:d", &["..\\x"], &["..\\x.pfx", "a/b.pfx", "c:d.pfx"]), "");
    assert_eq!(file_name("*.fabrikam.com"), "_.fabrikam.com.pfx");
}

#[test]
fn files_are_replaced_whole_and_nothing_else_is_touched() {
    if certhook_test_support::wine::cannot_prove("it renames over no file that is open") {
        return;
    }
    let authority = Authority::new();
    let (old, new) = (authority.issue(Order::default()), authority.issue(Order::default()));
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf { folder: folder.path().to_owned(), password: Zeroizing::new("pass word".to_owned()) };
    let names = BTreeSet::from(["contoso.com.pfx".to_owned(), "_.contoso.com.pfx".to_owned()]);
    let (at, none) = (|name: &str| folder.path().join(name), BTreeSet::new());
    std::fs::write(at("other.pfx"), "other").unwrap();
    // What an earlier time left.
    std::fs::write(at("contoso.com.pfx.certhook-new"), "half").unwrap();
    assert_eq!(shelf.put(&material(&old), &names, &none).unwrap().written, 2);
    let reader = std::fs::File::open(at("contoso.com.pfx")).unwrap();
    assert_eq!(shelf.put(&material(&new), &names, &none).unwrap().written, 2);
    let fingerprint = |bytes: &[u8]| {
        let opened = pfx::open(bytes, "pass word").unwrap();
        Material::of_pem(&opened.full_chain, &opened.key).unwrap().leaf.fingerprint.to_string()
    };
    for name in &names {
        assert_eq!(fingerprint(&std::fs::read(at(name)).unwrap()), new.fingerprint);
    }
    let mut opened_before = Vec::new();
    std::io::Read::read_to_end(&mut { reader }, &mut opened_before).unwrap();
    assert_eq!(fingerprint(&opened_before), old.fingerprint, "who reads keeps what it opened");
    let before = std::fs::read(at("contoso.com.pfx")).unwrap();
    let put = shelf.put(&material(&new), &names, &none).unwrap();
    assert_eq!((put.written, put.held), (0, 2), "what is there already stays");
    assert_eq!(std::fs::read(at("contoso.com.pfx")).unwrap(), before);
    let mut all: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    all.sort();
    assert_eq!(all, ["_.contoso.com.pfx", "contoso.com.pfx", "other.pfx"]);
    assert_eq!(std::fs::read(at("other.pfx")).unwrap(), b"other");
    // A folder in the place of one of them.
    std::fs::create_dir(at("taken.pfx")).unwrap();
    let problem = shelf.put(&material(&old), &BTreeSet::from(["taken.pfx".to_owned()]), &none).unwrap_err();
    assert!(problem.code == "central_store" && problem.message.contains("taken.pfx"), "{problem}");
    assert!(!at("taken.pfx.certhook-new").exists());
}

#[test]
fn a_file_of_another_certificate_stays_unless_its_binding_is_named() {
    if certhook_test_support::wine::cannot_prove("it renames over no file that is open") {
        return;
    }
    let authority = Authority::new();
    let issue = |hosts: &[&str], hours: i64| {
        let valid =
            Validity { from: SignedDuration::from_hours(-hours), to: SignedDuration::from_hours(900) };
        authority.issue(Order { hosts, valid, ..Order::default() })
    };
    let both = &["contoso.com", "www.contoso.com"][..];
    let new = material(&issue(both, 5));
    let there = [
        ("earlier.pfx", Some(issue(both, 9)), true),
        ("newer.pfx", Some(issue(both, 1)), false),
        ("dedicated.pfx", Some(issue(&["www.contoso.com"], 9)), false),
        ("sealed.pfx", None, false),
        ("absent.pfx", None, true),
    ];
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf { folder: folder.path().to_owned(), password: Zeroizing::new("word".to_owned()) };
    let only = |name: &str| BTreeSet::from([name.to_owned()]);
    for (name, pair, replaced) in &there {
        let path = folder.path().join(name);
        match pair {
            Some(pair) => drop(shelf.put(&material(pair), &only(name), &BTreeSet::new()).unwrap()),
            None if *name == "sealed.pfx" => {
                let other =
                    Shelf { folder: shelf.folder.clone(), password: Zeroizing::new("other".to_owned()) };
                other.put(&new, &only(name), &BTreeSet::new()).unwrap();
            }
            None => {}
        }
        let before = std::fs::read(&path).ok();
        let put = shelf.put(&new, &only(name), &BTreeSet::new()).unwrap();
        assert_eq!((put.written, put.left.len()), if *replaced { (1, 0) } else { (0, 1) }, "{name}");
        assert_eq!(std::fs::read(&path).ok() != before, *replaced, "{name}");
        if let [left] = &put.left[..] {
            assert!(left.code == "other_file" && left.message.contains(name), "{left}");
            let put = shelf.put(&new, &only(name), &only(name)).unwrap();
            assert_eq!((put.written, put.left.len()), (1, 0), "{name}, named");
        }
    }
}
