//! What the probe offers in the first handshake: TLS 1.3, and 1.2 with what servers usually have.
//!
//! It stops as soon as the leaf is proved, and in TLS 1.2 that is before any key is used. So it can offer suites there
//! that it could not go through with.

use std::sync::{Arc, LazyLock, OnceLock};

use rustls::client::Resumption;
use rustls::crypto::{CipherSuiteCommon, CryptoProvider, ring};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, Error, NamedGroup, SupportedCipherSuite, Tls12CipherSuite};

use super::groups::OWN_GROUPS;
use super::verifier::Witness;
use crate::certificate::KeyType;

/// What one handshake offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    /// The only kind of certificate that is asked for.
    pub(super) only: Option<KeyType>,
    /// The only group, of [`OWN_GROUPS`]; else those of ring.
    pub(super) group: Option<NamedGroup>,
}

/// A client for one handshake. What is costly to make is made once.
pub(super) fn client(offer: Offer, witness: Arc<Witness>) -> Result<ClientConfig, Error> {
    static MADE: [OnceLock<ClientConfig>; 4] = [const { OnceLock::new() }; 4];
    let kind = match offer.only {
        None => 0,
        Some(KeyType::Rsa) => 1,
        Some(KeyType::Ecdsa) => 2,
        Some(KeyType::Other) => 3,
    };
    let place = &MADE[kind];
    let mut config = match place.get() {
        _ if offer.group.is_some() => make(offer)?,
        Some(made) => made.clone(),
        None => {
            let made = make(offer)?;
            place.get_or_init(|| made).clone()
        }
    };
    config.dangerous().set_certificate_verifier(witness);
    Ok(config)
}

fn make(Offer { only, group }: Offer) -> Result<ClientConfig, Error> {
    let mut provider = provider(only);
    if let Some(group) = group {
        provider.kx_groups = OWN_GROUPS.into_iter().filter(|own| own.name() == group).collect();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Witness::new(only)))
        .with_no_client_auth();
    // A resumed session shows no certificate.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// In TLS 1.2 the cipher suite says which kind of certificate is wanted, in 1.3 the signature schemes do.
pub(super) fn provider(only: Option<KeyType>) -> CryptoProvider {
    let mut provider = ring::default_provider();
    // The first group is the one that a key is made for. Every server has this one, and ring is fast in it.
    provider.kx_groups.sort_by_key(|group| group.name() != NamedGroup::secp256r1);
    // SHA-384 is dear beside what little is encrypted here.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider.cipher_suites.extend(HOLLOW_SUITES.iter().copied());
    if let Some(only) = only {
        provider.cipher_suites.retain(|suite| {
            let name = suite.suite().as_str().unwrap_or_default();
            match only {
                _ if matches!(suite, SupportedCipherSuite::Tls13(_)) => true,
                KeyType::Rsa => name.contains("_RSA_"),
                KeyType::Ecdsa | KeyType::Other => name.contains("_ECDSA_"),
            }
        });
    }
    provider
}

/// Suites of TLS 1.2 that are offered and never used.
static HOLLOW_SUITES: LazyLock<Vec<SupportedCipherSuite>> =
    LazyLock::new(|| HOLLOW_NAMES.into_iter().filter_map(hollow).collect());

const HOLLOW_NAMES: [CipherSuite; 10] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_CCM,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
];

/// A suite of that name; all else is of one that ring has.
fn hollow(id: CipherSuite) -> Option<SupportedCipherSuite> {
    let like = if id.as_str()?.contains("_ECDSA_") {
        ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    } else {
        ring::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    };
    let SupportedCipherSuite::Tls12(like) = like else { return None };
    let common = CipherSuiteCommon {
        suite: id,
        hash_provider: like.common.hash_provider,
        confidentiality_limit: like.common.confidentiality_limit,
    };
    let suite = Tls12CipherSuite {
        common,
        prf_provider: like.prf_provider,
        kx: like.kx,
        sign: like.sign,
        aead_alg: like.aead_alg,
    };
    // For the life of the program: each suite is made once.
    Some(SupportedCipherSuite::Tls12(Box::leak(Box::new(suite))))
}
