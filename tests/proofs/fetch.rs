//! `list` and `fetch` against a portal: few requests, no token elsewhere, old files untouched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use certhook_test_support::portal::{FileKind, How, Portal, Record, Spoil, What};
use certhook_test_support::writers::Writer;
use serde_json::Value;

use crate::host::{Extra, Host};

/// Three certificates that the portal issues, of which a host has none, and a site that it does not issue.
fn host() -> Host {
    let host = Host::new(&[Writer::Lego]);
    for (id, name) in [(1, "a.test"), (2, "b.test, www.b.test"), (3, "*.c.test")] {
        host.portal.add_certificate(Record::new(id, name).issued());
    }
    host
}

fn into(host: &Host) -> PathBuf {
    host.path().join("fetched")
}

fn fetch(host: &Host, more: &[&str]) -> (Value, i32) {
    let folder = into(host).display().to_string();
    host.json(&[&["fetch", "--json", "--into", &folder], more].concat())
}

fn outcomes(rows: &Value) -> Vec<(i64, String)> {
    let all = rows.as_array().unwrap_or_else(|| panic!("{rows}")).iter();
    all.map(|row| (row["id"].as_i64().unwrap(), row["outcome"].as_str().unwrap().to_owned())).collect()
}

fn told(expected: &[(i64, &str)]) -> Vec<(i64, String)> {
    expected.iter().map(|(id, outcome)| (*id, (*outcome).to_owned())).collect()
}

fn lists(portal: &Portal) -> usize {
    portal.journal().iter().filter(|entry| entry.what == What::List).count()
}

fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        for file in std::fs::read_dir(entry.path()).into_iter().flatten().flatten() {
            found.insert(file.path(), std::fs::read(file.path()).unwrap());
        }
    }
    found
}

#[test]
fn what_the_portal_has_is_fetched_once_and_no_token_leaves_for_storage() {
    let host = host();
    let (rows, code) = fetch(&host, &[]);
    assert_eq!((outcomes(&rows), code), (told(&[(1, "fetched"), (2, "fetched"), (3, "fetched")]), 0));
    for (id, folder) in [(1, "a-test"), (2, "b-test-san-www"), (3, "wcard-c-test")] {
        let pair = host.portal.issued(id).unwrap();
        let read = |file| std::fs::read_to_string(into(&host).join(folder).join(file)).unwrap();
        assert_eq!(read("privateKey.key"), pair.key_pem);
        assert_eq!(read("fullChainCertificate.crt"), pair.fullchain_pem);
        assert_eq!((read("primaryCertificate.crt"), read("caBundle.crt")), (pair.leaf_pem, pair.chain_pem));
    }
    assert_eq!(lists(&host.portal), 1);
    let downloads = host.portal.downloads();
    assert_eq!(downloads.len(), 3 * 4, "{downloads:?}");
    let token = host.portal.tokens_issued()[0].clone();
    for download in &downloads {
        let carried = download.carries(&token) || download.header("authorization").is_some();
        assert!(!carried, "{download:?}");
    }
    // What is whole is not downloaded again; what was renewed is.
    let before = snapshot(&into(&host));
    let (rows, code) = fetch(&host, &[]);
    assert_eq!((outcomes(&rows), code), (told(&[(1, "same"), (2, "same"), (3, "same")]), 0));
    assert_eq!((host.portal.downloads().len(), snapshot(&into(&host))), (12, before));
    host.portal.renew(2, "2027-06-01T00:00:00".parse().unwrap());
    let (rows, _) = fetch(&host, &[]);
    assert_eq!(outcomes(&rows), told(&[(1, "same"), (2, "fetched"), (3, "same")]));
    assert_eq!(rows[1]["fingerprint"], host.portal.issued(2).unwrap().fingerprint);
    assert_eq!((host.portal.downloads().len(), lists(&host.portal)), (16, 3));
}

