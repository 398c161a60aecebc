//! Remembers the certificates of a handshake and trusts every one.

use std::sync::{Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::client::{PSS_KEYS, kind_of};
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

    fn see(&self, ders: Option<Vec<Vec<u8>>>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = ders;
    }

    /// A signature by a key that ring cannot judge proves nothing either way; a wrong one proves a fraud.
    fn judge(
        &self,
        result: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match result {
            Err(Error::InvalidCertificate(CertificateError::BadSignature)) => {
                self.see(None);
                Err(Error::InvalidCertificate(CertificateError::BadSignature))
            }
            _ => Ok(HandshakeSignatureValid::assertion()),
        }
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
        self.see(Some(ders.map(|der| der.to_vec()).collect()));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge(verify_tls12_signature(message, cert, dss, &self.algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge(verify_tls13_signature(message, cert, dss, &self.algorithms))
    }

    /// More than ring can judge, so that a server with such a key answers all the same.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        schemes.extend([SignatureScheme::ECDSA_NISTP521_SHA512, SignatureScheme::ED448]);
        schemes.extend(PSS_KEYS);
        schemes.retain(|scheme| self.only.is_none_or(|only| kind_of(*scheme) == only));
        schemes
    }
}
