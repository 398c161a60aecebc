//! Files that are written by another path than certhook's: each way is noticed without the rescan.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certhook_test_support::ca::{Order, Pair};
use certhook_test_support::writers::Writer;

use crate::attacks::tenant::{alone, bind};
use crate::host::{Extra, Host};
use crate::machine::run;

/// Nothing is looked at but for an event: polls and rescans come too late for any test.
const EVENTS_ALONE: &str = "poll = \"24h\"\nrescan = \"24h\"";
/// Nothing but a poll can notice: the rescan comes too late.
const POLLS: &str = "poll = \"200ms\"\nrescan = \"24h\"";

fn host(writers: &[Writer], watch: &str) -> Host {
    let mut host = Host::with(writers, Extra { watch: watch.into(), ..Extra::unlimited() });
    // The installation is a record, so that each renewal has a report of its own.
    host.set_log_level("debug");
    host
}

/// Both files of a site, in place, by whatever paths lead to them.
fn write(certificate: &Path, key: &Path, pair: &Pair) {
    fs::write(key, &pair.key_pem).unwrap();
    fs::write(certificate, &pair.fullchain_pem).unwrap();
}

/// The site's files by other paths: below another folder, of the same names.
fn elsewhere(host: &Host, site: usize, folder: &Path) -> [PathBuf; 2] {
    let layout = &host.sites[site].layout;
    [&layout.certificate, &layout.key].map(|path| folder.join(path.file_name().unwrap()))
}

/// Renews a site twice by a way of writing, and sees it served and recorded each time.
fn noticed(host: &mut Host, site: usize, way: &str, write: impl Fn(&Pair)) {
    for round in 1..=2 {
        let pair = host.issue(site);
        write(&pair);
        host.sites[site].pair = pair;
        println!("{way}, round {round}");
        host.wait_until_done(site);
    }
}

/// Why each site is polled, as `status` says.
fn polled(host: &Host) -> Vec<Option<String>> {
    let status = host.agent_status().unwrap();
    let sites = status["sites"].as_array().unwrap();
    let reasons: Vec<_> = sites.iter().map(|site| site["polled"].as_str().map(str::to_owned)).collect();
    assert_eq!(status["watch"]["polled_sites"], reasons.iter().flatten().count(), "{status}");
    reasons
}

fn made(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn files_written_by_another_path_are_noticed_by_events() {
    alone(concat!(module_path!(), "::files_written_by_another_path_are_noticed_by_events"), || {
        let mut host = host(&[Writer::AcmeSh; 3], EVENTS_ALONE);
        let sources: Vec<PathBuf> =
            (0..2).map(|site| made(host.path().join(format!("source{site}")))).collect();
        // A file mounted at the place of each, as `docker -v file:file` does; a hard link of each elsewhere.
        for (site, source) in sources.iter().enumerate() {
            let [certificate, key] = elsewhere(&host, site, source);
            let layout = host.sites[site].layout.clone();
            for (shown, source) in [(layout.certificate, certificate), (layout.key, key)] {
                if site == 0 {
                    fs::copy(&shown, &source).unwrap();
                    bind(&source, shown.to_str().unwrap());
                } else {
                    fs::hard_link(&shown, &source).unwrap();
                }
            }
        }
        host.start_agent_and_settle();
        let reasons = polled(&host);
        assert!(reasons[0].as_ref().unwrap().contains("mount point"), "{reasons:?}");
        assert!(reasons[1].as_ref().unwrap().contains("hard links"), "{reasons:?}");
        assert_eq!(reasons[2], None);
        let said = host.certhook(&["check"]);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("1 site is polled (a file is a mount point"), "{said}");
        assert!(said.contains("1 site is polled (a file has hard links"), "{said}");
        assert!(!said.contains("tells of every change"), "{said}");
        for (site, way) in ["a mounted file", "a hard link"].into_iter().enumerate() {
            let [certificate, key] = elsewhere(&host, site, &sources[site]);
            noticed(&mut host, site, way, |pair| write(&certificate, &key, pair));
        }
        // The other name is gone: the folder tells of every change again.
        for path in elsewhere(&host, 1, &sources[1]) {
            fs::remove_file(path).unwrap();
        }
        let layout = host.sites[1].layout.clone();
        noticed(&mut host, 1, "in place", |pair| write(&layout.certificate, &layout.key, pair));
        host.wait_for("one name", |status| status["watch"]["polled_sites"] == 1);
        host.stop_agent();
    });
}

