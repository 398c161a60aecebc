//! Windows behind the traits. Its calls are unsafe to Rust: each room below wraps its own.

mod commands;
mod http;
mod key;
mod store;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::os::windows::ffi::OsStrExt;

pub use commands::{Programs, system_folder};
pub use http::{HttpSys, NotThere};
pub use store::MachineStore;

/// As Windows's calls want it: with a zero at the end.
fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}
