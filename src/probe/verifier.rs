//! Remembers the certificates of a handshake and trusts every one.

use std::sync::{Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::public_key::PublicKey;

use super::hello::schemes;
use crate::certificate::KeyType;

/// Sees the certificates; where the leaf's signature turns out wrong they are forgotten again.
#[derive(Debug)]
pub(super) struct Witness {
    seen: Mutex<Option<Vec<Vec<u8>>>>,
    only: Option<KeyType>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Witness {
    pub(super) fn new(only: Option<KeyType>) -> Self {
        let algorithms = *ALGORITHMS;
        Self { seen: Mutex::default(), only, algorithms }
    }

    pub(super) fn has_seen(&self) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The DER bytes of what was seen, the leaf first.
    pub(super) fn take(&self) -> Option<Vec<Vec<u8>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn see(&self, ders: Vec<Vec<u8>>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(ders);
    }

    /// Whether the signature is known to be wrong. One that cannot be verified here proves nothing either way.
    pub(super) fn is_forged(
        &self,
        leaf: &[u8],
        scheme: SignatureScheme,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let der = CertificateDer::from(leaf);
        let Ok(certificate) = webpki::EndEntityCert::try_from(&der) else { return false };
        let known = self.algorithms.mapping.iter().filter(|(known, _)| *known == scheme);
        let mut results = known
            .flat_map(|(_, algorithms)| *algorithms)
            .map(|algorithm| certificate.verify_signature(*algorithm, message, signature));
        results.any(|result| result == Err(webpki::Error::InvalidSignatureForPublicKey))
            && can_be_verified(leaf)
    }

    /// A signature by a key that ring cannot judge proves nothing either way; a wrong one proves a fraud.
    fn judge(
        &self,
        leaf: &[u8],
        result: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match result {
            Err(Error::InvalidCertificate(CertificateError::BadSignature)) if can_be_verified(leaf) => {
                self.take();
                Err(Error::InvalidCertificate(CertificateError::BadSignature))
            }
            _ => Ok(HandshakeSignatureValid::assertion()),
        }
    }
}

/// Whether ring knows what to do with the key. It takes RSA of 2048 to 8192 bits alone, and calls every signature of
/// another one wrong.
fn can_be_verified(leaf: &[u8]) -> bool {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(leaf) else { return false };
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => {
            let exponent = key.try_exponent().unwrap_or_default();
            (2048..=8192).contains(&key.key_size()) && (3..1 << 33).contains(&exponent)
        }
        _ => true,
    }
}

/// Made once: the provider that has them is costly to make.
static ALGORITHMS: std::sync::LazyLock<WebPkiSupportedAlgorithms> =
    std::sync::LazyLock::new(|| ring::default_provider().signature_verification_algorithms);

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ders = std::iter::once(end_entity).chain(intermediates);
        self.see(ders.map(|der| der.to_vec()).collect());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge(cert, verify_tls12_signature(message, cert, dss, &self.algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge(cert, verify_tls13_signature(message, cert, dss, &self.algorithms))
    }

    /// Every scheme, so that a server with a key that cannot be judged answers all the same.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes(self.only).collect()
    }
}
