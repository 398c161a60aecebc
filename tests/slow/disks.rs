//! What happens to disks and to the files of the state folder. Whatever it is: it is named, certificates are
//! served all the same, nothing untrue is reported, and all is made good when it is mended.

use std::fs;
use std::io::ErrorKind;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use certhook_test_support::wire;
use certhook_test_support::writers::Writer;

use crate::host::{Extra, Host, codes};
use crate::machine::{self, Mount, has_for, run, skip};
use crate::renewals::Renewals;

/// Two sites; what is gone from the state folder is missed soon.
fn host() -> Host {
    let extra = Extra {
        watch: "poll = \"100ms\"".into(),
        portal: "requests_per_week = 10000".into(),
        portal_allows: Some(10_000),
        ..Extra::unlimited()
    };
    Host::with(&[Writer::VendorClient, Writer::Certbot], extra)
}

/// Renews both sites and waits until they are served, whatever the ledger says.
fn renew_and_see_them_served(host: &mut Host, renewals: &mut Renewals) {
    for site in 0..host.sites.len() {
        renewals.renew(host, site, Duration::from_millis(2));
        let wanted = &host.sites[site].pair.fingerprint;
        let (endpoint, name) = (host.nginx.endpoint(), &host.sites[site].name);
        host.wait_until("served", || {
            wire::served(&endpoint, name).is_ok_and(|leaf| leaf.fingerprint == *wanted)
        });
    }
}

/// Waits until one of these is among the problems of a running agent.
fn wait_for_problem(host: &Host, wanted: &[&str]) {
    host.wait_for(&format!("one of {wanted:?}"), |status| {
        codes(status).iter().any(|code| wanted.contains(&code.as_str()))
    });
}

/// Waits until everything is recorded and reported, every certificate once, and no problem is left.
fn wait_until_made_good(host: &Host, renewals: &Renewals) {
    wait_until_well(host);
    for (fingerprint, posts) in renewals.posts(&host.portal.journal()) {
        assert_eq!(posts.len(), 1, "{fingerprint}: {posts:?}\n{}", host.log());
    }
}

fn wait_until_well(host: &Host) {
    for site in 0..host.sites.len() {
        host.wait_until_done(site);
    }
    let status = host.wait_for("no problem left", |status| codes(status).is_empty());
    let shown = host.certhook(&["status"]);
    assert_eq!(shown.status.code(), Some(0), "{shown:?}\n{status}");
    assert_eq!(host.nginx.log().emergencies, [] as [String; 0]);
}

