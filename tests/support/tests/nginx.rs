//! The private nginx does what a packaged one does.

#![allow(clippy::disallowed_methods, reason = "what it reads is its own")]

mod disk;

use std::fs;
use std::time::Duration;

use certhook_test_support::ca::{Authority, KeyType, Order};
use certhook_test_support::nginx::{Nginx, RunMode};
use certhook_test_support::wire::{self, Accepts, Client, Versions};
use disk::{Disk, alive};

const WHILE: Duration = Duration::from_secs(15);

#[test]
fn serves_by_name_and_a_reload_serves_the_renewed() {
    let (authority, disk) = (Authority::new(), Disk::new());
    let hosts = ["contoso.com", "fabrikam.com"];
    let pairs = hosts.map(|host| authority.issue(Order { hosts: &[host], ..Order::default() }));
    hosts.iter().zip(&pairs).for_each(|(host, pair)| disk.put(host, pair));
    let nginx = Nginx::builder().sites(hosts.map(|host| disk.site(host))).ipv6().start();
    for (host, pair) in hosts.iter().zip(&pairs) {
        for endpoint in [nginx.endpoint(), nginx.endpoint_v6()] {
            let served = wire::served(&endpoint, host).expect("a handshake");
            assert_eq!((&served.fingerprint, served.chain_len), (&pair.fingerprint, 2));
            assert_eq!(served.leaf_der, pair.leaf_der);
        }
    }
    assert_eq!(nginx.log().reloads, 0);

    let renewed = authority.issue(Order { hosts: &[hosts[0]], ..Order::default() });
    disk.put(hosts[0], &renewed);
    let old_workers = nginx.workers();
    nginx.hup();
    wire::wait_served(&nginx.endpoint(), hosts[0], &renewed.fingerprint, WHILE).expect("the renewed");
    nginx.wait_idle();
    let log = nginx.log();
    assert_eq!((log.hups, log.reloads, log.loads, log.emergencies.len()), (1, 1, 1, 0));
    assert_eq!(nginx.workers().len(), 2);
    assert!(nginx.workers().iter().all(|pid| !old_workers.contains(pid)));
    let other = wire::served(&nginx.endpoint(), hosts[1]).expect("a handshake");
    assert_eq!(other.fingerprint, pairs[1].fingerprint);
}

#[test]
fn a_failed_reload_keeps_the_old_and_is_told_apart() {
    let (authority, disk) = (Authority::new(), Disk::new());
    let old = authority.issue(Order::default());
    disk.put("contoso.com", &old);
    let nginx = Nginx::builder().site(disk.site("contoso.com")).start();

    nginx.break_config();
    nginx.hup();
    let log = nginx.wait_for_reloads(1, WHILE).expect("a reload");
    nginx.wait_idle();
    assert_eq!((log.reloads, nginx.log().loads), (1, 0));
    assert!(nginx.log().emergencies[0].contains("certhook_made_this_broken"));

    nginx.mend_config();
    let new = authority.issue(Order::default());
    fs::write(disk.path("contoso.com.crt"), &new.fullchain_pem).expect("the new certificate");
    nginx.hup();
    nginx.wait_for_reloads(2, WHILE).expect("a reload");
    nginx.wait_idle();
    assert_eq!((nginx.log().key_mismatches, nginx.log().loads), (1, 0));
    let served = wire::served(&nginx.endpoint(), "contoso.com").expect("a handshake");
    assert_eq!(served.fingerprint, old.fingerprint);

    disk.put("contoso.com", &new);
    nginx.hup();
    wire::wait_served(&nginx.endpoint(), "contoso.com", &new.fingerprint, WHILE).expect("the new one");
    nginx.wait_idle();
    assert_eq!((nginx.log().reloads, nginx.log().loads, nginx.log().emergencies.len()), (3, 1, 2));
}

#[test]
fn stops_and_starts_again_on_its_port() {
    let (authority, disk) = (Authority::new(), Disk::new());
    disk.put("contoso.com", &authority.issue(Order::default()));
    for mode in [RunMode::Daemon, RunMode::Foreground, RunMode::ForegroundStderr] {
        let mut nginx = Nginx::builder().site(disk.site("contoso.com")).mode(mode).start();
        let (port, processes) = (nginx.port(), nginx.processes());
        nginx.stop();
        assert!(!processes.iter().any(|pid| alive(*pid)) && !nginx.pid_file().exists(), "{mode:?}");
        wire::served(&nginx.endpoint(), "contoso.com").expect_err("nobody listens");
        nginx.start_again();
        assert_eq!(nginx.port(), port);
        assert!(!processes.contains(&nginx.pid()));
        wire::served(&nginx.endpoint(), "contoso.com").expect("a handshake");
    }
}

