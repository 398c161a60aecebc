//! The client that certhook is compared with: `openssl s_client`.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certhook_test_support::ca;

/// The kinds of key whose certificates the client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accepts {
    Any,
    Rsa,
    Ecdsa,
    Other,
}

impl Accepts {
    /// Returns the kind that `verify --json` names.
    pub fn of(key_type: Option<&str>) -> Self {
        match key_type {
            Some("rsa") => Self::Rsa,
            Some("ecdsa") => Self::Ecdsa,
            Some(_) => Self::Other,
            None => Self::Any,
        }
    }

    fn signatures(self) -> Option<&'static str> {
        match self {
            Self::Any => None,
            Self::Rsa => Some(
                "RSA+SHA256:RSA+SHA384:RSA+SHA512:RSA+SHA1:rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:\
                 rsa_pss_rsae_sha512:rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512",
            ),
            Self::Ecdsa => Some("ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ECDSA+SHA1"),
            Self::Other => Some("ed25519:ed448"),
        }
    }
}

/// One question: an endpoint as certhook writes it, a name (empty for none), a kind of key, a STARTTLS protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub endpoint: String,
    pub host: String,
    pub accepts: Accepts,
    pub starttls: Option<&'static str>,
}

/// Asks each question once.
#[derive(Default)]
pub struct Client {
    known: HashMap<Question, Option<String>>,
    pub handshakes: usize,
}

impl Client {
    /// Returns the fingerprint of the leaf that the listener shows, `None` where it shows none.
    pub fn shown(&mut self, question: Question) -> Option<String> {
        if let Some(known) = self.known.get(&question) {
            return known.clone();
        }
        self.handshakes += 1;
        let shown = ask(&question);
        self.known.insert(question, shown.clone());
        shown
    }
}

fn ask(question: &Question) -> Option<String> {
    let mut command = Command::new("timeout");
    // No store of roots: to read it takes longer than the handshake. No limits of the system's configuration.
    command.args(["60", "openssl", "s_client", "-no-CAfile", "-no-CApath", "-no-CAstore"]);
    command.args(["-cipher", "ALL:!aNULL:@SECLEVEL=0"]).env("OPENSSL_CONF", "/dev/null");
    match question.host.as_str() {
        "" => command.arg("-noservername"),
        host => command.args(["-servername", host]),
    };
    if let Some(signatures) = question.accepts.signatures() {
        command.args(["-sigalgs", signatures]);
    }
    if let Some(protocol) = question.starttls {
        command.args(["-starttls", protocol]);
    }
    match (question.endpoint.strip_prefix("unix:"), question.endpoint.strip_suffix(" proxy_protocol")) {
        (Some(path), None) => command.args(["-unix", path]),
        (None, Some(address)) => command.args(["-connect", &relay(address)]),
        _ => command.args(["-connect", &question.endpoint]),
    };
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap();
    assert_ne!(output.status.code(), Some(124), "no end of {question:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let der = STANDARD.decode(body.split_whitespace().collect::<String>()).unwrap();
    Some(ca::fingerprint(&der))
}

/// Sends the header of the PROXY protocol, which `s_client` does not know, before one connection to `address`;
/// returns where to connect instead.
fn relay(address: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap().to_string();
    let address = address.to_owned();
    std::thread::spawn(move || -> io::Result<()> {
        let (client, _) = listener.accept()?;
        let mut server = TcpStream::connect(address)?;
        server.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 443\r\n")?;
        let (from, to) = (client.try_clone()?, server.try_clone()?);
        let back = std::thread::spawn(move || copy(server, client));
        copy(from, to);
        back.join().map_err(|_| io::Error::other("a panic"))
    });
    here
}

/// Copies until the end, which the other side then sees too.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
