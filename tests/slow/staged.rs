//! Published copies: nginx reads whole sets only, whatever happens to their sources.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use certhook_test_support::nginx::NginxSite;
use certhook_test_support::writers::Writer;

use crate::disks::fill;
use crate::host::{Extra, Host, codes, states};
use crate::machine::{self, Mount};

const MS: Duration = Duration::from_millis(1);

/// A host whose nginx reads copies, brought there as an administrator does it: certhook publishes first, then
/// nginx's lines are changed and loaded.
pub fn staged(writers: &[Writer]) -> Host {
    staged_on(writers, |_| ()).0
}

/// As [`staged`]; the folder of the copies may be mounted first.
fn staged_on<T>(writers: &[Writer], mount: impl FnOnce(&Path) -> T) -> (Host, T) {
    let portal = "requests_per_week = 1000".into();
    staged_with_mount(writers, Extra { portal, portal_allows: Some(1000), ..Extra::unlimited() }, mount)
}

/// As [`staged`], with more in the configuration.
pub fn staged_with(writers: &[Writer], extra: Extra) -> Host {
    staged_with_mount(writers, extra, |_| ()).0
}

fn staged_with_mount<T>(writers: &[Writer], extra: Extra, mount: impl FnOnce(&Path) -> T) -> (Host, T) {
    let server = "discover = true\nstage = \"STATE/live\"".into();
    let mut host = Host::with(writers, Extra { server, no_verify: true, ..extra });
    let mounted = mount(&host.state_dir().join("live"));
    assert_eq!(host.certhook(&["sync"]).status.code(), Some(0), "{}", host.log());
    let served = host.sites.iter().map(|site| {
        let copy = host.state_dir().join("live").join(&site.name);
        NginxSite::new(&[site.name.as_str()], copy.join("fullchain.pem"), copy.join("privkey.pem"))
    });
    let served = served.collect();
    host.nginx.set_sites(served);
    host.nginx.hup();
    host.nginx.wait_idle();
    host.start_agent_and_settle();
    assert_eq!(host.agent_status().unwrap()["sites"].as_array().unwrap().len(), writers.len());
    (host, mounted)
}

fn sets(host: &Host) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(host.state_dir().join("live/.sets")).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

/// Renews sites side by side, each with its writer; then all must be served, and no load may have failed.
fn renew_all(host: &mut Host, apart: Duration, gap: Duration) -> usize {
    let before = host.nginx.log();
    let pairs: Vec<_> = (0..host.sites.len()).map(|site| host.issue(site)).collect();
    std::thread::scope(|scope| {
        let mut next = Instant::now();
        for (site, pair) in host.sites.iter().zip(&pairs) {
            // A rate, not a wait: this is what the test is about.
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            scope.spawn(move || site.writer.renew(&site.layout, pair, gap));
            next += apart;
        }
    });
    for (site, pair) in pairs.into_iter().enumerate() {
        host.sites[site].pair = pair;
        host.wait_until_done(site);
        assert_eq!(host.served(site), host.sites[site].pair.fingerprint);
    }
    let log = host.nginx.log();
    assert_eq!((&log.emergencies, log.key_mismatches), (&before.emergencies, 0), "{log:?}");
    log.hups - before.hups
}

#[test]
fn a_trickle_in_place_meets_no_failed_load() {
    let mut host = staged(&[Writer::Lego; 50]);
    let reloads = renew_all(&mut host, 50 * MS, 20 * MS);
    println!("| 50 in place, one every 50 ms, published | {reloads} reloads | 0 failed loads |");
    assert!(reloads <= 50);
    assert_eq!(sets(&host).len(), 50, "old sets are removed");
    host.stop_agent();
}

#[test]
fn every_slow_writer_meets_no_failed_load() {
    let mut host = staged(&Writer::ALL);
    for gap in [0, 200, 2000] {
        let reloads = renew_all(&mut host, Duration::ZERO, gap * MS);
        println!(
            "| {} writers at once, gap {gap} ms, published | {reloads} reloads | 0 failed loads |",
            Writer::ALL.len()
        );
    }
    host.stop_agent();
}

