//! The portal at its worst: delivered in the end, once, and without a storm.

use std::time::{Duration, Instant};

use certhook_test_support::portal::{Action, Empty, Entry, Field, Trouble, What};
use certhook_test_support::writers::Writer;

use crate::host::{Extra, Host, PATIENCE};

fn posts(entries: &[Entry]) -> Vec<Instant> {
    entries.iter().filter(|entry| entry.what == What::Report).map(|entry| entry.at).collect()
}

#[test]
fn an_outage_delays_neither_reload_nor_verification() {
    let mut host = Host::new(&[Writer::VendorClient]);
    host.start_agent_and_settle();
    host.portal.stop();
    host.renew(0, Duration::ZERO);
    host.wait_until_served(0);
    let status = host.wait_for("an attempt", |status| !status["sites"][0]["report"]["error"].is_null());
    assert_eq!(status["sites"][0]["report"]["state"], "pending");
    assert_eq!(host.certhook(&["status"]).status.code(), Some(1), "an undelivered report is not well");
    host.portal.restart();
    host.wait_until_done(0);
    assert_eq!(host.portal.reports().len(), 1);
    host.stop_agent();
}

#[test]
fn a_report_outlives_a_restart() {
    let mut host = Host::new(&[Writer::VendorClient]);
    host.start_agent_and_settle();
    host.portal.stop();
    host.renew(0, Duration::ZERO);
    host.wait_until_served(0);
    host.stop_agent();
    host.portal.restart();
    host.start_agent();
    host.wait_until_done(0);
    assert_eq!(host.portal.reports().len(), 1);
    host.stop_agent();
}

/// Every way of failing that is tried again: (what the portal does, how often, POSTs that the portal took).
fn passing_troubles() -> Vec<(Action, u32, usize)> {
    let text = |code, body: &str| Action::Status {
        code,
        body: body.into(),
        retry_after: None,
        content_type: Some("text/plain".into()),
    };
    vec![
        (Action::status(500), 3, 1),
        (text(503, "down for maintenance"), 2, 1),
        (Action::status(408), 1, 1),
        (Action::Html(502), 2, 1),
        (Action::Html(200), 2, 1),
        (Action::Garbage, 2, 1),
        (Action::CutBefore, 2, 1),
        // It was taken, and nobody could know.
        (Action::CutAfterApply, 1, 2),
        (Action::CutMidBody, 1, 2),
        (Action::WrongEcho(Field::Id), 1, 1),
        (Action::WrongEcho(Field::Name), 1, 1),
        (Action::WrongEcho(Field::Date), 1, 1),
        (Action::EchoMissing(Empty::Object), 1, 1),
        (Action::EchoMissing(Empty::Array), 1, 1),
        (Action::Deep { levels: 100_000 }, 1, 1),
        (Action::Huge { bytes: 64 << 20 }, 1, 1),
        (Action::RefuseToken, 1, 1),
        (Action::Object, 1, 1),
    ]
}

#[test]
fn whatever_the_portal_does_it_is_delivered_in_the_end() {
    // Each trouble costs requests of the week, which is not what is asked here.
    let extra = Extra {
        portal: "requests_per_week = 10000".into(),
        portal_allows: Some(10_000),
        ..Extra::unlimited()
    };
    let mut host = Host::with(&[Writer::RenamePerFile], extra);
    host.start_agent_and_settle();
    for (action, times, taken) in passing_troubles() {
        let before = host.portal.reports().len();
        host.portal.trouble(Trouble::new(action.clone()).on(What::Report).times(times));
        host.renew(0, Duration::ZERO);
        host.wait_until_done(0);
        assert!(host.portal.troubles().is_empty(), "{action:?} was not played");
        assert_eq!(host.portal.reports().len() - before, taken, "{action:?}");
    }
    host.stop_agent();
}

#[test]
fn the_login_at_its_worst_delays_and_no_more() {
    let mut host = Host::unlimited(&[Writer::RenamePerFile]);
    host.start_agent_and_settle();
    for action in
        [Action::status(500), Action::Html(200), Action::Garbage, Action::CutBefore, Action::status(400)]
    {
        host.portal.revoke_tokens();
        host.portal.trouble(Trouble::new(action.clone()).on(What::Token).times(2));
        let before = host.portal.reports().len();
        host.renew(0, Duration::ZERO);
        host.wait_until_done(0);
        assert!(host.portal.troubles().is_empty(), "{action:?} was not played");
        assert_eq!(host.portal.reports().len() - before, 1, "{action:?}");
    }
    host.stop_agent();
}

#[test]
fn a_refused_token_is_replaced_at_once() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    assert_eq!(host.portal.tokens_issued().len(), 1);
    host.portal.revoke_tokens();
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    assert_eq!(host.portal.tokens_issued().len(), 2);
    let status = host.agent_status().unwrap();
    assert_eq!(status["sites"][0]["report"]["error"], serde_json::Value::Null);
    host.stop_agent();
}

