//! Pauses as numbers; the rest is proved against a portal.

use super::*;
use crate::certificate::Fingerprint;

fn report(next: &str, postponed: &str) -> Report {
    let at = |text: &str| text.parse().unwrap();
    Report {
        id: 1,
        site: "contoso.com".into(),
        fingerprint: Fingerprint::of(b"leaf"),
        hosts: "contoso.com".into(),
        remote_create_date: "2021-01-30T01:04:32".into(),
        state: ReportState::Pending,
        attempts: 1,
        not_after: at("2021-04-30T01:04:32Z"),
        next_attempt_at: at(next),
        postponed_at: at(postponed),
        created_at: at(postponed),
        released_at: None,
        error: None,
    }
}

#[test]
fn a_clock_set_back_or_forward_makes_no_pause_longer() {
    let report = report("2021-01-30T00:10:00Z", "2021-01-30T00:00:00Z");
    for (now, left) in [
        ("2021-01-30T00:00:00Z", Some(600)),
        ("2021-01-30T00:09:00Z", Some(60)),
        ("2021-01-30T00:10:00Z", None),
        ("2021-01-31T00:00:00Z", None),
        // Nobody knows how much of the pause is over: now, rather than again and again from the beginning.
        ("2021-01-29T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", None),
    ] {
        assert_eq!(wait(&report, now.parse().unwrap()).map(|left| left.as_secs()), left, "{now}");
    }
}

#[test]
fn whoever_was_told_to_wait_comes_back_spread_and_never_early() {
    let asked = Duration::from_secs(1000);
    let waits: Vec<u64> = (0..200).map(|_| spread(asked).as_secs()).collect();
    assert!(waits.iter().all(|wait| (1000..=1250).contains(wait)), "{waits:?}");
    let distinct: std::collections::BTreeSet<_> = waits.iter().collect();
    assert!(distinct.len() > 50, "{waits:?}");
}

#[test]
fn a_record_is_of_a_certificate_that_ends_the_same_day() {
    let report = report("2021-01-30T00:10:00Z", "2021-01-30T00:00:00Z");
    let record = |expires: Option<&str>| crate::ledger::PortalRecord {
        id: 158,
        name: "contoso.com".into(),
        expires: expires.map(|at| at.parse().unwrap()),
        installed: false,
    };
    for (expires, same) in [
        (Some("2021-04-30T01:04:32.143Z"), true),
        (Some("2021-04-29T23:00:00Z"), true),
        (Some("2021-05-01T00:00:00Z"), true),
        (Some("2021-05-02T00:00:00Z"), false),
        (Some("2021-01-30T00:00:00Z"), false),
        (None, true),
    ] {
        assert_eq!(records::is_of(&record(expires), &report), same, "{expires:?}");
    }
}

#[test]
fn a_list_answers_only_for_what_it_could_have_in_it() {
    let mut asked = report("2021-01-30T01:10:00Z", "2021-01-30T01:10:00Z");
    let serves = |list: &str, report: &Report| records::answers(list.parse().unwrap(), false, report);
    // Its file is of 01:04:32, the report of 01:10:00.
    for (list, serves_it) in [
        ("2021-01-30T01:10:00Z", true),
        ("2021-01-30T01:09:00Z", true),
        ("2021-01-30T01:04:33Z", true),
        ("2021-01-30T01:04:32.999Z", false),
        ("2021-01-30T01:01:00Z", false),
    ] {
        assert_eq!(serves(list, &asked), serves_it, "{list}");
    }
    let has_it = |list: &str, report: &Report| records::answers(list.parse().unwrap(), true, report);
    assert!(has_it("2021-01-30T01:01:00Z", &asked) && !has_it("2021-01-30T00:59:00Z", &asked));
    asked.released_at = Some("2021-01-30T01:12:00Z".parse().unwrap());
    assert!(!has_it("2021-01-30T01:11:00Z", &asked) && serves("2021-01-30T01:12:00Z", &asked));
    // Of an old file a list of long before still may not have the record: another was put in its place.
    asked.released_at = None;
    asked.remote_create_date = "2020-12-30T01:04:32".into();
    assert!(!serves("2021-01-30T00:59:00Z", &asked) && serves("2021-01-30T01:01:00Z", &asked));
}

#[test]
fn pauses_double_from_the_first_to_six_hours_and_differ() {
    let first = Duration::from_secs(5);
    for failures in 0..64 {
        let least = first.saturating_mul(1 << failures.min(20)).min(Duration::from_secs(4 * 3600));
        let found: Vec<Duration> = (0..50).map(|_| pause(first, failures)).collect();
        assert!(found.iter().all(|pause| (least..=LONGEST_PAUSE).contains(pause)), "{failures}: {found:?}");
        assert!(found.iter().collect::<std::collections::BTreeSet<_>>().len() > 20, "{failures}: no jitter");
    }
}
