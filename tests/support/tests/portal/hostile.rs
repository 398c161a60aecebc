//! Lists that nobody should trust, and the control of downloads and renewals from outside.

use certhook_test_support::portal::{FileKind, How, Portal, Record, Spoil, hostile};
use serde_json::json;

use crate::client::*;

#[test]
fn hostile_names_and_links_are_listed_word_for_word() {
    let portal = Portal::start();
    let names = hostile::names();
    for (id, name) in (1..).zip(&names) {
        portal.add_certificate(Record::new(id, name).issued());
    }
    let listed = list(&portal, &authorized(&portal)).unwrap().json();
    for (one, name) in listed.as_array().unwrap().iter().zip(&names) {
        assert_eq!(one["name"], json!(name));
        assert_eq!(fetch(one["privateKeyUri"].as_str().unwrap()).status(), 200, "all else is in order");
    }
    assert_eq!(listed.as_array().unwrap().len(), names.len());
    for wanted in ["../../etc/cron.d/x", "\\", "\0", "\u{7}"] {
        assert!(names.iter().any(|name| name.contains(wanted)), "{wanted:?}");
    }
    assert!(names.iter().any(|name| name.len() == 300));
    // A certificate in order under a name that is not.
    portal.add_certificate(Record::new(1000, "../x").issued().for_hosts(&["good.test"]));
    assert_eq!(portal.issued(1000).unwrap().hosts, ["good.test"]);

    let good = portal.link(1, FileKind::Key).unwrap();
    let links = hostile::links(&good);
    for link in &links {
        let record = Record::new(2000, "links.test").issued().answers("privateKeyUri", link.as_str());
        portal.set_certificate(record);
        let listed = list(&portal, &authorized(&portal)).unwrap().json();
        let one = listed.as_array().unwrap().last().unwrap();
        assert_eq!(one["privateKeyUri"], json!(link));
        assert_eq!(fetch(one["certificateUri"].as_str().unwrap()).status(), 200);
    }
    assert!(links.iter().any(|link| link.starts_with("http://user:password@127.0.0.1:")));
}

#[test]
fn hands_outside_have_control_of_downloads_and_renewals() {
    let portal = Portal::start();
    let mut client = Client::of(&portal);
    let mut ask = |method: &str, path: &str, body: &str| {
        client.ask(method, &format!("/simulator/{path}"), "", body).unwrap()
    };
    let body = json!({"id": 7, "name": "a.test", "hosts": ["b.test"], "downloads": true, "failsToRenew": false,
        "expiryDate": in_days(5).to_string()});
    let set = ask("POST", "certificates", &body.to_string()).json();
    assert_eq!(fetch(set[0]["privateKeyUri"].as_str().unwrap()).status(), 200);
    assert_eq!(portal.issued(7).unwrap().hosts, ["b.test"]);
    assert_eq!(ask("POST", "certificates", r#"{"id":8,"name":"a","downloads":"yes"}"#).status, 400);
    assert_eq!(ask("GET", "root", "").body, portal.authority().root_pem());

    let set = ask("POST", "spoils", r#"[{"certificate":7,"how":"empty"}]"#);
    assert_eq!(set.json(), json!([{"certificate": 7, "file": null, "times": 1, "how": "empty"}]));
    assert_eq!(portal.spoils(), [Spoil::new(How::Empty).of(7)]);
    assert_eq!(ask("GET", "spoils", "").json(), set.json());
    assert_eq!(ask("DELETE", "spoils", "").status, 200);
    assert_eq!(portal.spoils(), []);
    assert_eq!(ask("POST", "spoils", r#"{"how":"explode"}"#).status, 400);
    let lines: Vec<String> = portal.downloads().iter().map(ToString::to_string).collect();
    assert_eq!(ask("GET", "downloads", "").body.lines().collect::<Vec<_>>(), lines);

    let headers = authorized(&portal);
    renew(&portal, &headers, "");
    assert_eq!(ask("GET", "renewals", "").json(), json!([7]));
    assert_eq!(ask("POST", "renewals", "").json(), json!([7]));
    assert_eq!(ask("GET", "renewals", "").json(), json!([]));
    let before = portal.now();
    assert_eq!(ask("POST", "clock", r#"{"advance":600}"#).status, 200);
    assert!(portal.now().duration_since(before).as_secs() >= 600);
    assert_eq!(ask("POST", "clock", r#"{"advance":-1}"#).status, 400);
}
