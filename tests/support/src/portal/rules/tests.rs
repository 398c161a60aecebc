use jiff::civil::date;
use serde_json::json;

use super::*;
use crate::portal::builder::Settings;
use crate::portal::record::NotInstalled;

fn now() -> Timestamp {
    "2026-11-21T19:00:00Z".parse().unwrap()
}

/// Two certificates; token 1 is for the API, token 2 for a vault, tokens 3 and 4 have
/// expired.
fn state() -> State {
    let mut state = State::new(Settings::default());
    let plain = Record::new(158, "contoso.com").expires(date(2027, 2, 19).at(0, 0, 0, 0));
    let san = Record::new(159, "contoso.com, *.contoso.com");
    state.set_certificate(plain);
    state.set_certificate(san.expires(date(2026, 12, 21).at(19, 0, 0, 0)));
    let later = now() + SignedDuration::from_hours(1);
    for (text, resource, expires) in [
        ("api", login::API, later),
        ("vault", login::VAULT, later),
        ("old", login::API, now()),
        ("old vault", login::VAULT, now()),
    ] {
        state.tokens.push(Token { text: text.to_owned(), resource: resource.to_owned(), expires });
    }
    state
}

fn request(method: &str, target: &str, body: &str) -> Request {
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let headers = [("authorization", "Bearer api"), ("content-type", "application/json")];
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.map(str::to_owned),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: body.as_bytes().to_vec(),
        keep_alive: true,
    }
}

fn text(verdict: &Verdict) -> String {
    String::from_utf8(verdict.reply.body.clone()).unwrap()
}

fn answer(method: &str, target: &str, body: &str) -> (u16, String) {
    let verdict = judge(&state(), &request(method, target, body), now());
    (verdict.reply.status, text(&verdict))
}

#[test]
fn paths_and_methods() {
    for (method, target, status, what) in [
        ("GET", "/api/v2/Certificate?name=contoso.com", 200, What::Get),
        ("GET", "/api/v2/CertificateList", 200, What::List),
        ("POST", "/api/v2/CertificateRenewal", 200, What::Renew),
        ("GET", "/", 404, What::Other),
        ("GET", "/api/v2/certificatelist", 404, What::Other),
        ("GET", "/api/v2/CertificateList/", 404, What::Other),
        ("GET", "/api/v1/CertificateList", 404, What::Other),
        ("POST", "/api/v2/CertificateList", 405, What::Other),
        ("GET", "/api/v2/CertificateRenewal", 405, What::Other),
        ("PUT", "/api/v2/Certificate", 405, What::Other),
        ("GET", "/contoso.com/oauth2/token", 405, What::Other),
    ] {
        let verdict = judge(&state(), &request(method, target, ""), now());
        assert_eq!((verdict.reply.status, verdict.what), (status, what), "{method} {target}");
        assert_eq!(verdict.admitted, status == 200, "{method} {target}");
    }
}

#[test]
fn a_token_is_needed() {
    for (values, number, said) in [
        (&[][..], None, "missing"),
        (&["Bearer api", "Bearer api"], None, "missing"),
        (&["Basic api"], None, "not a Bearer"),
        (&["bearer api"], None, "not a Bearer"),
        (&["Bearer  api"], None, "invalid"),
        (&["Bearer wrong"], None, "invalid"),
        (&["Bearer vault"], Some(2), "another resource"),
        (&["Bearer old"], Some(3), "expired"),
    ] {
        let mut request = request("GET", "/api/v2/CertificateList", "");
        let values = values.iter().map(|value| ("authorization".to_owned(), (*value).to_owned()));
        request.headers = values.collect();
        let verdict = judge(&state(), &request, now());
        assert_eq!(verdict.reply.status, 401, "{:?}", request.headers);
        assert!(text(&verdict).contains(said), "{}", text(&verdict));
        assert!(verdict.reply.headers.iter().any(|(name, _)| *name == "WWW-Authenticate"));
        assert_eq!((verdict.token, verdict.admitted), (number, false));
    }
}

