//! A listener that no handshake can see, with a real nginx: the load is the evidence.

use std::time::Duration;

use certhook_test_support::nginx::{NginxSite, free_port};
use certhook_test_support::writers::{Layout, Writer};
use serde_json::Value;

use crate::host::{Extra, Host};

/// Without certificates no client is shown one, however much it can speak.
const ANONYMOUS: &str = "ssl_conf_command MaxProtocol TLSv1.2; ssl_ciphers AECDH:@SECLEVEL=0;";

fn extra(http: &str, portal: &str) -> Extra {
    let (http, portal) = (http.to_owned(), portal.to_owned());
    Extra { server: "verify_timeout = \"2s\"".to_owned(), http, portal, ..Extra::unlimited() }
}

/// As [`extra`], with the listeners that nginx's configuration names.
fn following(http: &str) -> Extra {
    let server = "discover = true\nverify_timeout = \"2s\"".to_owned();
    Extra { server, no_verify: true, ..extra(http, "") }
}

fn is_loaded(status: &Value) -> bool {
    let site = &status["sites"][0];
    site["state"] == "current" && site["served"]["evidence"] == "load"
}

/// The details of the history's lines about a proof.
fn proofs(host: &Host) -> Vec<Option<String>> {
    let (history, _) = host.json(&["history", "--json"]);
    let is_proof = |entry: &&Value| entry["event"] == "served" || entry["event"] == "adopted";
    let detail = |entry: &Value| entry["detail"].as_str().map(str::to_owned);
    history.as_array().unwrap().iter().filter(is_proof).map(detail).collect()
}

/// What all commands say of it; with or without an agent.
fn assert_told(host: &Host) {
    let (status, code) = host.json(&["status", "--json"]);
    let site = &status["sites"][0];
    assert_eq!((&site["state"], &site["problem"], code), (&"current".into(), &Value::Null, 0), "{status:#}");
    assert_eq!(site["served"]["evidence"], "load", "{status:#}");
    let reason = site["served"]["reason"].as_str().unwrap();
    assert!(reason.contains("shows no certificate"), "{reason}");
    let text = String::from_utf8(host.certhook(&["status"]).stdout).unwrap();
    assert!(text.contains("loaded, not seen") && text.contains(&format!("not seen: {reason}")), "{text}");
    let (verdicts, code) = host.json(&["verify", "--json"]);
    assert_eq!(
        (&verdicts[0]["ok"], &verdicts[0]["problem"]["code"], code),
        (&Value::Null, &"unproved".into(), 0)
    );
    let verify = host.certhook(&["verify"]);
    let text = String::from_utf8(verify.stdout).unwrap();
    assert!(verify.status.success() && text.contains("not seen: ") && !text.contains('!'), "{text}");
    let text = String::from_utf8(host.certhook(&["check"]).stdout).unwrap();
    assert!(text.contains("loaded, not seen: "), "{text}");
}

#[test]
fn a_listener_that_no_handshake_sees_is_proved_by_its_load() {
    let mut host = Host::with(&[Writer::RenamePerFile], following(ANONYMOUS));
    host.start_agent();
    host.wait_for("the first set is loaded", is_loaded);
    assert_eq!((host.nginx.log().hups, host.portal.reports().len()), (1, 0));
    for renewal in 1..3 {
        host.renew(0, Duration::ZERO);
        host.wait_until_done(0);
        assert_eq!((host.nginx.log().hups, host.portal.reports().len()), (1 + renewal, renewal));
        assert_told(&host);
    }
    let proofs_so_far = proofs(&host);
    assert!(proofs_so_far.iter().all(|detail| detail.as_ref().unwrap().starts_with("loaded, not seen: ")));
    // Neither a restart nor a look at everything loads or reports it again.
    host.stop_agent();
    assert_told(&host);
    host.start_agent();
    host.wait_for("it is known", is_loaded);
    for words in [["sync", "--retry"], ["sync", "--reloaded"]] {
        let sync = host.certhook(&words);
        assert!(sync.status.success(), "{sync:?}\n{}", host.log());
    }
    host.wait_for("it is still known", is_loaded);
    assert_eq!((host.nginx.log().hups, host.portal.reports().len()), (3, 2));
    assert_eq!(proofs(&host), proofs_so_far);
    let (history, _) = host.json(&["history", "--json"]);
    assert!(history.as_array().unwrap().iter().all(|entry| entry["event"] != "problem"), "{history:#}");

    // A handshake shows it in the end, and the portal knows it already.
    let config = host.nginx.config_path();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(ANONYMOUS, "")).unwrap();
    host.nginx.hup();
    host.wait_until("nginx shows its certificate", || {
        host.certhook(&["sync"]).status.success() && {
            let status = host.agent_status().unwrap();
            status["sites"][0]["served"]["evidence"] == "handshake"
                && status["sites"][0]["state"] == "current"
        }
    });
    assert_eq!(host.served(0), host.sites[0].pair.fingerprint);
    assert_eq!(proofs(&host).last().unwrap(), &None);
    assert_eq!(host.portal.reports().len(), 2);
    host.stop_agent();
}

