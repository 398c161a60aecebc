//! What a server serves: a TLS handshake that accepts any certificate and remembers it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use crate::ca;

/// What a handshake showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// SHA-256 of the leaf, in lower-case hexadecimal.
    pub fingerprint: String,
    /// The leaf in DER.
    pub leaf_der: Vec<u8>,
    /// Certificates sent, the leaf included.
    pub chain_len: usize,
}

/// Kinds of certificate a client can verify; a server that has both kinds chooses by this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accepts {
    /// Every kind.
    #[default]
    Any,
    /// RSA certificates only.
    Rsa,
    /// ECDSA certificates only.
    Ecdsa,
}

/// Protocol versions offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.2 and 1.3.
    #[default]
    Both,
    /// TLS 1.2 only.
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

/// A client with its choices made.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Kinds of certificate accepted.
    pub accepts: Accepts,
    /// Protocol versions offered.
    pub versions: Versions,
    /// Longest time for one whole handshake.
    pub timeout: Duration,
}

impl Default for Client {
    fn default() -> Self {
        Self { accepts: Accepts::Any, versions: Versions::Both, timeout: Duration::from_secs(5) }
    }
}

/// What `endpoint` (`host:port`) serves for `sni`. See [`Client::served`].
pub fn served(endpoint: &str, sni: &str) -> io::Result<Served> {
    Client::default().served(endpoint, sni)
}

/// Waits until `endpoint` serves `fingerprint` for `sni`. See [`Client::wait_served`].
pub fn wait_served(
    endpoint: &str,
    sni: &str,
    fingerprint: &str,
    timeout: Duration,
) -> Result<Duration, String> {
    Client::default().wait_served(endpoint, sni, fingerprint, timeout)
}

impl Client {
    /// Makes a whole handshake and tells the leaf. An IP address as `sni` sends no server name.
    pub fn served(&self, endpoint: &str, sni: &str) -> io::Result<Served> {
        let deadline = Instant::now() + self.timeout;
        let tcp = TcpStream::connect_timeout(&resolve(endpoint)?, left(deadline)?)?;
        tcp.set_nodelay(true)?;
        self.served_over(tcp, sni, |tcp| {
            tcp.set_write_timeout(Some(left(deadline)?))?;
            tcp.set_read_timeout(Some(left(deadline)?))
        })
    }

    /// The same on a connection that is there already; `before` is called before each read and write. An empty
    /// `sni` sends no server name.
    pub fn served_over<S: Read + Write>(
        &self,
        mut stream: S,
        sni: &str,
        before: impl Fn(&S) -> io::Result<()>,
    ) -> io::Result<Served> {
        let sni = if sni.is_empty() { "127.0.0.1" } else { sni };
        let name = ServerName::try_from(sni.to_owned()).map_err(io::Error::other)?;
        let seen = Arc::new(Seen { schemes: self.schemes(), leaf: Mutex::default() });
        let mut tls = ClientConnection::new(Arc::new(self.config(&seen)), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            while tls.wants_write() {
                before(&stream)?;
                again(|| tls.write_tls(&mut stream))?;
            }
            if tls.is_handshaking() {
                before(&stream)?;
                if again(|| tls.read_tls(&mut stream))? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                tls.process_new_packets().map_err(io::Error::other)?;
            }
        }
        tls.send_close_notify();
        // The certificate is known: whether the goodbye arrives does not matter.
        while tls.wants_write() && tls.write_tls(&mut stream).is_ok() {}
        let leaf = seen.leaf.lock().expect("not poisoned").take();
        leaf.ok_or_else(|| io::Error::other("a handshake without a certificate"))
    }

    /// Asks again and again, about every millisecond, until `fingerprint` is served.
    /// Tells how long it took, or what was served instead at the end.
    pub fn wait_served(
        &self,
        endpoint: &str,
        sni: &str,
        fingerprint: &str,
        timeout: Duration,
    ) -> Result<Duration, String> {
        let start = Instant::now();
        loop {
            let seen = self.served(endpoint, sni);
            if seen.as_ref().is_ok_and(|seen| seen.fingerprint == fingerprint) {
                return Ok(start.elapsed());
            }
            if start.elapsed() >= timeout {
                let last = seen.map(|seen| seen.fingerprint);
                return Err(format!("{sni} at {endpoint}: {last:?} after {timeout:?}, not {fingerprint}"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        let all =
            rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes();
        let keep = |scheme: &SignatureScheme| match self.accepts {
            Accepts::Any => true,
            Accepts::Rsa => format!("{scheme:?}").starts_with("RSA"),
            Accepts::Ecdsa => format!("{scheme:?}").starts_with("ECDSA"),
        };
        all.into_iter().filter(keep).collect()
    }

    fn config(&self, verifier: &Arc<Seen>) -> ClientConfig {
        let mut provider = rustls::crypto::ring::default_provider();
        // Before TLS 1.3 the cipher suite names the kind of certificate too.
        provider.cipher_suites.retain(|suite| {
            let name = format!("{:?}", suite.suite());
            match self.accepts {
                Accepts::Any => true,
                Accepts::Rsa => !name.contains("_ECDSA_"),
                Accepts::Ecdsa => !name.contains("_RSA_"),
            }
        });
        let versions = match self.versions {
            Versions::Both => rustls::ALL_VERSIONS,
            Versions::Tls12 => &[&rustls::version::TLS12],
            Versions::Tls13 => &[&rustls::version::TLS13],
        };
        ClientConfig::builder_with_provider(Arc::<CryptoProvider>::new(provider))
            .with_protocol_versions(versions)
            .expect("suites for these versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(verifier) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth()
    }
}

fn resolve(endpoint: &str) -> io::Result<SocketAddr> {
    endpoint.to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// A socket with a timeout is interrupted by no more than a machine that was halted (signal(7)).
fn again<T>(mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Accepts everything and keeps the leaf.
#[derive(Debug)]
struct Seen {
    schemes: Vec<SignatureScheme>,
    leaf: Mutex<Option<Served>>,
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.leaf.lock().expect("not poisoned") = Some(Served {
            fingerprint: ca::fingerprint(leaf),
            leaf_der: leaf.to_vec(),
            chain_len: 1 + rest.len(),
        });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
