//! The service: made, started, asked, stopped and removed, as an administrator does it.

use std::process::{Command, Output};

use crate::host::Host;

const EVENT_SOURCE: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\certhook";
const SERVICE: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\certhook";

fn run(words: &[&str]) -> Output {
    Command::new(words[0]).args(&words[1..]).output().unwrap()
}

fn value(key: &str, name: &str) -> String {
    String::from_utf8_lossy(&run(&["reg", "query", key, "/v", name]).stdout).into_owned()
}

/// One alone: a host has one service of a name.
#[test]
fn the_service_is_made_started_stopped_and_removed() {
    let host = Host::new();
    let made = host.certhook(&["service", "install"]);
    assert!(made.status.success(), "{made:?}");
    let command = value(SERVICE, "ImagePath");
    for part in ["certhook.exe", " run ", "--config", "certhook.toml"] {
        assert!(command.contains(part), "{command}");
    }
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    if !certhook_test_support::wine::cannot_prove(
        "it knows no delayed start, and no start after a failure that was told",
    ) {
        assert_eq!(said, "", "all of it is known");
    }
    assert!(value(SERVICE, "Start").contains("0x2"), "with the system");
    assert!(value(EVENT_SOURCE, "EventMessageFile").contains("EventCreate.exe"));
    assert!(value(EVENT_SOURCE, "TypesSupported").contains("0x7"));
    let again = host.certhook(&["service", "install"]);
    assert!(again.status.success(), "it may be mended: {again:?}");

    assert!(run(&["sc", "start", "certhook"]).status.success());
    host.wait_for("the service runs", |status| {
        status["agent"]["running"] == true && status["sites"][0]["state"] == "current"
    });
    let pair = host.issue();
    std::fs::write(host.key(), &pair.key_pem).unwrap();
    std::fs::write(host.certificate(), &pair.fullchain_pem).unwrap();
    host.wait_until_done(&pair);

    assert!(run(&["sc", "stop", "certhook"]).status.success());
    host.wait_for("the service has ended", |status| status["agent"]["running"] == false);
    let gone = host.certhook(&["service", "uninstall"]);
    assert!(gone.status.success(), "{gone:?}");
    assert!(!value(EVENT_SOURCE, "EventMessageFile").contains("EventCreate.exe"));
    let none = host.certhook(&["service", "uninstall"]);
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    assert!(host.config().exists(), "the configuration stays");

    if certhook_test_support::wine::cannot_prove("its event log takes everything and keeps nothing") {
        return;
    }
    let log = run(&[
        "wevtutil",
        "qe",
        "Application",
        "/c:20",
        "/rd:true",
        "/f:text",
        "/q:*[System[Provider[@Name='certhook']]]",
    ]);
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(log.contains("certhook ends") && log.contains("101"), "{log}");
}