#[test]
fn standard_error_is_the_error_log_but_where_it_is_a_pipe() {
    let (authority, disk) = (Authority::new(), Disk::new());
    disk.put("contoso.com", &authority.issue(Order::default()));
    for (mode, a_file) in
        [(RunMode::Daemon, true), (RunMode::Foreground, true), (RunMode::ForegroundStderr, false)]
    {
        let nginx = Nginx::builder().site(disk.site("contoso.com")).mode(mode).start();
        let stderr = fs::read_link(format!("/proc/{}/fd/2", nginx.pid())).expect("a descriptor");
        assert_eq!(stderr == nginx.error_log_path(), a_file, "{mode:?}: {}", stderr.display());
        nginx.hup();
        nginx.wait_for_reloads(1, WHILE).expect("the log is read either way");
    }
}

#[test]
fn versions_and_kinds_of_certificate() {
    let (authority, disk) = (Authority::new(), Disk::new());
    let ecdsa = authority.issue(Order::default());
    let rsa = authority.issue(Order { key: KeyType::Rsa2048, ..Order::default() });
    disk.put("contoso.com", &ecdsa);
    disk.put("rsa", &rsa);
    let second = format!(
        "ssl_certificate {}; ssl_certificate_key {};",
        disk.path("rsa.crt").display(),
        disk.path("rsa.key").display()
    );
    let ask = |nginx: &Nginx, accepts, versions| {
        Client { accepts, versions, ..Client::default() }.served(&nginx.endpoint(), "contoso.com")
    };
    let cases = [
        (Versions::Both, &[Versions::Both, Versions::Tls12, Versions::Tls13][..], None),
        (Versions::Tls12, &[Versions::Both, Versions::Tls12], Some(Versions::Tls13)),
        (Versions::Tls13, &[Versions::Both, Versions::Tls13], Some(Versions::Tls12)),
    ];
    for (server, works, fails) in cases {
        let nginx = Nginx::builder().site(disk.site("contoso.com").extra(&second)).tls(server).start();
        for versions in works {
            for (accepts, pair) in [(Accepts::Rsa, &rsa), (Accepts::Ecdsa, &ecdsa)] {
                let served = ask(&nginx, accepts, *versions).expect("a handshake");
                assert_eq!(served.fingerprint, pair.fingerprint, "{server:?} {versions:?} {accepts:?}");
            }
        }
        if let Some(versions) = fails {
            ask(&nginx, Accepts::Any, versions).expect_err("no version in common");
        }
    }
}

#[test]
fn a_demand_for_a_client_certificate_does_not_hide_the_leaf() {
    let (authority, disk) = (Authority::new(), Disk::new());
    let pair = authority.issue(Order::default());
    disk.put("contoso.com", &pair);
    let nginx = Nginx::builder()
        .site(disk.site("contoso.com"))
        .require_client_certificate(authority.root_pem())
        .start();
    for versions in [Versions::Tls12, Versions::Tls13] {
        let client = Client { versions, ..Client::default() };
        let served = client.served(&nginx.endpoint(), "contoso.com").expect("a handshake");
        assert_eq!(served.fingerprint, pair.fingerprint);
    }
}

#[test]
fn says_why_it_does_not_start() {
    let disk = Disk::new();
    for mode in [RunMode::Daemon, RunMode::Foreground, RunMode::ForegroundStderr] {
        let started = Nginx::builder().site(disk.site("contoso.com")).mode(mode).try_start();
        let error = started.err().expect("there is no certificate");
        assert!(error.contains("contoso.com.crt"), "{mode:?}: {error}");
    }
}

#[test]
fn other_sites_come_with_the_next_reload() {
    let (authority, disk) = (Authority::new(), Disk::new());
    for host in ["contoso.com", "fabrikam.com"] {
        disk.put(host, &authority.issue(Order { hosts: &[host], ..Order::default() }));
    }
    let mut nginx = Nginx::builder().site(disk.site("contoso.com")).start();
    let first = wire::served(&nginx.endpoint(), "fabrikam.com").expect("the default site");
    nginx.set_sites(vec![disk.site("contoso.com"), disk.site("fabrikam.com")]);
    nginx.hup();
    nginx.wait_for_reloads(1, WHILE).expect("a reload");
    nginx.wait_idle();
    assert_ne!(wire::served(&nginx.endpoint(), "fabrikam.com").expect("its own site"), first);
}
