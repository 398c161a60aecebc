//! PEM blocks out of a file, with the care a file needs that may still be written.

use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};

use super::fault::{Fault, Part};

/// What a key file holds.
pub(super) enum KeyBlock {
    /// A key in the clear.
    Clear(PrivateKeyDer<'static>),
    /// A key that needs a password.
    Encrypted,
}

/// Every certificate of the file, in its order; at least one.
pub(super) fn certificates(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found = blocks(file, Part::Certificate)?
        .into_iter()
        .filter(|(kind, _)| *kind == SectionKind::Certificate)
        .map(|(_, der)| CertificateDer::from(der))
        .collect::<Vec<_>>();
    if found.is_empty() {
        return Err(Fault::NotPem(Part::Certificate));
    }
    Ok(found)
}

/// The first private key of the file, as OpenSSL takes it.
pub(super) fn private_key(file: &[u8]) -> Result<KeyBlock, Fault> {
    // The reader below does not know these two: one has another label, the other headers in the block.
    if contains(file, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || contains(file, b"Proc-Type: 4,ENCRYPTED") {
        return match ends_cleanly(file) {
            true => Ok(KeyBlock::Encrypted),
            false => Err(Fault::Truncated(Part::Key)),
        };
    }
    for (kind, der) in blocks(file, Part::Key)? {
        let key = match kind {
            SectionKind::PrivateKey => PrivatePkcs8KeyDer::from(der).into(),
            SectionKind::RsaPrivateKey => PrivatePkcs1KeyDer::from(der).into(),
            SectionKind::EcPrivateKey => PrivateSec1KeyDer::from(der).into(),
            _ => continue,
        };
        return Ok(KeyBlock::Clear(key));
    }
    Err(Fault::NotPem(Part::Key))
}

fn blocks(file: &[u8], part: Part) -> Result<Vec<(SectionKind, Vec<u8>)>, Fault> {
    if file.iter().all(u8::is_ascii_whitespace) {
        return Err(Fault::Empty(part));
    }
    let found =
        <(SectionKind, Vec<u8>)>::pem_slice_iter(file).collect::<Result<Vec<_>, _>>().map_err(|error| {
            match error {
                pem::Error::MissingSectionEnd { .. } => Fault::Truncated(part),
                // A block cut inside its base64 has no end line either; say what is more useful.
                _ if !ends_cleanly(file) => Fault::Truncated(part),
                pem::Error::IllegalSectionStart { .. } => {
                    Fault::Malformed(part, "a BEGIN line is broken".into())
                }
                _ => Fault::Malformed(part, "the base64 of a block is broken".into()),
            }
        })?;
    if !ends_cleanly(file) {
        return Err(Fault::Truncated(part));
    }
    Ok(found)
}

/// Whether as many blocks end as begin, and the last line is not the beginning of a BEGIN or END line:
/// a slow writer's file may stop at any byte.
fn ends_cleanly(file: &[u8]) -> bool {
    let mut open = 0_i32;
    for line in file.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_end();
        if line.starts_with(b"-----BEGIN ") {
            open += 1;
        } else if line.starts_with(b"-----END ") && line.ends_with(b"-----") && line.len() > 14 {
            open -= 1;
        }
    }
    let last = file.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let begun = !last.is_empty() && (b"-----BEGIN ".starts_with(last) || unfinished_begin(last));
    open == 0 && !begun
}

fn unfinished_begin(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    line.starts_with(b"-----BEGIN ") && !(line.ends_with(b"-----") && line.len() > 16)
}

fn contains(file: &[u8], wanted: &[u8]) -> bool {
    file.windows(wanted.len()).any(|window| window == wanted)
}
