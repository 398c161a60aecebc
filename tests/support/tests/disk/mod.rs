//! Certificates on a disk, for the tests of the private nginx.

use std::fs;
use std::path::PathBuf;

use certhook_test_support::ca::Pair;
use certhook_test_support::nginx::NginxSite;
use tempfile::TempDir;

/// Pairs in a folder, each under a name of the test's choice.
pub(crate) struct Disk(TempDir);

impl Disk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, pair: &Pair) {
        fs::write(self.path(&format!("{name}.key")), &pair.key_pem).expect("a key");
        fs::write(self.path(&format!("{name}.crt")), &pair.fullchain_pem).expect("a certificate");
    }

    pub(crate) fn site(&self, name: &str) -> NginxSite {
        NginxSite::new(&[name], self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")))
    }
}

/// Whether a process runs; one that nobody has waited for does not.
pub(crate) fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
