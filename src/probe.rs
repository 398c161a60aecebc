//! A handshake, and the leaf that the server shows.
//!
//! Whether the certificate is trusted is not asked: the question is which one is served. That the server
//! holds its key is proved by the handshake's signature where the algorithm is known. A handshake need
//! not complete (the server may want a client's certificate): the leaf is seen before that.

mod verifier;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::agent::{Sighting, Unseen};
use crate::certificate::{Hosts, KeyType, Leaf};
use crate::config::{Address, Ask, Endpoint};
use crate::problem::{Problem, printable};
use verifier::Witness;

/// The first label that stands for a wildcard's star in a handshake.
const WILDCARD_LABEL: &str = "certhook-probe";

/// All handshakes of one site together take no longer.
const LIMIT: Duration = Duration::from_secs(30);
/// So many names of a certificate are asked for; those after them say nothing new.
const MOST_NAMES: usize = 20;

/// Asks for the leaf; one handshake after the other. Each may take `patience`, and all of them half a minute.
pub async fn sightings(asks: &[Ask], leaf: &Leaf, patience: Duration) -> Vec<Sighting> {
    let until = Instant::now() + LIMIT;
    let mut found = Vec::new();
    for Ask { endpoint, hosts } in asks {
        let hosts = if hosts.is_empty() { names(&leaf.hosts) } else { hosts.clone() };
        for host in hosts.iter().take(MOST_NAMES) {
            let patience = patience.min(until.saturating_duration_since(Instant::now()));
            let outcome = ask(endpoint, host, leaf, patience).await;
            let silent = matches!(outcome, Err(Unseen::Unreachable(_)));
            found.push(Sighting { endpoint: endpoint.to_string(), host: host.clone(), outcome });
            if silent {
                // It would not answer for another name either.
                break;
            }
        }
    }
    found
}

/// The names to ask for; a certificate without any is asked for by none.
fn names(hosts: &Hosts) -> Vec<String> {
    if hosts.is_empty() {
        return vec![String::new()];
    }
    let concrete = |host: &str| match host.strip_prefix("*.") {
        Some(domain) => format!("{WILDCARD_LABEL}.{domain}"),
        None => host.to_owned(),
    };
    // Where a wildcard stands beside its own domain, the domain is witness enough.
    let wanted = hosts.iter().filter(|host| match host.strip_prefix("*.") {
        Some(domain) => !hosts.iter().any(|other| other == domain),
        None => true,
    });
    wanted.map(concrete).collect()
}

/// The leaf that `endpoint` shows for `host`. A server that has certificates of several kinds of key is
/// asked for the kind of `leaf`, if it shows another first.
async fn ask(endpoint: &Endpoint, host: &str, leaf: &Leaf, patience: Duration) -> Result<Leaf, Unseen> {
    let first = shake_hands(endpoint, host, None, patience).await;
    match first {
        Ok(seen) if seen.fingerprint != leaf.fingerprint && seen.key_type != leaf.key_type => {
            match shake_hands(endpoint, host, Some(leaf.key_type), patience).await {
                Ok(of_that_kind) => Ok(of_that_kind),
                // It has none of that kind: what it shows first is what counts.
                Err(Unseen::Refused(_)) => Ok(seen),
                Err(unreachable) => Err(unreachable),
            }
        }
        other => other,
    }
}

async fn shake_hands(
    endpoint: &Endpoint,
    host: &str,
    only: Option<KeyType>,
    patience: Duration,
) -> Result<Leaf, Unseen> {
    let witness = Arc::new(Witness::new(only));
    let attempt = timeout(patience, connect(endpoint, host, only, Arc::clone(&witness))).await;
    if let Some(der) = witness.leaf() {
        return Leaf::from_der(&der).map_err(|fault| refused(endpoint, host, &fault.to_string()));
    }
    match attempt {
        Err(_) => Err(unreachable(endpoint, &format!("no answer within {} s", patience.as_secs_f32()))),
        Ok(Err(Failure::Connect(error))) => Err(unreachable(endpoint, &error.to_string())),
        // An answer of TLS is an answer; a connection that breaks off may be any trouble of the server's.
        Ok(Err(Failure::Handshake(error))) if is_answer(&error) => {
            Err(refused(endpoint, host, &error.to_string()))
        }
        Ok(Err(Failure::Handshake(error))) => Err(unreachable(endpoint, &error.to_string())),
        Ok(Ok(())) => Err(refused(endpoint, host, "the handshake showed no certificate")),
    }
}

fn is_answer(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

enum Failure {
    Connect(std::io::Error),
    Handshake(std::io::Error),
}

async fn connect(
    endpoint: &Endpoint,
    host: &str,
    only: Option<KeyType>,
    witness: Arc<Witness>,
) -> Result<(), Failure> {
    let Address::Tcp(address) = &endpoint.address else {
        return Err(Failure::Connect(std::io::ErrorKind::Unsupported.into()));
    };
    let stream = TcpStream::connect(address.as_str()).await.map_err(Failure::Connect)?;
    // Small messages, and the caller waits for each.
    let _ = stream.set_nodelay(true);
    // A name that cannot stand in a handshake is left out: an address never does.
    let (name, sni) = match ServerName::try_from(host.to_owned()) {
        Ok(name) => (name, true),
        Err(_) => (ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()), false),
    };
    let mut config =
        client(only, witness).map_err(|error| Failure::Handshake(std::io::Error::other(error)))?;
    config.enable_sni = sni;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    handshake.await.map(drop).map_err(Failure::Handshake)
}

fn client(only: Option<KeyType>, witness: Arc<Witness>) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider(only)))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(witness)
        .with_no_client_auth();
    // A resumed session shows no certificate.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// In TLS 1.2 the cipher suite says which kind of certificate is wanted, in 1.3 the signature schemes do.
fn provider(only: Option<KeyType>) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if let Some(only) = only {
        provider.cipher_suites.retain(|suite| {
            let name = suite.suite().as_str().unwrap_or_default();
            match only {
                _ if is_tls13(suite.suite()) => true,
                KeyType::Rsa => name.contains("_RSA_"),
                KeyType::Ecdsa | KeyType::Other => name.contains("_ECDSA_"),
            }
        });
    }
    provider
}

fn is_tls13(suite: CipherSuite) -> bool {
    suite.as_str().is_some_and(|name| name.starts_with("TLS13_"))
}

/// The kind of certificate that a signature scheme is of.
fn kind_of(scheme: SignatureScheme) -> KeyType {
    let name = scheme.as_str().unwrap_or_default();
    match name {
        _ if name.starts_with("RSA") => KeyType::Rsa,
        _ if name.starts_with("ECDSA") => KeyType::Ecdsa,
        _ => KeyType::Other,
    }
}

fn unreachable(endpoint: &Endpoint, why: &str) -> Unseen {
    Unseen::Unreachable(Problem::new(
        "unreachable",
        format!("{endpoint} does not answer: {}", printable(why, 200)),
        "see that the server runs and listens there",
    ))
}

fn refused(endpoint: &Endpoint, host: &str, why: &str) -> Unseen {
    let host = printable(host, 100);
    Unseen::Refused(Problem::new(
        "no_handshake",
        format!("{endpoint} shows no certificate for {host}: {}", printable(why, 200)),
        "see that it speaks TLS there, for this name",
    ))
}

#[cfg(test)]
mod tests;
