//! What the probe offers in a handshake.
//!
//! It stops as soon as the leaf is proved, and in TLS 1.2 that is before any key is agreed on. So it can offer
//! there more than it could go through with: a server that speaks nothing but CBC, or only P-521, shows its
//! leaf all the same.

use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::crypto::{
    ActiveKeyExchange, CipherSuiteCommon, CryptoProvider, KeyExchangeAlgorithm, SupportedKxGroup, ring,
};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, ClientConfig, Error, NamedGroup, SignatureScheme, SupportedCipherSuite, Tls12CipherSuite,
};

use super::verifier::Witness;
use crate::certificate::KeyType;
use KeyExchangeAlgorithm::{DHE, ECDHE};

/// What one handshake offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    /// The only kind of certificate that is taken.
    pub(super) only: Option<KeyType>,
    /// TLS 1.2 alone, with groups for which there is no key: in TLS 1.3 a server could choose one of them.
    pub(super) older: bool,
}

/// A client for one handshake. What is costly to make is made once.
pub(super) fn client(offer: Offer, witness: Arc<Witness>) -> Result<ClientConfig, Error> {
    static MADE: [OnceLock<ClientConfig>; 8] = [const { OnceLock::new() }; 8];
    let kind = match offer.only {
        None => 0,
        Some(KeyType::Rsa) => 1,
        Some(KeyType::Ecdsa) => 2,
        Some(KeyType::Other) => 3,
    };
    let place = &MADE[kind + 4 * usize::from(offer.older)];
    let mut config = match place.get() {
        Some(made) => made.clone(),
        None => {
            let made = make(offer)?;
            place.get_or_init(|| made).clone()
        }
    };
    config.dangerous().set_certificate_verifier(witness);
    Ok(config)
}

fn make(offer: Offer) -> Result<ClientConfig, Error> {
    let versions: &[_] = if offer.older { &[&TLS12] } else { &[&TLS13, &TLS12] };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider(offer)))
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Witness::new(offer.only)))
        .with_no_client_auth();
    // A resumed session shows no certificate.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// In TLS 1.2 the cipher suite says which kind of certificate is wanted, in 1.3 the signature schemes do.
fn provider(offer: Offer) -> CryptoProvider {
    let mut provider = ring::default_provider();
    // The first group is the one that a key is made for. Every server has this one, and ring is fast in it.
    provider.kx_groups.sort_by_key(|group| group.name() != NamedGroup::secp256r1);
    // SHA-384 is dear beside what little is encrypted here.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider.cipher_suites.extend(HOLLOW_SUITES.iter().filter_map(|(id, kx)| hollow(*id, *kx)));
    if offer.older {
        provider.kx_groups.extend(HOLLOW_GROUPS);
    } else {
        provider.cipher_suites.retain(|suite| match suite {
            SupportedCipherSuite::Tls12(suite) => suite.kx == ECDHE,
            SupportedCipherSuite::Tls13(_) => true,
        });
    }
    if let Some(only) = offer.only {
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

/// The kind of certificate that a signature scheme is of.
pub(super) fn kind_of(scheme: SignatureScheme) -> KeyType {
    match scheme.as_str().unwrap_or_default() {
        name if name.starts_with("RSA") => KeyType::Rsa,
        name if name.starts_with("ECDSA") => KeyType::Ecdsa,
        _ if PSS_KEYS.contains(&scheme) => KeyType::Rsa,
        _ => KeyType::Other,
    }
}

/// `rsa_pss_pss_*`: for keys that may sign in this manner only.
pub(super) const PSS_KEYS: [SignatureScheme; 3] =
    [SignatureScheme::Unknown(0x0809), SignatureScheme::Unknown(0x080a), SignatureScheme::Unknown(0x080b)];

/// Suites of TLS 1.2 that are offered and never used, with how they agree on a key.
const HOLLOW_SUITES: [(CipherSuite, KeyExchangeAlgorithm); 16] = [
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384, ECDHE),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, ECDHE),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, ECDHE),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, ECDHE),
    (CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384, ECDHE),
    (CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, ECDHE),
    (CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, ECDHE),
    (CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, ECDHE),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_CCM, ECDHE),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM, ECDHE),
    (CipherSuite::TLS_DHE_RSA_WITH_AES_256_GCM_SHA384, DHE),
    (CipherSuite::TLS_DHE_RSA_WITH_AES_128_GCM_SHA256, DHE),
    (CipherSuite::TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256, DHE),
    (CipherSuite::TLS_DHE_RSA_WITH_AES_256_CBC_SHA256, DHE),
    (CipherSuite::TLS_DHE_RSA_WITH_AES_256_CBC_SHA, DHE),
    (CipherSuite::TLS_DHE_RSA_WITH_AES_128_CBC_SHA, DHE),
];

/// A suite of that name; all else is of one that ring has.
fn hollow(id: CipherSuite, kx: KeyExchangeAlgorithm) -> Option<SupportedCipherSuite> {
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
        kx,
        sign: like.sign,
        aead_alg: like.aead_alg,
    };
    // For the life of the program; there are few clients.
    Some(SupportedCipherSuite::Tls12(Box::leak(Box::new(suite))))
}

const HOLLOW_GROUPS: [&dyn SupportedKxGroup; 2] =
    [&Hollow(NamedGroup::secp521r1), &Hollow(NamedGroup::FFDHE2048)];

/// A group that is offered, and in which no key can be made.
#[derive(Debug)]
struct Hollow(NamedGroup);

impl SupportedKxGroup for Hollow {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Err(Error::General("the probe needs no key".into()))
    }

    fn name(&self) -> NamedGroup {
        self.0
    }
}
