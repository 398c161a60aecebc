//! Where a certificate is asked for.

use std::fmt;
use std::net::SocketAddrV6;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One listener of a server, as somebody on this host reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// It wants the PROXY protocol's header before the handshake.
    pub proxy_protocol: bool,
}

/// Where a listener is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Address {
    /// `host:port`, the host a name or an address, an IPv6 address in brackets.
    Tcp(String),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// How an endpoint says that it wants the header.
const PROXY_PROTOCOL: &str = " proxy_protocol";

impl Endpoint {
    /// Parses `host:port` or `unix:/path`, with ` proxy_protocol` after it where that is wanted.
    pub fn parse(text: &str) -> Option<Self> {
        let (place, proxy_protocol) = match text.strip_suffix(PROXY_PROTOCOL) {
            Some(place) => (place.trim_end(), true),
            None => (text, false),
        };
        let address = match place.strip_prefix("unix:") {
            Some(path) if Path::new(path).is_absolute() && !path.contains('\0') => Address::Unix(path.into()),
            Some(_) => return None,
            None => Address::Tcp(tcp(place)?),
        };
        Some(Self { address, proxy_protocol })
    }
}

fn tcp(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let port_fits = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().ok()? > 0;
    let host_fits = match host.strip_prefix('[') {
        Some(_) => text.parse::<SocketAddrV6>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    (port_fits && host_fits).then(|| text.to_owned())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(address) => f.write_str(address)?,
            Address::Unix(path) => write!(f, "unix:{}", path.display())?,
        }
        if self.proxy_protocol { f.write_str(PROXY_PROTOCOL) } else { Ok(()) }
    }
}

/// What is asked to see whether a certificate is served: one listener, by some names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ask {
    /// The listener.
    pub endpoint: Endpoint,
    /// The names to ask for, in this order; none of them means the certificate's own. An empty name stands for a
    /// handshake without one (a server's default certificate).
    pub hosts: Vec<String>,
}
