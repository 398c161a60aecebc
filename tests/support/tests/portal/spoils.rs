//! Each way a download can be wrong.

use std::process::Command;
use std::time::{Duration, Instant};

use certhook_test_support::ca::Pair;
use certhook_test_support::portal::{FileKind, How, Portal, Record, Spoil};

use crate::client::*;

fn issued() -> (Portal, Pair) {
    let portal = Portal::start();
    portal.add_certificate(Record::new(1, "a.test").issued());
    portal.add_certificate(Record::new(2, "b.test").issued());
    let pair = portal.issued(1).unwrap();
    (portal, pair)
}

fn get(portal: &Portal, kind: FileKind) -> Fetched {
    fetch(&portal.link(1, kind).unwrap())
}

#[test]
fn answers_that_are_not_the_file() {
    let (portal, pair) = issued();
    let whole = pair.fullchain_pem.len();
    let redirect = |to: &str| How::Redirect { code: 302, to: to.to_owned() };
    for (how, status, body, announced) in [
        (How::Html, 200, "<!DOCTYPE html>", None),
        (How::CutShort, 200, &pair.fullchain_pem[..whole / 2], Some(whole)),
        (How::CutClean, 200, &pair.fullchain_pem[..whole / 2], Some(whole / 2)),
        (How::Empty, 200, "", Some(0)),
        (How::LinkExpired, 403, "\u{feff}<?xml", None),
        (How::Status(404), 404, "\u{feff}<?xml", None),
        (How::Status(500), 500, "\u{feff}<?xml", None),
        (redirect("http://127.0.0.1:1/x"), 302, "", Some(0)),
        (redirect("file:///etc/passwd"), 302, "", Some(0)),
    ] {
        portal.spoil(Spoil::new(how.clone()).of(1).file(FileKind::FullChain));
        let got = get(&portal, FileKind::FullChain);
        assert_eq!(got.status(), status, "{how}");
        assert!(got.text().starts_with(body), "{how}: {got:?}");
        if let Some(announced) = announced {
            assert_eq!(got.announced(), Some(announced as u64), "{how}");
            assert_eq!(got.body.len(), body.len(), "{how}");
        }
        if let How::Redirect { to, .. } = &how {
            assert_eq!(got.header("location"), Some(to.as_str()));
        }
        let last = portal.downloads().pop().unwrap();
        assert_eq!((last.spoiled, last.status), (Some(how), Some(status)));
        assert_eq!(get(&portal, FileKind::FullChain).text(), pair.fullchain_pem, "once");
    }
    portal.spoil(Spoil::new(How::CutBefore));
    assert_eq!(get(&portal, FileKind::Key).head, "");
    assert_eq!(portal.downloads().pop().unwrap().status, None);
}

#[test]
fn answers_that_are_too_large() {
    let (portal, pair) = issued();
    let huge = |bytes, announced| portal.spoil(Spoil::new(How::Huge { bytes, announced }));
    huge(100_000, true);
    let got = get(&portal, FileKind::Key);
    assert_eq!((got.announced(), got.body.len()), (Some(100_000), 100_000));
    assert!(got.text().starts_with(&pair.key_pem), "it begins well");
    huge(100_000, false);
    let got = get(&portal, FileKind::Key);
    assert_eq!((got.announced(), got.body.len()), (None, 100_000));
    huge(u64::MAX, false);
    let link = portal.link(1, FileKind::Key).unwrap();
    assert_eq!(fetch_up_to(&link, "", 5 << 20).status(), 200);
}

