//! Tokens, calls, the journal, the week's budget.

use std::time::Duration;

use certhook_test_support::portal::{Entry, NotInstalled, Portal, Record, What};
use serde_json::{Value, json};

use crate::client::*;

#[test]
fn the_whole_loop() {
    let portal = portal();
    let headers = authorized(&portal);
    let mut client = Client::of(&portal);
    let before = client.ask("GET", &format!("{REPORT}?name=contoso.com"), &headers, "").unwrap();
    assert_eq!(before.json()["remoteCreateDate"], "");
    let echo = client.ask("POST", REPORT, &headers, &report_body().to_string()).unwrap();
    assert_eq!((echo.status, echo.json()), (200, json!([report_body()])));
    assert_eq!(echo.header("content-type"), Some("application/json; charset=utf-8"));
    let list = client.ask("GET", LIST, &headers, "").unwrap();
    assert_eq!(list.json()[0]["remoteCreateDate"], "2021-01-30T01:04:32");
    let due = client.ask("POST", "/api/v2/CertificateRenewal", &headers, "").unwrap();
    assert_eq!(due.json(), json!([]));

    let reports = portal.reports();
    assert_eq!((reports.len(), reports[0].id, reports[0].name.as_str()), (1, 158, "contoso.com"));
    assert_eq!(reports[0].remote_create_date, "2021-01-30T01:04:32");
    assert_eq!(portal.requests_counted(), 4);
    let journal = portal.journal();
    let asked: Vec<_> = journal.iter().map(|entry| entry.what).collect();
    assert_eq!(asked, [What::Token, What::Get, What::Report, What::List, What::Renew]);
    assert!(journal.iter().all(|entry| entry.token == Some(1) && entry.status == Some(200)));
    let counted: Vec<_> = journal.iter().map(|entry| entry.counted).collect();
    assert_eq!(counted, [None, Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(journal[2].json(), report_body());
    assert!(journal.is_sorted_by_key(|entry| entry.at));
}

#[test]
fn a_renewal_resets_the_installation() {
    let portal = portal();
    let headers = authorized(&portal);
    report(&portal, &headers).unwrap();
    assert_eq!(installed(&portal).as_deref(), Some("2021-01-30T01:04:32"));
    portal.renew(158, "2030-01-01T00:00:00".parse().unwrap());
    assert_eq!(installed(&portal), None);
    let list = list(&portal, &headers).unwrap().json();
    assert_eq!(list[0]["expiryDate"], "2030-01-01T00:00:00.0000000");
    assert_eq!(portal.remove_certificate(158).map(|record| record.id), Some(158));
    assert_eq!(portal.certificates(), []);
}

#[test]
fn not_installed_can_be_null() {
    let builder = Portal::builder().not_installed(NotInstalled::Null);
    let portal = builder.certificate(Record::new(158, "contoso.com")).start().unwrap();
    let list = list(&portal, &authorized(&portal)).unwrap().json();
    assert_eq!(list[0].get("remoteCreateDate"), Some(&Value::Null));
}

#[test]
fn secrets_stay_out_of_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let portal = Portal::builder().journal_file(&path).start().unwrap();
    let headers = authorized(&portal);
    let vault = ask_token(&portal, "https://vault.azure.net").unwrap().json();
    let body = json!({"keyVaultAccessToken": vault["access_token"]}).to_string();
    let renewal = "/api/v2/CertificateRenewal";
    let answer = Client::of(&portal).ask("POST", renewal, &headers, &body).unwrap();
    assert_eq!(answer.status, 200);
    // The secret where it does not belong, and the tokens too.
    let lost = format!("/lost?{}&{}", token_form(&portal, "x"), portal.tokens_issued()[0]);
    Client::of(&portal).ask("POST", &lost, &headers, &portal.client_secret()).unwrap();

    let file = std::fs::read_to_string(path).unwrap();
    let known = format!("{:?}\n{file}", portal.journal());
    let secret = portal.client_secret();
    for secret in portal.tokens_issued().iter().chain([&secret, &secret.replace('+', "%2B")]) {
        assert!(!known.contains(secret.trim_end_matches(['=', '+'])), "{secret} in {known}");
    }
    let journal = portal.journal();
    assert_eq!(journal[2].body, r#"{"keyVaultAccessToken":"token#2"}"#);
    assert_eq!(journal[2].header("authorization"), Some("Bearer token#1"));
    let lines: Vec<String> = journal.iter().map(Entry::to_string).collect();
    assert_eq!(file.lines().collect::<Vec<_>>(), lines);
    assert!(lines[2].ends_with("  200  token#1  counted 1/50"), "{}", lines[2]);
}

#[test]
fn a_token_has_an_end_and_a_purpose() {
    let portal = Portal::builder().token_lifetime(Duration::from_secs(60)).start().unwrap();
    let headers = authorized(&portal);
    portal.advance(Duration::from_secs(50));
    assert_eq!(list(&portal, &headers).unwrap().status, 200);
    portal.advance(Duration::from_secs(10));
    let expired = list(&portal, &headers).unwrap();
    assert_eq!(expired.status, 401);
    assert!(expired.header("www-authenticate").unwrap().starts_with("Bearer error="));
    assert!(expired.body.contains("expired"), "{}", expired.body);
    assert_eq!(list(&portal, &authorized(&portal)).unwrap().status, 200);

    let vault = ask_token(&portal, "https://vault.azure.net").unwrap().json();
    let vault = format!("Authorization: Bearer {}\r\n", vault["access_token"].as_str().unwrap());
    assert_eq!(list(&portal, &vault).unwrap().status, 401);
    let headers = authorized(&portal);
    portal.revoke_tokens();
    assert_eq!(list(&portal, &headers).unwrap().status, 401);
    assert_eq!(portal.requests_counted(), 2, "only those with a valid token");
    assert_eq!(portal.tokens_issued().len(), 4);
}

#[test]
fn the_51st_request_of_a_week_is_refused() {
    let portal = portal();
    portal.spend_elsewhere(25);
    portal.advance(Duration::from_secs(3600));
    let mut headers = authorized(&portal);
    let mut client = Client::of(&portal);
    for number in 26..=50 {
        // A refused call counts like any other.
        let status = if number % 2 == 0 { 200 } else { 400 };
        let path = if status == 200 { LIST.to_owned() } else { format!("{LIST}?odd") };
        assert_eq!(client.ask("GET", &path, &headers, "").unwrap().status, status);
    }
    let refused = report(&portal, &headers).unwrap();
    assert_eq!((refused.status, portal.requests_counted()), (429, 50));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((7 * 24 * 3600 - 3610..=7 * 24 * 3600 - 3600).contains(&wait), "{wait}");
    assert_eq!(installed(&portal), None);

    portal.advance(Duration::from_secs(wait));
    headers = authorized(&portal);
    assert_eq!(report(&portal, &headers).unwrap().status, 200);
    assert_eq!(portal.requests_counted(), 26);
}
