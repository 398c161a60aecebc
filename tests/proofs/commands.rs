//! `sync`, `status`, `history`, `verify`: with an agent and without.

use std::time::Duration;

use certhook_test_support::writers::Writer;
use serde_json::Value;

use crate::host::{Extra, Host, states};

#[test]
fn sync_without_an_agent_does_the_whole_job() {
    let mut host = Host::new(&[Writer::Certbot, Writer::Lego]);
    let output = host.certhook(&["sync"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    host.renew(0, Duration::ZERO);
    host.renew(1, Duration::ZERO);
    let (status, code) = host.json(&["sync", "--json"]);
    assert_eq!(code, 0, "{status}");
    assert_eq!(states(&status), ["current", "current"]);
    assert_eq!(host.portal.reports().len(), 2);
    assert_eq!(host.nginx.log().hups, 1);
    // Nothing is left to do.
    assert_eq!(host.certhook(&["sync"]).status.code(), Some(0));
    assert_eq!((host.portal.reports().len(), host.nginx.log().hups), (2, 1));
}

#[test]
fn sync_waits_for_a_pair_that_is_being_written() {
    let mut host = Host::new(&[Writer::Certwarden]);
    assert_eq!(host.certhook(&["sync"]).status.code(), Some(0));
    let pair = host.issue(0);
    std::fs::write(&host.sites[0].layout.key, &pair.key_pem).unwrap();
    let output = std::thread::scope(|scope| {
        let syncing = scope.spawn(|| host.certhook(&["--log-level", "trace", "sync"]));
        // The pass holds the lock for as long as it lasts.
        let lock = std::fs::File::open(host.state_dir().join("lock")).unwrap();
        host.wait_until("the pass works", || {
            matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)) || {
                let _ = lock.unlock();
                false
            }
        });
        std::fs::write(&host.sites[0].layout.certificate, &pair.fullchain_pem).unwrap();
        syncing.join().unwrap()
    });
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(host.served(0), pair.fingerprint);
    host.sites[0].pair = pair;
    assert_eq!(host.portal.reports().len(), 1);
}

#[test]
fn sync_says_what_did_not_become_whole() {
    let host = Host::new(&[Writer::Certwarden]);
    assert_eq!(host.certhook(&["sync"]).status.code(), Some(0));
    let pair = host.issue(0);
    std::fs::write(&host.sites[0].layout.key, &pair.key_pem).unwrap();
    let output = host.certhook(&["sync", "--wait", "1s"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("does not belong"), "{said}");
    assert_eq!(host.nginx.log().hups, 0);
}

#[test]
fn sync_that_runs_out_of_time_does_not_say_that_all_is_well() {
    let mut host = Host::new(&[Writer::Lego]);
    let pid = host.nginx.pid();
    host.use_command_server(&format!("sleep 2; kill -HUP {pid}"), "");
    assert_eq!(host.certhook(&["sync"]).status.code(), Some(0));
    host.renew(0, Duration::ZERO);
    let output = host.certhook(&["sync", "--wait", "500ms"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("reloading"), "{output:?}");
    host.wait_until("what had begun came to its end", || host.nginx.log().hups == 1);
}

#[test]
fn an_interrupted_sync_ends_what_it_has_begun_and_leaves_no_lock() {
    let mut host = Host::new(&[Writer::Lego]);
    let reloaded = host.path().join("reloaded");
    host.use_command_server(&format!("sleep 1; echo >{}", reloaded.display()), "");
    assert_eq!(host.certhook(&["sync"]).status.code(), Some(0));
    host.renew(0, Duration::ZERO);
    let mut syncing = host.spawn(&["--log-level", "info", "sync"]);
    host.wait_until("the reload has begun", || host.log().contains("reloading"));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(syncing.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(syncing.wait().unwrap().code(), Some(1));
    assert!(reloaded.exists(), "the reload was cut: {}", host.log());
    let lock = std::fs::File::open(host.state_dir().join("lock")).unwrap();
    assert!(lock.try_lock().is_ok());
}

#[test]
fn a_reload_command_may_leave_something_behind() {
    let mut host = Host::new(&[Writer::Lego]);
    let pid = host.nginx.pid();
    host.use_command_server(&format!("kill -HUP {pid}; sleep 986 & exit 0"), "");
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    host.stop_agent();
    let left = std::process::Command::new("pkill").args(["-f", "^sleep 986"]).status().unwrap();
    assert!(left.success(), "what it left behind was not ended");
}

#[test]
fn many_syncs_at_once_act_once() {
    for with_agent in [false, true] {
        let mut host = Host::new(&[Writer::Lego]);
        assert_eq!(host.certhook(&["sync"]).status.code(), Some(0));
        if with_agent {
            host.start_agent_and_settle();
        }
        host.renew(0, Duration::ZERO);
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..6).map(|_| scope.spawn(|| host.certhook(&["sync"]))).collect();
            for one in all {
                let output = one.join().unwrap();
                assert_eq!(output.status.code(), Some(0), "agent: {with_agent}: {output:?}\n{}", host.log());
            }
        });
        assert_eq!(host.portal.reports().len(), 1, "agent: {with_agent}");
        assert_eq!(host.nginx.log().hups, 1, "agent: {with_agent}");
        if with_agent {
            host.stop_agent();
        }
    }
}

