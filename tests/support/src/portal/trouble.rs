//! Misbehaviour on command.
//!
//! Troubles wait in a queue; a request gets the first that is meant for it. What a trouble does to
//! the request itself is part of it: only [`Action::Object`], [`Action::CutAfterApply`],
//! [`Action::CutMidBody`] and [`Action::Slow`] let an accepted request take effect. Nothing comes
//! of the others, so whoever takes their answer for a success is found out by the portal's records.

mod play;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::journal::What;

pub(super) use play::{Delivery, GATEWAY_PAGE, Played, take};

/// One misbehaviour, whom it hits and how often.
///
/// As JSON: `{"on":"report","times":2,"action":{"status":{"code":503,"retry_after":"7"}}}`; without
/// `on` it hits any request, without `times` once, and with `"times":null` until it is cleared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    /// The requests it hits; any when `None`.
    #[serde(default)]
    pub on: Option<What>,
    /// How many of them; all until it is cleared when `None`.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// What happens to them.
    pub action: Action,
}

/// What can happen to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Any status with any text.
    Status {
        /// The status.
        code: u16,
        /// The body.
        #[serde(default)]
        body: String,
        /// The `Retry-After` header: seconds or a date.
        #[serde(default)]
        retry_after: Option<String>,
        /// The content type, plain text by default.
        #[serde(default)]
        content_type: Option<String>,
    },
    /// The gateway's page instead of the portal's answer, with this status.
    Html(u16),
    /// Status 200 with JSON that breaks off.
    Garbage,
    /// An answer about something else; for requests whose answer has the field.
    WrongEcho(Field),
    /// An empty answer, status 200; for requests that would succeed.
    EchoMissing(Empty),
    /// The object alone where the answer is an array of one.
    Object,
    /// The connection closes without an answer, and nothing was done.
    CutBefore,
    /// The connection closes without an answer, although all was done.
    CutAfterApply,
    /// The connection closes in the middle of the answer's body.
    CutMidBody,
    /// The answer's body comes byte by byte.
    Slow {
        /// The pause before each byte, in milliseconds.
        per_byte_ms: u64,
    },
    /// No answer, on a connection that stays open until the portal stops.
    Hang,
    /// 401, however valid the token or the secret.
    RefuseToken,
    /// A JSON body of this many bytes, of no announced length.
    Huge {
        /// The body's length.
        bytes: u64,
    },
    /// A JSON body of this many arrays, one in another.
    Deep {
        /// How many.
        levels: usize,
    },
}

/// A field that an answer echoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// `id`
    Id,
    /// `name`
    Name,
    /// `remoteCreateDate`
    Date,
}

/// Ways to say nothing in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// `{}`
    Object,
    /// `[]`
    Array,
}

impl Trouble {
    /// This, once, to whatever request comes.
    pub fn new(action: Action) -> Self {
        Self { on: None, times: once(), action }
    }

    /// Only to requests of a kind.
    pub fn on(mut self, what: What) -> Self {
        self.on = Some(what);
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
}

impl Action {
    /// A status with a short text.
    pub fn status(code: u16) -> Self {
        let body = format!("The simulator answers {code}.");
        Self::Status { code, body, retry_after: None, content_type: None }
    }

    /// A status with a `Retry-After`, in seconds or as a date.
    pub fn retry_after(code: u16, after: impl ToString) -> Self {
        let body = format!("The simulator answers {code}.");
        Self::Status { code, body, retry_after: Some(after.to_string()), content_type: None }
    }
}

/// The action as in a trouble's JSON.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", json!(self))
    }
}

fn once() -> Option<u32> {
    Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_can_be_written_as_json() {
        for (text, wanted) in [
            (r#"{"action":"hang"}"#, Trouble::new(Action::Hang)),
            (
                r#"{"on":"get","times":null,"action":{"slow":{"per_byte_ms":5}}}"#,
                Trouble::new(Action::Slow { per_byte_ms: 5 }).on(What::Get).until_cleared(),
            ),
            (
                r#"{"times":3,"action":{"wrong_echo":"date"}}"#,
                Trouble::new(Action::WrongEcho(Field::Date)).times(3),
            ),
            (r#"{"action":{"html":502}}"#, Trouble::new(Action::Html(502))),
        ] {
            assert_eq!(serde_json::from_str::<Trouble>(text).unwrap(), wanted);
        }
        assert!(serde_json::from_str::<Trouble>(r#"{"acton":"hang"}"#).is_err());
    }
}
