//! Hints that do not come: events that were lost, a limit that was reached, file systems that are silent.

use std::path::Path;
use std::time::Duration;

use certhook_test_support::writers::Writer;
use nix::sys::signal::Signal;

use crate::host::{Extra, Host};
use crate::machine::{self, has_for, run, skip};

/// Looks often where there are no events; all else comes once an hour, so that nothing else can have noticed.
fn polling() -> Extra {
    Extra { watch: "poll = \"200ms\"".into(), ..Extra::unlimited() }
}

/// More events than the kernel keeps, each unlike the one before it.
fn flood(folder: &Path) {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let files = limit.trim().parse::<usize>().unwrap() / 2;
    let names = [folder.join("flood-a"), folder.join("flood-b")];
    // Each gives at least that it came, was closed, and went.
    for name in names.iter().cycle().take(files) {
        std::fs::write(name, "").unwrap();
        std::fs::remove_file(name).unwrap();
    }
}

#[test]
fn a_renewal_whose_events_were_lost_is_noticed() {
    let mut host = Host::unlimited(&[Writer::VendorClient, Writer::ReplacedFolder, Writer::Kubernetes]);
    host.start_agent_and_settle();
    for round in 1..=2 {
        machine::freeze(host.agent_pid());
        flood(&host.sites[0].layout.folder);
        for site in 0..3 {
            host.renew(site, Duration::ZERO);
        }
        machine::signal(host.agent_pid(), Signal::SIGCONT);
        for site in 0..3 {
            host.wait_until_done(site);
        }
        assert!(host.log().matches("file events were lost").count() >= round, "{}", host.log());
        assert_eq!(host.portal.reports().len(), 3 * (2 * round - 1));
        // The folders that were replaced unseen are watched again.
        for site in 0..3 {
            host.renew(site, Duration::ZERO);
            host.wait_until_done(site);
        }
        assert_eq!(host.portal.reports().len(), 3 * 2 * round);
    }
    assert_eq!(host.nginx.log().emergencies, [] as [String; 0]);
    host.stop_agent();
}

/// Runs certhook in a user namespace of its own, with a limit of its own; says so where that cannot be.
fn limit(host: &mut Host, proof: &str, limit: &str, to: u32) -> bool {
    let script = format!("echo {to} >/proc/sys/user/{limit} && exec \"$@\"");
    let words = ["unshare", "--user", "--map-root-user", "sh", "-c", script.as_str(), "sh"];
    let attempt = run(words[0], &[&words[1..], &["true"]].concat());
    if let Err(why) = &attempt {
        skip(proof, why);
    }
    host.set_wrapper(&words);
    attempt.is_ok()
}

/// Whether every renewal is noticed though `code` is what `status` and `check` say.
fn noticed_in_spite_of(host: &mut Host, code: &str, polled: usize) {
    host.start_agent();
    let status = host.wait_for("the problem", |status| {
        status["watch"]["problem"]["code"] == code
            && crate::host::states(status).iter().all(|state| state == "current")
    });
    assert!(status["watch"]["polled_sites"].as_u64().unwrap() >= polled as u64, "{status}");
    let remedy = status["watch"]["problem"]["remedy"].as_str().unwrap();
    assert!(remedy.contains("sysctl"), "{remedy}");
    let (found, exit) = host.json(&["check", "--json"]);
    let named = found.as_array().unwrap().iter().any(|problem| problem["code"] == code);
    assert!(named && exit == 1, "{found}");
    let shown = host.certhook(&["status"]);
    assert_eq!(shown.status.code(), Some(1), "{shown:?}");
    assert!(String::from_utf8_lossy(&shown.stdout).contains(remedy), "{shown:?}");
    for _ in 0..2 {
        for site in 0..host.sites.len() {
            host.renew(site, Duration::from_millis(5));
            host.wait_until_done(site);
        }
    }
    assert_eq!(host.portal.reports().len(), 2 * host.sites.len());
    assert_eq!(host.nginx.log().emergencies, [] as [String; 0]);
    host.stop_agent();
    // Without the limit all is well again.
    host.set_wrapper(&[]);
    host.start_agent_and_settle();
    let status = host.agent_status().unwrap();
    assert_eq!(status["watch"], serde_json::json!({"polled_sites": 0, "problem": null}));
    host.stop_agent();
}

#[test]
fn where_the_limit_of_watches_is_reached_folders_are_polled() {
    let mut host = Host::with(&[Writer::Certbot, Writer::AcmeSh, Writer::ReplacedFolder], polling());
    // Enough for the folders above, which all sites share.
    if limit(&mut host, "the limit of watches", "max_inotify_watches", 5) {
        noticed_in_spite_of(&mut host, "watch_limit", 1);
    }
}

#[test]
fn where_there_are_no_events_everything_is_polled() {
    let mut host = Host::with(&[Writer::Certbot, Writer::AcmeSh, Writer::ReplacedFolder], polling());
    if limit(&mut host, "no events at all", "max_inotify_instances", 0) {
        noticed_in_spite_of(&mut host, "no_events", 3);
    }
}

/// A folder shown elsewhere by FUSE; gone when dropped.
struct Mirror(std::path::PathBuf);

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

#[test]
fn a_file_system_without_events_is_polled() {
    let proof = "a file system without events";
    if !has_for(proof, "bindfs") || !machine::is_root_for(proof) {
        return;
    }
    let mut host = Host::with(&[Writer::Certbot, Writer::SpiffeHelper, Writer::Lego], polling());
    // The folders of two sites are written behind the back of the file system that shows them.
    let behind = host.path().join("behind");
    std::fs::create_dir(&behind).unwrap();
    let mut mirrors = Vec::new();
    for site in 0..2 {
        let shown = host.path().join("ssl").join(site.to_string());
        let hidden = behind.join(site.to_string());
        std::fs::rename(&shown, &hidden).unwrap();
        std::fs::create_dir(&shown).unwrap();
        let words =
            ["-o", "attr_timeout=0,entry_timeout=0", hidden.to_str().unwrap(), shown.to_str().unwrap()];
        if let Err(why) = run("bindfs", &words) {
            return skip(proof, &why);
        }
        mirrors.push(Mirror(shown));
    }
    host.start_agent_and_settle();
    let status = host.agent_status().unwrap();
    assert_eq!(status["watch"], serde_json::json!({"polled_sites": 2, "problem": null}));
    for round in 1..=2 {
        for site in 0..3 {
            let pair = host.issue(site);
            let known = &host.sites[site];
            let layout = match site {
                2 => known.layout.clone(),
                _ => known.writer.layout(&behind.join(site.to_string()), &known.name),
            };
            known.writer.renew(&layout, &pair, Duration::from_millis(5));
            host.sites[site].pair = pair;
            host.wait_until_done(site);
        }
        assert_eq!(host.portal.reports().len(), 3 * round);
    }
    assert_eq!(host.nginx.log().emergencies, [] as [String; 0]);
    host.stop_agent();
    drop(mirrors);
}