#[test]
fn a_report_is_echoed() {
    let body = r#"{"id":158,"name":"contoso.com","remoteCreateDate":"2026-11-21T19:30:25"}"#;
    let asked = request("POST", "/api/v2/Certificate", body);
    let verdict = judge(&state(), &asked, now());
    assert_eq!((verdict.reply.status, verdict.token), (200, Some(1)));
    assert_eq!(text(&verdict), format!("[{body}]"));
    let (name, remote_create_date) = ("contoso.com".to_owned(), "2026-11-21T19:30:25".to_owned());
    assert_eq!(verdict.effect, Some(Effect::Install { id: 158, name, remote_create_date }));

    let mut as_object = state();
    as_object.settings.report_answer_as_object = true;
    assert_eq!(text(&judge(&as_object, &asked, now())), body);
}

#[test]
fn a_report_may_be_a_whole_certificate_response() {
    let mut record = serde_json::to_value(state().certificates[1].response(NotInstalled::Null));
    let fields = record.as_mut().unwrap();
    fields["remoteCreateDate"] = json!("2026-11-22T19:00:00");
    assert_eq!(answer("POST", "/api/v2/Certificate", &fields.to_string()).0, 200);
}

#[test]
fn a_report_is_checked() {
    let good = json!({"id": 158, "name": "contoso.com", "remoteCreateDate": "2026-11-21T19:30:25"});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body.to_string()
    };
    let without = |field: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(field);
        body.to_string()
    };
    let date = "remoteCreateDate";
    for (body, said) in [
        (String::new(), "not JSON"),
        ("{".to_owned(), "not JSON"),
        (format!("[{good}]"), "must be a JSON object"),
        (without("id"), "'id' must be an integer"),
        (with("id", json!("158")), "'id' must be an integer"),
        (with("id", json!(158.0)), "'id' must be an integer"),
        (with("id", json!(1)), "no certificate with the id 1"),
        (without("name"), "'name' must be a string"),
        (with("name", json!(7)), "'name' must be a string"),
        (with("name", json!("Contoso.com")), "does not have the name"),
        (with("name", json!("contoso.com, *.contoso.com")), "does not have the name"),
        (with("remotecreatedate", json!("")), "no 'remotecreatedate'"),
        (without(date), "'remoteCreateDate' must be a string"),
        (with(date, Value::Null), "'remoteCreateDate' must be a string"),
        (with(date, json!(1_700_000_000)), "'remoteCreateDate' must be a string"),
        (with(date, json!("")), "in the form"),
        (with(date, json!("2026-11-21")), "in the form"),
        (with(date, json!("2026-11-21 19:30:25")), "in the form"),
        (with(date, json!("2026-11-21t19:30:25")), "in the form"),
        (with(date, json!("20261121T19:30:25")), "in the form"),
        (with(date, json!("2026-11-21T19:30")), "in the form"),
        (with(date, json!("2026-11-21T19:30:25Z")), "in the form"),
        (with(date, json!("2026-11-21T19:30:25+01:00")), "in the form"),
        (with(date, json!("2026-11-21T19:30:25.5")), "in the form"),
        (with(date, json!("2026-02-29T19:30:25")), "in the form"),
        (with(date, json!("2026-11-21T24:00:00")), "in the form"),
        (with(date, json!("2026-11-21T19:30:60")), "in the form"),
        (with(date, json!("2026-11-22T19:00:01")), "in the future"),
    ] {
        let (status, text) = answer("POST", "/api/v2/Certificate", &body);
        assert_eq!(status, 400, "{body}");
        assert!(text.contains(said), "{body}: {text}");
    }
    let (status, text) = answer("POST", "/api/v2/Certificate?id=158", &good.to_string());
    assert!(status == 400 && text.contains("no parameters"), "{text}");
    for media_type in ["text/json", "application/x-www-form-urlencoded", ""] {
        let mut request = request("POST", "/api/v2/Certificate", &good.to_string());
        request.headers[1].1 = media_type.to_owned();
        let verdict = judge(&state(), &request, now());
        assert_eq!(verdict.reply.status, 400);
        assert!(text_says(&verdict, "application/json"));
        assert!(verdict.admitted, "a refusal counts");
    }
}

