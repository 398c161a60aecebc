//! Whether each certificate of a file was issued by the one after it.

use x509_parser::error::X509Error;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::fault::{Doubt, Fault, Part};

/// Parses exactly one certificate.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Fault> {
    match X509Certificate::from_der(der) {
        Ok(([], x509)) => Ok(x509),
        Ok(_) => Err(Fault::Malformed(Part::Certificate, "bytes follow a certificate".into())),
        Err(_) => Err(Fault::Malformed(Part::Certificate, "a block is not an X.509 certificate".into())),
    }
}

/// The first doubt about the chain, if any.
pub(super) fn link(chain: &[X509Certificate<'_>]) -> Option<Doubt> {
    if let [leaf] = chain {
        return (leaf.issuer() != leaf.subject()).then_some(Doubt::LeafOnly);
    }
    chain
        .windows(2)
        .position(|pair| !issued_by(&pair[0], &pair[1]))
        .map(|index| Doubt::ChainGap { at: index + 1 })
}

/// By name and by signature: authorities reuse a name with another key.
fn issued_by(below: &X509Certificate<'_>, above: &X509Certificate<'_>) -> bool {
    below.issuer() == above.subject()
        && match below.verify_signature(Some(above.public_key())) {
            Ok(()) => true,
            // An algorithm that ring does not know (P-521, SHA-1): the name has to do.
            Err(X509Error::SignatureUnsupportedAlgorithm) => true,
            Err(_) => false,
        }
}