#[test]
fn a_token_is_kept_and_ids_are_asked_for_once() {
    let mut host = Host::new(&[Writer::Lego, Writer::Certbot, Writer::Dehydrated]);
    host.start_agent_and_settle();
    for _ in 0..3 {
        for site in 0..3 {
            host.renew(site, Duration::ZERO);
            host.wait_until_done(site);
        }
    }
    let journal = host.portal.journal();
    let count = |what| journal.iter().filter(|entry| entry.what == what).count();
    assert_eq!((count(What::Token), count(What::List), count(What::Get), count(What::Report)), (1, 1, 0, 9));
    host.stop_agent();
}

#[test]
fn failures_are_spread_ever_wider() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    host.portal.trouble(Trouble::new(Action::status(500)).on(What::Report).times(6));
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    let posts = posts(&host.portal.journal());
    assert_eq!(posts.len(), 7);
    for (index, pair) in posts.windows(2).enumerate() {
        // The first pause is 50 ms and doubles; jitter only adds.
        let least = Duration::from_millis(50) * 2_u32.pow(u32::try_from(index).unwrap());
        assert!(pair[1] - pair[0] >= least, "pause {index}: {:?} < {least:?}", pair[1] - pair[0]);
    }
    host.stop_agent();
}

#[test]
fn retry_after_is_honoured() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    host.portal.trouble(Trouble::new(Action::retry_after(429, "2")).on(What::Report).times(1));
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    let posts = posts(&host.portal.journal());
    assert_eq!(posts.len(), 2);
    assert!(posts[1] - posts[0] >= Duration::from_secs(2), "{:?}", posts[1] - posts[0]);
    host.stop_agent();
}

#[test]
fn what_stops_one_report_stops_them_all() {
    let mut host = Host::new(&[Writer::Lego; 8]);
    host.start_agent_and_settle();
    let wait = Action::retry_after(429, "3");
    host.portal.trouble(Trouble::new(wait).on(What::Report).times(1));
    for site in 0..8 {
        host.renew(site, Duration::ZERO);
    }
    for site in 0..8 {
        host.wait_until_done(site);
    }
    let posts = posts(&host.portal.journal());
    assert_eq!(posts.len(), 9);
    assert!(posts[1] - posts[0] >= Duration::from_secs(3), "{:?}", posts[1] - posts[0]);
    host.stop_agent();
}

#[test]
fn connections_that_were_never_made_cost_nothing() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    let used = |status: &serde_json::Value| status["portal"]["requests_used"].as_u64().unwrap();
    let before = used(&host.agent_status().unwrap());
    host.portal.stop();
    host.renew(0, Duration::ZERO);
    host.wait_for("some attempts", |status| status["sites"][0]["report"]["attempts"].as_u64() >= Some(4));
    assert!(used(&host.agent_status().unwrap()) <= before + 1, "one may be under way");
    host.portal.restart();
    host.wait_until_done(0);
    assert_eq!(used(&host.agent_status().unwrap()), before + 1);
    host.stop_agent();
}

#[test]
fn the_remedies_for_an_unknown_certificate_work() {
    let mut host = Host::with(&[Writer::Lego], Extra { nameless: true, ..Extra::default() });
    host.portal.remove_certificate(158);
    host.portal.add_certificate(certhook_test_support::portal::Record::new(9, "another-name.test"));
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    host.wait_for("held", |status| status["sites"][0]["report"]["state"] == "held");
    host.stop_agent();
    // One of them: the site does not report.
    let text = host.config_text();
    std::fs::write(host.config_path(), format!("{text}report = false\n")).unwrap();
    assert_eq!(host.certhook(&["sync"]).status.code(), Some(0));
    // The other: the portal's name.
    std::fs::write(host.config_path(), format!("{text}name = \"another-name.test\"\n")).unwrap();
    let (status, code) = host.json(&["sync", "--json"]);
    assert_eq!((code, &status["sites"][0]["report"]["state"]), (0, &"delivered".into()), "{status}");
    assert_eq!(host.portal.reports().iter().map(|report| report.id).collect::<Vec<_>>(), [9]);
}

#[test]
fn a_record_that_was_made_anew_is_found_when_an_operator_says_so() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    host.portal.remove_certificate(158);
    host.portal.add_certificate(certhook_test_support::portal::Record::new(999, "site0.test"));
    host.renew(0, Duration::ZERO);
    host.wait_for("held", |status| status["sites"][0]["report"]["state"] == "held");
    let (status, code) = host.json(&["sync", "--retry", "--json"]);
    assert_eq!((code, &status["sites"][0]["report"]["state"]), (0, &"delivered".into()), "{status}");
    assert_eq!(host.portal.reports().last().unwrap().id, 999);
    host.stop_agent();
}

