//! The files of a certificate.

use serde::{Deserialize, Serialize};

use crate::ca::Pair;

/// What a certificate can be downloaded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// `pemUri`: leaf, chain and key in one text.
    Pem,
    /// `pfxUri`: PKCS#12 with the password `pfxpwd`.
    Pfx,
    /// `crtUri`: the leaf, PEM.
    Crt,
    /// `cerUri`: the leaf, DER.
    Cer,
    /// `privateKeyUri`: the key, PEM.
    Key,
    /// `certificateUri`: the leaf, PEM.
    Leaf,
    /// `intermediateCertificateUri`: the chain without the leaf, PEM.
    Chain,
    /// `fullChainCertificateUri`: the leaf and the chain, PEM.
    FullChain,
}

impl FileKind {
    /// All of them, in the order a CertificateResponse has them.
    pub const ALL: [Self; 8] =
        [Self::Pem, Self::Pfx, Self::Crt, Self::Cer, Self::Key, Self::Leaf, Self::Chain, Self::FullChain];

    /// The field of a CertificateResponse that has the link to it.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Pem => "pemUri",
            Self::Pfx => "pfxUri",
            Self::Crt => "crtUri",
            Self::Cer => "cerUri",
            Self::Key => "privateKeyUri",
            Self::Leaf => "certificateUri",
            Self::Chain => "intermediateCertificateUri",
            Self::FullChain => "fullChainCertificateUri",
        }
    }

    /// What it is called on the download server.
    pub(super) fn file_name(self) -> &'static str {
        match self {
            Self::Pem => "certificate.pem",
            Self::Pfx => "certificate.pfx",
            Self::Crt => "certificate.crt",
            Self::Cer => "certificate.cer",
            Self::Key => "privateKey.key",
            Self::Leaf => "primaryCertificate.crt",
            Self::Chain => "caBundle.crt",
            Self::FullChain => "fullChainCertificate.crt",
        }
    }

    pub(super) fn bytes(self, pair: &Pair, password: &str) -> Vec<u8> {
        let text = match self {
            Self::Pfx => return pair.pfx(password),
            Self::Cer => return pair.leaf_der.clone(),
            Self::Pem => format!("{}{}", pair.fullchain_pem, pair.key_pem),
            Self::Crt | Self::Leaf => pair.leaf_pem.clone(),
            Self::Key => pair.key_pem.clone(),
            Self::Chain => pair.chain_pem.clone(),
            Self::FullChain => pair.fullchain_pem.clone(),
        };
        text.into_bytes()
    }
}
