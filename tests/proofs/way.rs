//! The way between certhook and the portal, which a test may break: a middleman on loopback.

use std::io;
use std::net::{SocketAddr, TcpStream as Connection};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use certhook_test_support::ca::Pair;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// So many connections wait unaccepted before the system takes no more.
const BACKLOG: u32 = 4;

/// What the middleman does with a connection. A change ends those that there are.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Passes everything on.
    Open,
    /// Accepts nothing; the queue is full, and whoever knocks hears nothing at all.
    Deaf,
    /// Accepts and listens, and never says a word.
    Silent,
    /// Ends with an RST as soon as it is asked something.
    Reset,
    /// Ends at once.
    Close,
    /// Passes on, and back one byte a second.
    Drip,
    /// Answers these bytes, to whatever it is asked.
    Says(&'static [u8]),
    /// Answers the first, and then the second again and again.
    Repeats(&'static [u8], &'static [u8]),
    /// Shows a certificate, and passes on what it deciphers.
    Tls(TlsServer),
    /// Is an HTTP proxy: takes CONNECT to anywhere and passes on.
    Proxy,
}

/// A server's side of TLS with one certificate.
#[derive(Clone)]
pub struct TlsServer(Arc<ServerConfig>);

impl TlsServer {
    /// That shows this pair.
    pub fn new(pair: &Pair) -> Self {
        Self::showing(CertificateDer::pem_slice_iter(pair.fullchain_pem.as_bytes()).map(Result::unwrap), pair)
    }

    /// That shows these certificates, with the pair's key.
    pub fn showing(chain: impl Iterator<Item = CertificateDer<'static>>, pair: &Pair) -> Self {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                chain.collect(),
                PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap(),
            )
            .unwrap();
        Self(Arc::new(config))
    }
}

impl std::fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsServer")
    }
}

/// The middleman. It ends when it is dropped.
pub struct Way {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    fillers: Mutex<Vec<Connection>>,
    heard: Arc<Mutex<Vec<u8>>>,
    /// Its runtime's thread ends when this is dropped.
    _end: tokio::sync::oneshot::Sender<()>,
}

impl Way {
    /// From a free port of 127.0.0.1 to `target`.
    pub fn to(target: SocketAddr) -> Self {
        Self::between("127.0.0.1:0", target).expect("a free port")
    }

    /// From `here` to `target`. Fails where there is no such address.
    pub fn between(here: &str, target: SocketAddr) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let here: SocketAddr = here.parse().expect("an address");
        let listener = runtime.block_on(async {
            let socket = if here.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
            socket.bind(here)?;
            socket.listen(BACKLOG)
        })?;
        let address = listener.local_addr()?;
        let (mode, modes) = watch::channel(Mode::Open);
        let (end, ended) = tokio::sync::oneshot::channel();
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let clerk = Clerk { target, heard: Arc::clone(&heard) };
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(&listener, clerk, modes) => {}
                    _ = ended => {}
                }
            });
        });
        Ok(Self { address, mode, fillers: Mutex::default(), heard, _end: end })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `SCHEME://…`
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// From here on; connections that there are end.
    pub fn set(&self, mode: Mode) {
        let deaf = matches!(mode, Mode::Deaf);
        self.mode.send_replace(mode);
        let mut fillers = self.fillers.lock().unwrap();
        fillers.clear();
        if deaf {
            // What was under way is accepted before the listener knows; those come on top.
            while let Ok(filler) = Connection::connect_timeout(&self.address, Duration::from_millis(200)) {
                fillers.push(filler);
                assert!(fillers.len() < 1000, "the queue does not fill");
            }
        }
    }

    /// What callers said until now, deciphered if it was for TLS; forgotten with that.
    pub fn heard(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *self.heard.lock().unwrap())).into_owned()
    }
}

async fn accept(listener: &TcpListener, clerk: Clerk, mut modes: watch::Receiver<Mode>) {
    loop {
        let deaf = matches!(*modes.borrow_and_update(), Mode::Deaf);
        tokio::select! {
            accepted = listener.accept(), if !deaf => {
                let Ok((stream, _)) = accepted else { continue };
                let (clerk, mut modes) = (clerk.clone(), modes.clone());
                let mode = modes.borrow_and_update().clone();
                tokio::spawn(async move {
                    tokio::select! {
                        // However it ends, the test sees it on certhook's side.
                        _ = clerk.serve(mode, stream) => {}
                        _ = modes.changed() => {}
                    }
                });
            }
            changed = modes.changed() => if changed.is_err() { return },
        }
    }
}

#[derive(Clone)]
struct Clerk {
    target: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Clerk {
    async fn serve(&self, mode: Mode, mut stream: TcpStream) -> io::Result<()> {
        match mode {
            Mode::Open => self.pass_on(stream, None).await,
            Mode::Drip => self.pass_on(stream, Some(Duration::from_secs(1))).await,
            Mode::Deaf | Mode::Silent => loop {
                self.hear(&mut stream).await?;
            },
            Mode::Reset => {
                self.hear(&mut stream).await?;
                stream.set_zero_linger()
            }
            Mode::Close => Ok(()),
            Mode::Says(answer) => {
                self.hear(&mut stream).await?;
                stream.write_all(answer).await
            }
            Mode::Repeats(first, again) => {
                self.hear(&mut stream).await?;
                stream.write_all(first).await?;
                let many = again.repeat(65536_usize.div_ceil(again.len()));
                loop {
                    stream.write_all(&many).await?;
                }
            }
            Mode::Tls(TlsServer(config)) => {
                self.pass_on(TlsAcceptor::from(config).accept(stream).await?, None).await
            }
            Mode::Proxy => {
                let head = self.head(&mut stream).await?;
                if !head.starts_with("CONNECT ") {
                    return stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await;
                }
                stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
                self.pass_on(stream, None).await
            }
        }
    }

    /// The next bytes, noted.
    async fn hear(&self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        let count = stream.read(&mut buffer).await?;
        buffer.truncate(count);
        if buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.heard.lock().unwrap().extend_from_slice(&buffer);
        Ok(buffer)
    }

    async fn head(&self, stream: &mut TcpStream) -> io::Result<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.hear(stream).await?);
        }
        Ok(String::from_utf8_lossy(&head).into_owned())
    }

    /// Both ways until one ends; with a pause before each byte back.
    async fn pass_on(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        pause: Option<Duration>,
    ) -> io::Result<()> {
        let (mut from_caller, mut to_caller) = tokio::io::split(stream);
        let (mut from_target, mut to_target) = TcpStream::connect(self.target).await?.into_split();
        let there = async {
            loop {
                to_target.write_all(&self.hear(&mut from_caller).await?).await?;
            }
        };
        let back = async {
            let mut buffer = vec![0; 65536];
            loop {
                let count = from_target.read(&mut buffer).await?;
                if count == 0 {
                    to_caller.shutdown().await?;
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let Some(pause) = pause else {
                    to_caller.write_all(&buffer[..count]).await?;
                    continue;
                };
                for byte in &buffer[..count] {
                    tokio::time::sleep(pause).await;
                    to_caller.write_all(&[*byte]).await?;
                }
            }
        };
        tokio::select! {
            ended = there => ended,
            ended = back => ended,
        }
    }
}