fn text_says(verdict: &Verdict, words: &str) -> bool {
    text(verdict).contains(words)
}

#[test]
fn a_certificate_is_found_by_its_exact_name() {
    for name in ["contoso.com%2C%20%2A.contoso.com", "contoso.com,+*.contoso.com"] {
        let (status, text) = answer("GET", &format!("/api/v2/Certificate?name={name}"), "");
        assert_eq!(status, 200, "{text}");
        let found: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(found["id"], 159);
        assert_eq!(found["expiryDate"], "2026-12-21T19:00:00.0000000");
        assert_eq!(found.as_object().unwrap().len(), 15);
    }
    for (query, body, said) in [
        ("", "", "'name' is missing"),
        ("?name=", "", "'name' is missing"),
        ("?Name=contoso.com", "", "no parameter 'Name'"),
        ("?name=contoso.com&x=y", "", "no parameter 'x'"),
        ("?name=contoso.com&name=contoso.com", "", "twice"),
        ("?name=contoso%", "", "broken"),
        ("?name=fabrikam.com", "", "was not found"),
        ("?name=contoso.com,*.contoso.com", "", "was not found"),
        ("?name=contoso.com", "{}", "no body"),
    ] {
        let (status, text) = answer("GET", &format!("/api/v2/Certificate{query}"), body);
        assert!(status == 400 && text.contains(said), "{query}: {status} {text}");
    }
}

#[test]
fn the_list_has_them_all() {
    let (_, text) = answer("GET", "/api/v2/CertificateList", "");
    let list: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(list.iter().map(|one| &one["id"]).collect::<Vec<_>>(), [158, 159]);
    assert_eq!(answer("GET", "/api/v2/CertificateList?page=2", "").0, 400);
    assert_eq!(answer("GET", "/api/v2/CertificateList", "{}").0, 400);
}

#[test]
fn a_renewal_answers_what_is_due() {
    let path = "/api/v2/CertificateRenewal";
    for (body, status, said) in [
        ("", 200, r#"[{"id":159,"#),
        (r#"{"keyVaultAccessToken":"vault"}"#, 200, r#"[{"id":159,"#),
        (r#"{"keyVaultAccessToken":"api"}"#, 400, "not a valid token"),
        (r#"{"keyVaultAccessToken":"old vault"}"#, 400, "not a valid token"),
        (r#"{"keyVaultAccessToken":null}"#, 400, "must be a string"),
        ("{}", 400, "must be a string"),
        (r#"{"token":"vault"}"#, 400, "no 'token'"),
        ("vault", 400, "not JSON"),
    ] {
        let (answered, text) = answer("POST", path, body);
        assert_eq!(answered, status, "{body}");
        assert!(text.starts_with(said) || text.contains(said) && status == 400, "{body}: {text}");
    }
    let yesterday = now() - SignedDuration::from_hours(24);
    let verdict = judge(&state(), &request("POST", path, ""), yesterday);
    assert_eq!(text(&verdict), "[]");
}

#[test]
fn the_week_has_a_limit() {
    let mut state = state();
    (0..49).for_each(|_| state.budget.spend(now()));
    let asked = request("GET", "/api/v2/CertificateList", "");
    assert!(judge(&state, &asked, now()).admitted);
    state.budget.spend(now());
    let refused = judge(&state, &asked, now() + SignedDuration::from_millis(500));
    assert_eq!((refused.reply.status, refused.admitted), (429, false));
    let retry_after = ("Retry-After", (7 * 24 * 3600).to_string());
    assert!(refused.reply.headers.contains(&retry_after), "{:?}", refused.reply.headers);
    // The budget is looked at after the token: a token that expired meanwhile is told so.
    let refused = judge(&state, &asked, now() + SignedDuration::from_hours(7 * 24));
    assert_eq!(refused.reply.status, 401);
}
