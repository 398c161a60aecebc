//! The agent as a service: what its manager hears of it, and another configuration without another process.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use certhook_test_support::writers::Writer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::{Extra, Host, PATIENCE, codes, states};

/// A service manager that listens.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn of(host: &mut Host) -> Self {
        let path = host.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        host.set_env("NOTIFY_SOCKET", path.to_str().unwrap());
        Self { socket, heard: Vec::new() }
    }

    /// Listens until a line begins so.
    fn wait_for(&mut self, wanted: &str) -> String {
        loop {
            let known = self.heard.iter().position(|line| line.starts_with(wanted));
            if let Some(known) = known {
                return self.heard.drain(..=known).next_back().unwrap();
            }
            let mut buffer = [0; 4096];
            let length = self.socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{wanted}: {error}"));
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            self.heard.extend(text.lines().map(str::to_owned));
        }
    }
}

#[test]
fn without_a_configuration_there_is_nothing_to_do_and_that_is_no_failure() {
    let mut host = Host::new(&[]);
    std::fs::write(host.config_path(), "# [server.nginx]\n").unwrap();
    for (command, code) in [(&["run"][..], 2), (&["check", "--config-only"], 1), (&["status"], 2)] {
        let output = host.certhook(command);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
        let told = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8_lossy(&told).contains("nothing is configured yet"), "{command:?}");
    }
    let mut manager = Manager::of(&mut host);
    assert_eq!(host.certhook(&["run"]).status.code(), Some(0));
    manager.wait_for("READY=1");
    manager.wait_for("STATUS=nothing is configured yet");
    std::fs::remove_file(host.config_path()).unwrap();
    assert_eq!(host.certhook(&["check", "--config-only"]).status.code(), Some(1));
    std::fs::write(host.config_path(), "[server.nginx\n").unwrap();
    for command in [&["run"][..], &["check", "--config-only"]] {
        assert_eq!(host.certhook(command).status.code(), Some(2), "{command:?}");
    }
}

fn signal(host: &Host, signal: Signal) {
    kill(Pid::from_raw(host.agent_pid().try_into().unwrap()), signal).unwrap();
}

#[test]
fn its_manager_hears_when_it_is_ready_how_things_are_and_when_it_ends() {
    let mut host = Host::new(&[Writer::Lego, Writer::Lego]);
    let mut manager = Manager::of(&mut host);
    host.start_agent();
    manager.wait_for("READY=1");
    let well = manager.wait_for("STATUS=2 sites: 2 current");
    assert!(!well.contains(';'), "{well}");
    // A neighbour's mistake keeps nginx from loading anything.
    host.set_vhost("broken", Some("sevrer {}"));
    host.renew(0, Duration::ZERO);
    let unwell = manager.wait_for("STATUS=2 sites: 1 current, 1 waiting");
    assert!(unwell.contains("site0.test") && unwell.contains("nginx_refused"), "{unwell}");
    host.set_vhost("broken", None);
    manager.wait_for("STATUS=2 sites: 2 current");
    signal(&host, Signal::SIGHUP);
    manager.wait_for("RELOADING=1");
    manager.wait_for("MONOTONIC_USEC=");
    manager.wait_for("READY=1");
    host.stop_agent();
    manager.wait_for("STOPPING=1");
}

#[test]
fn the_watchdog_is_fed_as_often_as_it_wants() {
    let mut host = Host::new(&[Writer::Lego]);
    let mut manager = Manager::of(&mut host);
    host.set_env("WATCHDOG_USEC", "400000");
    host.start_agent();
    manager.wait_for("READY=1");
    for _ in 0..5 {
        let before = Instant::now();
        manager.wait_for("WATCHDOG=1");
        assert!(before.elapsed() < PATIENCE);
    }
    // A loop that stands still feeds nobody.
    signal(&host, Signal::SIGSTOP);
    manager.socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    while manager.socket.recv(&mut buffer).is_ok() {}
    manager.socket.set_nonblocking(false).unwrap();
    manager.socket.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    assert!(manager.socket.recv(&mut buffer).is_err(), "a stopped process was heard");
    signal(&host, Signal::SIGCONT);
    host.stop_agent();
}

/// Takes its own site out of the configuration, or puts it in again.
fn rewrite(host: &Host, change: impl Fn(String) -> String) {
    let text = change(host.config_text());
    std::fs::write(host.config_path(), text).unwrap();
}

