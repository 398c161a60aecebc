//! Whether a private key belongs to a leaf.

use rustls::crypto::ring::sign::any_supported_type;
use x509_parser::prelude::X509Certificate;
use zeroize::Zeroize;

use super::Key;
use super::fault::{Doubt, Fault};
use super::pem::{self, KeyBlock};

/// `Ok(None)`: it does. `Ok(Some(doubt))`: that cannot be checked.
pub(super) fn belongs(key: Key<'_>, leaf: &X509Certificate<'_>) -> Result<Option<Doubt>, Fault> {
    let Key::Pem(file) = key else {
        return Ok(Some(Doubt::KeyUnchecked("it is not in a file")));
    };
    let mut der = match pem::private_key(file)? {
        KeyBlock::Clear(der) => der,
        KeyBlock::Encrypted => return Ok(Some(Doubt::KeyUnchecked("it is encrypted"))),
    };
    // ring knows RSA from 2048 bits, P-256, P-384 and Ed25519; the server's library may know more.
    let signing = any_supported_type(&der);
    der.zeroize();
    let Some(public) = signing.ok().and_then(|key| key.public_key().map(|spki| spki.to_vec())) else {
        return Ok(Some(Doubt::KeyUnchecked("it is of a kind certhook does not know")));
    };
    if public == leaf.public_key().raw {
        return Ok(None);
    }
    // An RSA-PSS leaf names its key by another algorithm: the bytes differ and may still be one pair.
    if leaf.public_key().algorithm.algorithm.to_id_string() == "1.2.840.113549.1.1.10" {
        return Ok(Some(Doubt::KeyUnchecked("the certificate restricts its key to RSA-PSS")));
    }
    Err(Fault::KeyMismatch)
}
