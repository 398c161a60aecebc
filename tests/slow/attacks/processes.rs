//! certhook's two processes: the one that has rights has no connection to the network, the one that has connections has no rights, and neither
//! lives without the other.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use certhook_test_support::writers::Writer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::tenant::{SERVICE, alone, run_as_service};
use crate::host::{Extra, Host};
use crate::machine::{run, say};

/// CAP_KILL and CAP_DAC_READ_SEARCH.
const BOTH: u64 = 1 << 5 | 1 << 2;

/// A capability set of every thread of a process: `CapEff` and its like.
fn sets(pid: u32, name: &str) -> BTreeSet<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let set = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    // A thread may end meanwhile.
    threads.filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok()).map(set).collect()
}

/// The sockets of the internet that a process holds.
fn internet_sockets(pid: u32) -> usize {
    let of_the_host: BTreeSet<String> = ["tcp", "tcp6", "udp", "udp6"]
        .iter()
        .flat_map(|kind| {
            let table = fs::read_to_string(format!("/proc/net/{kind}")).unwrap();
            let inodes = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9));
            inodes.map(|inode| format!("socket:[{inode}]")).collect::<Vec<_>>()
        })
        .collect();
    let held = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let links = held.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| of_the_host.contains(link.to_str().unwrap_or_default())).count()
}

fn page(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn who_has_rights_speaks_to_nobody_and_who_speaks_has_none() {
    alone(concat!(module_path!(), "::who_has_rights_speaks_to_nobody_and_who_speaks_has_none"), || {
        const METRICS: &str = "127.0.0.1:9321";
        let extra = Extra { top: format!("[metrics]\nlisten = {METRICS:?}\n"), ..Extra::unlimited() };
        let mut host = Host::with(&[Writer::Certbot], extra);
        run_as_service(&mut host);
        host.start_agent_and_settle();
        let (agent, network) = (host.agent_pid(), host.network_pid());
        host.wait_until("the metrics are given", || page(METRICS).contains("certhook_up 1"));
        let status = fs::read_to_string(format!("/proc/{network}/status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        for (pid, held) in [(agent, BOTH), (network, 0)] {
            for (name, expected) in [("CapPrm", held), ("CapEff", held), ("CapInh", 0), ("CapAmb", 0)] {
                assert_eq!(sets(pid, name), BTreeSet::from([expected]), "{name} of {pid}");
            }
        }
        // It can neither be traced nor read by its neighbour, which has the same user.
        let words = ["--reuid", "--regid"].map(|word| format!("{word}={SERVICE}"));
        let as_neighbour = |program: &str, path: &str| {
            let words = words.iter().map(String::as_str);
            let all = words.chain(["--clear-groups", "--bounding-set=-all", program, path]);
            run("setpriv", &all.collect::<Vec<_>>())
        };
        assert!(as_neighbour("cat", "/proc/self/environ").is_ok());
        for file in ["mem", "environ", "maps"] {
            assert!(as_neighbour("cat", &format!("/proc/{agent}/{file}")).is_err(), "{file}");
        }
        let key = host.sites[0].layout.key.clone();
        assert!(as_neighbour("cat", key.to_str().unwrap()).is_err(), "{}", key.display());

        // Through some renewals, with handshakes, reports and callers.
        let (over, looks, held) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(internet_sockets(agent), 0, "the process that has rights speaks");
                    held.fetch_or(internet_sockets(network) > 0, Ordering::Relaxed);
                    looks.store(true, Ordering::Relaxed);
                }
            });
            for _ in 0..3 {
                host.renew(0, Duration::ZERO);
                host.wait_until_done(0);
                assert!(page(METRICS).contains("certhook_up 1"));
            }
            over.store(true, Ordering::Relaxed);
        });
        assert!(looks.into_inner() && held.into_inner(), "nothing was seen");
        say("| process | user | CapPrm, CapEff | sockets of the internet |");
        say("|---|---|---|---|");
        say(&format!("| the agent, {agent} | {SERVICE} | CAP_KILL, CAP_DAC_READ_SEARCH | none |"));
        say(&format!("| its network process, {network} | {SERVICE} | none | all |"));
        host.stop_agent();
    });
}

#[test]
fn neither_lives_without_the_other() {
    alone(concat!(module_path!(), "::neither_lives_without_the_other"), || {
        let mut host = Host::with(&[Writer::Certbot], Extra::unlimited());
        run_as_service(&mut host);
        let is_there = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !status.is_empty() && !status.contains(") Z ")
        };
        let send = |pid: u32, signal| kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();

        host.start_agent_and_settle();
        send(host.network_pid(), Signal::SIGKILL);
        let status = host.wait_for_agents_end();
        assert_eq!(status.code(), Some(1), "a service manager starts it again\n{}", host.log());
        assert!(host.log().contains("has ended: signal: 9"), "{}", host.log());

        host.start_agent_and_settle();
        let network = host.network_pid();
        host.kill_agent();
        host.wait_until("the other process has ended", || !is_there(network));

        // A terminal or a service manager may tell both of them to end: only the first one obeys, and ends the other.
        host.start_agent_and_settle();
        let network = host.network_pid();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            send(network, signal);
        }
        host.renew(0, Duration::ZERO);
        host.wait_until_done(0);
        host.stop_agent();
        host.wait_until("the other process has ended", || !is_there(network));
    });
}

#[test]
fn by_hand_as_root_the_network_process_is_the_services_user_or_has_no_rights() {
    alone(
        concat!(
            module_path!(),
            "::by_hand_as_root_the_network_process_is_the_services_user_or_has_no_rights"
        ),
        || {
            let mut host = Host::with(&[Writer::Certbot], Extra::unlimited());
            host.start_agent_and_settle();
            let network = host.network_pid();
            assert_eq!(sets(network, "CapPrm"), BTreeSet::from([0]));
            host.stop_agent();

            let passwd = host.path().join("passwd");
            let mut text = fs::read_to_string("/etc/passwd").unwrap();
            text.push_str(&format!("certhook:x:{SERVICE}:{SERVICE}::/nonexistent:/usr/sbin/nologin\n"));
            fs::write(&passwd, text).unwrap();
            run("mount", &["--bind", passwd.to_str().unwrap(), "/etc/passwd"]).unwrap();
            host.start_agent_and_settle();
            let network = host.network_pid();
            let status = fs::read_to_string(format!("/proc/{network}/status")).unwrap();
            let is_the_user = format!("Uid:\t{SERVICE}\t{SERVICE}\t{SERVICE}\t{SERVICE}\n");
            assert!(status.contains(&is_the_user) && status.contains("Groups:\t \n"), "{status}");
            assert_eq!(sets(network, "CapPrm"), BTreeSet::from([0]));
            host.renew(0, Duration::ZERO);
            host.wait_until_done(0);
            host.stop_agent();
        },
    );
}