#[test]
fn another_configuration_is_taken_over_without_another_process() {
    let mut host = Host::new(&[Writer::Lego, Writer::Certbot]);
    let both = host.config_text();
    let first = both[..both.rfind("[[site]]").unwrap()].to_owned();
    rewrite(&host, |_| first.clone());
    host.start_agent();
    host.wait_for("the one site", |status| states(status) == ["current"]);
    let pid = host.agent_pid();
    rewrite(&host, |_| both.clone());
    signal(&host, Signal::SIGHUP);
    host.wait_for("both sites", |status| states(status) == ["current", "current"]);
    host.renew(1, Duration::ZERO);
    host.wait_until_done(1);
    rewrite(&host, |_| first.clone());
    signal(&host, Signal::SIGHUP);
    let status = host.wait_for("the first site alone", |status| states(status) == ["current"]);
    assert_eq!(status["agent"]["pid"], pid);
    assert_eq!((host.nginx.log().hups, host.portal.reports().len()), (1, 1));
    host.stop_agent();
}

#[test]
fn the_wire_is_looked_at_from_time_to_time_after_it_too() {
    let watch = "rescan = \"1s\"".to_owned();
    let mut host = Host::with(&[Writer::Lego], Extra { watch, ..Extra::default() });
    host.start_agent_and_settle();
    signal(&host, Signal::SIGHUP);
    host.wait_until("another configuration", || host.log().contains("the configuration was read again"));
    host.wait_until("its first look", || !checked_at(&host).is_empty());
    for _ in 0..2 {
        let before = checked_at(&host);
        host.wait_until("another look", || checked_at(&host) > before);
    }
    host.stop_agent();
}

/// As with nginx's unit, whose drop-in tells certhook of every reload, certhook's own included.
#[test]
fn a_server_that_tells_of_its_reloads_is_not_reloaded_for_ever() {
    let mut host = Host::new(&[Writer::Lego]);
    let count = host.path().join("reloads");
    // It ends well, and nothing comes of it.
    host.use_command_server(&format!("echo >>{}", count.display()), "verify_timeout = \"100ms\"");
    host.start_agent_and_settle();
    let reloads = || std::fs::read_to_string(&count).unwrap_or_default().lines().count();
    host.renew(0, Duration::ZERO);
    host.wait_for("the problem", |status| codes(status) == ["stale"]);
    for _ in 0..4 {
        // It waits for the end, and is not to blame for it.
        assert_eq!(host.certhook(&["sync", "--reloaded", "--wait", "20s"]).status.code(), Some(0));
    }
    assert!((1..=3).contains(&reloads()), "{} reloads", reloads());
    host.stop_agent();
}

#[test]
fn a_configuration_that_is_wrong_changes_nothing_and_is_told_of() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    let good = host.config_text();
    for (text, code) in [
        (format!("wahtever = 1\n{good}"), "config_refused"),
        (good.replacen("state_dir = \"", "state_dir = \"/elsewhere", 1), "state_dir_changed"),
    ] {
        rewrite(&host, |_| text.clone());
        signal(&host, Signal::SIGHUP);
        let status = host.wait_for("the complaint", |status| status["config_problem"]["code"] == code);
        assert_eq!(states(&status), ["current"]);
        if code == "config_refused" {
            let message = status["config_problem"]["message"].as_str().unwrap();
            assert!(message.contains("certhook.toml:1: unknown key \"wahtever\""), "{message}");
        }
        let output = host.certhook(&["status"]);
        assert_eq!(output.status.code(), Some(if code == "config_refused" { 2 } else { 1 }), "{output:?}");
    }
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    rewrite(&host, |_| good.clone());
    signal(&host, Signal::SIGHUP);
    host.wait_for("no complaint", |status| {
        status["config_problem"].is_null() && states(status) == ["current"]
    });
    host.stop_agent();
}

/// Reload upon reload of the service while certificates are renewed: each is reloaded for, served and reported once.
#[test]
fn renewals_while_the_configuration_is_read_again_lose_nothing() {
    let mut host = Host::new(&[Writer::VendorClient, Writer::Certbot, Writer::Lego, Writer::AcmeSh]);
    host.start_agent_and_settle();
    for round in 0..6 {
        let site = round % 4;
        signal(&host, Signal::SIGHUP);
        host.renew(site, Duration::from_millis(3 * round as u64));
        signal(&host, Signal::SIGHUP);
        host.wait_until_served(site);
        signal(&host, Signal::SIGHUP);
    }
    for site in 0..4 {
        host.wait_until_done(site);
    }
    // A POST for each renewal: the portal took the same one never twice.
    let mut told: Vec<(i64, String)> =
        host.portal.reports().into_iter().map(|report| (report.id, report.remote_create_date)).collect();
    let all = told.len();
    told.dedup();
    assert_eq!((told.len(), all), (6, 6), "{told:?}");
    host.stop_agent();
}

