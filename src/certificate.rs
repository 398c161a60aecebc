//! Bytes to a [`Bundle`], or the [`Fault`] that says why they are not one (yet).
//!
//! Pure: what the files hold and the time come in as arguments. A set is *whole* when it parses to the
//! last byte, the key belongs to the leaf, the chain links up, and the leaf is within its dates. Where
//! that evidence cannot be had, a [`Doubt`] says so and the agent waits for quiet instead.

mod ber;
mod chain;
mod fault;
mod form;
mod issuer;
mod key;
mod kind;
mod material;
mod names;
mod pem;
pub mod pfx;
mod thumbprint;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::X509Certificate;

pub use chain::{ChainState, Roots, ServedChain};
pub use fault::{Doubt, Fault, Part};
pub use form::Form;
pub use issuer::Issuer;
pub use key::types_differ;
pub use material::Material;
pub use names::Hosts;
pub use thumbprint::Thumbprint;

/// More certificates than this in one file are refused: a chain has two to four.
const MOST_CERTIFICATES: usize = 64;

/// The SHA-256 of a certificate's DER bytes, shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of one certificate's DER bytes.
    pub fn of(der: &[u8]) -> Self {
        Self::of_all([der])
    }

    /// One fingerprint over several certificates in their order.
    pub fn of_all<'a>(ders: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for der in ders {
            context.update(der);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        Self(out)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 64 hex digits.
#[derive(Debug, thiserror::Error)]
#[error("a fingerprint has 64 hex digits")]
pub struct BadFingerprint;

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut out = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadFingerprint);
        }
        for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| BadFingerprint)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadFingerprint)?;
        }
        Ok(Self(out))
    }
}

/// The kind of the leaf's public key, as far as a handshake can ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyType {
    /// RSA of any size.
    Rsa,
    /// ECDSA on any curve.
    Ecdsa,
    /// Ed25519, or anything else.
    Other,
}

/// What certhook wants to know of the server's own certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    /// SHA-256 of the DER bytes.
    pub fingerprint: Fingerprint,
    /// The subject alternative names, or the common name where there are none.
    pub hosts: Hosts,
    /// Not valid before.
    pub not_before: Timestamp,
    /// Not valid after.
    pub not_after: Timestamp,
    /// RSA, ECDSA or other.
    pub key_type: KeyType,
    /// Whose it is.
    pub issuer: Issuer,
}

impl Leaf {
    /// Reads one certificate's DER bytes.
    ///
    /// # Errors
    /// [`Fault::Malformed`] where they are not exactly one certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, Fault> {
        Self::from_x509(der, &chain::parse(der)?)
    }

    /// Reads the first certificate of a PEM file.
    ///
    /// # Errors
    /// The [`Fault`] in the file.
    pub fn from_pem(file: &[u8]) -> Result<Self, Fault> {
        Self::from_der(&pem::certificates(file)?[0])
    }

    fn from_x509(der: &[u8], x509: &X509Certificate<'_>) -> Result<Self, Fault> {
        let algorithm = x509.public_key().algorithm.algorithm.to_id_string();
        Ok(Self {
            fingerprint: Fingerprint::of(der),
            hosts: Hosts::of(x509),
            not_before: moment(x509.validity().not_before),
            not_after: moment(x509.validity().not_after),
            key_type: match algorithm.as_str() {
                "1.2.840.113549.1.1.1" | "1.2.840.113549.1.1.10" => KeyType::Rsa,
                "1.2.840.10045.2.1" => KeyType::Ecdsa,
                _ => KeyType::Other,
            },
            issuer: Issuer::of(x509),
        })
    }
}

/// The moment of a certificate's date. 9999-12-31 means "no end" (RFC 5280) and lies beyond the calendar.
fn moment(asn1: x509_parser::time::ASN1Time) -> Timestamp {
    match asn1.timestamp() {
        seconds if seconds < 0 => Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN),
        seconds => Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX),
    }
}

/// Where the private key is.
#[derive(Clone, Copy)]
pub enum Key<'a> {
    /// The bytes of a PEM file.
    Pem(&'a [u8]),
    /// Not in a file: `engine:…`, `store:…`, an HSM.
    Elsewhere,
}

/// A whole set: leaf, chain and, where it can be seen, the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The first certificate of the file; whoever is shown the same shares it.
    pub leaf: Arc<Leaf>,
    /// One fingerprint over every certificate of the file, and over the key's file where the key cannot be checked: it
    /// tells a corrected chain, or a key that came later, from a rewrite.
    pub set: Fingerprint,
    /// The fingerprint of the key's file, where it is one and the key cannot be checked.
    pub unchecked_key: Option<Fingerprint>,
    /// How many certificates follow the leaf.
    pub intermediates: u32,
    /// Evidence that could not be had, the weightiest first.
    pub doubts: Vec<Doubt>,
}

/// Reads a set of PEM files.
///
/// # Errors
/// The [`Fault`] that keeps the set from being whole. A later look may find it mended.
pub fn inspect(certificate: &[u8], key: Key<'_>, now: Timestamp) -> Result<Bundle, Fault> {
    let (ders, doubt) = pem::certificates_with_doubt(certificate)?;
    if ders.len() > MOST_CERTIFICATES {
        let words = format!("it holds {} certificates", ders.len());
        return Err(Fault::Malformed(Part::Certificate, words));
    }
    let parsed = ders.iter().map(|der| chain::parse(der)).collect::<Result<Vec<_>, _>>()?;
    let leaf = Leaf::from_x509(&ders[0], &parsed[0])?;
    let mut doubts = Vec::new();
    doubts.extend(chain::link(&parsed));
    doubts.extend(doubt);
    doubts.extend(key::belongs(key, &parsed[0])?);
    if now < leaf.not_before {
        return Err(Fault::NotYetValid(leaf.not_before));
    }
    if now > leaf.not_after {
        return Err(Fault::Expired(leaf.not_after));
    }
    let unchecked = doubts.iter().any(|doubt| matches!(doubt, Doubt::KeyUnchecked(_)));
    let key_file = match key {
        Key::Pem(file) if unchecked => Some(file),
        _ => None,
    };
    Ok(Bundle {
        leaf: Arc::new(leaf),
        set: Fingerprint::of_all(ders.iter().map(AsRef::as_ref).chain(key_file)),
        unchecked_key: key_file.map(Fingerprint::of),
        intermediates: u32::try_from(ders.len() - 1).unwrap_or(u32::MAX),
        doubts,
    })
}

#[cfg(test)]
mod tests;