#[test]
fn what_is_spoiled_is_refused_and_the_old_files_stay() {
    let host = host();
    assert_eq!(fetch(&host, &["a.test"]).1, 0);
    host.portal.renew(1, "2027-06-01T00:00:00".parse().unwrap());
    let before = snapshot(&into(&host));
    let far = How::Redirect { code: 302, to: "http://192.0.2.1/x".into() };
    let home = How::Redirect { code: 307, to: host.portal.endpoint() };
    for (how, file, code) in [
        (How::Html, FileKind::Key, "html"),
        (How::CutShort, FileKind::FullChain, "download_unreachable"),
        (How::CutClean, FileKind::FullChain, "truncated"),
        (How::Huge { bytes: 2 << 20, announced: true }, FileKind::FullChain, "download_too_large"),
        (How::Huge { bytes: u64::MAX, announced: false }, FileKind::Key, "download_too_large"),
        (How::OtherLeaf, FileKind::FullChain, "key_mismatch"),
        (How::OtherKey, FileKind::Key, "key_mismatch"),
        (How::ExpiredLeaf, FileKind::FullChain, "expired"),
        (How::Empty, FileKind::Leaf, "empty"),
        (How::LinkExpired, FileKind::Leaf, "download_refused"),
        (How::Status(500), FileKind::Chain, "download_refused"),
        (far, FileKind::FullChain, "bad_redirect"),
        (How::Gzip, FileKind::FullChain, "download_refused"),
        (How::CutBefore, FileKind::Key, "download_unreachable"),
        // The portal itself is asked without a token, and has no such file.
        (home, FileKind::Key, "download_refused"),
    ] {
        host.portal.spoil(Spoil::new(how.clone()).file(file).of(1));
        let (rows, exit) = fetch(&host, &["a.test"]);
        assert_eq!((&rows[0]["problem"]["code"], exit), (&Value::from(code), 1), "{how:?}: {rows}");
        let said = rows[0]["problem"]["message"].as_str().unwrap();
        assert!(said.contains("a.test") && !said.contains("sig="), "{said}");
        assert_eq!(snapshot(&into(&host)), before, "{how:?}");
    }
    // All four files are of another certificate.
    host.portal.spoil(Spoil::new(How::OtherCertificate).until_cleared());
    let (rows, _) = fetch(&host, &["a.test"]);
    assert_eq!(rows[0]["problem"]["code"], "other_certificate", "{rows}");
    assert_eq!(snapshot(&into(&host)), before);
    host.portal.clear_spoils();
    assert_eq!(outcomes(&fetch(&host, &["a.test"]).0), told(&[(1, "fetched")]));
    let token = host.portal.tokens_issued().concat();
    assert!(host.portal.downloads().iter().all(|download| !download.carries(&token)));
}

#[test]
fn names_lead_nowhere_else_and_the_others_are_fetched() {
    let host = host();
    for (id, name) in [(4, "../../etc/cron.d/x"), (5, "x\\y"), (6, "b.test,ww2.b.test"), (7, "A.test,c.test")]
    {
        host.portal.add_certificate(Record::new(id, name).for_hosts(&["x.test"]).issued());
    }
    host.portal.add_certificate(Record::new(8, "b.test,mail.b.test").issued());
    let (rows, code) = fetch(&host, &[]);
    let problem = |index: usize| rows[index]["problem"]["code"].as_str().unwrap_or("-").to_owned();
    let codes: Vec<String> = (0..8).map(problem).collect();
    let expected =
        ["-", "-", "-", "bad_name", "bad_name", "other_certificate", "other_certificate", "same_folder"];
    assert_eq!((codes, code), (expected.map(str::to_owned).to_vec(), 1), "{rows}");
    let mut folders: Vec<_> =
        std::fs::read_dir(into(&host)).unwrap().flatten().map(|entry| entry.file_name()).collect();
    folders.sort();
    assert_eq!(folders, ["a-test", "b-test-san-www", "wcard-c-test"]);
    // An unknown name is told together with the known ones, and nothing is fetched.
    let count = host.portal.downloads().len();
    let output = host.certhook(&["fetch", "--into", "/nowhere", "unknown.test"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("unknown.test") && said.contains("a.test; b.test, www.b.test"), "{said}");
    assert_eq!(host.portal.downloads().len(), count);
}

#[test]
fn a_pfx_comes_with_the_portal_s_password() {
    let host = host();
    let (rows, code) = fetch(&host, &["--format", "all", "b.test,www.b.test"]);
    assert_eq!((outcomes(&rows), code), (told(&[(2, "fetched")]), 0), "{rows}");
    let folder = into(&host).join("b-test-san-www");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 5);
    let password = host.portal.pfx_password(2).unwrap();
    assert!(!rows.to_string().contains(&password));
    let (rows, _) = fetch(&host, &["--format", "pfx"]);
    assert_eq!(outcomes(&rows), told(&[(1, "fetched"), (2, "same"), (3, "fetched")]));
    assert_eq!(std::fs::read_dir(into(&host).join("a-test")).unwrap().count(), 1);
}

