//! What the fuzz targets found worth keeping, asked again: no panic, no mistake without its line and remedy, no
//! answer shown raw.

#[path = "../../fuzz/src/config.rs"]
mod config;
#[path = "../../fuzz/src/pem.rs"]
mod pem;
#[path = "../../fuzz/src/portal.rs"]
mod portal;
#[path = "../../fuzz/src/shown.rs"]
mod shown;
#[path = "../../fuzz/src/vhosts.rs"]
mod vhosts;

use std::path::Path;

/// Every file of a target's corpus, in the order of their names.
fn replay(target: &str, judge: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 100, "{} files in {}", files.len(), folder.display());
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let judged = std::panic::catch_unwind(|| judge(&bytes));
        assert!(judged.is_ok(), "{}", file.display());
        // A writer that is interrupted, a line that breaks off.
        for cut in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
            let judged = std::panic::catch_unwind(|| judge(&bytes[..cut]));
            assert!(judged.is_ok(), "the first {cut} bytes of {}", file.display());
        }
    }
}

#[test]
fn files_of_certificates_and_keys() {
    replay("pem", pem::pem);
}

#[test]
fn configurations() {
    replay("config", config::config);
}

#[test]
fn configurations_of_nginx() {
    replay("vhosts", vhosts::vhosts);
}

#[test]
fn answers_of_the_portal() {
    replay("portal", portal::portal);
}
