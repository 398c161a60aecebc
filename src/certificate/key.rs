//! Whether a private key belongs to a leaf.

use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;
use x509_parser::prelude::X509Certificate;

use super::fault::{Doubt, Fault};
use super::kind::{Kind, is_public_part};
use super::material::der;
use super::pem::{self, KeyBlock};
use super::{Key, chain};

/// Whether the key can never belong to the certificate, since the two are of different types; `false` where a type is
/// unknown, as in an encrypted PKCS#8 key. The key need not be one that certhook can check otherwise.
///
/// # Errors
/// The [`Fault`] of either file.
pub fn types_differ(certificate: &[u8], key: &[u8]) -> Result<bool, Fault> {
    let ders = pem::certificates(certificate)?;
    let leaf = Kind::of_leaf(&chain::parse(&ders[0])?);
    Ok(Kind::of_key(&pem::private_key(key)?).is_some_and(|key| key.differs_from(&leaf)))
}

/// `Ok(None)`: it does. `Ok(Some(doubt))`: that cannot be checked.
pub(super) fn belongs(key: Key<'_>, leaf: &X509Certificate<'_>) -> Result<Option<Doubt>, Fault> {
    let Key::Pem(file) = key else {
        return Ok(Some(Doubt::KeyUnchecked("it is not in a file")));
    };
    let block = pem::private_key(file)?;
    if Kind::of_key(&block).is_some_and(|key| key.differs_from(&Kind::of_leaf(leaf))) {
        return Err(Fault::KeyMismatch);
    }
    let KeyBlock::Clear(key) = block else { return Ok(Some(Doubt::KeyUnchecked("it is encrypted"))) };
    // ring knows RSA from 2048 bits, P-256, P-384 and Ed25519; the server's library may know more.
    let public = supported(&key.as_der()).and_then(|key| key.public_key().map(|spki| spki.to_vec()));
    wipe_stack();
    // OpenSSL too compares what the key's file says of its public part.
    let by_parts = is_public_part(&key, &leaf.public_key().subject_public_key.data);
    let is_same = match public {
        Some(public) => Some(public == leaf.public_key().raw || by_parts == Some(true)),
        None => by_parts,
    };
    match is_same {
        Some(true) => Ok(None),
        Some(false) => Err(Fault::KeyMismatch),
        None => Ok(Some(Doubt::KeyUnchecked("it is of a kind certhook does not know"))),
    }
}

/// The key, if ring knows its kind. Of the form that OpenSSL calls EC PRIVATE KEY rustls would leave copies behind: it is
/// wrapped here.
fn supported(key: &PrivateKeyDer<'_>) -> Option<Arc<dyn SigningKey>> {
    let PrivateKeyDer::Sec1(sec1) = key else { return any_supported_type(key).ok() };
    let inner = der(0x04, &[sec1.secret_sec1_der()]);
    [EC_P256, EC_P384].into_iter().find_map(|algorithm| {
        let wrapped = der(0x30, &[&[0x02, 0x01, 0x00], algorithm, &inner]);
        any_supported_type(&PrivatePkcs8KeyDer::from(wrapped.as_slice()).into()).ok()
    })
}

/// Overwrites the stack below the caller, where ring's functions leave parts of a key.
#[inline(never)]
fn wipe_stack() {
    let mut room = [0_u8; 32 * 1024];
    std::hint::black_box(&mut room);
}

/// id-ecPublicKey with prime256v1 (RFC 5480).
const EC_P256: &[u8] =
    b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// id-ecPublicKey with secp384r1 (RFC 5480).
const EC_P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