/// The certificate or key that is served, for each file it is in.
#[test]
fn files_of_another_certificate() {
    let (portal, pair) = issued();
    let text = |kind| get(&portal, kind).text().to_owned();
    portal.spoil(Spoil::new(How::OtherCertificate).of(1).until_cleared());
    let (leaf, key) = (text(FileKind::Leaf), text(FileKind::Key));
    assert!(leaf != pair.leaf_pem && key != pair.key_pem);
    assert_eq!(text(FileKind::FullChain), format!("{leaf}{}", pair.chain_pem));
    assert_eq!(text(FileKind::Pem), format!("{leaf}{}{key}", pair.chain_pem), "whole, but another's");
    assert!(get(&portal, FileKind::Pfx).body.len() > 500);
    assert_eq!(fetch(&portal.link(2, FileKind::Key).unwrap()).text(), portal.issued(2).unwrap().key_pem);
    portal.clear_spoils();
    assert_eq!((text(FileKind::Leaf), portal.spoils()), (pair.leaf_pem.clone(), Vec::new()));

    portal.spoil(Spoil::new(How::OtherLeaf).times(3));
    assert_eq!((text(FileKind::Crt), text(FileKind::Key)), (leaf, pair.key_pem.clone()));
    assert_ne!(get(&portal, FileKind::Cer).body, pair.leaf_der);
    assert_eq!(get(&portal, FileKind::Cer).body, pair.leaf_der, "three times");

    portal.spoil(Spoil::new(How::OtherKey).times(2));
    assert_eq!((text(FileKind::Key), text(FileKind::Leaf)), (key, pair.leaf_pem.clone()));

    portal.spoil(Spoil::new(How::ExpiredLeaf).file(FileKind::FullChain));
    assert_eq!(text(FileKind::Leaf), pair.leaf_pem, "not meant for the leaf");
    let expired = text(FileKind::FullChain);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("expired.pem");
    std::fs::write(&path, &expired).unwrap();
    let check = |args: &[&str]| {
        let mut check = Command::new("openssl");
        check.args(["x509", "-noout", "-in"]).arg(&path).args(args);
        check.output().unwrap()
    };
    assert!(!check(&["-checkend", "0"]).status.success(), "it has expired");
    let names = String::from_utf8(check(&["-ext", "subjectAltName"]).stdout).unwrap();
    assert!(names.contains("DNS:a.test"), "{names}");
    std::fs::write(&path, &pair.leaf_pem).unwrap();
    let public = check(&["-pubkey"]).stdout;
    std::fs::write(&path, &expired).unwrap();
    assert_eq!(check(&["-pubkey"]).stdout, public, "the same key");
}

#[test]
fn answers_that_are_slow_packed_or_never_come() {
    let (portal, pair) = issued();
    portal.spoil(Spoil::new(How::Slow { per_byte_ms: 1 }));
    let start = Instant::now();
    assert_eq!(get(&portal, FileKind::Key).text(), pair.key_pem);
    assert!(start.elapsed() >= Duration::from_millis(pair.key_pem.len() as u64));

    portal.spoil(Spoil::new(How::Gzip));
    let got = get(&portal, FileKind::Key);
    assert_eq!(got.header("content-encoding"), Some("gzip"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.gz");
    std::fs::write(&path, &got.body).unwrap();
    let unpacked = Command::new("gzip").arg("-dc").arg(&path).output().unwrap();
    assert!(unpacked.status.success(), "{unpacked:?}");
    assert_eq!(String::from_utf8(unpacked.stdout).unwrap(), pair.key_pem);

    portal.spoil(Spoil::new(How::Hang));
    let mut client = Client::to(portal.download_address()).unwrap();
    let link = portal.link(1, FileKind::Key).unwrap();
    client.send("GET", &link[portal.download_endpoint().len()..], "", "").unwrap();
    portal.wait_for_downloads(|all| all.len() == 3, SOON).unwrap();
    portal.stop_downloads();
    assert!(client.answer().is_none());
}

#[test]
fn spoils_can_be_written_as_json() {
    for (text, wanted) in [
        (r#"{"how":"html"}"#, Spoil::new(How::Html)),
        (
            r#"{"certificate":158,"file":"full_chain","times":null,"how":{"status":500}}"#,
            Spoil::new(How::Status(500)).of(158).file(FileKind::FullChain).until_cleared(),
        ),
    ] {
        assert_eq!(serde_json::from_str::<Spoil>(text).unwrap(), wanted);
    }
    assert!(serde_json::from_str::<Spoil>(r#"{"how":"explode"}"#).is_err());
}