#[test]
fn who_waits_for_a_pass_is_answered_by_the_new_configuration() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    let mut calls: Vec<_> = (0..4).map(|_| host.spawn(&["sync", "--wait", "30s"])).collect();
    signal(&host, Signal::SIGHUP);
    calls.extend((0..4).map(|_| host.spawn(&["sync", "--wait", "30s"])));
    for mut call in calls {
        let status = call.wait().unwrap();
        assert!(status.success(), "{status}\n{}", host.log());
    }
    host.stop_agent();
}

#[test]
fn a_reload_by_others_is_looked_at_and_costs_no_other() {
    let mut host = Host::with(&[Writer::Lego], Extra { discovered: true, ..Extra::default() });
    host.start_agent_and_settle();
    let before = checked_at(&host);
    host.nginx.hup();
    host.wait_until("the next second", || jiff::Timestamp::now().to_string()[..19] > *before);
    assert_eq!(host.certhook(&["sync", "--reloaded", "--wait", "20s"]).status.code(), Some(0));
    assert!(checked_at(&host) > before);
    assert_eq!(host.nginx.log().hups, 1);
    host.stop_agent();
}

/// To a second; empty before the first look.
fn checked_at(host: &Host) -> String {
    let status = host.agent_status().unwrap_or_default();
    let checked_at = status["sites"][0]["served"]["checked_at"].as_str().unwrap_or_default();
    checked_at.chars().take(19).collect()
}

#[test]
fn what_root_does_in_the_services_folder_stays_the_services() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: it takes root to have a folder of another user");
        return;
    }
    let host = Host::new(&[Writer::Lego]);
    let state = host.state_dir();
    std::fs::create_dir_all(&state).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    nix::unistd::chown(&state, Some(nobody.uid), Some(nobody.gid)).unwrap();
    assert_eq!(host.certhook(&["sync"]).status.code(), Some(0));
    let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
    let mut found = 0;
    for entry in std::fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(owner(&path), nobody.uid.as_raw(), "{}", path.display());
        found += 1;
    }
    assert!(found >= 2, "{found} files");
    assert_eq!(codes(&host.json(&["status", "--json"]).0), Vec::<String>::new());
}

#[test]
fn a_hint_without_an_agent_does_nothing_and_never_fails() {
    let host = Host::new(&[Writer::Lego]);
    let hint = || host.certhook(&["sync", "--reloaded"]).status.code();
    assert_eq!(hint(), Some(0));
    assert!(!host.state_dir().join("ledger.db").exists(), "it made a pass");
    std::fs::write(host.config_path(), "# nothing\n").unwrap();
    assert_eq!(hint(), Some(0));
}

/// A hook that waits for what is put off for hours would hold its tool up, and then complain.
#[test]
fn nobody_waits_for_a_reload_that_is_put_off_as_configured() {
    let server = "min_interval = \"2h\"".to_owned();
    let mut host = Host::with(&[Writer::Lego], Extra { server, ..Extra::default() });
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    host.renew(0, Duration::ZERO);
    let output = host.certhook(&["sync", "--wait", "50s"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("its server is spared, and reloaded at 20"), "{said}");
    assert_eq!(host.nginx.log().hups, 1);
    host.stop_agent();
}

#[test]
fn what_work_needed_is_given_back_when_it_is_done() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    // kB of files that are mapped, the program's own for the most part: only letting go of it makes that less.
    let mapped = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", host.agent_pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssFile:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let at_work = mapped();
    host.wait_until("less is held", || mapped() < at_work / 2);
    // With what is left it goes on as before.
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    host.stop_agent();
}

#[test]
fn what_the_agent_does_not_see_is_told_of() {
    let mut host = Host::new(&[Writer::Lego, Writer::Lego]);
    let both = host.config_text();
    rewrite(&host, |_| both[..both.rfind("[[site]]").unwrap()].to_owned());
    host.start_agent();
    host.wait_for("the one site", |status| states(status) == ["current"]);
    let check = || host.json(&["check", "--json"]);
    assert_eq!(check(), (serde_json::json!([]), 0));
    rewrite(&host, |_| both.clone());
    let (found, code) = check();
    assert_eq!((found[0]["code"].as_str(), code), (Some("not_seen_by_agent"), 1), "{found}");
    host.stop_agent();
}
