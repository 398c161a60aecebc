//! A set as another store takes it: every certificate as DER, the key as PKCS#8.

use std::fmt;

use rustls::pki_types::PrivateKeyDer;
use x509_parser::prelude::X509Certificate;
use zeroize::Zeroizing;

use super::fault::{Fault, Part};
use super::pem::{self, KeyBlock};
use super::{Fingerprint, Leaf, Thumbprint, chain};

/// A whole set. The key is wiped when it is dropped, and never shown.
#[derive(Clone)]
pub struct Material {
    /// The first certificate.
    pub leaf: Leaf,
    /// What Windows calls it by.
    pub thumbprint: Thumbprint,
    /// One fingerprint over all of them, as [`super::Bundle`] has it.
    pub set: Fingerprint,
    /// The leaf, then its chain.
    pub certificates: Vec<Vec<u8>>,
    /// The key, as PKCS#8.
    pub key: Zeroizing<Vec<u8>>,
}

impl Material {
    /// Of PEM files, which must have been found whole.
    ///
    /// # Errors
    /// The [`Fault`] in them; also that the key needs a password.
    pub fn of_pem(certificate: &[u8], key: &[u8]) -> Result<Self, Fault> {
        let ders = pem::certificates(certificate)?;
        let x509 = chain::parse(&ders[0])?;
        let leaf = Leaf::from_x509(&ders[0], &x509)?;
        let key = match pem::private_key(key)? {
            KeyBlock::Clear(key) => pkcs8(&key.as_der(), &x509),
            KeyBlock::Encrypted(_) => {
                return Err(Fault::Malformed(Part::Key, "it needs a password".to_owned()));
            }
        };
        Ok(Self {
            thumbprint: Thumbprint::of(&ders[0]),
            set: Fingerprint::of_all(ders.iter().map(AsRef::as_ref)),
            certificates: ders.iter().map(|der| der.to_vec()).collect(),
            leaf,
            key,
        })
    }

    /// Of the chain, those that are no roots: whom to trust is not for a chain to say.
    pub fn authorities(&self) -> impl Iterator<Item = &[u8]> {
        let is_root = |der: &[u8]| chain::parse(der).is_ok_and(|x509| x509.issuer() == x509.subject());
        self.certificates.iter().skip(1).map(Vec::as_slice).filter(move |der| !is_root(der))
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}

/// An older form is wrapped: of which kind the key is, its certificate says.
fn pkcs8(key: &PrivateKeyDer<'_>, leaf: &X509Certificate<'_>) -> Zeroizing<Vec<u8>> {
    match key {
        PrivateKeyDer::Pkcs8(whole) => Zeroizing::new(whole.secret_pkcs8_der().to_vec()),
        other => {
            let algorithm = algorithm(leaf.public_key().raw);
            let inner = der(0x04, &[other.secret_der()]);
            der(0x30, &[&[0x02, 0x01, 0x00], algorithm, &inner])
        }
    }
}

/// The first element of a SubjectPublicKeyInfo, whole.
fn algorithm(spki: &[u8]) -> &[u8] {
    use x509_parser::asn1_rs::{Any, FromDer};
    let inside = Any::from_der(spki).map(|(_, outer)| outer.data).unwrap_or_default();
    let rest = Any::from_der(inside).map(|(rest, _)| rest.len()).unwrap_or_default();
    &inside[..inside.len() - rest]
}

/// One element with its length. Room is made at once, so that growing leaves no copy of a key behind.
pub(super) fn der(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(length + 10));
    out.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let from = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
            out.push(0x80 | u8::try_from(bytes.len() - from).unwrap_or(u8::MAX));
            out.extend_from_slice(&bytes[from..]);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}
