//! Services are the package's and systemd's here; see [`super::Manager`] for what it is told.

use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Does the work, whose outcome is an exit code: a service is a process like any other.
pub fn as_service(work: impl FnOnce() -> u8) -> ExitCode {
    ExitCode::from(work())
}

/// Nothing.
///
/// # Errors
/// Who does it.
pub fn install_service(_: &Path) -> io::Result<Vec<&'static str>> {
    Err(not_here())
}

/// Nothing.
///
/// # Errors
/// Who does it.
pub fn uninstall_service() -> io::Result<()> {
    Err(not_here())
}

fn not_here() -> io::Error {
    let message = "the package brings its unit, and systemctl does the rest: systemctl enable --now certhook";
    io::Error::new(io::ErrorKind::Unsupported, message)
}
