//! Certificates are what was ordered, by OpenSSL's judgement where it counts.

use std::fs;
use std::process::{Command, Output};

use certhook_test_support::ca::{self, Authority, KeyForm, KeyType, Order, Pair, Validity};
use jiff::{SignedDuration, Timestamp};

const KINDS: [KeyType; 4] = [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048, KeyType::Ed25519];

/// Runs openssl in a folder that holds the pair and the root.
fn openssl(authority: &Authority, pair: &Pair, args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        ("root.pem", authority.root_pem()),
        ("chain.pem", &pair.chain_pem),
        ("leaf.pem", &pair.leaf_pem),
        ("key.pem", &pair.key_pem),
    ];
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    Command::new("openssl").args(args).current_dir(folder.path()).output().expect("the openssl command")
}

fn verifies(authority: &Authority, pair: &Pair) -> bool {
    let args =
        ["verify", "-CAfile", "root.pem", "-untrusted", "chain.pem", "-verify_hostname", "www.contoso.com"];
    openssl(authority, pair, &[&args[..], &["leaf.pem"]].concat()).status.success()
}

#[test]
fn every_kind_of_leaf_verifies_and_has_its_key() {
    let authority = Authority::new();
    for key in KINDS {
        let hosts = &["contoso.com", "www.contoso.com"];
        let pair = authority.issue(Order { hosts, key, ..Order::default() });
        assert!(verifies(&authority, &pair), "{key:?}");
        let of_leaf = openssl(&authority, &pair, &["x509", "-in", "leaf.pem", "-noout", "-pubkey"]).stdout;
        let of_key = openssl(&authority, &pair, &["pkey", "-in", "key.pem", "-pubout"]).stdout;
        assert!(!of_key.is_empty() && of_leaf == of_key, "{key:?}");
        let print = ["x509", "-in", "leaf.pem", "-noout", "-fingerprint", "-sha256", "-serial"];
        let text = String::from_utf8(openssl(&authority, &pair, &print).stdout).expect("text");
        let text = text.replace(':', "").to_lowercase();
        assert!(text.contains(&pair.fingerprint) && text.contains(&pair.serial), "{text} {pair:?}");
        assert_eq!(pair.fullchain_pem, format!("{}{}", pair.leaf_pem, authority.intermediate_pem()));
        assert_eq!(pair.hosts, hosts);
    }
}

#[test]
fn every_leaf_is_another_and_a_key_is_kept_only_when_asked() {
    let authority = Authority::new();
    for key in KINDS {
        let first = authority.issue(Order { key, ..Order::default() });
        let second = authority.issue(Order { key, ..Order::default() });
        let kept = authority.issue(Order { reuse_key: Some(&first), ..Order::default() });
        assert_ne!(first.key_pem, second.key_pem, "{key:?}");
        assert_eq!(first.key_pem, kept.key_pem, "{key:?}");
        assert_ne!(first.fingerprint, kept.fingerprint, "{key:?}");
    }
}

#[test]
fn dates_are_as_ordered() {
    let authority = Authority::new();
    let hosts = &["www.contoso.com"];
    assert!(verifies(&authority, &authority.issue(Order { hosts, ..Order::default() })));
    for pair in [authority.expired(hosts), authority.not_yet_valid(hosts)] {
        assert!(!verifies(&authority, &pair));
    }
    let valid = Validity { to: SignedDuration::from_secs(90), ..Validity::FRESH };
    let pair = authority.issue(Order { hosts, valid, ..Order::default() });
    let left = pair.not_after.duration_since(Timestamp::now()).as_secs();
    assert!((0..=90).contains(&left), "{left} seconds");
    for (seconds, ends) in [("0", false), ("100", true)] {
        let check = ["x509", "-in", "leaf.pem", "-noout", "-checkend", seconds];
        assert_eq!(!openssl(&authority, &pair, &check).status.success(), ends, "{seconds}");
    }
}

#[test]
fn a_self_signed_leaf_has_no_chain() {
    let pair = ca::self_signed(Order { hosts: &["localhost", "127.0.0.1"], ..Order::default() });
    assert!(pair.chain_pem.is_empty() && pair.fullchain_pem == pair.leaf_pem);
}

#[test]
fn keys_in_every_form_are_the_same_key() {
    let authority = Authority::new();
    let public = |key: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("key"), key).expect("a file");
        let args = ["pkey", "-in", "key", "-pubout", "-passin", "pass:secret"];
        Command::new("openssl").args(args).current_dir(folder.path()).output().expect("openssl").stdout
    };
    let cases = [
        (KeyType::Rsa2048, KeyForm::Traditional, "-----BEGIN RSA PRIVATE KEY-----"),
        (KeyType::EcdsaP256, KeyForm::Traditional, "-----BEGIN EC PRIVATE KEY-----"),
        (KeyType::EcdsaP384, KeyForm::EcWithParameters, "-----BEGIN EC PARAMETERS-----"),
        (KeyType::EcdsaP256, KeyForm::Encrypted("secret"), "-----BEGIN ENCRYPTED PRIVATE KEY-----"),
        (KeyType::Rsa2048, KeyForm::Pkcs8, "-----BEGIN PRIVATE KEY-----"),
    ];
    for (key, form, begin) in cases {
        let pair = authority.issue(Order { key, ..Order::default() });
        let text = pair.key_as(form);
        assert!(text.starts_with(begin), "{key:?} {form:?}: {}", text.lines().next().unwrap_or_default());
        assert_eq!(public(&text), public(&pair.key_pem), "{key:?} {form:?}");
    }
}

#[test]
fn a_pfx_holds_leaf_chain_and_key() {
    let authority = Authority::new();
    let pair = authority.issue(Order::default());
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("pfx"), pair.pfx("secret")).expect("a file");
    let args = ["pkcs12", "-in", "pfx", "-nodes", "-passin", "pass:secret"];
    let output = Command::new("openssl").args(args).current_dir(folder.path()).output().expect("openssl");
    let text = String::from_utf8(output.stdout).expect("PEM");
    let body = |pem: &str| pem.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    for part in [&pair.leaf_pem, &pair.chain_pem] {
        assert!(text.contains(&body(part)));
    }
    assert!(text.contains("BEGIN PRIVATE KEY"));
}