#[test]
fn a_second_agent_is_refused() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    let output = host.certhook(&["run"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("another certhook"), "{output:?}");
    host.stop_agent();
}

#[test]
fn status_json_keeps_its_shape_with_and_without_an_agent() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    let (with, code) = host.json(&["status", "--json"]);
    assert_eq!(code, 0);
    assert_eq!(with["agent"]["pid"], host.agent_pid());
    assert_eq!(with["agent"]["version"], env!("CARGO_PKG_VERSION"));
    host.stop_agent();
    let (without, code) = host.json(&["status", "--json"]);
    assert_eq!(code, 0, "{without}");
    assert_eq!(without["agent"], serde_json::json!({"running": false, "pid": null, "version": null}));
    for status in [&with, &without] {
        assert_eq!(status["portal"]["requests_used"], 2);
        assert_eq!(status["portal"]["requests_per_week"], 50);
        let site = &status["sites"][0];
        assert_eq!(
            (&site["name"], &site["server"], &site["state"]),
            (&"site0.test".into(), &"nginx".into(), &"current".into())
        );
        let fingerprint = Value::from(host.sites[0].pair.fingerprint.as_str());
        assert_eq!(site["certificate"]["fingerprint"], fingerprint);
        assert_eq!(site["certificate"]["hosts"], serde_json::json!(["site0.test"]));
        assert_eq!(site["certificate"]["path"], host.sites[0].layout.certificate.display().to_string());
        assert_eq!(site["served"]["fingerprint"], fingerprint);
        assert_eq!(site["report"]["state"], "delivered");
        assert_eq!((&site["report"]["attempts"], &site["problem"]), (&1.into(), &Value::Null));
        for time in [
            &site["certificate"]["not_after"],
            &site["certificate"]["written_at"],
            &site["served"]["checked_at"],
        ] {
            let time = time.as_str().unwrap();
            assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
        }
        assert_eq!(site["report"]["remote_create_date"], host.portal.reports()[0].remote_create_date);
    }
}

#[test]
fn history_tells_the_story() {
    let mut host = Host::new(&[Writer::Certbot]);
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    host.stop_agent();
    let (history, code) = host.json(&["history", "--json"]);
    assert_eq!(code, 0);
    let events: Vec<_> =
        history.as_array().unwrap().iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["adopted", "whole", "reloaded", "served", "reported"]);
    let text = String::from_utf8(host.certhook(&["history"]).stdout).unwrap();
    assert_eq!(text.lines().count(), 5, "{text}");
    let (nothing, _) = host.json(&["history", "--json", "--site", "other.test"]);
    assert_eq!(nothing, serde_json::json!([]));
}

