//! Whether each certificate of a file was issued by the one after it, and where what a server sends ends.

use std::collections::HashMap;

use jiff::Timestamp;
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

/// The certificates that may end a chain: those that this host trusts.
#[derive(Debug, Default)]
pub struct Roots {
    by_name: HashMap<Vec<u8>, Vec<Vec<u8>>>,
}

impl Roots {
    /// Of DER bytes; what is no certificate is left out.
    pub fn new(ders: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut roots = Self::default();
        for der in ders {
            let Ok(name) = parse(&der).map(|root| root.subject().as_raw().to_vec()) else { continue };
            roots.by_name.entry(name).or_default().push(der);
        }
        roots
    }

    fn issued(&self, below: &X509Certificate<'_>) -> bool {
        let named = self.by_name.get(below.issuer().as_raw());
        named.into_iter().flatten().any(|root| parse(root).is_ok_and(|root| issued_by(below, &root)))
    }
}

/// What a client finds in the chain that it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainState {
    /// It leads to a root.
    Complete,
    /// Intermediates are there, and end at an authority that this host does not know.
    Unknown,
    /// A certificate is missing.
    Incomplete {
        /// Whose it is.
        issuer: String,
    },
    /// A certificate after the leaf has ended.
    Expired {
        /// Whose it is.
        subject: String,
        /// When it ended.
        ended: Timestamp,
    },
}

impl ChainState {
    /// Whether clients are content with it; `None` where this host cannot tell.
    pub fn is_complete(&self) -> Option<bool> {
        match self {
            Self::Complete => Some(true),
            Self::Unknown => None,
            Self::Incomplete { .. } | Self::Expired { .. } => Some(false),
        }
    }
}

/// What a server sent, the leaf first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServedChain {
    ders: Vec<Vec<u8>>,
}

impl ServedChain {
    /// Of DER bytes, as they came.
    pub fn new(ders: Vec<Vec<u8>>) -> Self {
        Self { ders }
    }

    /// How many certificates there are, the leaf among them.
    pub fn certificates(&self) -> usize {
        self.ders.len()
    }

    /// Judges whether a client that trusts `roots` is sent all it needs at `now`: each certificate was issued by the
    /// next, up to one that signs itself or that one of `roots` issued, and none of them but the leaf, which is judged
    /// by itself, has ended.
    pub fn judge(&self, roots: &Roots, now: Timestamp) -> ChainState {
        let mut below: Option<X509Certificate<'_>> = None;
        for der in &self.ders {
            let missing = |below: Option<&X509Certificate<'_>>| ChainState::Incomplete {
                issuer: below.map(|below| below.issuer().to_string()).unwrap_or_default(),
            };
            let Ok(here) = parse(der) else { return missing(below.as_ref()) };
            if below.as_ref().is_some_and(|below| !issued_by(below, &here)) {
                return missing(below.as_ref());
            }
            let ended = super::moment(here.validity().not_after);
            if below.is_some() && ended < now {
                return ChainState::Expired { subject: here.subject().to_string(), ended };
            }
            // What comes after this says nothing more: a cross-signed root, for clients that need it.
            if issued_by(&here, &here) || roots.issued(&here) {
                return ChainState::Complete;
            }
            below = Some(here);
        }
        match below {
            Some(_) if self.ders.len() > 1 => ChainState::Unknown,
            Some(leaf) => ChainState::Incomplete { issuer: leaf.issuer().to_string() },
            None => ChainState::Unknown,
        }
    }
}
