//! A handshake of TLS 1.2 or older by hand, as far as the certificate and the proof of its key.
//!
//! rustls knows no version before 1.2, no key exchange without a signature, and only some curves and suites. The
//! certificate comes before all of them.

use rustls::{AlertDescription, Error, InvalidMessage, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::{Stream, connect};
use super::handshake::{Failure, broken_off, ended};
use super::hello::{Hello, KEY_SHARE, is_signed};
use super::verifier::Witness;
use crate::certificate::KeyType;
use crate::config::Endpoint;

/// Bytes of an answer; more is no handshake.
const MAX_ANSWER: usize = 256 * 1024;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const SERVER_HELLO_DONE: u8 = 14;

/// A ServerHello with this random is a HelloRetryRequest (RFC 8446, section 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Shakes hands until `witness` has seen the leaf.
pub(super) async fn shake_hands(
    endpoint: &Endpoint,
    host: &str,
    only: Option<KeyType>,
    witness: &Witness,
) -> Result<(), Failure> {
    let hello = Hello::legacy(host, only);
    let mut answers = send(endpoint, &hello).await?;
    let mut server = ServerHello::default();
    let mut ders = Vec::new();
    loop {
        let (kind, body) = answers.next().await?;
        match kind {
            SERVER_HELLO => server = ServerHello::read(&body).ok_or_else(malformed)?,
            CERTIFICATE => {
                ders = certificates(&body).filter(|ders| !ders.is_empty()).ok_or_else(malformed)?;
            }
            SERVER_KEY_EXCHANGE if !ders.is_empty() => {
                let signed = Signed::read(&body, &server);
                let message =
                    |signed: &Signed<'_>| [&hello.random, &server.random, signed.parameters].concat();
                if signed
                    .is_some_and(|it| witness.is_forged(&ders[0], it.scheme, &message(&it), it.signature))
                {
                    return Err(Failure::Other(Error::InvalidCertificate(
                        rustls::CertificateError::BadSignature,
                    )));
                }
                witness.see(ders);
                return Ok(());
            }
            // The key is proved at the end of such a handshake, which is not waited for.
            SERVER_HELLO_DONE if !ders.is_empty() && !is_signed(server.suite) => {
                witness.see(ders);
                return Ok(());
            }
            SERVER_HELLO_DONE => return Err(malformed()),
            _ => {}
        }
    }
}

/// The cipher suite and the group that a listener wants of a client of TLS 1.3 that can do everything; `None` where it
/// does not say.
pub(super) async fn wanted(endpoint: &Endpoint, host: &str) -> Option<(u16, u16)> {
    let mut answers = send(endpoint, &Hello::without_key(host)).await.ok()?;
    let (kind, body) = answers.next().await.ok()?;
    let server = ServerHello::read(&body).filter(|server| kind == SERVER_HELLO && server.random == RETRY)?;
    Some((server.suite, server.group?))
}

async fn send(endpoint: &Endpoint, hello: &Hello) -> Result<Answers, Failure> {
    let (mut stream, mut out) = connect(endpoint).await.map_err(Failure::Connect)?;
    out.extend(&hello.record);
    stream.write_all(&out).await.map_err(|error| broken_off(error, false))?;
    Ok(Answers { stream, records: Vec::new(), messages: Vec::new(), count: 0 })
}

/// The handshake messages of a server.
struct Answers {
    stream: Box<dyn Stream>,
    /// What was received of records that are not whole.
    records: Vec<u8>,
    /// What was received of messages.
    messages: Vec<u8>,
    count: usize,
}

impl Answers {
    /// The type and the body of the next message.
    async fn next(&mut self) -> Result<(u8, Vec<u8>), Failure> {
        loop {
            let mut rest = Bytes(&self.messages);
            if let (Some(kind), Some(body)) = (rest.number(1), rest.counted(3)) {
                let (kind, body, left) = (kind.to_be_bytes()[7], body.to_vec(), rest.0.len());
                self.messages.drain(..self.messages.len() - left);
                return Ok((kind, body));
            }
            self.read().await?;
        }
    }

    /// Reads until one more record is whole.
    async fn read(&mut self) -> Result<(), Failure> {
        loop {
            if self.records.first().is_some_and(|kind| ![ALERT, HANDSHAKE].contains(kind)) {
                return Err(Failure::Other(Error::InvalidMessage(InvalidMessage::InvalidContentType)));
            }
            let mut rest = Bytes(&self.records);
            if let (Some(header), Some(body)) = (rest.take(3), rest.counted(2)) {
                match (header[0], body) {
                    // The name may be unknown, and the certificate follows all the same.
                    (ALERT, [1, kind]) if *kind != 0 => {}
                    (ALERT, [_, kind]) => {
                        let alert = AlertDescription::from(*kind);
                        return Err(Failure::Alert(alert));
                    }
                    (ALERT, _) => return Err(malformed()),
                    _ => self.messages.extend(body),
                }
                let left = rest.0.len();
                self.records.drain(..self.records.len() - left);
                return Ok(());
            }
            let mut buffer = vec![0; 4096];
            let has_answered = self.count > 0;
            let count =
                self.stream.read(&mut buffer).await.map_err(|error| broken_off(error, has_answered))?;
            self.count += count;
            if count == 0 {
                return Err(ended(has_answered));
            }
            if self.count > MAX_ANSWER {
                return Err(Failure::Other(Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge)));
            }
            self.records.extend(&buffer[..count]);
        }
    }
}

