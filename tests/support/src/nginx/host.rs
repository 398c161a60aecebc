//! What this machine has for an nginx: the program, a user, a folder, a port.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

/// A folder that the workers' user may enter.
pub(super) fn prefix() -> io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("certhook-nginx-").tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// `CERTHOOK_TEST_NGINX`, or the one installed.
pub(super) fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CERTHOOK_TEST_NGINX") {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join("nginx")).find(|path| path.is_file())
}

/// Who the workers are when the master is root.
pub(super) fn worker_user() -> &'static str {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let known = |name: &&str| users.lines().any(|line| line.split(':').next() == Some(name));
    ["www-data", "nginx", "nobody"].into_iter().find(known).unwrap_or("root")
}

/// A port that was free a moment ago on both loopback addresses.
///
/// It lies below the range from which the system gives ports to clients: else the many short connections of
/// the tests take it first. A process does not get the same one twice, and where it begins is left to chance.
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 15_000..32_000;
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let first = || {
        let seed = std::process::id().wrapping_mul(2_654_435_761) >> 16;
        AtomicU16::new(u16::try_from(seed).unwrap_or_default())
    };
    let next = NEXT.get_or_init(first);
    for _ in PORTS {
        let port = PORTS.start + next.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
        let no_v6 = |error: &io::Error| error.kind() != io::ErrorKind::AddrInUse;
        if v4.is_ok() && v6.as_ref().map_or_else(no_v6, |_| true) {
            return port;
        }
    }
    panic!("no free port between {} and {}", PORTS.start, PORTS.end);
}
