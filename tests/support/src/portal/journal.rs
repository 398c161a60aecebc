//! What was asked and what was answered, one entry a request, without secrets.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::form;
use super::http::Request;
use super::trouble::Action;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A token, from the login service.
    Token,
    /// One certificate: `GET /api/v2/Certificate`.
    Get,
    /// All certificates: `GET /api/v2/CertificateList`.
    List,
    /// Tells of an installation: `POST /api/v2/Certificate`.
    Report,
    /// Schedules renewals: `POST /api/v2/CertificateRenewal`.
    Renew,
    /// Nothing the portal knows.
    Other,
}

/// One request and what became of it. Secrets and tokens are taken out of every text in it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Counted from one.
    pub number: usize,
    /// When it was decided, by the monotonic clock.
    pub at: Instant,
    /// When it was decided, by the portal's clock (see `Portal::advance`).
    pub time: Timestamp,
    /// The method; `?` when the request could not be parsed.
    pub method: String,
    /// Path and query, not decoded; `?` when the request could not be parsed.
    pub path: String,
    /// What it asked for.
    pub what: What,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
    /// The number of the token it carried or, when it asked for one, was given; from one, as in
    /// `Portal::tokens_issued`.
    pub token: Option<usize>,
    /// The status that was answered; `None` when nothing was.
    pub status: Option<u16>,
    /// Its place in the weekly budget, when it counted: the third request has a 3.
    pub counted: Option<usize>,
    /// The weekly budget.
    pub budget: usize,
    /// Why it was refused, or what else is worth knowing.
    pub note: Option<String>,
    /// The trouble that was played on it.
    pub trouble: Option<Action>,
}

impl Entry {
    /// The value of a header, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// The line of the journal file, without its end.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}  {} {}", self.time, self.method, self.path)?;
        if !self.body.is_empty() {
            let one_line: String = self.body.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            write!(f, "  {one_line}")?;
        }
        match self.status {
            Some(status) => write!(f, "  {status}")?,
            None => write!(f, "  no answer")?,
        }
        if let Some(token) = self.token {
            write!(f, "  token#{token}")?;
        }
        if let Some(counted) = self.counted {
            write!(f, "  counted {counted}/{}", self.budget)?;
        }
        if let Some(note) = &self.note {
            write!(f, "  {note}")?;
        }
        if let Some(trouble) = &self.trouble {
            write!(f, "  trouble {trouble}")?;
        }
        Ok(())
    }
}

/// All entries, and the file that gets each as it comes.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) entries: Vec<Entry>,
    file: Option<File>,
}

impl Journal {
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(|path| OpenOptions::new().create(true).append(true).open(path));
        Ok(Self { entries: Vec::new(), file: file.transpose()? })
    }

    pub(super) fn push(&mut self, entry: Entry) {
        if let Some(file) = &mut self.file {
            file.write_all(format!("{entry}\n").as_bytes()).expect("write to the journal file");
        }
        self.entries.push(entry);
    }
}

/// What must not be read in the journal.
pub(super) struct Secrets<'a> {
    pub(super) client_secret: &'a str,
    pub(super) tokens: Vec<&'a str>,
}

impl Secrets<'_> {
    /// A text with every secret replaced by what it is.
    fn redact(&self, text: &str) -> String {
        let mut text = text.replace(self.client_secret, "(client secret)");
        for (index, token) in self.tokens.iter().enumerate() {
            text = text.replace(token, &format!("token#{}", index + 1));
        }
        text
    }

    /// The same for a body or a query, in which secrets may be percent-encoded.
    pub(super) fn redact_encoded(&self, text: &str) -> String {
        let redact_part = |part: &str| {
            if part.starts_with("client_secret=") {
                return "client_secret=(redacted)".to_owned();
            }
            let decoded = form::decode_lossy(part);
            let redacted = self.redact(&decoded);
            if redacted == decoded { part.to_owned() } else { redacted }
        };
        let parts: Vec<String> = text.split('&').map(redact_part).collect();
        self.redact(&parts.join("&"))
    }

    /// A request's headers without what authorizes it.
    pub(super) fn redact_headers(&self, request: &Request) -> Vec<(String, String)> {
        let redact_header = |(name, value): &(String, String)| {
            let redacted = self.redact(value);
            let unknown = name == "authorization" && redacted == *value;
            (name.clone(), if unknown { "(unknown)".to_owned() } else { redacted })
        };
        request.headers.iter().map(redact_header).collect()
    }
}

/// What was waited for did not come; says so together with the journal.
#[derive(Clone)]
pub struct TimedOut {
    /// How long was waited.
    pub waited: Duration,
    /// The journal at the end.
    pub journal: Vec<Entry>,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {:?} in vain; the portal's journal:", self.waited)?;
        if self.journal.is_empty() {
            write!(f, "\n  (no request came)")?;
        }
        self.journal.iter().try_for_each(|entry| write!(f, "\n  {entry}"))
    }
}

/// The same as `Display`, so that an `unwrap` is readable.
impl fmt::Debug for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for TimedOut {}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            number: 1,
            at: Instant::now(),
            time: "2026-11-21T19:30:25.123456Z".parse().unwrap(),
            method: "POST".to_owned(),
            path: "/api/v2/Certificate".to_owned(),
            what: What::Report,
            headers: Vec::new(),
            body: "{\"id\":158,\n\"name\":\"contoso.com\"}".to_owned(),
            token: Some(1),
            status: Some(200),
            counted: Some(3),
            budget: 50,
            note: None,
            trouble: None,
        }
    }

    #[test]
    fn a_line_is_readable() {
        assert_eq!(
            entry().to_string(),
            "2026-11-21T19:30:25.123Z  POST /api/v2/Certificate  \
             {\"id\":158, \"name\":\"contoso.com\"}  200  token#1  counted 3/50"
        );
        let cut = Entry {
            status: None,
            body: String::new(),
            note: Some("because".to_owned()),
            trouble: Some(Action::CutBefore),
            ..entry()
        };
        assert_eq!(
            cut.to_string(),
            "2026-11-21T19:30:25.123Z  POST /api/v2/Certificate  no answer  token#1  counted 3/50  \
             because  trouble \"cut_before\""
        );
    }

    #[test]
    fn secrets_do_not_get_in() {
        let secrets = Secrets { client_secret: "qk+/=", tokens: vec!["eyJa.b", "eyJc.d"] };
        for (text, wanted) in [
            ("a=1&client_secret=qk%2B%2F%3D&b=%20", "a=1&client_secret=(redacted)&b=%20"),
            ("client_secret=wrong", "client_secret=(redacted)"),
            ("client_secre=qk%2b%2F%3D&100%", "client_secre=(client secret)&100%"),
            ("qk+/=", "(client secret)"),
            (r#"{"keyVaultAccessToken":"eyJc.d"}"#, r#"{"keyVaultAccessToken":"token#2"}"#),
            ("name=eyJa%2Eb", "name=token#1"),
        ] {
            assert_eq!(secrets.redact_encoded(text), wanted);
        }
        let headers =
            ["Bearer eyJa.b", "Bearer stolen"].map(|value| ("authorization".to_owned(), value.to_owned()));
        let request = Request { headers: headers.into(), ..Request::default() };
        let redacted = secrets.redact_headers(&request);
        assert_eq!(redacted[0].1, "Bearer token#1");
        assert_eq!(redacted[1].1, "(unknown)");
    }

    #[test]
    fn the_file_is_added_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        for _ in 0..2 {
            Journal::open(Some(&path)).unwrap().push(entry());
        }
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), vec![entry().to_string(); 2]);
    }
}