#[test]
fn a_refusal_is_held_with_the_portals_words_until_an_operator_says_so() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    let body = "Certificate was not\u{1b}[31m found in the subscription";
    let action = Action::Status {
        code: 400,
        body: body.into(),
        retry_after: None,
        content_type: Some("text/plain".into()),
    };
    host.portal.trouble(Trouble::new(action).on(What::Report).times(1));
    host.renew(0, Duration::ZERO);
    let status = host.wait_for("held", |status| status["sites"][0]["report"]["state"] == "held");
    let words = status["sites"][0]["report"]["error"].as_str().unwrap();
    assert!(words.contains("found in the subscription"), "{words}");
    let shown = host.certhook(&["status"]);
    assert_eq!(shown.status.code(), Some(1));
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("found in the subscription") && shown.contains("sync --retry"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "raw control characters reach the terminal");
    // A plain sync does not send it again, a restart neither.
    assert_eq!(host.certhook(&["sync"]).status.code(), Some(1));
    host.stop_agent();
    host.start_agent();
    host.wait_for("held again", |status| status["sites"][0]["report"]["state"] == "held");
    assert_eq!(posts(&host.portal.journal()).len(), 1);
    let (status, code) = host.json(&["sync", "--retry", "--json"]);
    assert_eq!((code, &status["sites"][0]["report"]["state"]), (0, &"delivered".into()), "{status}");
    assert_eq!(host.portal.reports().len(), 1);
    host.stop_agent();
}

#[test]
fn a_newer_certificate_supersedes_an_undelivered_one() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    host.portal.stop();
    host.renew(0, Duration::ZERO);
    host.wait_until_served(0);
    host.renew(0, Duration::ZERO);
    host.wait_until_served(0);
    host.portal.restart();
    host.wait_until_done(0);
    assert_eq!(host.portal.reports().len(), 1);
    host.stop_agent();
}

#[test]
fn the_week_s_requests_are_not_overspent() {
    let extra = Extra { portal: "requests_per_week = 3".into(), ..Extra::default() };
    let mut host = Host::with(&[Writer::Lego; 6], extra);
    host.start_agent_and_settle();
    for site in 0..6 {
        host.renew(site, Duration::ZERO);
        host.wait_until_served(site);
    }
    let spent = |status: &serde_json::Value| {
        let sites = status["sites"].as_array().unwrap();
        sites
            .iter()
            .filter(|site| site["report"]["error"].as_str().is_some_and(|error| error.contains("spent")))
            .count()
    };
    let status = host.wait_for("the others wait", |status| spent(status) == 4);
    // A list and two reports.
    assert_eq!(host.portal.requests_counted(), 3);
    assert_eq!(status["portal"]["requests_used"], 3);
    assert_eq!(host.portal.reports().len(), 2);
    host.stop_agent();
}

#[test]
fn names_are_found_by_the_certificates_hosts_whatever_the_portal_s_spelling() {
    let extra = Extra { nameless: true, ..Extra::default() };
    let mut host = Host::with(&[Writer::Lego], extra);
    host.portal.remove_certificate(158);
    host.portal
        .add_certificate(certhook_test_support::portal::Record::new(7, "WWW.contoso.com, contoso.com"));
    host.start_agent_and_settle();
    let hosts = ["contoso.com", "www.contoso.com"];
    let order = certhook_test_support::ca::Order { hosts: &hosts, ..Default::default() };
    let pair = host.ca.issue(order);
    host.sites[0].writer.renew(&host.sites[0].layout, &pair, Duration::ZERO);
    host.sites[0].pair = pair;
    let report = &host.portal.wait_for_reports(1, PATIENCE).unwrap()[0];
    assert_eq!((report.id, report.name.as_str()), (7, "WWW.contoso.com, contoso.com"));
    host.wait_until_done(0);
    let (status, code) = host.json(&["status", "--json"]);
    assert_eq!((code, &status["sites"][0]["name"]), (0, &"contoso.com,www.contoso.com".into()));
    host.stop_agent();
}

#[test]
fn a_certificate_that_the_portal_does_not_know_is_held() {
    let mut host = Host::new(&[Writer::Lego]);
    host.portal.remove_certificate(158);
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    let status = host.wait_for("held", |status| status["sites"][0]["report"]["state"] == "held");
    assert!(status["sites"][0]["report"]["error"].as_str().unwrap().contains("site0.test"), "{status}");
    host.portal.add_certificate(certhook_test_support::portal::Record::new(158, "site0.test"));
    let (status, code) = host.json(&["sync", "--retry", "--json"]);
    assert_eq!((code, &status["sites"][0]["report"]["state"]), (0, &"delivered".into()), "{status}");
    host.stop_agent();
}
