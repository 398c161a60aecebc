//! Each trouble, and what comes of the request it hits.

use std::time::{Duration, Instant};

use certhook_test_support::portal::{Action, Empty, Field, Trouble, What};
use serde_json::{Value, json};

use crate::client::*;

/// Troubles whose answer is whole: its status and body, and whether the report took effect.
#[test]
fn troubles_that_answer() {
    let echo = json!([report_body()]);
    let wrong = |field: &str, value: Value| {
        let mut wrong = echo.clone();
        wrong[0][field] = value;
        wrong.to_string()
    };
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let huge = format!(r#"{{"padding":"{}"}}"#, "x".repeat(100_000 - 14));
    for (action, status, body, applied, counted) in [
        (Action::status(500), 500, "The simulator answers 500.", false, 1),
        (Action::retry_after(503, 7), 503, "answers 503.", false, 1),
        (Action::status(429), 429, "answers 429.", false, 0),
        (Action::Html(200), 200, "<!DOCTYPE html>", false, 1),
        (Action::Html(502), 502, "<!DOCTYPE html>", false, 1),
        (Action::Garbage, 200, r#"[{"id":158,"name":"cont"#, false, 1),
        (Action::WrongEcho(Field::Id), 200, &wrong("id", json!(159)), false, 1),
        (Action::WrongEcho(Field::Name), 200, &wrong("name", json!("fabrikam.com")), false, 1),
        (
            Action::WrongEcho(Field::Date),
            200,
            &wrong("remoteCreateDate", json!("2001-02-03T04:05:06")),
            false,
            1,
        ),
        (Action::EchoMissing(Empty::Object), 200, "{}", false, 1),
        (Action::EchoMissing(Empty::Array), 200, "[]", false, 1),
        (Action::Object, 200, &report_body().to_string(), true, 1),
        (Action::Slow { per_byte_ms: 0 }, 200, "\"remoteCreateDate\"", true, 1),
        (Action::RefuseToken, 401, "Unauthorized", false, 0),
        (Action::Huge { bytes: 100_000 }, 200, &huge, false, 1),
        (Action::Deep { levels: 5000 }, 200, &deep, false, 1),
    ] {
        let portal = portal();
        let headers = authorized(&portal);
        portal.trouble(Trouble::new(action.clone()).on(What::Report));
        assert_eq!(list(&portal, &headers).unwrap().status, 200, "not meant for the list");
        let answer = report(&portal, &headers).unwrap();
        assert_eq!(answer.status, status, "{action}");
        assert!(answer.whole && answer.body.contains(body), "{action}: {answer:?}");
        let applied_reports = usize::from(applied);
        assert_eq!(portal.reports().len(), applied_reports, "{action}");
        assert_eq!(installed(&portal).is_some(), applied, "{action}");
        assert_eq!(portal.requests_counted(), 1 + counted, "{action}");
        let last = portal.journal().pop().unwrap();
        assert_eq!((last.trouble, last.status), (Some(action.clone()), Some(status)));

        assert_eq!(portal.troubles(), []);
        assert_eq!(report(&portal, &headers).unwrap().status, 200, "{action} is over");
        assert_eq!(portal.reports().len(), applied_reports + 1);
    }
}

#[test]
fn a_status_can_say_when_and_in_what_type() {
    let portal = portal();
    let headers = authorized(&portal);
    let date = "Sat, 21 Nov 2026 19:30:25 GMT";
    portal.trouble(Trouble::new(Action::retry_after(429, date)).times(2));
    portal.trouble(Trouble::new(Action::Status {
        code: 418,
        body: "{}".to_owned(),
        retry_after: None,
        content_type: Some("application/problem+json".to_owned()),
    }));
    for _ in 0..2 {
        assert_eq!(list(&portal, &headers).unwrap().header("retry-after"), Some(date));
    }
    let answer = list(&portal, &headers).unwrap();
    assert_eq!(answer.status, 418);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("retry-after"), None);
}

#[test]
fn troubles_that_cut() {
    for (action, applied, counted) in
        [(Action::CutBefore, 0, 0), (Action::CutAfterApply, 1, 1), (Action::CutMidBody, 1, 1)]
    {
        let portal = portal();
        let headers = authorized(&portal);
        portal.trouble(Trouble::new(action.clone()));
        let answer = report(&portal, &headers);
        if action == Action::CutMidBody {
            let answer = answer.unwrap();
            assert!(!answer.whole && !answer.body.is_empty(), "{answer:?}");
        } else {
            assert!(answer.is_none(), "{answer:?}");
        }
        assert_eq!((portal.reports().len(), portal.requests_counted()), (applied, counted));
        assert_eq!(report(&portal, &headers).unwrap().status, 200);
    }
}

#[test]
fn the_login_service_has_troubles_too() {
    let portal = portal();
    let resource = "https://management.core.windows.net";
    for (action, status) in [
        (Action::RefuseToken, 401),
        (Action::retry_after(429, 3), 429),
        (Action::EchoMissing(Empty::Object), 200),
        (Action::Garbage, 200),
    ] {
        portal.trouble(Trouble::new(action).on(What::Token));
        assert_eq!(ask_token(&portal, resource).unwrap().status, status);
        assert_eq!(portal.tokens_issued(), [""; 0], "nothing was issued");
        assert_eq!(portal.journal().pop().unwrap().token, None);
    }
    portal.trouble(Trouble::new(Action::CutAfterApply).on(What::Token));
    assert!(ask_token(&portal, resource).is_none());
    assert_eq!(portal.tokens_issued().len(), 1);
    assert_eq!(portal.requests_counted(), 0);
}

#[test]
fn a_slow_answer_trickles() {
    let portal = portal();
    let headers = authorized(&portal);
    portal.trouble(Trouble::new(Action::Slow { per_byte_ms: 2 }));
    let start = Instant::now();
    let answer = report(&portal, &headers).unwrap();
    assert_eq!(answer.json(), json!([report_body()]));
    assert!(start.elapsed() >= Duration::from_millis(2) * answer.body.len() as u32);
}