#[test]
fn verify_tells_disk_from_wire() {
    let mut host = Host::new(&[Writer::Lego, Writer::Lego]);
    let (verdicts, code) = host.json(&["verify", "--json"]);
    assert_eq!((code, verdicts.as_array().unwrap().len()), (0, 2));
    host.renew(1, Duration::ZERO);
    let (verdicts, code) = host.json(&["verify", "--json"]);
    assert_eq!((code, &verdicts[0]["ok"], &verdicts[1]["ok"]), (1, &true.into(), &false.into()));
    assert_ne!(verdicts[1]["on_disk"]["fingerprint"], verdicts[1]["wire"][0]["fingerprint"]);
    let (verdicts, code) = host.json(&["verify", "--json", "site0.test"]);
    assert_eq!((code, verdicts.as_array().unwrap().len()), (0, 1));
    let text = String::from_utf8(host.certhook(&["verify"]).stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("!  site1.test")), "{text}");
    assert_eq!(host.certhook(&["verify", "nobody.test"]).status.code(), Some(1));
    // Also where sites have no name of their own.
    let host = Host::with(&[Writer::Lego], Extra { nameless: true, ..Extra::default() });
    assert_eq!(host.certhook(&["verify", "site0.test"]).status.code(), Some(0));
    assert_eq!(host.certhook(&["verify", "site0.tset"]).status.code(), Some(1));
    std::fs::write(&host.sites[0].layout.certificate, "").unwrap();
    assert_eq!(host.certhook(&["verify", "site0.test"]).status.code(), Some(1));
}

#[test]
fn without_a_portal_it_reloads_and_verifies() {
    let extra = Extra { no_portal: true, ..Extra::default() };
    let mut host = Host::with(&[Writer::Lego], extra);
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    host.wait_until_served(0);
    let (status, code) = host.json(&["status", "--json"]);
    assert_eq!(
        (code, &status["portal"], &status["sites"][0]["report"]["state"]),
        (0, &Value::Null, &"none".into())
    );
    assert!(host.portal.journal().is_empty());
    host.stop_agent();
}

#[test]
fn a_command_reloads_what_is_no_nginx() {
    let mut host = Host::new(&[Writer::Lego]);
    let pid = host.nginx.pid();
    host.use_command_server(&format!("echo to the log; kill -HUP {pid}"), "");
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    assert!(host.log().contains("to the log"));
    host.stop_agent();
    // One that does not end is ended, with all it started.
    host.use_command_server("sleep 987 & sleep 988", "reload_timeout = \"300ms\"");
    host.renew(0, Duration::ZERO);
    let (status, code) = host.json(&["sync", "--json"]);
    assert_eq!((code, &status["sites"][0]["problem"]["code"]), (1, &"reload_timeout".into()));
    let left = || std::process::Command::new("pgrep").args(["-f", "^sleep 98[78]"]).output().unwrap().stdout;
    host.wait_until("its children are gone", || left().is_empty());
    host.use_command_server("echo no such thing >&2; exit 3", "");
    let (status, code) = host.json(&["sync", "--json"]);
    assert_eq!((code, &status["sites"][0]["problem"]["code"]), (1, &"reload_command".into()));
    assert!(status["sites"][0]["problem"]["message"].as_str().unwrap().contains("no such thing"), "{status}");
}

#[test]
fn the_command_line_has_its_codes() {
    let host = Host::new(&[]);
    let code = |arguments: &[&str]| host.certhook(arguments).status.code().unwrap();
    assert_eq!(code(&["--version"]), 0);
    assert_eq!(code(&["--help"]), 0);
    assert_eq!(code(&["dance"]), 2);
    assert_eq!(code(&[]), 2);
    assert_eq!(code(&["status"]), 2, "the configuration names no site");
    assert_eq!(code(&["--config", "/nonexistent/certhook.toml", "run"]), 2);
    assert_eq!(code(&["sync", "--wait", "soon"]), 2);
}

#[test]
fn agent_prunes_the_history_at_its_start() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    host.stop_agent();
    let ledger = rusqlite::Connection::open(host.state_dir().join("ledger.db")).unwrap();
    let old = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1300)
               INSERT INTO history (at, site, name, event) SELECT x, 'old', 'old', 'problem' FROM n";
    assert_eq!(ledger.execute(old, []).unwrap(), 1300);
    let newest =
        "INSERT INTO history (at, site, name, event) SELECT max(at), 'new', 'new', 'well' FROM history";
    assert_eq!(ledger.execute(newest, []).unwrap(), 1);
    let count = |site: &str| -> u32 {
        ledger.query_row("SELECT count(*) FROM history WHERE site = ?1", [site], |row| row.get(0)).unwrap()
    };
    host.start_agent();
    host.wait_until("the old lines are gone", || count("old") == 0);
    assert_eq!(count("new"), 1);
    host.stop_agent();
}
