//! Connections, stopping and coming back, waiting, and control from outside.

use std::io::{self, Write};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use certhook_test_support::portal::{Action, Entry, Portal, Trouble, What};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::client::*;

#[test]
fn what_is_not_http_is_refused_and_journaled() {
    let portal = Portal::start();
    let mut client = Client::of(&portal);
    client.stream.write_all(b"certhook\r\n\r\n").unwrap();
    assert_eq!(client.answer().unwrap().status, 400);
    assert!(client.is_at_end());
    let mut client = Client::of(&portal);
    let long = "x".repeat(70_000);
    let _ = client.send("POST", REPORT, "", &long);
    assert_eq!(client.answer().unwrap().status, 413);
    let journal = portal.journal();
    assert_eq!(journal.iter().map(|entry| entry.status).collect::<Vec<_>>(), [Some(400), Some(413)]);
    assert!(journal.iter().all(|entry| entry.what == What::Other && entry.note.is_some()));
}

#[test]
fn connections_are_kept_and_requests_may_follow_closely() {
    let portal = Portal::start();
    let mut client = Client::of(&portal);
    client.stream.write_all(&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(3)).unwrap();
    for _ in 0..3 {
        assert_eq!(client.answer().unwrap().status, 404);
    }
    let answer = client.ask("GET", "/", "Connection: close\r\n", "").unwrap();
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_at_end());
}

#[test]
fn many_at_once_get_their_answers() {
    let portal = Portal::builder().requests_per_week(30).start().unwrap();
    let headers = authorized(&portal);
    let start = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                (0..5).for_each(|_| drop(list(&portal, &headers).unwrap()));
            });
        }
    });
    let answered =
        |status| portal.journal().iter().filter(|e| e.what == What::List && e.status == Some(status)).count();
    assert_eq!((answered(200), answered(429), portal.requests_counted()), (30, 10, 30));
}

#[test]
fn what_hangs_ends_when_the_portal_stops() {
    let portal = portal();
    let headers = authorized(&portal);
    portal.trouble(Trouble::new(Action::Hang).until_cleared());
    let mut hanging: Vec<_> = (0..3).map(|_| Client::of(&portal)).collect();
    for client in &mut hanging {
        client.send("POST", REPORT, &headers, &report_body().to_string()).unwrap();
    }
    portal.wait_for(|journal| journal.len() == 4, SOON).unwrap();
    assert_eq!(hanging[0].unread(), Some(0), "no answer, no end");
    portal.clear_troubles();
    assert_eq!(report(&portal, &headers).unwrap().status, 200, "others are served");
    portal.trouble(Trouble::new(Action::Slow { per_byte_ms: 60_000 }));
    let mut slow = Client::of(&portal);
    slow.send("GET", LIST, &headers, "").unwrap();
    portal.wait_for(|journal| journal.len() == 6, SOON).unwrap();
    let start = Instant::now();
    portal.stop();
    assert!(start.elapsed() < Duration::from_secs(5));
    for client in &mut hanging {
        assert!(client.answer().is_none());
    }
    assert!(!slow.answer().unwrap().whole);
    assert_eq!(portal.journal()[1].status, None);
}

#[test]
fn who_reads_nothing_does_not_hold_up_a_stop() {
    let portal = portal();
    let headers = authorized(&portal);
    portal.trouble(Trouble::new(Action::Huge { bytes: u64::MAX }));
    let mut client = Client::of(&portal);
    client.send("GET", LIST, &headers, "").unwrap();
    portal.wait_for(|journal| journal.len() == 2, SOON).unwrap();
    assert!(client.unread().is_some_and(|bytes| bytes > 0));
    let start = Instant::now();
    drop(portal);
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn down_and_back() {
    let portal = portal();
    let headers = authorized(&portal);
    let mut kept = Client::of(&portal);
    assert_eq!(kept.ask("GET", LIST, &headers, "").unwrap().status, 200);
    for _ in 0..3 {
        portal.stop();
        portal.stop();
        assert!(kept.is_at_end());
        let refused = Client::to(portal.address()).err().map(|error| error.kind());
        assert_eq!(refused, Some(io::ErrorKind::ConnectionRefused));
        // Nobody else gets the port meanwhile.
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let taken = other.bind(&portal.address().into()).map_err(|error| error.kind());
        assert_eq!(taken, Err(io::ErrorKind::AddrInUse));
        portal.restart();
        kept = Client::of(&portal);
        assert_eq!(kept.ask("GET", LIST, &headers, "").unwrap().status, 200);
    }
    assert_eq!(portal.journal().len(), 5, "nothing was forgotten");
}

#[test]
fn waiting_ends_with_the_change_or_with_the_journal() {
    let portal = portal();
    let headers = authorized(&portal);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| portal.wait_for_reports(2, SOON));
        report(&portal, &headers).unwrap();
        report(&portal, &headers).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap().len(), 2);
    });
    portal.wait_for(|_| installed(&portal).is_some(), Duration::MAX).unwrap();
    let error = portal.wait_for(|journal| journal.len() > 3, Duration::ZERO).unwrap_err();
    assert_eq!(error.journal.len(), 3);
    let text = format!("{error:?}");
    assert!(text.contains("in vain") && text.contains("POST /api/v2/Certificate  {"), "{text}");
}

#[test]
fn hands_outside_have_control() {
    let portal = Portal::start();
    let mut client = Client::of(&portal);
    let body = r#"{"id":158,"name":"contoso.com","expiryDate":"2026-12-31T00:00:00"}"#;
    let set = client.ask("POST", "/simulator/certificates", "", body).unwrap();
    assert_eq!((set.status, &set.json()[0]["id"]), (200, &json!(158)));
    assert_eq!(portal.certificate(158).unwrap().expiry_date.to_string(), "2026-12-31T00:00:00");
    let got = client.ask("GET", "/simulator/certificates", "", "").unwrap();
    assert_eq!(got.json(), set.json());

    let trouble = r#"[{"on":"list","action":{"html":502}},{"action":"cut_before","times":null}]"#;
    let set = client.ask("POST", "/simulator/trouble", "", trouble).unwrap();
    assert_eq!(set.json()[0], json!({"on": "list", "times": 1, "action": {"html": 502}}));
    assert_eq!(portal.troubles().len(), 2);
    assert_eq!(client.ask("GET", "/simulator/trouble", "", "").unwrap().json(), set.json());
    assert_eq!(list(&portal, "").unwrap().status, 502);
    assert_eq!(client.ask("DELETE", "/simulator/trouble", "", "").unwrap().status, 200);
    assert_eq!(portal.troubles(), []);

    let headers = authorized(&portal);
    assert_eq!(list(&portal, &headers).unwrap().status, 200);
    let journal = client.ask("GET", "/simulator/journal", "", "").unwrap();
    let lines: Vec<String> = portal.journal().iter().map(Entry::to_string).collect();
    assert_eq!(journal.body.lines().collect::<Vec<_>>(), lines);
    assert_eq!((lines.len(), portal.requests_counted()), (3, 1), "control is not journaled");

    for (method, path, body, status) in [
        ("POST", "/simulator/trouble", r#"{"action":"explode"}"#, 400),
        ("POST", "/simulator/trouble", "", 400),
        ("POST", "/simulator/certificates", r#"{"id":1}"#, 400),
        ("POST", "/simulator/certificates", r#"{"id":1,"name":"a","expiryDate":"x"}"#, 400),
        ("PUT", "/simulator/trouble", "", 404),
        ("GET", "/simulator/other", "", 404),
    ] {
        assert_eq!(client.ask(method, path, "", body).unwrap().status, status, "{method} {path}");
    }
}
