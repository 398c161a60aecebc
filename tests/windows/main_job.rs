//! The main job: written, whole, reloaded, served, reported; by the program that is shipped, with a real server.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::host::{Host, PATIENCE, retried};

/// In UTC, cut to whole seconds.
pub fn as_the_portal_wants(written: SystemTime) -> String {
    let second = written.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let at = jiff::Timestamp::from_second(second.cast_signed()).unwrap();
    at.to_string().trim_end_matches('Z').to_owned()
}

pub fn write_time(path: &Path) -> SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn a_renewed_certificate_is_served_and_reported() {
    let mut host = Host::new();
    host.start_agent();
    assert_eq!(host.portal.reports().len(), 0);
    // In place, the certificate before its key.
    let pair = host.issue();
    retried(|| std::fs::write(host.certificate(), &pair.fullchain_pem));
    std::thread::sleep(Duration::from_millis(50));
    retried(|| std::fs::write(host.key(), &pair.key_pem));
    let status = host.wait_until_done(&pair);
    assert_eq!(host.served(), pair.fingerprint);
    let reports = host.portal.reports();
    assert_eq!((reports.len(), reports[0].id), (1, 158));
    assert_eq!(reports[0].remote_create_date, as_the_portal_wants(write_time(&host.certificate())));
    assert_eq!(status["agent"]["running"], true);
    // Beside, and then renamed: as careful programs do.
    let pair = host.issue();
    for (path, text) in [(host.key(), &pair.key_pem), (host.certificate(), &pair.fullchain_pem)] {
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        retried(|| std::fs::rename(&new, &path));
    }
    host.wait_until_done(&pair);
    assert_eq!(host.portal.wait_for_reports(2, PATIENCE).unwrap().len(), 2);
    // The commands, beside the agent.
    let synced = host.certhook(&["sync"]);
    assert!(synced.status.success(), "{synced:?}");
    assert_eq!(host.portal.reports().len(), 2, "nothing is told twice");
    let history = host.json(&["history", "--json"]).to_string();
    for event in ["adopted", "reloaded", "served", "reported"] {
        assert!(history.contains(event), "{event}: {history}");
    }
    let verified = host.certhook(&["verify"]);
    assert!(verified.status.success(), "{verified:?}");
    // The second certhook on one state folder is none.
    let second = host.certhook(&["run"]);
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("another certhook"), "{second:?}");
}

#[test]
fn a_file_that_its_writer_has_for_itself_is_waited_for() {
    let mut host = Host::new();
    host.start_agent();
    let pair = host.issue();
    retried(|| std::fs::write(host.key(), &pair.key_pem));
    let path = host.certificate();
    let mut alone = retried(|| OpenOptions::new().write(true).truncate(true).share_mode(0).open(&path));
    let (half, rest) = pair.fullchain_pem.as_bytes().split_at(700);
    alone.write_all(half).unwrap();
    host.wait_for("it is pending", |status| status["sites"][0]["state"] == "pending");
    alone.write_all(rest).unwrap();
    drop(alone);
    host.wait_until_done(&pair);
    assert!(host.log().contains("being_written"), "{}", host.log());
    assert_eq!(host.portal.reports().len(), 1);
}

#[test]
fn without_an_agent_a_pass_does_the_work() {
    let host = Host::new();
    let first = host.certhook(&["sync"]);
    assert!(first.status.success(), "{first:?}");
    let pair = host.issue();
    std::fs::write(host.key(), &pair.key_pem).unwrap();
    std::fs::write(host.certificate(), &pair.fullchain_pem).unwrap();
    let second = host.certhook(&["sync"]);
    assert!(second.status.success(), "{second:?}");
    assert_eq!((host.served(), host.portal.reports().len()), (pair.fingerprint, 1));
    let status = host.json(&["status", "--json"]);
    assert_eq!(status["agent"]["running"], false);
    let check = host.certhook(&["check", "--online"]);
    let said =
        format!("{}{}", String::from_utf8_lossy(&check.stdout), String::from_utf8_lossy(&check.stderr));
    assert!(said.contains("the portal lists 1 certificate"), "{said}");
}