#[test]
fn what_is_mounted_later_is_noticed_by_the_table_of_mounts() {
    alone(concat!(module_path!(), "::what_is_mounted_later_is_noticed_by_the_table_of_mounts"), || {
        let mut host = host(&[Writer::AcmeSh, Writer::AcmeSh, Writer::RenamePerFile], EVENTS_ALONE);
        host.start_agent_and_settle();
        assert_eq!(polled(&host), [None, None, None]);
        // A folder with a newer pair over the site's own; then it is written in, by its own path.
        let layout = host.sites[0].layout.clone();
        for round in 0..2 {
            let volume = made(host.path().join(format!("volume {round}")));
            let files = elsewhere(&host, 0, &volume);
            let pair = host.issue(0);
            write(&files[0], &files[1], &pair);
            bind(&volume, layout.certificate.parent().unwrap().to_str().unwrap());
            host.sites[0].pair = pair;
            host.wait_until_done(0);
            noticed(&mut host, 0, "below the volume's own path", |pair| write(&files[0], &files[1], pair));
            noticed(&mut host, 0, "below the mount", |pair| write(&layout.certificate, &layout.key, pair));
        }
        // Unmounted: what was there before is served again.
        let below = host.path().join("volume 0");
        let [certificate, _] = elsewhere(&host, 0, &below);
        run("umount", &[layout.certificate.parent().unwrap().to_str().unwrap()]).unwrap();
        let old = fs::read(certificate).unwrap();
        host.wait_until("the folder below the mount", || {
            fs::read(&layout.certificate).unwrap() == old && host.certhook(&["verify"]).status.success()
        });
        noticed(&mut host, 0, "below the first mount", |pair| write(&layout.certificate, &layout.key, pair));
        // A file over a file.
        let layout = host.sites[1].layout.clone();
        let source = made(host.path().join("file"));
        let files = elsewhere(&host, 1, &source);
        let pair = host.issue(1);
        write(&files[0], &files[1], &pair);
        bind(&files[1], layout.key.to_str().unwrap());
        bind(&files[0], layout.certificate.to_str().unwrap());
        host.sites[1].pair = pair;
        host.wait_until_done(1);
        noticed(&mut host, 1, "a file mounted later", |pair| write(&files[0], &files[1], pair));
        // Another volume leaves the others as they are.
        host.renew(2, Duration::ZERO);
        host.wait_until_done(2);
        host.stop_agent();
    });
}

#[test]
fn what_is_written_below_an_overlay_is_noticed_by_polls() {
    alone(concat!(module_path!(), "::what_is_written_below_an_overlay_is_noticed_by_polls"), || {
        let mut host = host(&[Writer::AcmeSh; 2], POLLS);
        let folder = host.sites[0].layout.certificate.parent().unwrap().to_owned();
        let lower = host.path().join("lower");
        fs::rename(&folder, &lower).unwrap();
        // The upper layer stands in a file system of its own: an overlay is no upper layer of another.
        let own = made(host.path().join("own"));
        run("mount", &["-t", "tmpfs", "tmpfs", own.to_str().unwrap()]).unwrap();
        let (upper, work) = (made(own.join("upper")), made(own.join("work")));
        fs::create_dir(&folder).unwrap();
        let options =
            format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        if let Err(why) =
            run("mount", &["-t", "overlay", "overlay", "-o", &options, folder.to_str().unwrap()])
        {
            return crate::machine::skip("an overlay's lower layer", &why);
        }
        host.start_agent_and_settle();
        let reasons = polled(&host);
        assert!(reasons[0].as_ref().unwrap().contains("below it"), "{reasons:?}");
        assert_eq!(reasons[1], None);
        let files = elsewhere(&host, 0, &lower);
        noticed(&mut host, 0, "the lower layer", |pair| write(&files[0], &files[1], pair));
        let layout = host.sites[0].layout.clone();
        noticed(&mut host, 0, "through the overlay", |pair| write(&layout.certificate, &layout.key, pair));
        host.stop_agent();
    });
}

/// The ways whose own path is written, beside those of above: events tell of them, and nobody is polled.
#[test]
fn links_and_renames_are_noticed_by_events() {
    let writers =
        [Writer::RenamePerFile, Writer::Certbot, Writer::Dehydrated, Writer::Kubernetes, Writer::MovedLink];
    let mut host = host(&writers, EVENTS_ALONE);
    host.start_agent_and_settle();
    assert_eq!(polled(&host), [const { None }; 5]);
    for _ in 0..2 {
        for site in 0..host.sites.len() {
            host.renew(site, Duration::from_millis(5));
            host.wait_until_done(site);
        }
    }
    host.stop_agent();
}

#[test]
fn a_hard_link_made_later_is_noticed_by_the_sweep() {
    let mut host = host(&[Writer::AcmeSh; 2], POLLS);
    host.start_agent_and_settle();
    assert_eq!(polled(&host), [None, None]);
    let source = made(host.path().join("source"));
    let files = elsewhere(&host, 0, &source);
    let layout = host.sites[0].layout.clone();
    fs::hard_link(&layout.certificate, &files[0]).unwrap();
    fs::hard_link(&layout.key, &files[1]).unwrap();
    noticed(&mut host, 0, "a later hard link", |pair| write(&files[0], &files[1], pair));
    host.stop_agent();
}

/// The system has one watch for one inode, by whichever paths it is reached.
#[test]
fn two_sites_of_one_inode_are_both_told() {
    alone(concat!(module_path!(), "::two_sites_of_one_inode_are_both_told"), || {
        let mut host = host(&[Writer::AcmeSh; 4], EVENTS_ALONE);
        let layouts: Vec<_> = host.sites.iter().map(|site| site.layout.clone()).collect();
        let one_for = |host: &Host, sites: [usize; 2]| {
            let names = sites.map(|site| host.sites[site].name.as_str());
            host.ca.issue(Order { hosts: &names, ..Order::default() })
        };
        // Sites 0 and 1 are in one folder, by a mount; 2 and 3 have hard links of one file.
        let folder = |site: usize| layouts[site].certificate.parent().unwrap();
        bind(folder(0), folder(1).to_str().unwrap());
        for path in [&layouts[3].certificate, &layouts[3].key] {
            fs::remove_file(path).unwrap();
            fs::hard_link(folder(2).join(path.file_name().unwrap()), path).unwrap();
        }
        host.start_agent();
        for sites in [[0, 1], [2, 3]] {
            for writer in sites {
                let pair = one_for(&host, sites);
                write(&layouts[writer].certificate, &layouts[writer].key, &pair);
                for site in sites {
                    host.sites[site].pair = pair.clone();
                    host.wait_until_served(site);
                }
            }
        }
        host.stop_agent();
    });
}
