//! PEM blocks out of a file, with the care a file needs that may still be written.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls::pki_types::pem::SectionKind;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use zeroize::Zeroizing;

use super::fault::{Fault, Part};

/// What a key file holds.
pub(super) enum KeyBlock {
    /// A key in the clear.
    Clear(ClearKey),
    /// A key that needs a password.
    Encrypted,
}

/// The bytes of a key, which are wiped when it is dropped.
pub(super) struct ClearKey {
    kind: SectionKind,
    der: Zeroizing<Vec<u8>>,
}

impl ClearKey {
    /// The key as a library takes it; it is not copied.
    pub(super) fn as_der(&self) -> PrivateKeyDer<'_> {
        let der = self.der.as_slice();
        match self.kind {
            SectionKind::RsaPrivateKey => PrivatePkcs1KeyDer::from(der).into(),
            SectionKind::EcPrivateKey => PrivateSec1KeyDer::from(der).into(),
            _ => PrivatePkcs8KeyDer::from(der).into(),
        }
    }
}

/// Every certificate of the file, in its order; at least one.
pub(super) fn certificates(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found = blocks(file, Part::Certificate)?
        .into_iter()
        .filter(|(kind, _)| *kind == SectionKind::Certificate)
        .map(|(_, mut der)| CertificateDer::from(std::mem::take(&mut *der)))
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
    let is_key = |kind| {
        matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
    };
    let found = blocks(file, Part::Key)?.into_iter().find(|(kind, _)| is_key(*kind));
    found.map(|(kind, der)| KeyBlock::Clear(ClearKey { kind, der })).ok_or(Fault::NotPem(Part::Key))
}

/// A kind of block, and its bytes.
type Block = (SectionKind, Zeroizing<Vec<u8>>);

fn blocks(file: &[u8], part: Part) -> Result<Vec<Block>, Fault> {
    if file.iter().all(u8::is_ascii_whitespace) {
        return Err(Fault::Empty(part));
    }
    let found = sections(file).map_err(|broken| match broken {
        Broken::NoEnd => Fault::Truncated(part),
        // A block cut inside its base64 has no end line either; say what is more useful.
        _ if !ends_cleanly(file) => Fault::Truncated(part),
        Broken::Begin => Fault::Malformed(part, "a BEGIN line is broken".into()),
        Broken::Base64 => Fault::Malformed(part, "the base64 of a block is broken".into()),
    })?;
    if !ends_cleanly(file) {
        return Err(Fault::Truncated(part));
    }
    Ok(found)
}

/// What is wrong with a block.
#[derive(Debug, PartialEq, Eq)]
enum Broken {
    NoEnd,
    Begin,
    Base64,
}

/// The blocks of the kinds that rustls knows. They are read here and not by its reader, which leaves two copies of a key
/// in the heap: the base64 text and the growth of its buffer.
fn sections(file: &[u8]) -> Result<Vec<Block>, Broken> {
    let mut found = Vec::new();
    let mut open = None;
    // Room for all of it at once, so that growing leaves no copy of a key behind.
    let mut text = Zeroizing::new(Vec::with_capacity(file.len()));
    for line in file.split(|byte| matches!(byte, b'\n' | b'\r')) {
        if line.starts_with(BEGIN) {
            open = Some(label(line)?);
        } else if let Some(label) = open {
            if is_end(line, label) {
                if let Ok(kind) = SectionKind::try_from(label) {
                    found.push((kind, decode(&text)?));
                }
                text.clear();
                open = None;
            } else {
                text.extend(line.iter().filter(|byte| !matches!(byte, b'\t'..=b'\r' | b' ')));
            }
        }
    }
    if open.is_some() { Err(Broken::NoEnd) } else { Ok(found) }
}

const BEGIN: &[u8] = b"-----BEGIN ";

/// The label of a BEGIN line, which five dashes end; spaces do not count.
fn label(line: &[u8]) -> Result<&[u8], Broken> {
    let mut dashes = line.iter().enumerate().rev().filter(|(_, byte)| **byte != b' ');
    let mut end = line.len();
    for _ in 0..5 {
        end = dashes.next().filter(|(_, byte)| **byte == b'-').ok_or(Broken::Begin)?.0;
    }
    match dashes.next() {
        Some((_, b'-')) => Err(Broken::Begin),
        _ => line.get(BEGIN.len()..end).ok_or(Broken::Begin),
    }
}

fn is_end(line: &[u8], label: &[u8]) -> bool {
    let rest = line.strip_prefix(b"-----END ").and_then(|rest| rest.strip_prefix(label));
    rest.is_some_and(|rest| rest.starts_with(b"-----"))
}

/// As lenient as rustls's reader: of padding and of the last bits.
fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Broken> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let length = LENIENT.decode_slice(text, &mut der).map_err(|_| Broken::Base64)?;
    der.truncate(length);
    Ok(der)
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

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::{Error, PemObject};

    use super::*;

    /// What rustls's reader finds.
    fn by_rustls(file: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, Broken> {
        let all = <(SectionKind, Vec<u8>)>::pem_slice_iter(file).collect::<Result<Vec<_>, _>>();
        all.map_err(|error| match error {
            Error::MissingSectionEnd { .. } => Broken::NoEnd,
            Error::IllegalSectionStart { .. } => Broken::Begin,
            _ => Broken::Base64,
        })
    }

    #[test]
    fn blocks_are_those_that_rustls_finds() {
        let plain =
            |label: &str, text: &str| format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
        let table = [
            String::new(),
            "no block".into(),
            plain("CERTIFICATE", "QUJD"),
            plain("PRIVATE KEY", "QUJDRA=="),
            plain("EC PRIVATE KEY", "QUJDRA"),
            plain("RSA PRIVATE KEY", "QUJDREU"),
            plain("CERTIFICATE", "QUJDRB=="),
            plain("CERTIFICATE", " QU\tJD \r\nREVG\u{b}"),
            plain("CERTIFICATE", "QU=D"),
            plain("CERTIFICATE", "Q"),
            plain("CERTIFICATE", "QUJD===="),
            plain("CERTIFICATE", "QU*D"),
            plain("CERTIFICATE", ""),
            plain("UNKNOWN", "***"),
            plain("", "QUJD"),
            format!("text\n{}text\n{}", plain("EC PARAMETERS", "QUJD"), plain("EC PRIVATE KEY", "REVG")),
            plain("CERTIFICATE", "QUJD").replace('\n', "\r\n"),
            plain("CERTIFICATE", "QUJD").replace('\n', "\r"),
            plain("CERTIFICATE", "QUJD").replace("-----\n", "----- \n"),
            plain("CERTIFICATE", "QUJD").replace("-----\n", "------\n"),
            plain("CERTIFICATE", "QUJD").replace("-----\n", "----\n"),
            plain("CERTIFICATE", "QUJD").replace("-----\n", "-- ---\n"),
            plain("CERTIFICATE", "QUJD").replace("END CERT", "END CRT"),
            format!("-----BEGIN CERTIFICATE-----\nQUJD\n{}", plain("PRIVATE KEY", "REVG")),
            "-----BEGIN ".into(),
            "-----BEGIN -----".into(),
            "-----BEGIN -----\nQUJD\n-----END -----".into(),
        ];
        let cut = table.iter().flat_map(|text| (0..text.len()).filter_map(|at| text.get(..at)));
        for text in table.iter().map(String::as_str).chain(cut) {
            let own = sections(text.as_bytes());
            let own = own.map(|found| found.into_iter().map(|(kind, der)| (kind, der.to_vec())).collect());
            assert_eq!(own, by_rustls(text.as_bytes()), "{text:?}");
        }
    }
}
