//! What was asked of the download server, every byte of it.

use std::fmt;
use std::time::Instant;

use jiff::Timestamp;

use super::{FileKind, How};
use crate::portal::form;

/// One request and what became of it. Nothing is taken out: what should not have come must be seen.
#[derive(Clone, Debug)]
pub struct Download {
    /// Counted from one.
    pub number: usize,
    /// When it was decided, by the monotonic clock.
    pub at: Instant,
    /// When it was decided, by the portal's clock.
    pub time: Timestamp,
    /// The method; `?` when the request could not be parsed.
    pub method: String,
    /// The path, not decoded; `?` when the request could not be parsed.
    pub path: String,
    /// The query, not decoded.
    pub query: Option<String>,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
    /// The certificate whose file it is, when it was found.
    pub certificate: Option<i64>,
    /// The file, when it was found.
    pub file: Option<FileKind>,
    /// The status that was answered; `None` when nothing was.
    pub status: Option<u16>,
    /// Why it was refused.
    pub note: Option<String>,
    /// How it was spoiled.
    pub spoiled: Option<How>,
}

impl Download {
    /// The value of a header, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a text, such as a token, is anywhere in the request, also percent-encoded.
    pub fn carries(&self, text: &str) -> bool {
        let headers = self.headers.iter().flat_map(|(name, value)| [name, value]);
        let mut all = headers.chain([&self.method, &self.path, &self.body]).chain(&self.query);
        all.any(|part| part.contains(text) || form::decode_lossy(part).contains(text))
    }
}

/// One line, without its end; a signature is left out.
impl fmt::Display for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}  {} {}", self.time, self.method, self.path)?;
        if let Some(query) = &self.query {
            let (shown, signed) =
                query.split_once("sig=").map_or((query.as_str(), ""), |(q, _)| (q, "sig=…"));
            write!(f, "?{shown}{signed}")?;
        }
        match self.status {
            Some(status) => write!(f, "  {status}")?,
            None => write!(f, "  no answer")?,
        }
        if self.header("authorization").is_some() {
            write!(f, "  with an Authorization header")?;
        }
        if let Some(note) = &self.note {
            write!(f, "  {note}")?;
        }
        if let Some(how) = &self.spoiled {
            write!(f, "  spoiled {how}")?;
        }
        Ok(())
    }
}