#[test]
fn an_unproved_certificate_is_reported_as_the_configuration_says() {
    let mut host = Host::with(&[Writer::RenamePerFile], extra(ANONYMOUS, "report_unproved = false"));
    host.start_agent();
    host.wait_for("the first set is loaded", is_loaded);
    host.renew(0, Duration::ZERO);
    host.wait_until_served(0);
    let (status, code) = host.json(&["status", "--json"]);
    let report = &status["sites"][0]["report"];
    assert_eq!(
        (&report["state"], &report["code"], code),
        (&"none".into(), &"unproved".into(), 0),
        "{status:#}"
    );
    assert!(report["remedy"].as_str().unwrap().contains("report_unproved = true"), "{status:#}");
    assert_eq!(host.portal.reports().len(), 0);
    host.stop_agent();
    let text = std::fs::read_to_string(host.config_path()).unwrap();
    std::fs::write(host.config_path(), text.replace("report_unproved = false", "")).unwrap();
    host.start_agent();
    host.wait_until_done(0);
    assert_eq!((host.nginx.log().hups, host.portal.reports().len()), (2, 1));
    host.stop_agent();
}

#[test]
fn a_foreign_leaf_that_is_shown_is_no_load_evidence() {
    let writers = [Writer::RenamePerFile, Writer::RenamePerFile];
    let mut host = Host::with(&writers, Extra { no_verify: false, ..following("") });
    // The second one is asked where the first one is served.
    let served = host.sites.iter().enumerate().map(|(index, site)| {
        let Layout { certificate, key, .. } = &site.layout;
        let mut served = NginxSite::new(&[site.name.as_str()], certificate.clone(), key.clone());
        if index == 1 {
            served.listen = vec![format!("127.0.0.1:{} ssl", free_port())];
        }
        served
    });
    let served = served.collect();
    host.nginx.set_sites(served);
    host.nginx.hup();
    host.start_agent();
    host.wait_for("the foreign leaf is seen", |status| status["sites"][1]["problem"]["code"] == "not_served");
    host.renew(1, Duration::ZERO);
    let fingerprint = host.sites[1].pair.fingerprint.clone();
    let hups = host.nginx.log().hups;
    let status = host.wait_for("the new set is loaded and not proved", |status| {
        let site = &status["sites"][1];
        site["certificate"]["fingerprint"] == *fingerprint
            && host.nginx.log().hups > hups
            && site["state"] == "waiting"
    });
    assert_eq!(status["sites"][1]["served"]["evidence"], "handshake", "{status:#}");
    assert_ne!(status["sites"][1]["served"]["fingerprint"], *fingerprint, "{status:#}");
    assert_eq!(host.portal.reports().len(), 0);
    host.stop_agent();
}

#[test]
fn a_certificate_that_nginx_does_not_name_is_proved_by_no_load() {
    let mut host = Host::with(&[Writer::RenamePerFile, Writer::RenamePerFile], extra(ANONYMOUS, ""));
    let Layout { certificate, key, .. } = &host.sites[0].layout;
    let named = NginxSite::new(&[host.sites[0].name.as_str()], certificate.clone(), key.clone());
    host.nginx.set_sites(vec![named]);
    host.nginx.hup();
    host.start_agent();
    host.wait_for("the first one is loaded", |status| {
        is_loaded(status) && status["sites"][1]["problem"]["code"] == "no_handshake"
    });
    host.renew(0, Duration::ZERO);
    host.renew(1, Duration::ZERO);
    host.wait_until_done(0);
    let renewed = host.sites[1].pair.fingerprint.clone();
    let status = host.wait_for("the other one is loaded in vain", |status| {
        let site = &status["sites"][1];
        site["certificate"]["fingerprint"] == *renewed && site["problem"]["code"] == "no_handshake"
    });
    assert_eq!(status["sites"][1]["served"], Value::Null, "{status:#}");
    assert_eq!(host.portal.reports().len(), 1);
    host.stop_agent();
}
