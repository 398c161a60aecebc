//! A FUSE file system that stops answering: the site on it is `not_read`, and all others go on.
//!
//! nginx reads certhook's copies here (`stage`): by itself it would open the files on the mount that hangs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use certhook_test_support::writers::Writer;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::tenant::alone;
use crate::host::{Host, PATIENCE};
use crate::machine::{self, has_for, run, wait_until};

/// A directory that `bindfs` shows at its own place, and that hangs when it is told to.
pub struct Hanging {
    daemon: Child,
    at: PathBuf,
}

impl Hanging {
    /// Moves a directory to `behind`, and shows it where it was.
    pub fn mount(at: &Path, behind: &Path) -> Self {
        fs::rename(at, behind).unwrap();
        fs::create_dir(at).unwrap();
        let options = "attr_timeout=0,entry_timeout=0,negative_timeout=0,ac_attr_timeout=0,allow_other";
        let daemon = Command::new("bindfs")
            .args(["-f", "-o", options])
            .args([behind, at])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let is_mounted =
            || fs::read_to_string("/proc/self/mounts").unwrap().contains(&format!(" {} ", at.display()));
        wait_until("it is mounted", is_mounted);
        Self { daemon, at: at.to_owned() }
    }

    pub fn hang(&self) {
        machine::freeze(self.daemon.id());
    }

    pub fn go_on(&self) {
        machine::signal(self.daemon.id(), Signal::SIGCONT);
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // Whatever waits for it is told that it is gone.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = run("umount", &["-l", self.at.to_str().unwrap()]);
    }
}

/// Three sites, of which nginx reads copies: the files of the first and the target of the second's link are on a mount
/// of their own.
fn scene() -> (Host, [Hanging; 2]) {
    let mut host = crate::staged::staged(&[Writer::AcmeSh, Writer::AcmeSh, Writer::AcmeSh]);
    host.stop_agent();
    let behind = host.path().join("behind");
    fs::create_dir(&behind).unwrap();
    let first = Hanging::mount(&host.path().join("ssl/0"), &behind.join("0"));
    // The second's directory becomes a link to one on a mount.
    let (own, elsewhere) = (host.path().join("ssl/1"), host.path().join("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(&own, elsewhere.join("1")).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("1"), &own).unwrap();
    let second = Hanging::mount(&elsewhere, &behind.join("elsewhere"));
    (host, [first, second])
}

/// The neighbour is served and reported twice, and `status` answers; the others are `not_read`.
fn neighbour_is_served(host: &mut Host) {
    for _ in 0..2 {
        host.renew(2, Duration::ZERO);
        let wanted = host.sites[2].pair.fingerprint.clone();
        host.wait_for("the neighbour is served and reported", |status| {
            let site = of(status, "site2.test");
            site["state"] == "current"
                && site["served"]["fingerprint"] == *wanted
                && site["report"]["state"] == "delivered"
        });
        assert_eq!(host.served(2), wanted);
    }
    host.wait_for("the sites on the mounts are not read", |status| {
        ["site0.test", "site1.test"].iter().all(|name| of(status, name)["problem"]["code"] == "not_read")
    });
}

fn of<'s>(status: &'s Value, name: &str) -> &'s Value {
    let sites = status["sites"].as_array().into_iter().flatten();
    sites.into_iter().find(|site| site["name"] == name).unwrap_or(&Value::Null)
}

fn well_again(host: &mut Host, mounts: &[Hanging]) {
    for mount in mounts {
        mount.go_on();
    }
    for site in [0, 1] {
        host.renew(site, Duration::ZERO);
        let wanted = host.sites[site].pair.fingerprint.clone();
        let name = host.sites[site].name.clone();
        host.wait_for("the others go on", |status| of(status, &name)["served"]["fingerprint"] == *wanted);
    }
}

macro_rules! hung_test {
    ($(#[$mark:meta])* $name:ident, $body:expr) => {
        $(#[$mark])*
        #[test]
        fn $name() {
            if has_for(stringify!($name), "bindfs") {
                alone(concat!(module_path!(), "::", stringify!($name)), $body);
            }
        }
    };
}

hung_test! { a_mount_that_hangs_stops_no_other_site, || {
    let (mut host, mounts) = scene();
    host.start_agent_and_settle();
    for mount in &mounts {
        mount.hang();
    }
    // Each kind of hint: a poll by itself, and a whole look at everything.
    machine::signal(host.agent_pid(), Signal::SIGHUP);
    neighbour_is_served(&mut host);
    well_again(&mut host, &mounts);
    host.stop_agent();
}}

hung_test! { a_start_while_a_mount_hangs_serves_the_others, || {
    let (mut host, mounts) = scene();
    for mount in &mounts {
        mount.hang();
    }
    host.start_agent();
    host.wait_until("the control socket answers", || host.agent_status().is_some());
    neighbour_is_served(&mut host);
    well_again(&mut host, &mounts);
    host.stop_agent();
}}

hung_test! { an_agent_ends_while_a_mount_hangs, || {
    let (mut host, mounts) = scene();
    host.start_agent_and_settle();
    for mount in &mounts {
        mount.hang();
    }
    neighbour_is_served(&mut host);
    machine::signal(host.agent_pid(), Signal::SIGTERM);
    host.wait_for_agents_end();
}}

hung_test! { commands_by_hand_end_while_a_mount_hangs, || {
    let (mut host, mounts) = scene();
    for mount in &mounts {
        mount.hang();
    }
    host.renew(2, Duration::ZERO);
    let mut hung = Vec::new();
    for words in [&["check"][..], &["status"], &["discover"], &["verify"], &["sync", "--wait", "20s"]] {
        let mut child = host.spawn(words);
        let until = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        if child.try_wait().unwrap().is_none() {
            hung.push(words[0]);
            let _ = child.kill();
        }
        let _ = child.wait();
    }
    assert!(hung.is_empty(), "they do not end: {hung:?}");
    assert_eq!(host.served(2), host.sites[2].pair.fingerprint, "sync serves the neighbour\n{}", host.log());
    drop(mounts);
}}
