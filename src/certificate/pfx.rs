//! What a PFX (PKCS#12) holds, as PEM: what judges files judges it too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use p12_keystore::error::Error;
use p12_keystore::{Certificate, Pkcs12Archive};
use x509_parser::asn1_rs::{Any, FromDer};
use zeroize::Zeroizing;

use super::fault::{Doubt, Fault, Part};
use super::material::der;
use super::{Bundle, Key, Leaf, ber};

mod seal;

/// An opened PFX, as two PEM files; wiped when dropped.
pub struct Opened {
    /// The leaf, then its chain.
    pub full_chain: Zeroizing<Vec<u8>>,
    /// The key.
    pub key: Zeroizing<Vec<u8>>,
}

/// Opens a PFX in DER or BER: 3DES with SHA-1 as older systems write it, AES-256 with PBKDF2 as newer ones do.
///
/// # Errors
/// The [`Fault`], without anything of its content. While a writer is at work it is passing.
pub fn open(bytes: &[u8], password: &str) -> Result<Opened, Fault> {
    let archive = archive(bytes, password)?;
    let [key] = &archive.keys[..] else { return Err(odd("it does not hold exactly one key")) };
    let id = key.local_key_id.as_ref().map(AsRef::as_ref);
    let key = pem("PRIVATE KEY", key.key.as_der());
    let certificates: Vec<&Certificate> = archive.certs.iter().map(|bag| &bag.cert).collect();
    if certificates.is_empty() {
        return Err(odd("it holds no certificate"));
    }
    let fits: Vec<Option<bool>> = certificates.iter().map(|certificate| is_of(certificate, &key)).collect();
    let proved = fits.iter().position(|fits| *fits == Some(true));
    // Of a kind of key that cannot be compared the file itself says whose it is; the doubt is found again later.
    let said = || {
        let id = id?;
        let at = archive.certs.iter().position(|bag| bag.local_key_id.as_deref() == Some(id))?;
        fits[at].is_none().then_some(at)
    };
    let leaf = certificates[proved.or_else(said).ok_or(Fault::KeyMismatch)?];
    let mut full_chain = Zeroizing::new(Vec::new());
    for certificate in chain(leaf, &certificates) {
        full_chain.extend_from_slice(&pem("CERTIFICATE", certificate.as_der()));
    }
    Ok(Opened { full_chain, key })
}

/// Reads a PFX as [`super::inspect`] reads two PEM files.
///
/// # Errors
/// The [`Fault`] that keeps it from being whole.
pub fn inspect_pfx(bytes: &[u8], password: &str, now: Timestamp) -> Result<Bundle, Fault> {
    let opened = open(bytes, password)?;
    super::inspect(&opened.full_chain, Key::Pem(&opened.key), now)
}

fn odd(words: &str) -> Fault {
    Fault::Malformed(Part::Pfx, words.to_owned())
}

fn archive(bytes: &[u8], password: &str) -> Result<Pkcs12Archive, Fault> {
    Pkcs12Archive::from_pkcs12(&in_der(bytes, password)?, password).map_err(|error| match error {
        Error::MacError(_) => Fault::WrongPassword,
        Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm => {
            odd("it is sealed by a method that certhook does not know")
        }
        _ => odd("its content is broken"),
    })
}

