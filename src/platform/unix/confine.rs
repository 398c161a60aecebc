//! What the process that speaks to the network may open: what name lookups and TLS read, and nothing of certhook's own.

use std::io;
use std::path::PathBuf;

/// What glibc reads to look names up, and where systems keep their root certificates. Whole folders, since a file that
/// is replaced is another one. Those that are not there are passed over.
const READ: [&str; 20] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/var/ssl",
    "/var/lib/ca-certificates",
    "/var/lib/sss",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/connman",
    "/run/nscd",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/sys/devices/system/cpu",
];
/// Who sets them has root certificates elsewhere.
const ROOTS: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Closes all other files to this process, and its neighbours to its signals, for good. Older kernels know nothing of
/// it, or not all: what they know is done. Each thread is confined by itself, so this comes before there is a second
/// one.
///
/// # Errors
/// The system's: it knows of it, and did not do it.
pub fn confine_to_the_network() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use landlock::{
            ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope, path_beneath_rules,
        };
        let paths = READ
            .iter()
            .map(PathBuf::from)
            .chain(ROOTS.iter().filter_map(std::env::var_os).map(PathBuf::from));
        let abi = ABI::V6;
        let confine = || {
            Ruleset::default()
                .handle_access(AccessFs::from_all(abi))?
                .scope(Scope::from_all(abi))?
                .create()?
                .add_rules(path_beneath_rules(paths, AccessFs::from_read(abi)))?
                .restrict_self()
        };
        let status = confine().map_err(io::Error::other)?;
        tracing::debug!(?status, "the process that speaks to the network is confined");
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use nix::sys::signal::kill;
    use nix::unistd::getppid;

    use super::*;

    const INSIDE: &str = "CERTHOOK_TEST_CONFINED";
    const NAME: &str = "platform::unix::confine::tests::only_what_lookups_and_tls_read_can_be_opened";

    /// Confined for good, so it is done in a process of its own: this test again.
    #[test]
    fn only_what_lookups_and_tls_read_can_be_opened() {
        if let Some(file) = std::env::var_os(INSIDE).map(PathBuf::from) {
            assert!(std::fs::read(&file).is_ok() && kill(getppid(), None).is_ok());
            confine_to_the_network().unwrap();
            let refused = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
            assert!(std::fs::read("/etc/passwd").is_ok() && std::fs::read_dir("/usr").is_ok());
            assert!(std::fs::read(&file).is_err_and(|error| refused(&error)), "it is read");
            assert!(std::fs::write(&file, "").is_err_and(|error| refused(&error)), "it is written");
            assert!(std::fs::remove_file(&file).is_err_and(|error| refused(&error)), "it is removed");
            assert!(std::fs::read_dir("/proc/self").is_err_and(|error| refused(&error)), "/proc is read");
            let made = std::fs::write("/etc/certhook-test", "");
            assert!(made.is_err_and(|error| refused(&error)), "/etc is written");
            assert_eq!(kill(getppid(), None), Err(nix::Error::EPERM), "its neighbour is signalled");
            return;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(INSIDE, file.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        if !has_all() {
            return println!("skipped: this kernel has no Landlock, or an old one");
        }
        assert!(output.status.success() && said.contains("1 passed"), "{said}\n{errors}");
    }

    /// Signals are refused since Linux 6.12.
    fn has_all() -> bool {
        use landlock::{ABI, Access, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
        let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        strict.scope(Scope::from_all(ABI::V6)).and_then(Ruleset::create).is_ok()
    }
}
