//! An address that swallows packets, and many sites behind it.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use certhook_test_support::ca::{Authority, Order};
use std::process::Command;

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