#[test]
fn the_last_good_set_outlives_its_source() {
    let mut host = staged(&[Writer::Lego, Writer::Lego, Writer::Lego]);
    let good: Vec<String> = (0..3).map(|site| host.served(site)).collect();
    // One writer is killed half-way, another removes what it was to write.
    let layout = host.sites[0].layout.clone();
    let half = host.issue(0).fullchain_pem;
    std::fs::write(&layout.certificate, &half[..half.len() / 3]).unwrap();
    std::fs::remove_dir_all(host.sites[1].layout.certificate.parent().unwrap()).unwrap();
    host.wait_for("both pending", |status| states(status) == ["pending", "pending", "current"]);
    let all_good = |host: &Host| {
        host.nginx.hup();
        host.nginx.wait_idle();
        for site in [0, 1] {
            assert_eq!(host.served(site), good[site], "site {site}");
        }
        assert_eq!(host.nginx.log().emergencies, [] as [String; 0]);
    };
    all_good(&host);
    // A neighbour's renewal goes its way.
    host.renew(2, Duration::ZERO);
    host.wait_until_done(2);
    host.kill_agent();
    all_good(&host);
    host.start_agent();
    host.wait_for("seen again", |status| states(status) == ["pending", "pending", "current"]);
    all_good(&host);
    // nginx itself starts with them too.
    host.nginx.stop();
    host.nginx.start_again();
    all_good(&host);
    // Mended, it is as if nothing had been.
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    let pair = host.issue(1);
    let (layout, writer) = (host.sites[1].layout.clone(), host.sites[1].writer);
    writer.install(&layout, &pair);
    host.sites[1].pair = pair;
    host.wait_until_done(1);
    let status = host.wait_for("well", |status| codes(status).is_empty());
    assert_eq!(states(&status), ["current"; 3]);
    host.stop_agent();
}

#[test]
fn full_disk_leaves_nothing_behind_and_names_each_site() {
    if !machine::is_root_for("a full disk below stage") {
        return;
    }
    let (mut host, _disk) = staged_on(&[Writer::Lego; 4], |live| Mount::tmpfs(live, 512));
    let live = host.state_dir().join("live");
    let names = || -> Vec<String> {
        let folders = [live.clone(), live.join(".sets")];
        let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().flatten());
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let good: Vec<String> = (0..4).map(|site| host.served(site)).collect();
    fill(&live);
    let before = names();
    let pairs: Vec<_> = (0..4).map(|site| host.issue(site)).collect();
    for (site, pair) in host.sites.iter_mut().zip(pairs) {
        site.writer.renew(&site.layout, &pair, Duration::ZERO);
        site.pair = pair;
    }
    let told =
        |status: &serde_json::Value| codes(status).iter().filter(|code| *code == "not_published").count();
    for _ in 0..3 {
        let status = host.wait_for("all are told", |status| told(status) == 4);
        for site in status["sites"].as_array().unwrap() {
            let (name, problem) = (site["name"].as_str().unwrap(), &site["problem"]);
            let wanted = format!("the copy of {name} in {}", live.display());
            assert!(problem["message"].as_str().unwrap().contains(&wanted), "{site}");
            assert!(problem["remedy"].as_str().unwrap().contains("make room"), "{site}");
        }
        // Each time it is tried again.
        assert_eq!(host.certhook(&["sync"]).status.code(), Some(1));
    }
    let left: Vec<_> = names().into_iter().filter(|name| !before.contains(name)).collect();
    // One may be under way.
    assert!(left.len() <= 1, "{left:?}");
    assert_eq!((0..4).map(|site| host.served(site)).collect::<Vec<_>>(), good);
    std::fs::remove_file(live.join("filler")).unwrap();
    for site in 0..4 {
        host.wait_until_done(site);
        assert_eq!(host.served(site), host.sites[site].pair.fingerprint);
    }
    host.wait_for("well", |status| codes(status).is_empty());
    host.wait_until("only the sets are left", || sets(&host).len() == 4);
    host.stop_agent();
}

#[test]
fn the_lines_for_nginx_are_printed() {
    let mut extra = Extra { discovered: true, ..Extra::unlimited() };
    extra.server = String::new();
    let host = Host::with(&[Writer::Certbot, Writer::Lego], extra);
    let output = host.certhook(&["discover", "--stage"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let folder = host.state_dir().join("live");
    assert!(text.contains(&format!("stage = {folder:?}")), "{text}");
    for what in ["fullchain.pem", "privkey.pem"] {
        assert_eq!(text.matches(&format!("/{what};")).count(), 2, "{text}");
    }
    certhook::config::Config::parse(std::path::Path::new("c"), &text).unwrap();
}