#[test]
fn people_see_a_line_for_each_and_no_proxy_sees_anything() {
    let mut host = host();
    // Nobody listens there: loopback is asked directly.
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy"] {
        host.set_env(name, "http://127.0.0.1:9");
    }
    host.portal.spoil(Spoil::new(How::Html).of(2));
    let folder = into(&host).display().to_string();
    let output = host.certhook(&["fetch", "--into", &folder]);
    let (out, log) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{out} {log}");
    assert!(
        out.contains("  a.test: fetched into ") && out.contains("! b.test, www.b.test: failed: "),
        "{out}"
    );
    assert!(out.ends_with("2 of 3 certificates fetched\n") && out.contains("[html]"), "{out}");
    // No terminal, no progress.
    assert!(!log.contains("1 of 3") && !out.contains('\r'), "{log}");
}

#[test]
fn a_spent_week_is_told_and_not_overspent() {
    let host =
        Host::with(&[Writer::Lego], Extra { portal: "requests_per_week = 5".into(), ..Extra::default() });
    host.portal.add_certificate(Record::new(1, "a.test").issued());
    // The ledger is made by a first pass; four of five may be spent on looking around.
    assert!(host.certhook(&["sync"]).status.success());
    let used = lists(&host.portal);
    for _ in used..4 {
        assert_eq!(fetch(&host, &[]).1, 0);
    }
    let output = host.certhook(&["list"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("are spent until 20"), "{said}");
    assert_eq!(lists(&host.portal), 4);
}

#[test]
fn the_list_says_what_is_here() {
    let host = Host::new(&[Writer::Lego, Writer::Lego, Writer::Lego]);
    // One as the portal has it, one of another end, one that the portal does not know.
    let ends = |site: usize| {
        let end = host.sites[site].pair.not_after;
        end.strftime("%Y-%m-%dT%H:%M:%S").to_string().parse().unwrap()
    };
    let record = |index: usize| host.portal.certificate(host.sites[index].id).unwrap();
    host.portal.set_certificate(Record { expiry_date: ends(0), ..record(0) });
    host.portal.set_certificate(record(1).expires("2027-12-31T00:00:00".parse().unwrap()));
    host.portal.remove_certificate(host.sites[2].id);
    host.portal.add_certificate(Record::new(9, "elsewhere.test").manual());
    assert!(host.certhook(&["sync"]).status.success());
    let before = lists(&host.portal);
    let (rows, code) = host.json(&["list", "--json"]);
    assert_eq!((lists(&host.portal), code), (before + 1, 0));
    let mut found: Vec<_> = rows.as_array().unwrap().iter().collect();
    found.sort_by_key(|row| std::cmp::Reverse(row["id"].as_i64()));
    let told: Vec<_> = found.iter().map(|row| (row["id"].as_i64().unwrap(), row["here"].as_str())).collect();
    assert_eq!(told, [(159, Some("other")), (158, Some("here")), (9, Some("not_here"))]);
    let here = found[1];
    assert_eq!(here["sites"][0], host.sites[0].layout.certificate.display().to_string());
    assert_eq!((&here["name"], &here["renewal"]), (&"site0.test".into(), &"Automatic".into()));
    assert_eq!(here["days_left"], 89);
    assert_eq!(here["remote_create_date"], "2026-01-01T00:00:00");
    assert_eq!((&found[2]["renewal"], found[2]["sites"].as_array().unwrap().len()), (&"Manual".into(), 0));
    for field in ["target", "issue_date", "expiry_date"] {
        assert!(here[field].is_string(), "{field}: {here}");
    }
    let text = String::from_utf8(host.certhook(&["list"]).stdout).unwrap();
    assert!(
        text.starts_with("ID") && text.contains("other certificate") && text.contains("not here"),
        "{text}"
    );
    // The agent has it too: nothing asks again.
    host.wait_until("the kept list", || lists(&host.portal) == before + 2);
}