/// The PFX in DER, which p12-keystore reads. Only what the password seals is opened: without the seal anybody could have
/// made it.
pub(super) fn in_der(bytes: &[u8], password: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Fault::Empty(Part::Pfx));
    }
    // A sequence; whatever else begins a file, more bytes will not make it one.
    if bytes[0] != 0x30 {
        return Err(odd("it is no PFX"));
    }
    let whole = match ber::to_der(bytes) {
        Ok((whole, [])) => whole,
        Ok(_) => return Err(odd("more bytes follow it")),
        Err(ber::Broken::Truncated) => return Err(Fault::Truncated(Part::Pfx)),
        Err(ber::Broken::Malformed) => return Err(odd("it is no PFX")),
    };
    let (version, content, mac) = match children(&whole)?[..] {
        [version, content, mac] => (version, content, mac),
        [_, _] => return Err(odd("it is not sealed by its password")),
        _ => return Err(odd("it is no PFX")),
    };
    let sealed = data(content)?.ok_or_else(|| odd("it is not sealed by a password"))?;
    let (safes, _) = ber::to_der(sealed).map_err(|_| odd("its content is broken"))?;
    let safes = children(&safes)?.into_iter().map(safe).collect::<Result<Vec<_>, _>>()?;
    let safes = der(0x30, &safes.iter().map(|safe| safe.as_slice()).collect::<Vec<_>>());
    if safes.as_slice() == sealed {
        return Ok(whole);
    }
    // The seal is over the BER: it is verified here, and p12-keystore gets the content without it.
    seal::verify(mac, password, sealed)?;
    Ok(der(0x30, &[version, &of_data(&safes)]))
}

/// A ContentInfo in DER, with the bags inside in DER too where they are not encrypted.
fn safe(content: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let Some(bags) = data(content)? else { return Ok(Zeroizing::new(content.to_vec())) };
    let (bags, _) = ber::to_der(bags).map_err(|_| odd("its content is broken"))?;
    Ok(of_data(&bags))
}

/// The bytes in a ContentInfo of type data; `None` where it is of another type.
fn data(content: &[u8]) -> Result<Option<&[u8]>, Fault> {
    let [kind, content] = children(content)?[..] else { return Err(odd("its content is broken")) };
    if kind != DATA {
        return Ok(None);
    }
    let [content] = children(content)?[..] else { return Err(odd("its content is broken")) };
    octets(content).map(Some)
}

/// A ContentInfo of type data.
fn of_data(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    der(0x30, &[DATA, &der(0xa0, &[&der(0x04, &[bytes])])])
}

/// 1.2.840.113549.1.7.1 (RFC 5652).
const DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";

/// The elements in an element of DER.
fn children(element: &[u8]) -> Result<Vec<&[u8]>, Fault> {
    let (mut found, mut rest) = (Vec::new(), octets(element)?);
    while !rest.is_empty() {
        let (after, _) = Any::from_der(rest).map_err(|_| odd("its content is broken"))?;
        found.push(&rest[..rest.len() - after.len()]);
        rest = after;
    }
    Ok(found)
}

/// The content of an element of DER.
fn octets(element: &[u8]) -> Result<&[u8], Fault> {
    Any::from_der(element).map(|(_, any)| any.data).map_err(|_| odd("its content is broken"))
}

/// `None` where it cannot be told.
fn is_of(certificate: &Certificate, key: &[u8]) -> Option<bool> {
    let Ok(leaf) = Leaf::from_der(certificate.as_der()) else { return Some(false) };
    let alone = pem("CERTIFICATE", certificate.as_der());
    // At its own time, whatever it is: dates are judged later.
    let Ok(bundle) = super::inspect(&alone, Key::Pem(key), leaf.not_after) else { return Some(false) };
    let unchecked = bundle.doubts.iter().any(|doubt| matches!(doubt, Doubt::KeyUnchecked(_)));
    (!unchecked).then_some(true)
}

/// From the leaf upwards, by names; whether the signatures are right is judged later. A root is left out.
fn chain<'c>(leaf: &'c Certificate, all: &[&'c Certificate]) -> Vec<&'c Certificate> {
    let mut chain = vec![leaf];
    let mut top = leaf;
    while let Some(above) = all.iter().find(|other| {
        other.subject() == top.issuer() && other.issuer() != other.subject() && !chain.contains(other)
    }) {
        chain.push(above);
        top = above;
    }
    chain
}

fn pem(label: &str, der: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(String::with_capacity(der.len() / 3 * 4 + 100));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    STANDARD.encode_string(der, &mut text);
    text.push_str(&format!("\n-----END {label}-----\n"));
    Zeroizing::new(text.as_bytes().to_vec())
}
