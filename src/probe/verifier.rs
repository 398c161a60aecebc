//! Remembers the leaf of a handshake and trusts every certificate.

use std::sync::{Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::kind_of;
use crate::certificate::KeyType;

/// Sees the leaf; a leaf whose signature turns out wrong is forgotten again.
#[derive(Debug)]
pub(super) struct Witness {
    leaf: Mutex<Option<Vec<u8>>>,
    only: Option<KeyType>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Witness {
    pub(super) fn new(only: Option<KeyType>) -> Self {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        Self { leaf: Mutex::default(), only, algorithms }
    }

    /// The DER bytes of the leaf, once it was seen.
    pub(super) fn leaf(&self) -> Option<Vec<u8>> {
        self.leaf.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn see(&self, leaf: Option<&[u8]>) {
        *self.leaf.lock().unwrap_or_else(PoisonError::into_inner) = leaf.map(<[u8]>::to_vec);
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

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.see(Some(end_entity));
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
        schemes.retain(|scheme| self.only.is_none_or(|only| kind_of(*scheme) == only));
        schemes
    }
}
