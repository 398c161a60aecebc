//! The records of HTTP.sys, as data: which certificate is shown for a binding. IIS's own configuration does not say.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::certificate::Thumbprint;
use crate::config::Binding;

/// What a record is for. HTTP.sys keeps a list for each of the three.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// Whoever connects to an address; `0.0.0.0` is every one.
    IpPort(SocketAddr),
    /// Whoever asks for a host, at every address.
    SniHost(String, u16),
    /// Whoever asks for a host that has a file in the Central Certificate Store.
    Ccs(u16),
}

impl Key {
    /// The record of a binding: of its host with SNI, else of its address.
    pub fn of(binding: &Binding, sni: bool) -> Self {
        if sni && !binding.host().is_empty() {
            return Self::SniHost(binding.host().to_owned(), binding.port());
        }
        let address = binding.address().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Self::IpPort(SocketAddr::new(address, binding.port()))
    }
}

/// As `netsh` writes it.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IpPort(address) => write!(f, "{address}"),
            Self::SniHost(host, port) => write!(f, "{host}:{port}"),
            Self::Ccs(port) => write!(f, "the central store's port {port}"),
        }
    }
}

/// Who made a record: a GUID, in the order in which it is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppId(pub [u8; 16]);

impl AppId {
    /// IIS.
    pub const IIS: Self = Self([
        0x4d, 0xc3, 0xe1, 0x81, 0xe1, 0x4b, 0x4a, 0x21, 0xb0, 0x22, 0x59, 0xfc, 0x66, 0x9b, 0x09, 0x14,
    ]);
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A record, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it is for.
    pub key: Key,
    /// The certificate; `None` where it has none (the central store's) or an odd one.
    pub hash: Option<Thumbprint>,
    /// Who made it.
    pub app: AppId,
    /// The certificate's store; Windows means `MY` where it says none.
    pub store: String,
    /// All the rest.
    pub parameters: Parameters,
}

impl Record {
    /// One that IIS would make.
    pub fn new(key: Key, hash: Thumbprint, store: &str) -> Self {
        let (app, store) = (AppId::IIS, store.to_owned());
        Self { key, hash: Some(hash), app, store, parameters: Parameters::default() }
    }

    /// The same in everything but the certificate.
    #[must_use]
    pub fn with(&self, hash: Thumbprint, store: &str) -> Self {
        Self { hash: Some(hash), store: store.to_owned(), ..self.clone() }
    }

    /// Whether it shows this certificate, of this store.
    pub fn shows(&self, hash: Thumbprint, store: &str) -> bool {
        self.hash == Some(hash) && self.store.eq_ignore_ascii_case(store)
    }
}

/// What a record says beside its certificate. Nothing here is looked at but to be copied, or to be written in
/// `netsh`'s words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// `DefaultCertCheckMode`: how clients' certificates are checked.
    pub check_mode: u32,
    /// `DefaultRevocationFreshnessTime`, in seconds.
    pub revocation_freshness: u32,
    /// `DefaultRevocationUrlRetrievalTimeout`, in milliseconds.
    pub url_timeout: u32,
    /// `pDefaultSslCtlIdentifier`: the list of issuers that clients' certificates may have.
    pub ctl_identifier: Option<String>,
    /// `pDefaultSslCtlStoreName`
    pub ctl_store: Option<String>,
    /// `DefaultFlags`: client certificates, HTTP/2, OCSP stapling, old versions of TLS and more.
    pub flags: u32,
    /// A hash that is no thumbprint, as it was. What newer systems keep beside a record
    /// (`HTTP_SERVICE_CONFIG_SSL_PARAM_EX`, of the ids from 8) is not here and not read: a deletion loses it.
    pub more: Vec<u8>,
}
