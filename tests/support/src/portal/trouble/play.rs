//! What a trouble makes of the answer that would have been.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Action, Empty, Field, Trouble};
use crate::portal::http::Reply;
use crate::portal::journal::What;

/// How an answer reaches the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::portal) enum Delivery {
    Whole(Reply),
    /// Half of the body, then the end.
    Half(Reply),
    Slow(Reply, u64),
    /// JSON without an announced length.
    Endless(u64),
    /// The body and then padding up to that many bytes.
    Flood {
        reply: Reply,
        bytes: u64,
        announced: bool,
    },
    Cut,
    Hang,
}

impl Delivery {
    pub(in crate::portal) fn status(&self) -> Option<u16> {
        match self {
            Self::Whole(reply) | Self::Half(reply) | Self::Slow(reply, _) | Self::Flood { reply, .. } => {
                Some(reply.status)
            }
            Self::Endless(_) => Some(200),
            Self::Cut | Self::Hang => None,
        }
    }
}

/// What a trouble makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::portal) struct Played {
    pub(in crate::portal) action: Action,
    pub(in crate::portal) delivery: Delivery,
    /// Whether an accepted request takes effect.
    pub(in crate::portal) applied: bool,
    /// Whether the request got as far as the budget.
    pub(in crate::portal) counted: bool,
}

/// Takes the first trouble that is meant for such a request and that its answer allows.
pub(in crate::portal) fn take(queue: &mut VecDeque<Trouble>, what: What, reply: &Reply) -> Option<Played> {
    queue.retain(|trouble| trouble.times != Some(0));
    for trouble in queue {
        if trouble.on.is_none_or(|on| on == what)
            && let Some(played) = play(&trouble.action, what, reply)
        {
            trouble.times = trouble.times.map(|times| times - 1);
            return Some(played);
        }
    }
    None
}

/// Plays one trouble on the answer that would have been; `None` where it makes no sense.
fn play(action: &Action, what: What, reply: &Reply) -> Option<Played> {
    let ok = reply.status == 200;
    let json = |value: &Value| Delivery::Whole(Reply::json(200, value));
    let delivery = match action {
        Action::Status { code, body, retry_after, content_type } => {
            let media_type = content_type.as_deref().unwrap_or("text/plain; charset=utf-8");
            let status = Reply::typed(*code, media_type, body.as_bytes().to_vec());
            Delivery::Whole(match retry_after {
                Some(after) => status.with("Retry-After", after),
                None => status,
            })
        }
        Action::Html(code) => {
            Delivery::Whole(Reply::typed(*code, "text/html", GATEWAY_PAGE.as_bytes().to_vec()))
        }
        Action::Garbage => {
            let body = br#"[{"id":158,"name":"cont"#.to_vec();
            Delivery::Whole(Reply::typed(200, "application/json; charset=utf-8", body))
        }
        Action::WrongEcho(field) => json(&with_wrong(*field, reply).filter(|_| ok)?),
        Action::EchoMissing(_) if !ok => return None,
        Action::EchoMissing(Empty::Object) => json(&json!({})),
        Action::EchoMissing(Empty::Array) => json(&json!([])),
        Action::Object => json(&only_element(reply).filter(|_| ok)?),
        Action::CutAfterApply if !ok => return None,
        Action::CutBefore | Action::CutAfterApply => Delivery::Cut,
        Action::CutMidBody => Delivery::Half(reply.clone()),
        Action::Slow { per_byte_ms } => Delivery::Slow(reply.clone(), *per_byte_ms),
        Action::Hang => Delivery::Hang,
        Action::RefuseToken => Delivery::Whole(refusal(what)),
        Action::Huge { bytes } => Delivery::Endless(*bytes),
        Action::Deep { levels } => {
            let body = format!("{}{}", "[".repeat(*levels), "]".repeat(*levels));
            let media_type = "application/json; charset=utf-8";
            Delivery::Whole(Reply::typed(200, media_type, body.into_bytes()))
        }
    };
    let applied =
        matches!(action, Action::Object | Action::CutAfterApply | Action::CutMidBody | Action::Slow { .. });
    let counted = *action != Action::CutBefore && !matches!(delivery.status(), Some(401 | 429));
    Some(Played { action: action.clone(), delivery, applied, counted })
}

pub(in crate::portal) const GATEWAY_PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Gateway</title></head>\
    <body><h2>Our services aren't available right now</h2></body></html>\n";

fn refusal(what: What) -> Reply {
    if what == What::Token {
        let text = "AADSTS7000215: Invalid client secret is provided.";
        return Reply::json(401, &json!({"error": "invalid_client", "error_description": text}));
    }
    Reply::text(401, "Unauthorized. Access token is missing or invalid.")
        .with("WWW-Authenticate", "Bearer error=\"invalid_token\"")
}

/// The answer with one field that is not what it should be.
fn with_wrong(field: Field, reply: &Reply) -> Option<Value> {
    let mut answer: Value = serde_json::from_slice(&reply.body).ok()?;
    let object = match &mut answer {
        Value::Array(array) => array.first_mut()?,
        object => object,
    };
    let (field, wrong) = match field {
        Field::Id => ("id", json!(object.get("id")?.as_i64()? + 1)),
        Field::Name => ("name", json!("fabrikam.com")),
        Field::Date => ("remoteCreateDate", json!("2001-02-03T04:05:06")),
    };
    *object.get_mut(field)? = wrong;
    Some(answer)
}

fn only_element(reply: &Reply) -> Option<Value> {
    match serde_json::from_slice(&reply.body).ok()? {
        Value::Array(array) if array.len() == 1 => array.into_iter().next(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> Reply {
        let date = "2026-11-21T19:30:25";
        Reply::json(200, &json!([{"id": 158, "name": "contoso.com", "remoteCreateDate": date}]))
    }

    #[test]
    fn a_trouble_hits_whom_it_is_meant_for_and_as_often() {
        let mut queue = VecDeque::from([
            Trouble::new(Action::Hang).on(What::Report).times(2),
            Trouble::new(Action::CutBefore),
        ]);
        let mut hit = |what| take(&mut queue, what, &echo()).map(|played| played.action);
        assert_eq!(hit(What::Report), Some(Action::Hang));
        assert_eq!(hit(What::Get), Some(Action::CutBefore));
        assert_eq!(hit(What::Get), None);
        assert_eq!(hit(What::Report), Some(Action::Hang));
        assert_eq!(hit(What::Report), None);
    }

    #[test]
    fn a_trouble_can_stay() {
        let mut queue = VecDeque::from([Trouble::new(Action::Garbage).until_cleared()]);
        for _ in 0..10 {
            assert!(take(&mut queue, What::List, &echo()).is_some());
        }
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_trouble_waits_for_an_answer_that_it_can_spoil() {
        let refused = Reply::text(400, "no");
        for action in [
            Action::WrongEcho(Field::Id),
            Action::EchoMissing(Empty::Array),
            Action::Object,
            Action::CutAfterApply,
        ] {
            assert_eq!(play(&action, What::Report, &refused), None, "{action}");
            assert!(play(&action, What::Report, &echo()).is_some(), "{action}");
        }
    }

    #[test]
    fn an_echo_can_be_wrong_in_each_field() {
        for (field, name) in [(Field::Id, "id"), (Field::Name, "name"), (Field::Date, "remoteCreateDate")] {
            let right: Value = serde_json::from_slice(&echo().body).unwrap();
            let wrong = with_wrong(field, &echo()).unwrap();
            for known in ["id", "name", "remoteCreateDate"] {
                assert_eq!(right[0][known] != wrong[0][known], known == name, "{known}");
            }
        }
    }
}
