//! The least of an HTTP client, and the calls the tests make.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use certhook_test_support::portal::{Portal, Record};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub(crate) const REPORT: &str = "/api/v2/Certificate";
pub(crate) const LIST: &str = "/api/v2/CertificateList";
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// What came back, to the end of the connection or of the announced length.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// Whether as much came as was announced.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// A connection that is kept.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    pub(crate) fn of(portal: &Portal) -> Self {
        Self::to(portal.address()).unwrap()
    }

    pub(crate) fn to(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SOON))?;
        Ok(Self { stream })
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> io::Result<()> {
        let length = body.len();
        write!(
            self.stream,
            "{method} {path} HTTP/1.1\r\nHost: portal\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )
    }

    /// One answer; `None` when the connection ended without.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match self.stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                Ok(_) => return None,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer: {error}"),
            }
        }
        let head = String::from_utf8(head).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut answer = Answer { status, head, body: String::new(), whole: true };
        let length = answer.header("content-length").map(|length| length.parse().unwrap());
        let limit = length.unwrap_or(u64::MAX);
        (&mut self.stream).take(limit).read_to_string(&mut answer.body).unwrap();
        answer.whole = length.is_none_or(|length| length == answer.body.len() as u64);
        Some(answer)
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Option<Answer> {
        self.send(method, path, headers, body).unwrap();
        self.answer()
    }

    /// How many bytes have come and not been read once no more come, or `None` at the end.
    pub(crate) fn unread(&mut self) -> Option<usize> {
        let mut seen = vec![0; 1 << 24];
        let mut before = None;
        let still = Some(Duration::from_millis(100));
        loop {
            self.stream.set_read_timeout(still).unwrap();
            let now = match self.stream.peek(&mut seen) {
                Ok(0) => return None,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => panic!("cannot look: {error}"),
            };
            if before == Some(now) {
                self.stream.set_read_timeout(Some(SOON)).unwrap();
                return Some(now);
            }
            before = Some(now);
            // Nothing tells that the other side is stuck, only that it is silent for a while.
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Whether the other side has closed.
    pub(crate) fn is_at_end(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }
}

/// What a link gave.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Fetched {
    pub(crate) fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn announced(&self) -> Option<u64> {
        self.header("content-length").map(|length| length.parse().unwrap())
    }
}

/// Downloads what a link leads to, up to a limit, to the end of the connection.
pub(crate) fn fetch_up_to(link: &str, headers: &str, limit: u64) -> Fetched {
    let (authority, path) = link.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(authority).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{headers}\r\n")
        .unwrap();
    let mut bytes = Vec::new();
    stream.take(limit).read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").map_or(bytes.len(), |end| end + 4);
    let body = bytes.split_off(end);
    Fetched { head: String::from_utf8(bytes).unwrap(), body }
}

/// All that a link leads to.
pub(crate) fn fetch(link: &str) -> Fetched {
    fetch_up_to(link, "", 1 << 20)
}

/// A call to schedule renewals.
pub(crate) fn renew(portal: &Portal, headers: &str, body: &str) -> Answer {
    Client::of(portal).ask("POST", "/api/v2/CertificateRenewal", headers, body).unwrap()
}

/// The ids in a list's answer.
pub(crate) fn ids(answer: &Answer) -> Vec<i64> {
    answer.json().as_array().unwrap().iter().map(|one| one["id"].as_i64().unwrap()).collect()
}

/// A date that many days ahead.
pub(crate) fn in_days(days: i64) -> DateTime {
    let at = Timestamp::now() + SignedDuration::from_hours(24 * days);
    at.to_zoned(TimeZone::UTC).datetime()
}

/// The documentation's certificate, not installed.
pub(crate) fn portal() -> Portal {
    let portal = Portal::start();
    portal.add_certificate(Record::new(158, "contoso.com"));
    portal
}

pub(crate) fn token_form(portal: &Portal, resource: &str) -> String {
    let encoded =
        |text: &str| text.replace('+', "%2B").replace('=', "%3D").replace('/', "%2F").replace(':', "%3A");
    format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&resource={}",
        portal.client_id(),
        encoded(&portal.client_secret()),
        encoded(resource)
    )
}

pub(crate) fn ask_token(portal: &Portal, resource: &str) -> Option<Answer> {
    let path = format!("/{}/oauth2/token", portal.tenant());
    let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
    Client::of(portal).ask("POST", &path, headers, &token_form(portal, resource))
}

/// The headers of a call that has a fresh token.
pub(crate) fn authorized(portal: &Portal) -> String {
    let answer = ask_token(portal, "https://management.core.windows.net").unwrap();
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n")
}

pub(crate) fn report_body() -> Value {
    json!({"id": 158, "name": "contoso.com", "remoteCreateDate": "2021-01-30T01:04:32"})
}

pub(crate) fn report(portal: &Portal, headers: &str) -> Option<Answer> {
    Client::of(portal).ask("POST", REPORT, headers, &report_body().to_string())
}

pub(crate) fn list(portal: &Portal, headers: &str) -> Option<Answer> {
    Client::of(portal).ask("GET", LIST, headers, "")
}

pub(crate) fn installed(portal: &Portal) -> Option<String> {
    portal.certificate(158).unwrap().remote_create_date
}
