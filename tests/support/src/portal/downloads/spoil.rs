//! Downloads that are not what they should be.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{FileKind, Issued, Store, encode, judge};
use crate::ca::{Authority, Pair};
use crate::portal::http::Reply;
use crate::portal::trouble::{Delivery, GATEWAY_PAGE};

/// One way to spoil downloads, whom it hits and how often. Only what would be answered is hit.
///
/// As JSON: `{"certificate":158,"file":"key","times":2,"how":"html"}`; without `certificate` and `file` it
/// hits any, without `times` once, and with `"times":null` until it is cleared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spoil {
    /// The certificate whose files it hits; any when `None`.
    #[serde(default)]
    pub certificate: Option<i64>,
    /// The file it hits; any when `None`.
    #[serde(default)]
    pub file: Option<FileKind>,
    /// How many downloads; all until it is cleared when `None`.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// What happens to them.
    pub how: How,
}

/// What can be wrong with a download.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum How {
    /// A page instead of the file, with status 200.
    Html,
    /// Half of the file, and the end of the connection before the announced length.
    CutShort,
    /// Half of the file, with the length of the half.
    CutClean,
    /// The file and then padding, up to that many bytes.
    Huge {
        /// The body's length; `u64::MAX` has no end.
        bytes: u64,
        /// Whether a Content-Length says so.
        announced: bool,
    },
    /// The leaf of another certificate; the key is the right one.
    OtherLeaf,
    /// The key of another certificate; the leaf is the right one.
    OtherKey,
    /// All of another certificate, for `other.test`: it is whole, but not what was asked for.
    OtherCertificate,
    /// An expired leaf for the same names and the same key.
    ExpiredLeaf,
    /// Nothing, with status 200.
    Empty,
    /// What storage says when a link has expired: 403.
    LinkExpired,
    /// Any status, with an XML error.
    Status(u16),
    /// Somewhere else.
    Redirect {
        /// The status: 301, 302, 303, 307 or 308.
        code: u16,
        /// The `Location` header.
        to: String,
    },
    /// Byte by byte.
    Slow {
        /// The pause before each byte, in milliseconds.
        per_byte_ms: u64,
    },
    /// The file with `Content-Encoding: gzip`, which nobody asked for.
    Gzip,
    /// The connection closes without an answer.
    CutBefore,
    /// No answer, on a connection that stays open until the server stops.
    Hang,
}

impl Spoil {
    /// This, once, to whatever is downloaded.
    pub fn new(how: How) -> Self {
        Self { certificate: None, file: None, times: once(), how }
    }

    /// Only to files of one certificate.
    pub fn of(mut self, certificate: i64) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Only to one file.
    pub fn file(mut self, file: FileKind) -> Self {
        self.file = Some(file);
        self
    }

    /// That many times.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Every time, until it is cleared.
    pub fn until_cleared(mut self) -> Self {
        self.times = None;
        self
    }

    fn hits(&self, id: i64, kind: FileKind) -> bool {
        self.times != Some(0)
            && self.certificate.is_none_or(|certificate| certificate == id)
            && self.file.is_none_or(|file| file == kind)
    }
}

/// As in a spoil's JSON.
impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", json!(self))
    }
}

fn once() -> Option<u32> {
    Some(1)
}

/// The file, or what the first spoil that hits it makes of it.
pub(super) fn serve(store: &mut Store, id: i64, kind: FileKind) -> (Option<How>, Delivery) {
    let how = store.spoils.iter_mut().find(|spoil| spoil.hits(id, kind)).map(|spoil| {
        spoil.times = spoil.times.map(|times| times - 1);
        spoil.how.clone()
    });
    let issued = store.issued(id).expect("a file that was found");
    let delivery = deliver(issued, kind, how.as_ref(), &store.authority);
    (how, delivery)
}

fn deliver(issued: &Issued, kind: FileKind, how: Option<&How>, authority: &Authority) -> Delivery {
    let bytes = || kind.bytes(&issued.pair, &issued.password);
    let file = || octets(bytes());
    let of = |pair: &Pair| octets(kind.bytes(pair, &issued.password));
    Delivery::Whole(match how {
        None => file(),
        Some(How::Html) => Reply::typed(200, "text/html", GATEWAY_PAGE.as_bytes().to_vec()),
        Some(How::CutShort) => return Delivery::Half(file()),
        Some(How::CutClean) => {
            let mut half = bytes();
            half.truncate(half.len() / 2);
            octets(half)
        }
        Some(How::Huge { bytes, announced }) => {
            return Delivery::Flood { reply: file(), bytes: *bytes, announced: *announced };
        }
        // Nobody can write a PKCS#12 file whose key does not belong, so it is all another's.
        Some(How::OtherLeaf | How::OtherKey) if kind == FileKind::Pfx => of(issued.other(authority)),
        Some(How::OtherCertificate) => of(issued.other(authority)),
        Some(How::OtherLeaf) => {
            let key_pem = issued.pair.key_pem.clone();
            of(&Pair { key_pem, ..issued.other(authority).clone() })
        }
        Some(How::OtherKey) => {
            let key_pem = issued.other(authority).key_pem.clone();
            of(&Pair { key_pem, ..issued.pair.clone() })
        }
        Some(How::ExpiredLeaf) => of(issued.expired(authority)),
        Some(How::Empty) => octets(Vec::new()),
        Some(How::LinkExpired) => {
            let text = "Signature not valid in the specified time frame";
            judge::error(403, "AuthenticationFailed", text)
        }
        Some(How::Status(code)) => judge::error(*code, "Simulated", "The simulator was told to."),
        Some(How::Redirect { code, to }) => Reply::text(*code, "").with("Location", to),
        Some(How::Slow { per_byte_ms }) => return Delivery::Slow(file(), *per_byte_ms),
        Some(How::Gzip) => octets(encode::gzip(&bytes())).with("Content-Encoding", "gzip"),
        Some(How::CutBefore) => return Delivery::Cut,
        Some(How::Hang) => return Delivery::Hang,
    })
}

fn octets(bytes: Vec<u8>) -> Reply {
    Reply::typed(200, "application/octet-stream", bytes)
}
