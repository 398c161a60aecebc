//! The whole loop: schedule, wait, list, fetch, reload, verify, report; each once, whenever the process ends.

use std::path::PathBuf;
use std::time::Duration;

use certhook_test_support::portal::{Action, FileKind, How, Record, Spoil, Trouble, What};
use certhook_test_support::wire;
use jiff::SignedDuration;
use serde_json::Value;

use crate::host::{Extra, Host, states};

const FIRST: i64 = 300;

fn name(site: usize) -> String {
    format!("loop{site}.test")
}

fn id(site: usize) -> i64 {
    FIRST + i64::try_from(site).unwrap()
}

fn folder(host: &Host, site: usize) -> PathBuf {
    host.path().join(format!("rcl/loop{site}-test"))
}

/// A host whose certificates are the portal's own and end in ten days, in the layout of the portal's own client.
fn looping(count: usize) -> Host {
    let extra = Extra {
        discovered: true,
        portal: "[renewal]\nevery = \"1h\"\nwait = \"4s\"\nfetch_into = \"ROOT/rcl\"".into(),
        portal_built: Some(|builder| builder.renewal_takes(Duration::from_millis(100))),
        ..Extra::default()
    };
    let host = Host::with(&[], extra);
    for site in 0..count {
        host.add_portals_own(id(site), &name(site), SignedDuration::from_hours(240));
    }
    host.nginx.hup();
    host.nginx.wait_idle();
    host
}

fn is_served(host: &Host, site: usize) -> bool {
    let served = wire::served(&host.nginx.endpoint(), &name(site)).unwrap().fingerprint;
    served == host.portal.issued(id(site)).unwrap().fingerprint
}

fn wait_until_reported(host: &Host, count: usize) -> Value {
    host.wait_for("all reported", |status| {
        let sites = status["sites"].as_array().unwrap();
        let delivered = sites.iter().filter(|site| site["report"]["state"] == "delivered").count();
        delivered == count && states(status).iter().all(|state| state == "current")
    })
}

fn asked(host: &Host, what: What) -> usize {
    host.portal.journal().iter().filter(|entry| entry.what == what && entry.counted.is_some()).count()
}

/// How many connections to where the files are this network namespace's processes have.
fn open_to_downloads(host: &Host) -> usize {
    let port = format!(":{:04X}", host.portal.download_address().port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    // The third column is the other side's address, the fourth the state.
    let is_one = |line: &&str| {
        let mut columns = line.split_whitespace().skip(2);
        columns.next().is_some_and(|address| address.ends_with(&port)) && columns.next() == Some("01")
    };
    table.lines().filter(is_one).count()
}

/// No credential of ours goes where the files are.
fn assert_no_secret_left_the_portal(host: &Host) {
    let downloads = host.portal.downloads();
    assert!(!downloads.is_empty());
    let tokens = host.portal.tokens_issued();
    for download in downloads {
        let text = format!("{download:?}");
        assert!(
            !download.headers.iter().any(|(name, _)| name == "authorization" || name == "cookie"),
            "{text}"
        );
        assert!(!tokens.iter().any(|token| text.contains(token.as_str())), "{text}");
        assert!(!text.contains(&host.portal.client_secret()), "{text}");
    }
}

#[test]
fn the_loop_closes_with_few_requests() {
    let mut host = looping(3);
    host.start_agent();
    let status = wait_until_reported(&host, 3);
    for site in 0..3 {
        assert!(is_served(&host, site), "{status}");
    }
    host.wait_for("the renewal is over", |status| status["renewal"]["state"] == "done");
    // Until the next one they would only wake it.
    host.wait_until("no connection is kept", || open_to_downloads(&host) == 0);
    assert_eq!((asked(&host, What::Renew), asked(&host, What::Report)), (1, 3));
    // One at the first start, and one look.
    assert!(asked(&host, What::List) <= 2, "{:?}", host.portal.journal());
    assert!(host.portal.requests_counted() <= 6);
    let mut told: Vec<i64> = host.portal.reports().iter().map(|report| report.id).collect();
    told.sort_unstable();
    assert_eq!(told, [300, 301, 302]);
    assert_no_secret_left_the_portal(&host);
    let tokens = host.portal.journal().iter().filter(|entry| entry.what == What::Token).count();
    assert_eq!(tokens, 1, "whoever reports and whoever renews share one");
    let (history, _) = host.json(&["history", "--json", "--site", "loop1.test"]);
    let events: Vec<&str> =
        history.as_array().unwrap().iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    let expected =
        ["adopted", "renewal_scheduled", "renewed", "fetched", "whole", "reloaded", "served", "reported"];
    let mut sorted = events.clone();
    sorted.sort_unstable();
    let mut wanted = expected.to_vec();
    wanted.sort_unstable();
    assert_eq!(sorted, wanted, "{events:?}");
    let mode = |path: PathBuf| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(folder(&host, 1).join("privateKey.key")), 0o600);
    host.stop_agent();
    // A restart renews nothing again.
    host.start_agent();
    host.wait_for("at rest", |status| states(status) == ["current"; 3]);
    assert_eq!(host.certhook(&["sync"]).status.code(), Some(0));
    assert_eq!((asked(&host, What::Renew), asked(&host, What::Report)), (1, 3));
    host.stop_agent();
}

