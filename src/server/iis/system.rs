//! What this system has of IIS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::install::Tools;
use crate::config::Store;
use crate::problem::Problem;

/// The means to change something; `patience` is for each program that is run, and `journal` is where records are kept
/// while they are replaced.
///
/// # Errors
/// That this is no Windows.
#[cfg(not(windows))]
pub(super) fn tools(_store: Store, _patience: Duration, _journal: &Path) -> Result<Tools, Problem> {
    Err(not_windows())
}

/// Where IIS's configuration is, unless it is told.
///
/// # Errors
/// That this is no Windows.
#[cfg(not(windows))]
pub(super) fn host_config() -> Result<PathBuf, Problem> {
    Err(not_windows())
}

#[cfg(not(windows))]
fn not_windows() -> Problem {
    Problem::new(
        "not_windows",
        "IIS is on Windows only, and this is another system",
        "use kind = \"nginx\" or \"command\" here",
    )
}

/// The means to change something; `patience` is for each program that is run, and `journal` is where records are kept
/// while they are replaced.
///
/// # Errors
/// Windows's, where its service of records refuses to be asked at all.
#[cfg(windows)]
pub(super) fn tools(store: Store, patience: Duration, journal: &Path) -> Result<Tools, Problem> {
    use super::failure::NOT_THERE;
    use super::windows::{HttpSys, MachineStore, NotThere, Programs, system_folder};

    let system = system_folder();
    let records: Box<dyn super::apply::Records> = match HttpSys::new(&system) {
        Ok(records) => Box::new(records),
        Err(NOT_THERE) => Box::new(NotThere),
        Err(failure) => return Err(failure.problem("HTTP.sys cannot be asked")),
    };
    Ok(Tools {
        store: Box::new(MachineStore::new(store)),
        records,
        commands: Box::new(Programs::new(&system, patience)),
        journal: Box::new(super::journal::JournalFile(journal.to_owned())),
    })
}

/// Where IIS's configuration is, unless it is told.
///
/// # Errors
/// None here.
#[cfg(windows)]
pub(super) fn host_config() -> Result<PathBuf, Problem> {
    Ok(super::windows::system_folder().join("inetsrv").join("config").join("applicationHost.config"))
}