/// Fills a file system to the last byte.
pub fn fill(folder: &Path) {
    let mut file = fs::File::create(folder.join("filler")).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

#[test]
fn a_full_disk_is_named_and_reloads_go_on() {
    if !machine::is_root_for("full disk") {
        return;
    }
    let mut host = host();
    let state = host.state_dir();
    let _disk = Mount::tmpfs(&state, 1024);
    let mut renewals = Renewals::default();
    host.start_agent_and_settle();
    renew_and_see_them_served(&mut host, &mut renewals);
    wait_until_made_good(&host, &renewals);

    // What the log has would be room enough for more.
    take_in_the_log(&state.join("ledger.db"));
    fill(&state);
    renew_and_see_them_served(&mut host, &mut renewals);
    wait_for_problem(&host, &["disk_full"]);
    renew_and_see_them_served(&mut host, &mut renewals);
    assert_eq!(host.portal.reports().len(), 2, "what is not written down is not reported");
    fs::remove_file(state.join("filler")).unwrap();
    wait_until_made_good(&host, &renewals);
    assert_eq!(host.portal.reports().len(), 4);
    host.stop_agent();

    // An agent that begins on a full disk.
    fill(&state);
    host.start_agent();
    renew_and_see_them_served(&mut host, &mut renewals);
    assert_eq!(host.portal.reports().len(), 4);
    fs::remove_file(state.join("filler")).unwrap();
    wait_until_made_good(&host, &renewals);
    assert_eq!(host.portal.reports().len(), 6);
    host.stop_agent();
}

/// As an older version leaves it: the log alone has filled the disk, and nothing of it is in the database.
fn fill_with_log(state: &Path) {
    let connection = rusqlite::Connection::open(state.join("ledger.db")).unwrap();
    let keep = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(keep, true).unwrap();
    connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    connection.execute_batch("UPDATE site SET name = name || ' '").unwrap();
    // The same pages again and again: the database needs no room for them.
    let error = loop {
        if let Err(error) = connection.execute_batch("UPDATE site SET recorded_at = recorded_at + 1") {
            break error;
        }
    };
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
}

#[test]
fn ledger_whose_log_filled_the_disk_recovers_by_itself() {
    if !machine::is_root_for("a disk that the ledger's log filled") {
        return;
    }
    let mut host = host();
    let state = host.state_dir();
    let _disk = Mount::tmpfs(&state, 4096);
    let mut renewals = Renewals::default();
    host.start_agent_and_settle();
    renew_and_see_them_served(&mut host, &mut renewals);
    wait_until_made_good(&host, &renewals);
    host.kill_agent();
    fill_with_log(&state);
    let log = || fs::metadata(state.join("ledger.db-wal")).map_or(0, |found| found.len());
    assert!(log() > 3 << 20, "{}", log());
    // Nobody makes room.
    host.start_agent();
    renew_and_see_them_served(&mut host, &mut renewals);
    wait_until_made_good(&host, &renewals);
    assert!(log() < 1 << 20, "{}", log());
    host.stop_agent();
}

#[test]
fn a_state_folder_that_is_read_only_at_the_start() {
    if !machine::is_root_for("read-only state folder") {
        return;
    }
    for used_before in [false, true] {
        let mut host = host();
        let disk = Mount::tmpfs(&host.state_dir(), 4096);
        let mut renewals = Renewals::default();
        if used_before {
            host.start_agent_and_settle();
            host.stop_agent();
        }
        disk.remount("ro");
        host.start_agent();
        host.wait_until("the warning", || host.log().contains("cannot reach this process"));
        renew_and_see_them_served(&mut host, &mut renewals);
        let (status, code) = host.json(&["status", "--json"]);
        assert_eq!(code, 1);
        if used_before {
            // Nobody can make a second agent of it either.
            let second = host.certhook(&["sync", "--wait", "100ms"]);
            assert_eq!(second.status.code(), Some(1), "{second:?}");
            assert!(codes(&status).iter().any(|code| code.starts_with("ledger_")), "{status}");
        }
        assert_eq!(host.portal.reports().len(), 0);
        disk.remount("rw");
        wait_until_made_good(&host, &renewals);
        assert_eq!(host.portal.reports().len(), 2);
        host.stop_agent();
    }
}

#[test]
fn a_disk_that_turns_read_only_while_certhook_runs() {
    let proof = "a disk that turns read-only";
    if !machine::is_root_for(proof) || !has_for(proof, "mkfs.ext4") {
        return;
    }
    let mut host = host();
    let state = host.state_dir();
    let disk = Mount::ext4(&host.path().join("disk.img"), &state);
    let mut renewals = Renewals::default();
    host.start_agent_and_settle();
    renew_and_see_them_served(&mut host, &mut renewals);
    wait_until_made_good(&host, &renewals);
    if let Err(why) = disk.break_ext4() {
        return skip(proof, &why);
    }
    renew_and_see_them_served(&mut host, &mut renewals);
    wait_for_problem(&host, &["ledger_io", "ledger_read_only"]);
    assert_eq!(host.portal.reports().len(), 2);
    host.stop_agent();
    disk.check_and_mount_again();
    host.start_agent();
    wait_until_made_good(&host, &renewals);
    assert_eq!(host.portal.reports().len(), 4);
    host.stop_agent();
}

/// strace, making system calls of a running process fail until it is dropped.
struct Faults(Child);

impl Faults {
    fn inject(pid: u32, calls: &str, how: &str) -> Self {
        let inject = format!("inject={calls}:{how}");
        let trace = format!("trace={calls}");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-q", "-o", "/dev/null", "-e", &trace, "-e", &inject, "-p", &pid.to_string()]);
        let child = strace.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let traced = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        machine::wait_until("strace is attached", || {
            traced().lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        });
        Self(child)
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        // It lets go of the process, which a kill would end with it.
        machine::signal(self.0.id(), nix::sys::signal::Signal::SIGINT);
        let _ = self.0.wait();
    }
}

/// So many places in a row have an error of their own: more than a record and a report have together.
const ONCE_AT: usize = 6;

#[test]
fn errors_of_the_disk_are_named_and_made_good() {
    let proof = "errors injected into writes";
    if !has_for(proof, "strace") {
        return;
    }
    if let Err(why) = run("strace", &["-o", "/dev/null", "true"]) {
        return skip(proof, &why);
    }
    let table = [
        ("fsync,fdatasync", "error=EIO", "ledger_io"),
        ("pwrite64", "error=EIO", "ledger_io"),
        ("pwrite64", "error=ENOSPC", "disk_full"),
    ];
    let mut host = host();
    let mut renewals = Renewals::default();
    host.start_agent_and_settle();
    for (calls, error, code) in table {
        let before = host.portal.reports().len();
        let faults = Faults::inject(host.agent_pid(), calls, error);
        renew_and_see_them_served(&mut host, &mut renewals);
        wait_for_problem(&host, &[code]);
        assert_eq!(host.portal.reports().len(), before, "{calls} {error}");
        drop(faults);
        wait_until_well(&host);
        assert_eq!(host.portal.reports().len(), before + 2, "{calls} {error}");
        // Now once at each place, also where the portal has answered and the ledger is to note it.
        for nth in 1..=ONCE_AT {
            let before = host.portal.reports().len();
            let faults = Faults::inject(host.agent_pid(), calls, &format!("{error}:when={nth}"));
            renew_and_see_them_served(&mut host, &mut renewals);
            wait_until_well(&host);
            drop(faults);
            let reports = host.portal.reports().len() - before;
            assert_eq!(reports, 2, "{calls} {error}, number {nth}");
        }
    }
    renewals.posts(&host.portal.journal());
    machine::say(&format!(
        "disk errors: {} single ones during {} renewals; each told once",
        3 * ONCE_AT,
        renewals.count()
    ));
    host.stop_agent();
}

/// (what was done to the ledger, how, what certhook says of it)
type Harm = (&'static str, fn(&Path), &'static str);

const HARMS: [Harm; 6] = [
    ("garbage", |ledger| fs::write(ledger, vec![b'x'; 40_000]).unwrap(), "ledger_corrupt"),
    (
        "its middle is garbage",
        |ledger| {
            let mut bytes = fs::read(ledger).unwrap();
            let pages = bytes.len() / 4096;
            for page in 1..pages {
                bytes[page * 4096..(page + 1) * 4096].fill(0xa5);
            }
            fs::write(ledger, bytes).unwrap();
        },
        "ledger_corrupt",
    ),
    (
        "cut in the middle of a page",
        |ledger| fs::File::options().write(true).open(ledger).unwrap().set_len(6000).unwrap(),
        "ledger_corrupt",
    ),
    (
        "of a newer version",
        |ledger| {
            // The format's user_version: four bytes at 60.
            let mut bytes = fs::read(ledger).unwrap();
            bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
            fs::write(ledger, bytes).unwrap();
        },
        "ledger_newer",
    ),
    (
        "a folder",
        |ledger| {
            fs::remove_file(ledger).unwrap();
            fs::create_dir(ledger).unwrap();
        },
        "ledger_io",
    ),
    (
        "a link that leads nowhere",
        |ledger| {
            fs::remove_file(ledger).unwrap();
            std::os::unix::fs::symlink("/nonexistent/ledger.db", ledger).unwrap();
        },
        "ledger_io",
    ),
];

/// What is still in the log beside the ledger would heal it.
fn take_in_the_log(ledger: &Path) {
    let connection = rusqlite::Connection::open(ledger).unwrap();
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert_eq!(busy, 0, "somebody reads it");
}

#[test]
fn a_ledger_that_cannot_be_used_at_the_start_is_named() {
    for (harm, doing, code) in HARMS {
        let mut host = host();
        let mut renewals = Renewals::default();
        let ledger = host.state_dir().join("ledger.db");
        host.start_agent_and_settle();
        renew_and_see_them_served(&mut host, &mut renewals);
        wait_until_made_good(&host, &renewals);
        host.stop_agent();
        take_in_the_log(&ledger);
        doing(&ledger);

        // Without an agent, and with one.
        let (status, exit) = host.json(&["status", "--json"]);
        assert!(exit == 1 && codes(&status).iter().any(|found| found == code), "{harm}: {status}");
        host.start_agent();
        wait_for_problem(&host, &[code]);
        renew_and_see_them_served(&mut host, &mut renewals);
        wait_for_problem(&host, &[code]);
        let (found, exit) = host.json(&["check", "--json"]);
        let named = found.as_array().unwrap().iter().any(|problem| problem["code"] == code);
        assert!(named && exit == 1, "{harm}: {found}");
        assert_eq!(host.portal.reports().len(), 2, "{harm}");
        // The remedy.
        fs::rename(&ledger, ledger.with_extension("away")).unwrap();
        wait_until_made_good(&host, &renewals);
        assert_eq!(host.portal.reports().len(), 4, "{harm}");
        host.stop_agent();
    }
}

#[test]
fn a_ledger_that_is_harmed_while_certhook_runs_is_named_or_healed() {
    for (harm, doing, code) in HARMS {
        let mut host = host();
        let mut renewals = Renewals::default();
        let ledger = host.state_dir().join("ledger.db");
        host.start_agent_and_settle();
        renew_and_see_them_served(&mut host, &mut renewals);
        wait_until_made_good(&host, &renewals);
        take_in_the_log(&ledger);
        doing(&ledger);
        renew_and_see_them_served(&mut host, &mut renewals);
        // What SQLite has read already it need not read again: it may not notice before the next start.
        let done = |status: &serde_json::Value| {
            let sites = status["sites"].as_array().unwrap();
            let reported = |site: &serde_json::Value| site["report"]["state"] == "delivered";
            sites.iter().all(reported) || codes(status).iter().any(|found| found.starts_with("ledger"))
        };
        host.wait_for("named or healed", done);
        host.stop_agent();
        host.start_agent();
        host.wait_for("named or healed", done);
        let status = host.agent_status().unwrap();
        machine::say(&format!("{harm}, while running: {:?} (at the start {code})", codes(&status)));
        if !codes(&status).is_empty() {
            fs::rename(&ledger, ledger.with_extension("away")).unwrap();
        }
        renew_and_see_them_served(&mut host, &mut renewals);
        wait_until_made_good(&host, &renewals);
        host.stop_agent();
    }
}

#[test]
fn a_ledger_or_a_state_folder_that_is_removed_is_begun_anew() {
    type Removal = (&'static str, fn(&Path));
    let removals: [Removal; 4] = [
        ("the ledger", |state| fs::remove_file(state.join("ledger.db")).unwrap()),
        ("the ledger, moved away", |state| {
            fs::rename(state.join("ledger.db"), state.join("ledger.away")).unwrap();
        }),
        ("the ledger with all that belongs to it", |state| {
            for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
                let _ = fs::remove_file(state.join(name));
            }
        }),
        ("the state folder", |state| {
            // What a running agent puts there meanwhile keeps it from being removed.
            while fs::remove_dir_all(state).is_err_and(|error| error.kind() == ErrorKind::DirectoryNotEmpty) {
            }
        }),
    ];
    let mut host = host();
    let mut renewals = Renewals::default();
    host.start_agent_and_settle();
    let mut reports = 0;
    for (what, remove) in removals {
        for agent_runs in [true, false] {
            renew_and_see_them_served(&mut host, &mut renewals);
            wait_until_made_good(&host, &renewals);
            // What is in the log beside the ledger is not all of it.
            take_in_the_log(&host.state_dir().join("ledger.db"));
            renew_and_see_them_served(&mut host, &mut renewals);
            wait_until_made_good(&host, &renewals);
            reports += 4;
            if !agent_runs {
                host.kill_agent();
            }
            remove(&host.state_dir());
            if !agent_runs {
                host.start_agent_and_settle();
            }
            // Nothing was renewed: nothing is reported again.
            host.wait_until("the agent can be reached", || host.agent_status().is_some());
            assert_eq!(host.certhook(&["sync"]).status.code(), Some(0), "{what}");
            assert_eq!(host.portal.reports().len(), reports, "{what}");
            let second = host.certhook(&["run"]);
            assert_eq!(second.status.code(), Some(1), "{what}: a second agent: {second:?}");
            renew_and_see_them_served(&mut host, &mut renewals);
            wait_until_made_good(&host, &renewals);
            reports += 2;
            assert_eq!(host.portal.reports().len(), reports, "{what}");
            let mode = fs::metadata(host.state_dir().join("ledger.db")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
    host.stop_agent();
}
