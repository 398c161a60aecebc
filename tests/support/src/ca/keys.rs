//! Keys: made by ring, but for RSA, which ring cannot make.

use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{Error, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;

/// The kinds of keys sites have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    /// What certbot and most others make by default.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA of 2048 bits, taken in turn from four fixed keys: four in a row differ, the fifth is the first again.
    Rsa2048,
    /// No public authority issues these; private ones do.
    Ed25519,
}

const RSA_POOL: [&str; 4] = [
    include_str!("../../keys/rsa-2048-1.pem"),
    include_str!("../../keys/rsa-2048-2.pem"),
    include_str!("../../keys/rsa-2048-3.pem"),
    include_str!("../../keys/rsa-2048-4.pem"),
];

pub(super) fn generate(kind: KeyType) -> KeyPair {
    match kind {
        KeyType::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyType::EcdsaP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        KeyType::Ed25519 => KeyPair::generate_for(&PKCS_ED25519).and_then(|key| without_public_key(&key)),
        KeyType::Rsa2048 => {
            static TAKEN: AtomicUsize = AtomicUsize::new(0);
            let pem = RSA_POOL[TAKEN.fetch_add(1, Ordering::Relaxed) % RSA_POOL.len()];
            KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_RSA_SHA256)
        }
    }
    .expect("a key")
}

/// ring writes Ed25519 keys as PKCS#8 version 2, with the public key, which OpenSSL does not read.
fn without_public_key(key: &KeyPair) -> Result<KeyPair, Error> {
    const VERSION_1: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
    let seed = &key.serialized_der()[16..48];
    let der = PrivatePkcs8KeyDer::from([&VERSION_1[..], seed].concat());
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)
}
