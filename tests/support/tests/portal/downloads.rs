//! Certificates of the portal's own, and their files.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use certhook_test_support::ca::{Authority, KeyType, Order};
use certhook_test_support::portal::{FileKind, Portal, Record};
use serde_json::json;

use crate::client::*;

fn issued() -> Portal {
    let portal = Portal::start();
    portal.add_certificate(Record::new(158, "contoso.com, *.contoso.com").issued().expires(in_days(20)));
    portal
}

#[test]
fn a_list_links_to_files_that_belong_together() {
    let portal = issued();
    let headers = authorized(&portal);
    let pair = portal.issued(158).unwrap();
    assert_eq!(pair.hosts, ["contoso.com", "*.contoso.com"]);
    let listed = list(&portal, &headers).unwrap().json()[0].clone();
    let date = |at: jiff::Timestamp| format!("{}.0000000", at.strftime("%Y-%m-%dT%H:%M:%S"));
    assert_eq!(listed["issueDate"], date(pair.not_before));
    assert_eq!(listed["expiryDate"], date(pair.not_after));
    let password = portal.pfx_password(158).unwrap();
    assert_eq!(listed["pfxpwd"], password);
    for (kind, wanted) in [
        (FileKind::Pem, format!("{}{}", pair.fullchain_pem, pair.key_pem).as_bytes()),
        (FileKind::Crt, pair.leaf_pem.as_bytes()),
        (FileKind::Cer, &pair.leaf_der),
        (FileKind::Key, pair.key_pem.as_bytes()),
        (FileKind::Leaf, pair.leaf_pem.as_bytes()),
        (FileKind::Chain, pair.chain_pem.as_bytes()),
        (FileKind::FullChain, pair.fullchain_pem.as_bytes()),
    ] {
        let got = fetch(listed[kind.field()].as_str().unwrap());
        assert_eq!((got.status(), got.body.as_slice()), (200, wanted), "{kind:?}");
        assert_eq!(got.announced(), Some(wanted.len() as u64));
    }
    let folder = tempfile::tempdir().unwrap();
    let pfx = folder.path().join("certificate.pfx");
    std::fs::write(&pfx, fetch(listed["pfxUri"].as_str().unwrap()).body).unwrap();
    let mut read = Command::new("openssl");
    let read = read.args(["pkcs12", "-nodes", "-passin", &format!("pass:{password}"), "-in"]).arg(&pfx);
    let read = read.output().unwrap();
    let text = String::from_utf8(read.stdout).unwrap();
    assert!(text.contains(&pair.leaf_pem) && text.contains(pair.key_pem.trim()), "{text}");

    let one =
        Client::of(&portal).ask("GET", &format!("{REPORT}?name=contoso.com,+*.contoso.com"), &headers, "");
    assert!(fetch(one.unwrap().json()["certificateUri"].as_str().unwrap()).status() == 200);
    assert_eq!(portal.requests_counted(), 2, "downloads are not the portal's");
    assert_eq!(portal.journal().len(), 3);
}

#[test]
fn an_authority_and_a_pair_can_be_given() {
    let authority = Arc::new(Authority::new());
    let portal = Portal::builder().authority(Arc::clone(&authority));
    let rsa = Record::new(1, "rsa.test").issued_with(KeyType::Rsa2048);
    let portal = portal.certificate(rsa).certificate(Record::new(2, "b.test")).start().unwrap();
    let pair = portal.issued(1).unwrap();
    assert_eq!(pair.chain_pem, authority.intermediate_pem());
    assert!(Authority::intermediate_pem(&portal.authority()) == pair.chain_pem);
    assert!(pair.key_pem.len() > 1000, "an RSA key");

    // What does not change the certificate keeps it; another expiry makes a new one.
    let installed = Record { remote_create_date: Some("x".to_owned()), ..portal.certificate(1).unwrap() };
    portal.set_certificate(installed);
    assert_eq!(portal.issued(1), Some(pair.clone()));
    portal.renew(1, in_days(80));
    assert_ne!(portal.issued(1).unwrap().fingerprint, pair.fingerprint);

    assert!(portal.issued(2).is_none() && portal.link(2, FileKind::Key).is_none());
    let mine = authority.issue(Order { hosts: &["b.test"], ..Order::default() });
    portal.issue(2, mine.clone());
    assert_eq!(portal.issued(2), Some(mine.clone()));
    assert_eq!(fetch(&portal.link(2, FileKind::Key).unwrap()).text(), mine.key_pem);
    let record = portal.certificate(2).unwrap();
    let date = mine.not_after.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    assert_eq!(record.expiry_date.to_string(), date);
    portal.add_certificate(Record::new(3, "c.test").issued().expires(in_days(-1)));
    let expired = portal.issued(3).unwrap();
    assert!(expired.not_before < expired.not_after && expired.not_after < jiff::Timestamp::now());
    portal.remove_certificate(2);
    assert!(portal.issued(2).is_none());
}