fn malformed() -> Failure {
    Failure::Other(Error::InvalidMessage(InvalidMessage::MessageTooShort))
}

/// What is not read yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of at most eight bytes.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn u16(&mut self) -> Option<u16> {
        u16::try_from(self.number(2)?).ok()
    }

    /// Bytes behind their length.
    fn counted(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let count = self.number(bytes)?;
        self.take(usize::try_from(count).ok()?)
    }
}

#[derive(Default)]
struct ServerHello {
    version: u16,
    random: [u8; 32],
    suite: u16,
    /// In a HelloRetryRequest, the group that is wanted.
    group: Option<u16>,
}

impl ServerHello {
    fn read(body: &[u8]) -> Option<Self> {
        let mut body = Bytes(body);
        let (version, random) = (body.u16()?, body.take(32)?.try_into().ok()?);
        body.counted(1)?;
        let suite = body.u16()?;
        body.take(1)?;
        // Before TLS 1.2 there may be none.
        let mut extensions = Bytes(body.counted(2).unwrap_or_default());
        let mut group = None;
        while let (Some(id), Some(content)) = (extensions.u16(), extensions.counted(2)) {
            if id == KEY_SHARE {
                group = Bytes(content).u16();
            }
        }
        Some(Self { version, random, suite, group })
    }
}

/// The DER bytes, the leaf first.
fn certificates(body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut list = Bytes(Bytes(body).counted(3)?);
    let mut ders = Vec::new();
    while !list.0.is_empty() {
        ders.push(list.counted(3)?.to_vec());
    }
    Some(ders)
}

/// The server's part of a key exchange.
struct Signed<'a> {
    parameters: &'a [u8],
    scheme: SignatureScheme,
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// `None` where it is of a form that cannot be verified here: before TLS 1.2 the hash is of MD5 and SHA-1.
    fn read(body: &'a [u8], server: &ServerHello) -> Option<Self> {
        const TLS_1_2: u16 = 0x0303;
        const NAMED_CURVE: u8 = 3;
        let mut rest = Bytes(body);
        if server.version != TLS_1_2 || !is_signed(server.suite) {
            return None;
        }
        let name = rustls::CipherSuite::from(server.suite);
        if name.as_str()?.starts_with("TLS_ECDHE_") {
            if rest.take(1)? != [NAMED_CURVE] {
                return None;
            }
            rest.take(2)?;
            rest.counted(1)?;
        } else {
            for _ in 0..3 {
                rest.counted(2)?;
            }
        }
        let parameters = body.get(..body.len() - rest.0.len())?;
        let scheme = SignatureScheme::from(rest.u16()?);
        Some(Self { parameters, scheme, signature: rest.counted(2)? })
    }
}
