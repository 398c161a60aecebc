//! Whatever keeps a report from going out shows in `status`, `check` and `sync`, and blocks no other report.

use std::time::Duration;

use certhook_test_support::ca::Order;
use certhook_test_support::portal::{Action, Record, Trouble, What};
use certhook_test_support::writers::Writer;
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::host::{Extra, Host};

fn exit(host: &Host, arguments: &[&str]) -> i32 {
    host.certhook(arguments).status.code().unwrap()
}

/// All commands that judge agree.
fn assert_all_exit_with(host: &Host, code: i32, words: &str) {
    for arguments in [&["status"][..], &["sync"], &["check"], &["check", "--online"]] {
        let output = host.certhook(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}\n{}", host.log());
        assert!(text.contains(words), "{arguments:?}: {words} in {text}");
    }
}

fn held(status: &Value) -> bool {
    status["sites"][0]["report"]["state"] == "held"
}

fn ledger(host: &Host) -> rusqlite::Connection {
    let ledger = rusqlite::Connection::open(host.state_dir().join("ledger.db")).unwrap();
    ledger.busy_timeout(crate::host::PATIENCE).unwrap();
    ledger
}

#[test]
fn a_certificate_without_end_keeps_no_report_back() {
    let mut host = Host::new(&[Writer::Lego, Writer::Lego]);
    let name = host.sites[0].name.clone();
    let installed = Some("2026-01-01T00:00:00".to_owned());
    let record = Record { remote_create_date: installed, ..Record::new(158, &name) };
    host.portal.remove_certificate(158);
    host.portal.add_certificate(record.expires(jiff::civil::date(9999, 12, 31).at(23, 59, 59, 0)));
    host.start_agent_and_settle();
    let order = Order { hosts: &[name.as_str()], ..Order::default() };
    let pair = host.ca.issue_between(order, Timestamp::UNIX_EPOCH, Timestamp::MAX);
    host.sites[0].writer.renew(&host.sites[0].layout, &pair, Duration::ZERO);
    host.sites[0].pair = pair;
    host.wait_until_done(0);
    host.renew(1, Duration::ZERO);
    host.wait_until_done(1);
    assert_eq!(host.portal.reports().len(), 2);
    assert_all_exit_with(&host, 0, "");
    host.stop_agent();
}

#[test]
fn a_row_that_cannot_be_read_is_told_and_the_others_are_sent() {
    let mut host = Host::new(&[Writer::Lego, Writer::Lego]);
    host.start_agent_and_settle();
    host.portal.stop();
    host.renew(0, Duration::ZERO);
    host.wait_until_served(0);
    host.renew(1, Duration::ZERO);
    host.wait_until_served(1);
    host.stop_agent();
    // It is the first in turn.
    let spoilt = ledger(&host).execute(
        "UPDATE report SET fingerprint = 'x', next_attempt_at = 0 WHERE fingerprint = ?1",
        [&host.sites[0].pair.fingerprint],
    );
    assert_eq!(spoilt.unwrap(), 1);
    host.portal.restart();
    host.start_agent();
    host.wait_until_done(1);
    let status = host.agent_status().unwrap();
    let problem = &status["report_problem"];
    assert_eq!(problem["code"], "ledger_corrupt", "{status}");
    let path = host.sites[0].layout.certificate.display().to_string();
    assert!(problem["message"].as_str().unwrap().contains(&path), "{problem}");
    assert_all_exit_with(&host, 1, "cannot be read");
    host.stop_agent();
    assert_all_exit_with(&host, 1, "cannot be read");
    // The remedy.
    let file = host.state_dir().join("ledger.db");
    assert!(problem["remedy"].as_str().unwrap().contains(&file.display().to_string()), "{problem}");
    std::fs::rename(&file, host.path().join("away")).unwrap();
    host.start_agent_and_settle();
    host.wait_for("all is well", |status| status["report_problem"].is_null());
    assert_eq!(exit(&host, &["sync"]), 0);
    assert_all_exit_with(&host, 0, "");
    host.stop_agent();
}

#[test]
fn a_ledger_that_takes_no_request_is_told_while_reports_wait() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    assert_all_exit_with(&host, 0, "");
    let refuse =
        "CREATE TRIGGER refuse BEFORE INSERT ON request BEGIN SELECT RAISE(ABORT, 'no room at all'); END";
    ledger(&host).execute_batch(refuse).unwrap();
    host.renew(0, Duration::ZERO);
    host.wait_for("the problem", |status| !status["report_problem"].is_null());
    assert!(host.portal.reports().is_empty());
    for arguments in [&["status"][..], &["sync"], &["check"]] {
        let output = host.certhook(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains("no room at all"), "{arguments:?}: {text}");
    }
    ledger(&host).execute_batch("DROP TRIGGER refuse").unwrap();
    host.wait_until_done(0);
    host.wait_for("its end", |status| status["report_problem"].is_null());
    assert_all_exit_with(&host, 0, "");
    host.stop_agent();
}

/// What the first start has to ask the portal, and cannot.
#[test]
fn credentials_that_are_refused_are_told_from_the_first_start() {
    let mut host = Host::new(&[Writer::Lego]);
    host.portal.trouble(Trouble::new(Action::status(400)).on(What::Token).until_cleared());
    host.start_agent_and_settle();
    host.wait_for("the trouble", |status| status["sites"][0]["report"]["code"] == "credentials_refused");
    assert_all_exit_with(&host, 1, "tenant_id");
    host.portal.clear_troubles();
    host.wait_for("its end", |status| status["sites"][0]["report"]["error"].is_null());
    assert_all_exit_with(&host, 0, "");
    host.stop_agent();
}