#[test]
fn without_files_the_links_are_empty() {
    let portal = Portal::start();
    portal.add_certificate(Record::new(1, "a.test"));
    portal.add_certificate(Record::new(2, "b.test").issued().key_vault());
    let listed = list(&portal, &authorized(&portal)).unwrap().json();
    for one in listed.as_array().unwrap() {
        assert!(FileKind::ALL.into_iter().all(|kind| one[kind.field()] == json!("")), "{one}");
        assert_eq!(one.get("pfxpwd"), None);
    }
    assert!(portal.issued(2).is_some());
    assert_eq!(listed[1]["target"], "Azure Key Vault");
}

#[test]
fn a_link_is_good_as_it_is_and_for_its_time() {
    let portal = issued();
    let link = portal.link(158, FileKind::Key).unwrap();
    let (bare, query) = link.split_once('?').unwrap();
    for (wrong, status, said) in [
        (bare.to_owned(), 404, "ResourceNotFound"),
        (link.replace("sig=", "sig=A"), 403, "Signature did not match"),
        (link.replace("&se=2", "&se=3"), 403, "Signature did not match"),
        (link.replace("&sp=r", "&sp=rw"), 403, "Signature did not match"),
        (link.replace("privateKey.key", "caBundle.crt"), 403, "Signature did not match"),
        (format!("{}/other?{query}", portal.download_endpoint()), 403, "Signature did not match"),
        (format!("{link}&sig=x"), 400, "twice"),
    ] {
        let got = fetch(&wrong);
        assert_eq!(got.status(), status, "{wrong}");
        assert!(got.text().contains(said) && got.text().contains("<Error><Code>"), "{}", got.text());
    }
    assert_eq!(fetch(&link).status(), 200);
    portal.advance(Duration::from_secs(3601));
    let expired = fetch(&link);
    assert_eq!((expired.status(), expired.header("x-ms-error-code")), (403, Some("AuthenticationFailed")));
    assert_eq!(expired.header("content-type"), Some("application/xml"));
    assert_eq!(fetch(&portal.link(158, FileKind::Key).unwrap()).status(), 200, "a new list has new links");

    let unsigned = Portal::builder().signed_links(false).certificate(Record::new(1, "a.test").issued());
    let unsigned = unsigned.start().unwrap();
    let link = unsigned.link(1, FileKind::Leaf).unwrap();
    assert!(!link.contains('?'), "{link}");
    assert_eq!(fetch(&link).status(), 200);
    assert_eq!(fetch(&format!("{link}x")).status(), 404);
}

#[test]
fn its_journal_has_everything() {
    let portal = issued();
    let link = portal.link(158, FileKind::FullChain).unwrap();
    let headers = authorized(&portal);
    let token = portal.tokens_issued().remove(0);
    fetch(&link);
    let cookie = format!("Cookie: a={token}\r\n");
    assert_eq!(fetch_up_to(&link, &cookie, 1 << 20).status(), 200);
    assert_eq!(fetch_up_to(&link, &headers, 1 << 20).status(), 401, "it does not know such tokens");
    fetch(&format!("{link}&x={}", token.replace('.', "%2E")));
    let mut client = Client::to(portal.download_address()).unwrap();
    assert_eq!(client.ask("POST", "/", "", &token).unwrap().status, 405);
    let downloads = portal.downloads();
    let carried: Vec<bool> = downloads.iter().map(|one| one.carries(&token)).collect();
    assert_eq!(carried, [false, true, true, true, true]);
    assert_eq!(downloads[0].file, Some(FileKind::FullChain));
    assert_eq!((downloads[0].certificate, downloads[0].status), (Some(158), Some(200)));
    assert_eq!(downloads[0].header("connection"), Some("close"));
    assert_eq!(downloads[2].header("authorization"), Some(format!("Bearer {token}").as_str()));
    assert!(downloads.iter().enumerate().all(|(at, one)| one.number == at + 1));
    let line = downloads[0].to_string();
    assert!(line.contains("fullChainCertificate.crt?") && line.ends_with("sig=…  200"), "{line}");
    assert!(portal.journal().iter().all(|entry| !entry.path.contains("/certificates/")));
    portal.wait_for_downloads(|all| all.len() == 5, SOON).unwrap();

    portal.stop_downloads();
    assert!(Client::to(portal.download_address()).is_err());
    assert_eq!(list(&portal, &headers).unwrap().status, 200, "the portal stays");
    portal.restart_downloads();
    portal.stop();
    assert_eq!(fetch(&link).status(), 200);
}
