//! As much HTTP/1.1 as the portal needs: requests with a Content-Length, on connections that are kept.

use std::io::{self, Read};

use serde::Serialize;

/// The longest request line and headers, in bytes.
const HEAD_LIMIT: usize = 16 * 1024;
/// The longest request body, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// One request, read to its last byte.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// Names in lower case, values as they came.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) keep_alive: bool,
}

/// One answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// What came next on a connection.
#[derive(Debug)]
pub(super) enum Incoming {
    Request(Request),
    /// Something that cannot be parsed: answer this, then close.
    Refused(Reply),
    /// The other side closed.
    End,
}

/// Reads one request; `pending` keeps what came after it.
pub(super) fn read(stream: &mut impl Read, pending: &mut Vec<u8>) -> io::Result<Incoming> {
    loop {
        match parse(pending) {
            Ok(Some((request, used))) => {
                pending.drain(..used);
                return Ok(Incoming::Request(request));
            }
            Ok(None) => {}
            Err(reply) => return Ok(Incoming::Refused(reply)),
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk)? {
            0 => return Ok(Incoming::End),
            length => pending.extend_from_slice(&chunk[..length]),
        }
    }
}

/// The first request in `bytes` and its length; `None` while more must come.
fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Reply> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let head = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(head)) if head <= HEAD_LIMIT => head,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_LIMIT => return Ok(None),
        Ok(_) => return Err(Reply::text(431, "The request's headers are too long.")),
        Err(error) => return Err(Reply::text(400, format!("This is not HTTP: {error}."))),
    };
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        keep_alive: parsed.version == Some(1),
        ..Request::default()
    };
    let target = parsed.path.unwrap_or_default();
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    request.path = path.to_owned();
    request.query = query.map(str::to_owned);
    for header in parsed.headers.iter() {
        let value = String::from_utf8_lossy(header.value).trim().to_owned();
        request.headers.push((header.name.to_ascii_lowercase(), value));
    }
    if request.all("connection").any(|value| value.eq_ignore_ascii_case("close")) {
        request.keep_alive = false;
    }
    if request.all("host").count() != 1 {
        return Err(Reply::text(400, "A request names one Host."));
    }
    let end = head + body_length(&request)?;
    if bytes.len() < end {
        return Ok(None);
    }
    request.body = bytes[head..end].to_vec();
    Ok(Some((request, end)))
}

fn body_length(request: &Request) -> Result<usize, Reply> {
    if request.header("transfer-encoding").is_some() {
        return Err(Reply::text(400, "Send a Content-Length, not a Transfer-Encoding."));
    }
    let mut lengths = request.all("content-length");
    let Some(length) = lengths.next() else {
        return Ok(0);
    };
    if lengths.next().is_some() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Reply::text(400, "The Content-Length is not one number."));
    }
    match length.parse() {
        Ok(length) if length <= BODY_LIMIT => Ok(length),
        _ => Err(Reply::text(413, "The body is too long.")),
    }
}

impl Request {
    /// The values of a header, given in lower case.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The only value of a header; `None` when there is none or more than one.
    pub(super) fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether the content type is this one, whatever its parameters.
    pub(super) fn is_of_type(&self, media_type: &str) -> bool {
        let declared = self.header("content-type").unwrap_or_default();
        let declared = declared.split(';').next().unwrap_or_default();
        declared.trim().eq_ignore_ascii_case(media_type)
    }

    /// Path and query, as on the request line.
    pub(super) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

impl Reply {
    /// A plain text answer.
    pub(super) fn text(status: u16, text: impl Into<String>) -> Self {
        Self::typed(status, "text/plain; charset=utf-8", text.into().into_bytes())
    }

    /// A JSON answer.
    pub(super) fn json(status: u16, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("the simulator's answers are JSON");
        Self::typed(status, "application/json; charset=utf-8", body)
    }

    /// An answer of any type.
    pub(super) fn typed(status: u16, media_type: &str, body: Vec<u8>) -> Self {
        Self { status, headers: vec![("Content-Type", media_type.to_owned())], body }
    }

    /// The same answer with one more header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The status line and headers; without a `length` the body ends where the connection does.
    pub(super) fn head(&self, keep_alive: bool, length: Option<usize>) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(length) = length {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        if !keep_alive || length.is_none() {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        head
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Simulated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_however_it_is_cut() {
        let bytes = b"POST /a?b=c HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxyzGET";
        let whole = bytes.len() - 3;
        for length in 0..whole {
            assert!(parse(&bytes[..length]).unwrap().is_none(), "{length} bytes are not enough");
        }
        let (request, used) = parse(bytes).unwrap().unwrap();
        assert_eq!(used, whole);
        assert_eq!((request.method.as_str(), request.target().as_str()), ("POST", "/a?b=c"));
        assert_eq!(request.body, b"xyz");
        assert!(request.keep_alive);
    }

    #[test]
    fn what_cannot_be_parsed_is_refused() {
        let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(HEAD_LIMIT));
        for (bytes, status) in [
            ("\u{1}\u{2} nonsense\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n", 413),
            (&long, 431),
        ] {
            let refused = parse(bytes.as_bytes()).expect_err(bytes);
            assert_eq!(refused.status, status, "{bytes}");
        }
    }

    #[test]
    fn a_connection_is_kept_unless_somebody_says_otherwise() {
        for (bytes, kept) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nHost: h\r\n\r\n", false),
        ] {
            let (request, _) = parse(bytes.as_bytes()).unwrap().unwrap();
            assert_eq!(request.keep_alive, kept, "{bytes}");
        }
    }
}
