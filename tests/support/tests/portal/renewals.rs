//! Scheduling, and what becomes of it.

use std::time::{Duration, Instant};

use certhook_test_support::portal::{Action, FileKind, Portal, Record, Trouble, What};
use serde_json::json;

use crate::client::*;

/// 1 is due, 2 not yet, 3 is manual, 4 fails, 5 is in a Key Vault, 6 has expired and has no files.
fn portal_that(takes: Duration) -> Portal {
    let portal = Portal::builder().renewal_takes(takes).start().unwrap();
    let installed = Some("2026-01-30T01:04:32".to_owned());
    let one = Record { remote_create_date: installed, ..Record::new(1, "a.test").issued() };
    portal.add_certificate(one.expires(in_days(29)));
    portal.add_certificate(Record::new(2, "b.test").issued().expires(in_days(31)));
    portal.add_certificate(Record::new(3, "c.test").issued().expires(in_days(5)).manual());
    portal.add_certificate(Record::new(4, "d.test").issued().expires(in_days(5)).fails_to_renew());
    portal.add_certificate(Record::new(5, "e.test").issued().expires(in_days(5)).key_vault());
    portal.add_certificate(Record::new(6, "f.test").expires(in_days(-5)));
    portal
}

fn vault_body(portal: &Portal) -> String {
    let answer = ask_token(portal, "https://vault.azure.net").unwrap().json();
    json!({"keyVaultAccessToken": answer["access_token"]}).to_string()
}

#[test]
fn what_is_scheduled_becomes_real_after_a_while() {
    let portal = portal_that(Duration::from_secs(120));
    let headers = authorized(&portal);
    let (before, old_link) = (portal.certificate(1).unwrap(), portal.link(1, FileKind::Key).unwrap());
    let old_pair = portal.issued(1).unwrap();
    let scheduled = renew(&portal, &headers, "");
    assert_eq!(ids(&scheduled), [1, 4, 6]);
    let answered = &scheduled.json()[0];
    assert_eq!((&answered["remoteCreateDate"], &answered["privateKeyUri"]), (&json!(""), &json!("")));
    assert_eq!(answered["expiryDate"], format!("{}.0000000", before.expiry_date));
    assert_eq!(portal.scheduled(), [1, 4, 6]);
    assert_eq!(ids(&renew(&portal, &headers, "")), [0; 0], "not twice");
    portal.advance(Duration::from_secs(110));
    assert_eq!(portal.certificate(1), Some(before), "not yet");
    portal.advance(Duration::from_secs(10));

    let listed = list(&portal, &headers).unwrap().json();
    let (after, pair) = (portal.certificate(1).unwrap(), portal.issued(1).unwrap());
    assert!(after.expiry_date > in_days(89) && after.remote_create_date.is_none(), "{after:?}");
    assert_eq!(listed[0]["remoteCreateDate"], "");
    assert_eq!(listed[0]["expiryDate"], format!("{}.0000000", after.expiry_date));
    assert!(pair.fingerprint != old_pair.fingerprint && pair.key_pem != old_pair.key_pem);
    assert!(pair.not_before <= jiff::Timestamp::now(), "valid by the system's clock");
    let link = listed[0]["privateKeyUri"].as_str().unwrap();
    assert_eq!(fetch(link).text(), pair.key_pem);
    assert_eq!(fetch(&old_link).status(), 404);
    assert!(portal.certificate(6).unwrap().expiry_date > in_days(89), "without files too");
    assert_eq!(portal.certificate(4).unwrap().expiry_date.date(), in_days(5).date());
    assert_eq!(portal.scheduled(), [0; 0]);
    assert_eq!(ids(&renew(&portal, &headers, "")), [4], "what failed can be tried again");
    assert_eq!(portal.requests_counted(), 4);
}

#[test]
fn a_key_vault_needs_its_own_token() {
    let portal = portal_that(Duration::MAX);
    let headers = authorized(&portal);
    let management = json!({"keyVaultAccessToken": portal.tokens_issued()[0]}).to_string();
    assert_eq!(renew(&portal, &headers, &management).status, 400);
    let body = vault_body(&portal);
    let form = headers.replace("application/json", "application/x-www-form-urlencoded");
    assert_eq!(renew(&portal, &form, &body).status, 400);
    assert_eq!(portal.scheduled(), [0; 0]);
    let vault = format!("Authorization: Bearer {}\r\n", portal.tokens_issued()[1]);
    assert_eq!(renew(&portal, &vault, "").status, 401);
    assert_eq!(ids(&renew(&portal, &headers, "")), [1, 4, 6]);
    assert_eq!(ids(&renew(&portal, &headers, &body)), [5]);
    assert_eq!(portal.requests_counted(), 4);

    portal.advance(Duration::from_secs(3000));
    assert_eq!(portal.scheduled(), [1, 4, 5, 6], "only when the test says so");
    assert_eq!(portal.finish_renewals(), [1, 5, 6]);
    assert!(portal.certificate(5).unwrap().expiry_date > in_days(89));
    assert_eq!(list(&portal, &headers).unwrap().json()[4]["privateKeyUri"], "");
}

#[test]
fn a_renewal_can_be_real_at_once_or_when_its_time_has_come() {
    let portal = portal_that(Duration::ZERO);
    let headers = authorized(&portal);
    let old = portal.certificate(1).unwrap().expiry_date;
    assert_eq!(ids(&renew(&portal, &headers, "")), [1, 4, 6]);
    assert_ne!(portal.certificate(1).unwrap().expiry_date, old);

    let portal = portal_that(Duration::from_millis(300));
    renew(&portal, &authorized(&portal), "");
    // Somebody who waits is woken by the time alone, and not only at the end of the limit.
    let start = Instant::now();
    portal.wait_for(|_| portal.certificate(1).unwrap().expiry_date > in_days(89), SOON).unwrap();
    assert!(start.elapsed() < SOON / 2, "{:?}", start.elapsed());
}

#[test]
fn how_soon_can_be_set_and_a_trouble_can_hide_a_schedule() {
    let within = Duration::from_secs(40 * 24 * 3600);
    let portal = Portal::builder().renew_within(within).renewal_takes(Duration::MAX).start().unwrap();
    portal.add_certificate(Record::new(1, "a.test").issued().expires(in_days(39)));
    portal.add_certificate(Record::new(2, "b.test").issued().expires(in_days(41)));
    let headers = authorized(&portal);
    portal.trouble(Trouble::new(Action::status(500)).on(What::Renew));
    assert_eq!(renew(&portal, &headers, "").status, 500);
    assert_eq!(portal.scheduled(), [0; 0]);
    portal.trouble(Trouble::new(Action::CutAfterApply).on(What::Renew));
    assert!(Client::of(&portal).ask("POST", "/api/v2/CertificateRenewal", &headers, "").is_none());
    assert_eq!(portal.scheduled(), [1]);
    // A renewal by hand ends what was scheduled.
    portal.renew(1, in_days(60));
    assert_eq!(portal.finish_renewals(), [0; 0]);
    assert_eq!(portal.certificate(1).unwrap().expiry_date.date(), in_days(60).date());
}
