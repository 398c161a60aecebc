//! Somebody is told of what is wrong, once, and when it is well again.

use std::time::Duration;

use certhook_test_support::portal::{Action, Trouble, What};
use certhook_test_support::writers::Writer;
use serde_json::Value;

use crate::host::{Extra, Host, codes};

/// A line for each run: the state, a tab, what it read. It fails while there is a file `broken`.
const SCRIPT: &str = r#"#!/bin/sh
[ ! -e "$0.broken" ] || { echo "no way out" >&2; exit 7; }
{ printf '%s\t%s\t' "$CERTHOOK_STATE" "$CERTHOOK_CODE"; cat; echo; } >>"$0.told"
"#;

/// A host whose alerts' command is a script of its own.
fn alerting(writers: &[Writer], after: &str) -> Host {
    let lines = format!(
        "[alert]\ncommand = [\"/bin/sh\", \"ROOT/tell\"]\nafter = \"{after}\"\nmin_interval = \"1ms\""
    );
    let host = Host::with(writers, Extra { portal: lines, ..Extra::default() });
    std::fs::write(host.path().join("tell"), SCRIPT).unwrap();
    host
}

/// What was told so far: state, code, site or server; problems before good news in each run.
fn told(host: &Host) -> Vec<String> {
    let text = std::fs::read_to_string(host.path().join("tell.told")).unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let [state, code, json] = line.splitn(3, '\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        // The last line may still be written.
        let Ok(Value::Array(entries)) = serde_json::from_str(json) else { break };
        assert_eq!((entries[0]["state"].as_str(), entries[0]["code"].as_str()), (Some(state), Some(code)));
        for entry in entries {
            let word = |key: &str| entry[key].as_str();
            let whose = word("site").or(word("server")).unwrap_or("agent");
            found.push(format!("{} {} {whose}", word("state").unwrap(), word("code").unwrap()));
        }
    }
    found
}

fn wait_until_told(host: &Host, wanted: &[&str]) {
    let contains = |told: &[String]| wanted.iter().all(|line| told.iter().any(|told| told == line));
    host.wait_until(&format!("{wanted:?} told"), || contains(&told(host)));
}

#[test]
fn a_refused_reload_is_told_once_over_restarts_and_so_is_its_end() {
    let mut host = alerting(&[Writer::AcmeSh], "100ms");
    host.start_agent_and_settle();
    host.nginx.break_config();
    host.renew(0, Duration::ZERO);
    wait_until_told(&host, &["problem nginx_refused nginx", "problem blocked site0.test"]);
    let bad_news = told(&host);
    for stop in [Host::stop_agent, Host::kill_agent] {
        // What was told is noted by the time that nothing is under way any more.
        host.wait_until("the note", || noted(&host) == 2);
        stop(&mut host);
        host.start_agent();
        host.wait_for("the problem again", |status| codes(status).contains(&"nginx_refused".to_owned()));
    }
    // Three times as long as a problem has to last.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(told(&host), bad_news);
    host.nginx.mend_config();
    wait_until_told(&host, &["well nginx_refused nginx", "well blocked site0.test"]);
    host.wait_until_done(0);
    host.wait_until("nothing to remember", || noted(&host) == 0);
    assert_eq!(told(&host).len(), bad_news.len() + 2, "{:?}", told(&host));
    host.stop_agent();
}

/// The cases that the ledger has as told.
fn noted(host: &Host) -> usize {
    let ledger = certhook::ledger::Ledger::at(&host.state_dir());
    ledger.cases().unwrap().iter().filter(|case| case.told.is_some()).count()
}

#[test]
fn what_goes_by_itself_is_told_to_nobody() {
    let mut host = alerting(&[Writer::AcmeSh], "1h");
    host.start_agent_and_settle();
    host.nginx.break_config();
    host.renew(0, Duration::ZERO);
    host.wait_for("the problem", |status| codes(status).contains(&"nginx_refused".to_owned()));
    host.nginx.mend_config();
    host.wait_until_done(0);
    host.stop_agent();
    assert_eq!(told(&host), [""; 0]);
}

#[test]
fn a_held_report_is_told_and_so_is_its_delivery() {
    let mut host = alerting(&[Writer::AcmeSh], "100ms");
    host.start_agent_and_settle();
    host.portal.trouble(Trouble::new(Action::status(400)).on(What::Report).times(1));
    host.renew(0, Duration::ZERO);
    wait_until_told(&host, &["problem report_held site0.test"]);
    host.certhook(&["sync", "--retry", "--wait", "30s"]);
    host.wait_until_done(0);
    wait_until_told(&host, &["well report_held site0.test"]);
    assert_eq!(told(&host).len(), 2, "{:?}", told(&host));
    host.stop_agent();
}

#[test]
fn a_command_that_fails_is_a_problem_in_itself_and_is_run_again() {
    let mut host = alerting(&[Writer::AcmeSh], "100ms");
    std::fs::write(host.path().join("tell.broken"), "").unwrap();
    host.start_agent_and_settle();
    host.portal.trouble(Trouble::new(Action::status(400)).on(What::Report).times(1));
    host.renew(0, Duration::ZERO);
    let status = host.wait_for("the problem", |status| !status["alert_problem"].is_null());
    let problem = &status["alert_problem"];
    assert_eq!(problem["code"], "alert_command");
    assert!(problem["message"].as_str().unwrap().ends_with("no way out"), "{problem}");
    let shown = host.certhook(&["status"]);
    assert_eq!(shown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&shown.stdout).contains("alert_command"), "{shown:?}");
    std::fs::remove_file(host.path().join("tell.broken")).unwrap();
    wait_until_told(&host, &["problem report_held site0.test"]);
    host.wait_for("its end", |status| status["alert_problem"].is_null());
    host.stop_agent();
}
