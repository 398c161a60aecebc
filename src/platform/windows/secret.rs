//! Data protection (DPAPI): what this machine has sealed only this machine unseals.

#![allow(unsafe_code)]

use std::io;
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{HANDLE, LocalFree};
use windows_sys::Win32::Security::Cryptography::{
    CRYPT_INTEGER_BLOB, CRYPTPROTECT_LOCAL_MACHINE, CRYPTPROTECT_UI_FORBIDDEN, CryptProtectData,
    CryptUnprotectData,
};
use windows_sys::Win32::System::Console::{
    ENABLE_ECHO_INPUT, GetConsoleMode, GetStdHandle, STD_INPUT_HANDLE, SetConsoleMode,
};
use zeroize::{Zeroize, Zeroizing};

/// Always.
///
/// # Errors
/// None.
pub fn can_seal() -> io::Result<()> {
    Ok(())
}

/// Seals it for this machine: the service is another user than the administrator who does this. Its file is to be
/// private, because every user of the machine could unseal it.
///
/// # Errors
/// The system's.
pub fn seal(plain: &[u8]) -> io::Result<Vec<u8>> {
    let (plain, mut sealed) = (blob(plain)?, Given::default());
    let flags = CRYPTPROTECT_LOCAL_MACHINE | CRYPTPROTECT_UI_FORBIDDEN;
    // SAFETY: what goes in lives beyond the call; what comes out is freed by `Drop`.
    let done = unsafe {
        CryptProtectData(&raw const plain, null(), null(), null(), null(), flags, &raw mut sealed.0)
    };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(sealed.bytes().to_vec()) }
}

/// What was sealed here, without asking anybody.
///
/// # Errors
/// The system's: it was sealed on another machine, or is damaged.
pub fn unseal(sealed: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    let (sealed, mut plain) = (blob(sealed)?, Given::default());
    let flags = CRYPTPROTECT_UI_FORBIDDEN;
    // SAFETY: what goes in lives beyond the call; what comes out is wiped and freed by `Drop`.
    let done = unsafe {
        CryptUnprotectData(&raw const sealed, null_mut(), null(), null(), null(), flags, &raw mut plain.0)
    };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(Zeroizing::new(plain.bytes().to_vec())) }
}

/// The calls read it only.
fn blob(bytes: &[u8]) -> io::Result<CRYPT_INTEGER_BLOB> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    Ok(CRYPT_INTEGER_BLOB { cbData: length, pbData: bytes.as_ptr().cast_mut() })
}

/// What the system gives out.
#[derive(Default)]
struct Given(CRYPT_INTEGER_BLOB);

impl Given {
    fn bytes(&mut self) -> &mut [u8] {
        if self.0.pbData.is_null() {
            return &mut [];
        }
        // SAFETY: the system gave place and length, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.0.pbData, self.0.cbData as usize) }
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.bytes().zeroize();
        // SAFETY: it came from a call that says to free it so, and is freed once.
        unsafe { LocalFree(self.0.pbData.cast()) };
    }
}

/// While it lives what is typed on the console is not shown; elsewhere it does nothing.
#[derive(Debug)]
pub struct Unseen(Option<(HANDLE, u32)>);

impl Unseen {
    /// From here on.
    pub fn begin() -> Self {
        let mut mode = 0;
        // SAFETY: the handle is the process's own, and is not closed.
        let console = unsafe { GetStdHandle(STD_INPUT_HANDLE) };
        // SAFETY: as above; no console is an error of the call.
        let done = unsafe {
            GetConsoleMode(console, &raw mut mode) != 0
                && SetConsoleMode(console, mode & !ENABLE_ECHO_INPUT) != 0
        };
        Self(done.then_some((console, mode)))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if let Some((console, mode)) = self.0 {
            // SAFETY: as in `begin`; the mode is the one that was there.
            unsafe { SetConsoleMode(console, mode) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_unsealed_and_nothing_else_is() {
        for plain in [&b"x"[..], b"pass word", &[7; 5000]] {
            let sealed = seal(plain).unwrap();
            assert!(
                sealed.len() > plain.len() && !sealed.windows(plain.len().max(2)).any(|part| part == plain)
            );
            assert_eq!(*unseal(&sealed).unwrap(), plain);
            assert!(unseal(&sealed[..sealed.len() / 2]).is_err(), "half of it is nothing");
        }
        assert!(unseal(b"no blob").is_err() && unseal(b"").is_err());
    }

    #[test]
    fn what_was_changed_is_not_unsealed() {
        let mut sealed = seal(b"pass word").unwrap();
        let last = sealed.len() - 1;
        sealed[last] ^= 1;
        if unseal(&sealed).is_ok() {
            assert!(certhook_test_support::wine::cannot_prove("it does not seal, but only disguises"));
        }
    }
}
