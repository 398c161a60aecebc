//! What wine cannot prove is left out for all to see, and proven by Windows where there is one.

#![cfg_attr(windows, allow(unsafe_code))]

/// wine's version, if this is wine.
#[cfg(windows)]
pub fn version() -> Option<String> {
    use std::ffi::{CStr, c_char};
    use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};

    // SAFETY: both names end with a zero; ntdll is in every process, and stays.
    let function = unsafe {
        GetProcAddress(GetModuleHandleA(c"ntdll.dll".as_ptr().cast()), c"wine_get_version".as_ptr().cast())
    }?;
    // SAFETY: it is wine's own, which takes nothing and gives a text that stays.
    let text = unsafe {
        let version: extern "C" fn() -> *const c_char = std::mem::transmute(function);
        CStr::from_ptr(version())
    };
    Some(text.to_string_lossy().into_owned())
}

/// No other system is wine.
#[cfg(not(windows))]
pub fn version() -> Option<String> {
    None
}

/// Whether a test, or a part of it, is to be left out because this is wine; says so. `packaging/windows/test.sh` counts
/// these lines.
pub fn cannot_prove(what: &str) -> bool {
    let Some(version) = version() else { return false };
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    println!("SKIPPED {test}: {what} (wine {version})");
    true
}