#[test]
fn killed_at_any_step_it_goes_on_and_does_nothing_twice() {
    for point in ["renewal-noted", "renewal-answered", "renewal-looked", "renewal-fetched"] {
        let mut host = looping(2);
        host.set_env("CERTHOOK_CRASH_AT", point);
        host.start_agent();
        host.wait_for_agents_end();
        host.clear_env();
        if point == "renewal-noted" {
            // Nobody knows whether the request went out: it is not sent again within `every`, and what another
            // host, or the portal by itself, renews meanwhile is fetched all the same.
            for site in 0..2 {
                host.portal.renew(id(site), "2027-06-01T00:00:00".parse().unwrap());
            }
        }
        host.start_agent();
        wait_until_reported(&host, 2);
        host.wait_for("the renewal is over", |status| status["renewal"]["state"] == "done");
        let scheduled = usize::from(point != "renewal-noted");
        assert_eq!(asked(&host, What::Renew), scheduled, "{point}");
        assert_eq!(host.portal.reports().len(), 2, "{point}: {:?}", host.portal.reports());
        for site in 0..2 {
            assert!(is_served(&host, site), "{point}");
            let keys = |download: &&certhook_test_support::portal::Download| {
                download.certificate == Some(id(site)) && download.file == Some(FileKind::Key)
            };
            assert_eq!(host.portal.downloads().iter().filter(keys).count(), 1, "{point}");
        }
        host.stop_agent();
    }
}

#[test]
fn a_download_that_is_spoilt_leaves_the_old_one_and_is_tried_again() {
    let mut host = looping(1);
    host.portal.spoil(Spoil::new(How::OtherCertificate));
    let before = std::fs::read(folder(&host, 0).join("fullChainCertificate.crt")).unwrap();
    host.start_agent();
    let status = host.wait_for("the failure", |status| {
        let renewal = &status["renewal"];
        renewal["certificates"][0]["state"] == "failed" && !renewal["error"].is_null()
    });
    // Begun again later.
    assert_eq!(status["renewal"]["state"], "fetching", "{status}");
    assert_eq!(std::fs::read(folder(&host, 0).join("fullChainCertificate.crt")).unwrap(), before);
    assert_eq!(host.certhook(&["status"]).status.code(), Some(1));
    assert!(host.portal.reports().is_empty());
    host.stop_agent();
}

#[test]
fn what_the_portal_fails_to_renew_is_named_and_another_hosts_is_not_fetched() {
    let mut host = looping(2);
    let elsewhere =
        Record::new(999, "elsewhere.test").expires(host.portal.certificate(id(0)).unwrap().expiry_date);
    host.portal.add_certificate(elsewhere.issued());
    let record = host.portal.certificate(id(1)).unwrap().fails_to_renew();
    host.portal.set_certificate(record);
    host.start_agent();
    let status = host.wait_for("the end of its patience", |status| status["renewal"]["state"] == "done");
    let of = |site: usize| {
        let all = status["renewal"]["certificates"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name(site)).unwrap().clone()
    };
    assert_eq!((&of(0)["state"], &of(1)["state"]), (&"fetched".into(), &"failed".into()), "{status}");
    assert!(of(1)["error"].as_str().unwrap().contains("not renewed"), "{status}");
    let all = status["renewal"]["certificates"].as_array().unwrap();
    assert_eq!(all.iter().find(|one| one["name"] == "elsewhere.test").unwrap()["state"], "renewed");
    assert!(!host.path().join("rcl/elsewhere-test").exists(), "another host's key");
    // At most four looks, and the list of the first start.
    assert!(asked(&host, What::List) <= 5, "{:?}", host.portal.journal());
    host.wait_until("the other one", || is_served(&host, 0));
    host.stop_agent();
}

#[test]
fn by_hand_with_the_key_vaults_token() {
    let host = looping(1);
    let end =
        (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48)).to_zoned(jiff::tz::TimeZone::UTC);
    host.portal.add_certificate(Record::new(400, "vault.test").expires(end.datetime()).issued().key_vault());
    let (told, code) = host.json(&["renew", "--key-vault", "--wait", "4s", "--json"]);
    assert_eq!(code, 0, "{told}");
    let names = |list: &str| -> Vec<String> {
        let text = |one: &Value| one["name"].as_str().or(one.as_str()).unwrap().to_owned();
        told[list].as_array().unwrap().iter().map(text).collect()
    };
    assert_eq!(names("scheduled"), ["loop0.test", "vault.test"]);
    assert_eq!((names("renewed").len(), names("not_renewed").len()), (2, 0));
    // Nothing more is due.
    let (told, code) = host.json(&["renew", "--json"]);
    assert_eq!((code, told["scheduled"].as_array().unwrap().len()), (0, 0));
    let log = format!("{:?}", host.certhook(&["--log-level", "trace", "renew", "--key-vault"]));
    for token in host.portal.tokens_issued() {
        assert!(!log.contains(&token), "a token in the log");
    }
}

#[test]
fn by_hand_what_is_not_renewed_is_named_and_the_exit_is_one() {
    let host = looping(1);
    let record = host.portal.certificate(id(0)).unwrap().fails_to_renew();
    host.portal.set_certificate(record);
    let output = host.certhook(&["renew", "--wait", "1s"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("1 renewal scheduled") && text.contains("not renewed: loop0.test"), "{text}");
}

#[test]
fn refused_it_is_not_asked_again_at_once() {
    let mut host = looping(1);
    host.portal.trouble(Trouble::new(Action::status(500)).on(What::Renew).until_cleared());
    host.start_agent();
    let status = host.wait_for("the refusal", |status| status["renewal"]["state"] == "refused");
    assert!(status["renewal"]["error"].as_str().unwrap().contains("500"), "{status}");
    host.stop_agent();
    host.start_agent();
    host.wait_for("at rest", |status| states(status) == ["current"]);
    host.stop_agent();
    assert_eq!(host.portal.journal().iter().filter(|entry| entry.what == What::Renew).count(), 1);
}