#[test]
fn renewals_that_cannot_even_be_asked_for_are_told() {
    let extra = Extra { portal: "[renewal]\nevery = \"4d\"\n".into(), ..Extra::default() };
    let mut host = Host::with(&[Writer::Lego], extra);
    host.portal.trouble(Trouble::new(Action::status(400)).on(What::Token).until_cleared());
    host.start_agent_and_settle();
    host.wait_for("the trouble", |status| status["renewal_problem"]["code"] == "credentials_refused");
    assert_eq!(exit(&host, &["status"]), 1);
    host.stop_agent();
}

/// A value of a remedy: `name = "…"`.
fn quoted<'t>(text: &'t str, before: &str) -> &'t str {
    let rest = text.split(before).nth(1).unwrap_or_else(|| panic!("{before} in {text}"));
    rest.split('"').next().unwrap()
}

#[test]
fn the_remedy_of_an_unknown_name_has_the_name_and_works() {
    for (named, hosts) in [
        // A slip of the pen, and a certificate with one name more than the portal's record.
        ("name = \"site0.tset\"", "site0.test"),
        ("", "site0.test,www.site0.test"),
    ] {
        let extra = Extra { nameless: true, site: named.into(), ..Extra::default() };
        let mut host = Host::with(&[Writer::Lego], extra);
        if named.is_empty() {
            host.portal.remove_certificate(158);
            host.portal.add_certificate(Record::new(158, hosts));
        }
        host.portal.add_certificate(Record::new(9, "fabrikam.example"));
        host.start_agent_and_settle();
        host.renew(0, Duration::ZERO);
        let status = host.wait_for("held", held);
        let report = &status["sites"][0]["report"];
        assert_eq!(report["code"], "unknown_to_portal", "{report}");
        assert!(report["error"].as_str().unwrap().contains(&format!("{hosts} (id 158)")), "{report}");
        let remedy = report["remedy"].as_str().unwrap();
        assert_eq!(quoted(remedy, "name = \""), hosts, "{remedy}");
        assert!(remedy.ends_with("; certhook sync --retry"), "{remedy}");
        let shown = String::from_utf8(host.certhook(&["status"]).stdout).unwrap();
        assert!(shown.contains(remedy), "{shown}");
        assert_all_exit_with(&host, 1, "");
        let text = host.config_text().replace(named, "");
        std::fs::write(host.config_path(), format!("{text}name = {hosts:?}\n")).unwrap();
        reload(&host);
        assert_eq!(exit(&host, &["sync", "--retry"]), 0, "{}", host.log());
        assert_eq!(host.portal.reports().len(), 1);
        host.stop_agent();
    }
}

/// What `systemctl reload` does.
fn reload(host: &Host) {
    let count = || host.log().matches("the configuration was read again").count();
    let before = count();
    kill(Pid::from_raw(host.agent_pid().try_into().unwrap()), Signal::SIGHUP).unwrap();
    host.wait_until("the configuration is read again", || count() > before);
}

#[test]
fn a_certificate_that_is_not_the_portal_s_is_held_with_a_remedy_that_works() {
    let mut host = Host::new(&[Writer::Lego]);
    let end = (Timestamp::now() + Duration::from_secs(86_400)).to_zoned(jiff::tz::TimeZone::UTC).datetime();
    host.portal.remove_certificate(158);
    host.portal.add_certificate(Record::new(158, "site0.test").expires(end));
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    let status = host.wait_for("held", held);
    let report = &status["sites"][0]["report"];
    assert_eq!(report["code"], "other_certificate", "{report}");
    let remedy = report["remedy"].as_str().unwrap();
    // That is true, and cures nothing.
    assert!(exit(&host, &["sync", "--retry"]) == 1 && !remedy.contains("--retry"), "{remedy}");
    let shown = String::from_utf8(host.certhook(&["status"]).stdout).unwrap();
    assert!(shown.contains(remedy) && !shown.contains("--retry"), "{shown}");
    let path = host.sites[0].layout.certificate.display().to_string();
    assert_eq!(quoted(remedy, "certificate = \""), path);
    std::fs::write(host.config_path(), format!("{}report = false\n", host.config_text())).unwrap();
    reload(&host);
    host.wait_for("served with nothing to report", |status| {
        let site = &status["sites"][0];
        site["state"] == "current" && site["report"]["state"] == "none"
    });
    assert_all_exit_with(&host, 0, "");
    host.stop_agent();
}

#[test]
fn a_portal_s_international_name_is_the_certificate_s() {
    let extra = Extra { nameless: true, ..Extra::default() };
    let mut host = Host::with(&[Writer::Lego], extra);
    host.portal.remove_certificate(158);
    host.portal.add_certificate(Record::new(158, "m\u{fc}ller.example"));
    host.start_agent_and_settle();
    let pair = host.ca.issue(Order { hosts: &["xn--mller-kva.example"], ..Order::default() });
    host.sites[0].writer.renew(&host.sites[0].layout, &pair, Duration::ZERO);
    host.sites[0].pair = pair;
    host.wait_until_done(0);
    // As the portal spells it.
    assert_eq!(host.portal.reports()[0].name, "m\u{fc}ller.example");
    host.stop_agent();
}
