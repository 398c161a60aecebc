//! The way to a listener, up to where the handshake begins.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;

use crate::config::{Address, Endpoint};
use crate::platform;

/// A connection of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection, and what has to be said before the handshake.
pub(super) async fn connect(endpoint: &Endpoint) -> io::Result<(Box<dyn Stream>, Vec<u8>)> {
    let (stream, ends): (Box<dyn Stream>, _) = match &endpoint.address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(&addresses(address).await?[..]).await?;
            // Small messages, and the caller waits for each.
            let _ = stream.set_nodelay(true);
            let ends = stream.local_addr().ok().zip(stream.peer_addr().ok());
            (Box::new(stream), ends)
        }
        Address::Unix(path) => (Box::new(platform::connect_unix(path).await?), None),
    };
    let greeting = if endpoint.proxy_protocol { header(ends).into_bytes() } else { Vec::new() };
    Ok((stream, greeting))
}

/// Names that are looked up at once. Each takes a thread until the resolver answers, also when nobody waits any more.
static LOOKUPS: Semaphore = Semaphore::const_new(8);

/// An address is its own; a name has those that the system knows.
async fn addresses(address: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    // Nobody closes it.
    let permit = LOOKUPS.acquire().await;
    let address = address.to_owned();
    let looking = tokio::spawn(async move {
        let found = lookup_host(address).await.map(Iterator::collect);
        drop(permit);
        found
    });
    looking.await.map_err(io::Error::other)?
}

/// Whether the endpoint can only be reached by IPv6.
pub(super) fn needs_ipv6(endpoint: &Endpoint) -> bool {
    match &endpoint.address {
        Address::Tcp(address) => address.parse::<SocketAddr>().is_ok_and(|address| address.is_ipv6()),
        Address::Unix(_) => false,
    }
}

/// Whether this host has IPv6. Where it is switched off there is no loopback address either. A port is taken for a
/// moment, and of UDP, whose ports do not run out when connections are made.
pub(super) fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((std::net::Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// The PROXY protocol's header, version 1: the connection speaks for itself.
pub(super) fn header(ends: Option<(SocketAddr, SocketAddr)>) -> String {
    match ends {
        Some((from, to)) if from.is_ipv4() == to.is_ipv4() => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
        }
        _ => "PROXY UNKNOWN\r\n".to_owned(),
    }
}
