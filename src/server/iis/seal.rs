//! A set sealed as a PFX, as every Windows can open it: 3DES with SHA-1. Server 2016 knows nothing newer, and the
//! file goes no further than this host and its central store.

use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain,
};
use zeroize::Zeroizing;

use crate::certificate::{Material, Thumbprint};
use crate::problem::Problem;

/// As Windows has it.
const ROUNDS: u32 = 2000;

/// Seals it.
///
/// # Errors
/// That its key is of a kind which a PFX cannot hold.
pub fn seal(material: &Material, password: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let sealed = || {
        let key = PrivateKey::from_der(&material.key)?;
        let certificates: Result<Vec<_>, _> =
            material.certificates.iter().map(|der| Certificate::from_der(der)).collect();
        let mut all = KeyStore::new();
        let chain = PrivateKeyChain::new(material.thumbprint.0.to_vec(), key, certificates?);
        all.add_entry(&name(material.thumbprint), KeyStoreEntry::PrivateKeyChain(chain));
        all.writer(password)
            .encryption_algorithm(EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc)
            .encryption_iterations(ROUNDS)
            .mac_algorithm(MacAlgorithm::HmacSha1)
            .mac_iterations(ROUNDS)
            .write()
    };
    sealed().map(Zeroizing::new).map_err(|error: p12_keystore::error::Error| {
        let message = format!("the certificate and its key cannot be made a PFX: {error}");
        Problem::new("not_sealed", message, "see that the key is RSA or ECDSA, in a form that openssl reads")
    })
}

/// Windows may call the key's container by it: two imports are not to have the same one.
fn name(of: Thumbprint) -> String {
    let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(8).collect();
    format!("certhook-{of}-{random}")
}

#[cfg(test)]
mod tests {
    use certhook_test_support::ca::{Authority, Order};

    use super::*;

    #[test]
    fn no_two_are_called_the_same() {
        let pair = Authority::new().issue(Order::default());
        let material = Material::of_pem(pair.fullchain_pem.as_bytes(), pair.key_pem.as_bytes()).unwrap();
        let named = || {
            let all =
                KeyStore::from_pkcs12(&seal(&material, "word").unwrap(), "word", Default::default()).unwrap();
            let keys = all.entries().filter(|(_, entry)| matches!(entry, KeyStoreEntry::PrivateKeyChain(_)));
            keys.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let (one, two) = (named(), named());
        assert!(one.len() == 1 && one[0].contains(&material.thumbprint.to_string()), "{one:?}");
        assert_ne!(one, two);
    }
}
