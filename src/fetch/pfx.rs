//! What a PFX (PKCS#12) holds, as PEM: what judges files judges it too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p12_keystore::{Certificate, Pkcs12Archive};
use x509_parser::asn1_rs::{Any, FromDer};
use zeroize::Zeroizing;

use super::Bytes;
use crate::certificate::{self, Doubt, Key};

/// An opened PFX.
pub(super) struct Opened {
    /// The leaf, then its chain.
    pub(super) full_chain: Bytes,
    pub(super) key: Bytes,
}

/// Opens it.
///
/// # Errors
/// Why not, without anything of its content.
pub(super) fn open(bytes: &[u8], password: &str) -> Result<Opened, &'static str> {
    has_seal(bytes)?;
    let archive = Pkcs12Archive::from_pkcs12(bytes, password).map_err(|error| match error {
        p12_keystore::error::Error::MacError(_) => "the portal's password does not open it",
        _ => "it cannot be read",
    })?;
    let [key] = &archive.keys[..] else { return Err("it does not hold exactly one key") };
    let key = pem("PRIVATE KEY", key.key.as_der());
    let certificates: Vec<&Certificate> = archive.certs.iter().map(|bag| &bag.cert).collect();
    let leaf = certificates
        .iter()
        .find(|certificate| is_of(certificate, &key))
        .ok_or("its key belongs to none of its certificates")?;
    let mut full_chain = Bytes::default();
    for certificate in chain(leaf, &certificates) {
        full_chain.extend_from_slice(&pem("CERTIFICATE", certificate.as_der()));
    }
    Ok(Opened { full_chain, key })
}

/// Only what the password seals is opened: without the seal anybody could have made it, and could have it ask for
/// any amount of work.
fn has_seal(bytes: &[u8]) -> Result<(), &'static str> {
    const ODD: &str = "it is no PFX, or not all of one";
    let Ok(([], outer)) = Any::from_der(bytes) else { return Err(ODD) };
    let mut rest: &[u8] = outer.data;
    let mut parts = 0;
    while !rest.is_empty() {
        (rest, _) = Any::from_der(rest).map_err(|_| ODD)?;
        parts += 1;
    }
    // The version, the content, the seal.
    match parts {
        3 => Ok(()),
        2 => Err("it is not sealed by its password"),
        _ => Err(ODD),
    }
}

fn is_of(certificate: &Certificate, key: &[u8]) -> bool {
    let Ok(leaf) = certificate::Leaf::from_der(certificate.as_der()) else { return false };
    let alone = pem("CERTIFICATE", certificate.as_der());
    // At its own time, whatever it is: dates are judged later.
    certificate::inspect(&alone, Key::Pem(key), leaf.not_after)
        .is_ok_and(|bundle| !bundle.doubts.iter().any(|doubt| matches!(doubt, Doubt::KeyUnchecked(_))))
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

fn pem(label: &str, der: &[u8]) -> Bytes {
    let mut text = Zeroizing::new(String::with_capacity(der.len() / 3 * 4 + 100));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    STANDARD.encode_string(der, &mut text);
    text.push_str(&format!("\n-----END {label}-----\n"));
    Bytes::new(text.as_bytes().to_vec())
}
