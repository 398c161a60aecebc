//! Secrets are sealed by Windows alone.

use std::io;

use zeroize::Zeroizing;

/// Never.
///
/// # Errors
/// Who can.
pub fn can_seal() -> io::Result<()> {
    Err(not_here())
}

/// Nothing.
///
/// # Errors
/// Who does it.
pub fn seal(_: &[u8]) -> io::Result<Vec<u8>> {
    Err(not_here())
}

/// Nothing.
///
/// # Errors
/// Who does it.
pub fn unseal(_: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    Err(not_here())
}

fn not_here() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "only Windows seals and unseals secrets (DPAPI)")
}

/// Nothing: what cannot be sealed need not be typed.
#[derive(Debug)]
pub struct Unseen(());

impl Unseen {
    /// See [`Unseen`].
    pub fn begin() -> Self {
        Self(())
    }
}
