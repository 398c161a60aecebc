//! An address that swallows packets, and many sites behind it.

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use certhook_test_support::ca::{Authority, Order};

/// Each of two hundred handshakes would take three seconds.
#[test]
fn a_silent_endpoint_is_asked_for_a_few_of_its_sites_only() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::Relaxed);
            held.push(stream);
        }
    });
    let pair = Authority::new().issue(Order { hosts: &["a.test"], ..Order::default() });
    let mut text = format!(
        "state_dir = {:?}\n[server.x]\nkind = \"command\"\nreload = [\"/bin/true\"]\n",
        folder.path()
    );
    for site in 0..200 {
        let path = folder.path().join(format!("{site}.pem"));
        std::fs::write(&path, format!("{}{}", pair.fullchain_pem, pair.key_pem)).unwrap();
        text += &format!("[[site]]\ncertificate = {path:?}\nverify = [\"{address}\"]\n");
    }
    let config = folder.path().join("certhook.toml");
    std::fs::write(&config, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_certhook"))
        .arg("--config")
        .arg(&config)
        .args(["verify", "--json"])
        .output()
        .unwrap();
    let verdicts: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((verdicts.len(), output.status.code()), (200, Some(1)));
    assert!(verdicts.iter().all(|verdict| verdict["problem"]["code"] == "unreachable"), "{verdicts:#?}");
    let count = count.load(Ordering::Relaxed);
    assert!((3..60).contains(&count), "{count} handshakes");
}

/// How long `verify` takes for sites whose addresses, one for each, swallow packets.
fn verify_at_silent_addresses(count: usize) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let pair = Authority::new().issue(Order { hosts: &["a.test"], ..Order::default() });
    let path = folder.path().join("all.pem");
    std::fs::write(&path, format!("{}{}", pair.fullchain_pem, pair.key_pem)).unwrap();
    let mut text = format!(
        "state_dir = {:?}\n[server.x]\nkind = \"command\"\nreload = [\"/bin/true\"]\n",
        folder.path()
    );
    for site in 0..count {
        let link = folder.path().join(format!("{site}.pem"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        text += &format!("[[site]]\ncertificate = {link:?}\nverify = [\"198.51.100.{}:443\"]\n", site + 2);
    }
    let config = folder.path().join("certhook.toml");
    std::fs::write(&config, text).unwrap();
    // A device that takes packets for the whole network of that address, and no host at its other end.
    let script = "ip link add silent type veth peer name end && ip link set silent arp off up && \
                  ip link set end up && ip address add 198.51.100.1/24 dev silent && exec \"$@\"";
    let begun = Instant::now();
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_certhook"), "--config"])
        .arg(&config)
        .args(["verify", "--json"])
        .output()
        .unwrap();
    let took = begun.elapsed();
    let verdicts: Vec<serde_json::Value> =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!((verdicts.len(), output.status.code()), (count, Some(1)));
    let silent = |verdict: &serde_json::Value| {
        let error = verdict["wire"][0]["error"].as_str().unwrap_or_default();
        verdict["problem"]["code"] == "unreachable" && error.contains("no answer within")
    };
    assert!(verdicts.iter().all(silent), "{verdicts:#?}");
    took
}

/// One after the other they would take ten minutes, and sixteen at once forty seconds.
#[test]
fn many_silent_addresses_are_waited_for_together() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: this needs root");
        return;
    }
    let (one, all) = (verify_at_silent_addresses(1), verify_at_silent_addresses(200));
    println!("1 silent address: {one:?}, 200: {all:?}");
    assert!(all < one * 6, "one takes {one:?}, 200 take {all:?}");
}
