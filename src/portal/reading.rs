//! One answer read in every way there is, for the fuzz targets: they reach it by no other way.

use std::time::Duration;

use jiff::Timestamp;

use super::token::Token;
use super::{Certificate, Portal, wire};

/// What an answer would be taken for. Errors are as they are shown.
#[doc(hidden)]
#[derive(Debug)]
pub struct Reading {
    /// As the list of certificates.
    pub list: Result<Vec<Certificate>, String>,
    /// As the echo of a report.
    pub echo: Result<(), String>,
    /// As the login's: how long its token is good for.
    pub token: Option<Duration>,
    /// As a refusal: what is shown of it.
    pub words: String,
    /// Its first line as a `Retry-After`.
    pub wait: Option<Duration>,
}

impl Portal {
    /// Reads an answer as everything it could be.
    #[doc(hidden)]
    pub fn read(&self, answer: &[u8], now: Timestamp) -> Reading {
        let report = wire::Report { id: 158, name: "contoso.com", remote_create_date: "2021-01-30T01:04:32" };
        let shown = |error: wire::Unusable| self.unusable(&error).problem.message;
        let first_line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Reading {
            list: wire::list(answer).map_err(shown),
            echo: wire::echoes(answer, &report).map_err(shown),
            token: Token::parse(answer).ok().map(|token| token.left()),
            words: self.words(answer),
            wait: std::str::from_utf8(first_line).ok().and_then(|text| wire::retry_after(text.trim(), now)),
        }
    }
}
