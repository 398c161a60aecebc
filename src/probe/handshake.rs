//! One handshake, as far as it is needed.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{Offer, client};
use super::connect::{Stream, connect};
use super::verifier::Witness;
use crate::config::Endpoint;

/// Why a handshake showed nothing.
pub(super) enum Failure {
    /// Nobody took the connection.
    Connect(io::Error),
    /// It ended without an answer of TLS.
    BrokenOff(io::Error),
    /// The server's alert: it speaks TLS, but not like this.
    Alert(AlertDescription),
    /// Whatever the answer was, it is no handshake.
    Other(rustls::Error),
}

/// Shakes hands until `witness` has seen the leaf.
pub(super) async fn shake_hands(
    endpoint: &Endpoint,
    host: &str,
    offer: Offer,
    witness: &Arc<Witness>,
) -> Result<(), Failure> {
    // A name that cannot stand in a handshake is left out, as an address always is.
    let no_name = || ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    let name = ServerName::try_from(host.to_owned()).unwrap_or_else(|_| no_name());
    let config = client(offer, Arc::clone(witness)).map_err(Failure::Other)?;
    let tls = ClientConnection::new(Arc::new(config), name).map_err(Failure::Other)?;
    let (stream, greeting) = connect(endpoint).await.map_err(Failure::Connect)?;
    converse(stream, greeting, tls, witness).await
}

/// The server is left as soon as its leaf is proved: what would follow costs both sides more than all before.
async fn converse(
    mut stream: Box<dyn Stream>,
    greeting: Vec<u8>,
    mut tls: ClientConnection,
    witness: &Witness,
) -> Result<(), Failure> {
    let mut out = greeting;
    let mut has_answered = false;
    let mut buffer = vec![0; 4096];
    loop {
        while tls.wants_write() {
            tls.write_tls(&mut out).map_err(Failure::BrokenOff)?;
        }
        stream.write_all(&out).await.map_err(|error| broken_off(error, has_answered))?;
        out.clear();
        if !tls.is_handshaking() {
            return Ok(());
        }
        let count = stream.read(&mut buffer).await.map_err(|error| broken_off(error, has_answered))?;
        if count == 0 {
            return Err(ended(has_answered));
        }
        has_answered = true;
        let mut new = &buffer[..count];
        while !new.is_empty() {
            tls.read_tls(&mut new).map_err(Failure::BrokenOff)?;
            let progress = tls.process_new_packets();
            if witness.has_seen() {
                return Ok(());
            }
            if let Err(error) = progress {
                // It may like to know what was wrong; nobody waits for it to hear.
                let _ = tls.write_tls(&mut out);
                let _ = stream.write_all(&out).await;
                return Err(match error {
                    rustls::Error::AlertReceived(alert) => Failure::Alert(alert),
                    _ => Failure::Other(error),
                });
            }
        }
    }
}

/// The failure of a connection that the server ended.
pub(super) fn ended(has_answered: bool) -> Failure {
    let words = if has_answered {
        "it ended the connection in the handshake"
    } else {
        "it closes the connection before any TLS (a firewall, or an access rule?)"
    };
    Failure::BrokenOff(io::Error::new(io::ErrorKind::UnexpectedEof, words))
}

/// The failure of a connection that broke off. A server that closes without reading resets it.
pub(super) fn broken_off(error: io::Error, has_answered: bool) -> Failure {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset if !has_answered => ended(false),
        _ => Failure::BrokenOff(error),
    }
}
