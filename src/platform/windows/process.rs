//! This process.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use windows_sys::Win32::System::Diagnostics::Debug::{
    SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX, SetErrorMode,
};
use windows_sys::Win32::System::ErrorReporting::{WER_FAULT_REPORTING_FLAG_NOHEAP, WerSetFlags};

/// Keeps keys and secrets out of error reports: none is made of a fault, and of what ends the process at once none
/// with its heap. (`certhook service install` excludes the program from them altogether.)
pub fn forbid_core_dumps() {
    // SAFETY: both only set flags of this process.
    let outcome = unsafe {
        SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
        WerSetFlags(WER_FAULT_REPORTING_FLAG_NOHEAP)
    };
    if outcome < 0 {
        tracing::warn!(outcome, "the heap cannot be kept out of error reports");
    }
}

/// Nothing: there is one heap for all threads.
pub fn use_one_heap() {}

/// Does nothing: a process of Windows has no capabilities to hand on.
pub fn keep_capabilities_from_programs() {}

/// Nothing: the system takes what is not used.
pub fn give_back_memory() {}

/// Ends this process as nothing can prevent: for crash tests.
#[cfg(debug_assertions)]
pub fn kill_self() {
    use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};
    // SAFETY: the handle stands for this process.
    unsafe { TerminateProcess(GetCurrentProcess(), 137) };
}

/// `None`: users and groups have no numbers here, and new files get the access list of their folder.
pub fn owner(_: &str) -> Option<(u32, u32)> {
    None
}

/// Nothing; see [`owner`].
///
/// # Errors
/// That it is so.
pub fn give(_: &File, _: (u32, u32)) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "Windows has no users and groups by number"))
}
