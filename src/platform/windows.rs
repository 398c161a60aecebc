//! Windows. Its calls are unsafe to Rust: each room below wraps its own, and the rest of certhook sees none.
//!
//! There is no named event for `sync`: who asks wants the outcome, and that comes through the pipe.

mod access;
mod children;
mod files;
mod identity;
mod install;
mod journal;
mod mounts;
mod pipe;
mod process;
mod second;
mod secret;
mod service;
mod signals;
mod trust;

use std::ffi::OsStr;
use std::os::windows::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use access::{open_to_others, readable_by_others};
pub use children::{Children, spawn};
pub use files::{
    create_new, create_private_folder, exchange, is_being_written, is_read_only, is_regular, lock_folder,
    make_link, may_run, may_write_in, open_private, open_to_read, open_unwritten, sync_folder,
    sync_open_folder, tells, touch,
};
pub use identity::{Identity, Kind, Signature, as_compared, device, identity, inode, kind, signature};
pub use install::{install_service, uninstall_service};
pub use journal::Journal;
pub use mounts::Mounts;
pub use pipe::{
    ControlListener, ControlStream, STATUS_GROUP, accept, connect, connect_unix, control_path, listen,
    listen_for_status, listen_shared, status_path, user_name,
};
#[cfg(debug_assertions)]
pub use process::kill_self;
pub use process::{
    forbid_core_dumps, give, give_back_memory, keep_capabilities_from_programs, owner, use_one_heap,
};
pub use second::{
    Second, confine_to_the_network, first_process, give_up_rights, has_lent_rights, start_second,
};
pub use secret::{Unseen, can_seal, seal, unseal};
pub use service::{Manager, as_service};
pub use signals::{RereadSignal, StopSignals};

/// Whether it is IIS that a host of this system serves with, unless somebody says otherwise.
pub const HAS_IIS: bool = true;

/// What to do where this user may not.
pub const AS_WHOM: &str = "run it in an elevated prompt";

/// Nothing: it is not asked here, where patterns stand in certhook's own configuration alone.
pub fn thread_time() -> std::time::Duration {
    std::time::Duration::ZERO
}

/// Where the configuration stands unless somebody says otherwise.
pub fn default_config() -> PathBuf {
    program_data().join("certhook.toml")
}

/// Where the state folder is unless the configuration says otherwise.
pub fn default_state_dir() -> PathBuf {
    program_data().join("state")
}

/// The folders beside the state folder that are certhook's alone: what the configuration says and names is there.
pub fn private_folders() -> Vec<PathBuf> {
    vec![program_data()]
}

fn program_data() -> PathBuf {
    let folder = std::env::var_os("ProgramData").filter(|folder| !folder.is_empty());
    folder.map_or_else(|| PathBuf::from(r"C:\ProgramData"), PathBuf::from).join("certhook")
}

/// As the system's calls want it: with a zero at the end.
fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}

/// Does some work with files; as who it is done is the same here for every folder: all of certhook's are
/// SYSTEM's and the administrators' alone.
pub fn as_owner_of<T>(_folder: &Path, work: impl FnOnce() -> T) -> T {
    work()
}
