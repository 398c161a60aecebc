//! What one site may use of the portal's requests.

use super::*;

const HOUR: i64 = 3600;

fn allowance(reports_per_day: u32, share: Option<u32>) -> Allowance {
    Allowance { per_week: 50, reports_per_day, share }
}

/// Site and record have one certificate after the other.
fn renew(ledger: &Ledger, site: &str, leaf: &str, second: i64) -> Report {
    ledger.install(&of_hosts(site, leaf, site), at(second)).unwrap();
    report_of(ledger, leaf).unwrap()
}

/// Sends it, if it may be sent: what keeps it back.
fn send(ledger: &Ledger, report: &Report, record: i64, allowance: Allowance, second: i64) -> Option<Limited> {
    match ledger.spend(Purpose::Report(report, record), allowance, at(second)) {
        Ok(_) => {
            ledger.delivered(report, at(second)).unwrap();
            None
        }
        Err(Refusal::Limited(limited)) => Some(limited),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn four_certificates_a_day_are_reported_for_a_site_and_for_a_record() {
    for by_record in [false, true] {
        let (_folder, ledger) = new();
        // Two sites of one record, or one site of which the certificate has other names each time.
        let (site, record) = (
            |number: i64| if by_record { format!("site{number}") } else { "a".to_owned() },
            |number: i64| if by_record { 158 } else { number },
        );
        for number in 0..4 {
            let report = renew(&ledger, &site(number), &number.to_string(), number * HOUR);
            assert_eq!(send(&ledger, &report, record(number), allowance(4, None), number * HOUR), None);
        }
        let fifth = renew(&ledger, &site(4), "fifth", 5 * HOUR);
        let limited = Limited::Reports { count: 4, until: at(DAY) };
        assert_eq!(send(&ledger, &fifth, record(4), allowance(4, None), 5 * HOUR), Some(limited));
        assert_eq!(ledger.usage(at(5 * HOUR)).unwrap().used, 4, "nothing was spent");
        // Another site and record.
        let other = renew(&ledger, "other", "other", 5 * HOUR);
        assert_eq!(send(&ledger, &other, 999, allowance(4, None), 5 * HOUR), None);
        assert_eq!(send(&ledger, &fifth, record(4), allowance(0, None), 5 * HOUR), None, "switched off");
        let sixth = renew(&ledger, &site(4), "sixth", 6 * HOUR);
        let limited = Limited::Reports { count: 5, until: at(DAY + HOUR) };
        assert_eq!(send(&ledger, &sixth, record(4), allowance(4, None), 6 * HOUR), Some(limited));
        assert!(send(&ledger, &sixth, record(4), allowance(4, None), DAY + HOUR - 1).is_some());
        assert_eq!(send(&ledger, &sixth, record(4), allowance(4, None), DAY + HOUR), None);
    }
}

#[test]
fn attempts_and_lists_for_one_certificate_are_one_report_of_it() {
    let (_folder, ledger) = new();
    let report = renew(&ledger, "a", "one", 0);
    for second in 0..10 {
        ledger.spend(Purpose::Record(&report), allowance(1, None), at(second)).unwrap();
        ledger.spend(Purpose::Report(&report, 158), allowance(1, None), at(second)).unwrap();
    }
    let second = renew(&ledger, "a", "two", 20);
    let listed = ledger.spend(Purpose::Record(&second), allowance(1, None), at(20));
    let until = at(DAY + 9);
    assert!(
        matches!(listed, Err(Refusal::Limited(Limited::Reports { count: 1, until: found })) if found == until),
        "a list is asked for on its behalf, too: {listed:?}"
    );
    // A request that never left counts for nothing.
    let (_folder, ledger) = new();
    let first = renew(&ledger, "a", "one", 0);
    let spent = ledger.spend(Purpose::Report(&first, 158), allowance(1, None), at(0)).unwrap();
    ledger.refund(spent).unwrap();
    let second = renew(&ledger, "a", "two", 20);
    assert_eq!(send(&ledger, &second, 158, allowance(1, None), 20), None);
}

#[test]
fn beyond_its_share_a_site_lets_others_go_first() {
    let (_folder, ledger) = new();
    let limits = allowance(0, Some(3));
    let adopted = |site: &str| Installation { how: How::Adopted, report: None, ..of_hosts(site, site, site) };
    ledger.install(&adopted("b"), at(0)).unwrap();
    for number in 0..6 {
        let report = renew(&ledger, "a", &number.to_string(), number);
        assert_eq!(send(&ledger, &report, 158, limits, number), None, "nobody waits");
    }
    let waiting = renew(&ledger, "b", "b1", 10);
    let report = renew(&ledger, "a", "seventh", 11);
    let limited = Limited::Share { used: 6, until: at(7 * DAY + 3), look_at: at(71) };
    assert_eq!(send(&ledger, &report, 158, limits, 11), Some(limited));
    assert_eq!(send(&ledger, &report, 158, allowance(0, None), 11), None, "switched off");
    let report = renew(&ledger, "a", "eighth", 12);
    // What waits for hours need not be asked each minute whether it still waits.
    ledger.postpone(&waiting, at(5000), &why("busy"), at(12)).unwrap();
    let limited = Limited::Share { used: 7, until: at(7 * DAY + 4), look_at: at(5000) };
    assert_eq!(send(&ledger, &report, 158, limits, 12), Some(limited));
    assert_eq!(send(&ledger, &waiting, 159, limits, 5000), None);
    assert_eq!(send(&ledger, &report, 158, limits, 5001), None, "nobody waits any more");
    // When the window has moved it has a share again.
    let (late, week) = (renew(&ledger, "a", "late", 7 * DAY + 6000), 7 * DAY + 6000);
    renew(&ledger, "b", "b2", week);
    assert_eq!(send(&ledger, &late, 158, limits, week), None);
}

#[test]
fn two_sites_beyond_their_shares_do_not_wait_for_each_other() {
    let (_folder, ledger) = new();
    let limits = allowance(4, Some(2));
    for number in 0..2 {
        for site in ["a", "b"] {
            let report = renew(&ledger, site, &format!("{site}{number}"), number);
            assert_eq!(send(&ledger, &report, if site == "a" { 1 } else { 2 }, limits, number), None);
        }
    }
    let [a, b] = ["a", "b"].map(|site| renew(&ledger, site, &format!("{site}9"), 10));
    assert_eq!(send(&ledger, &a, 1, limits, 10), None);
    assert_eq!(send(&ledger, &b, 2, limits, 10), None);
    // Nor does one wait for a site that may send no more today.
    let c = renew(&ledger, "c", "c1", 20);
    ledger.limit_report(&c, &Limited::Reports { count: 4, until: at(DAY) }, at(20)).unwrap();
    let a = renew(&ledger, "a", "a10", 21);
    assert_eq!(send(&ledger, &a, 1, limits, 21), None);
}

#[test]
fn last_requests_are_left_to_sites_within_their_share() {
    for others in [true, false] {
        let (_folder, ledger) = new();
        let limits = allowance(0, Some(12));
        if others {
            let report = renew(&ledger, "b", "b1", 0);
            ledger.delivered(&report, at(0)).unwrap();
        }
        let report = renew(&ledger, "a", "a1", 1);
        let spend = |report: &Report, second| ledger.spend(Purpose::Report(report, 1), limits, at(second));
        let most = if others { 40 } else { 50 };
        for second in 0..most {
            spend(&report, second).unwrap();
        }
        assert!(matches!(spend(&report, 60), Err(Refusal::Spent(until)) if until == at(7 * DAY)), "{others}");
        if others {
            let neighbour = renew(&ledger, "b", "b2", 61);
            assert_eq!(send(&ledger, &neighbour, 2, limits, 61), None);
        }
    }
}

#[test]
fn limited_report_says_why_and_until_when_and_keeps_no_other_back() {
    let (_folder, ledger) = new();
    let first = renew(&ledger, "a", "a1", 0);
    renew(&ledger, "b", "b1", 1);
    let limited = Limited::Reports { count: 4, until: at(DAY) };
    for second in [2, 3] {
        let report = report_of(&ledger, "a1").unwrap();
        ledger.limit_report(&report, &limited, at(second)).unwrap();
    }
    assert_eq!(next(&ledger).unwrap().site, "b");
    let told = report_of(&ledger, "a1").unwrap();
    assert_eq!((told.state, told.next_attempt_at, told.attempts), (ReportState::Pending, at(DAY), 0));
    let Problem { code, message: words, .. } = told.error.unwrap();
    assert_eq!(code, "reports_limited");
    assert!(words.contains("4 certificates") && words.contains("2023-11-15T22:13:20Z"), "{words}");
    let events: Vec<String> =
        ledger.history(Some("a")).unwrap().into_iter().map(|entry| entry.event).collect();
    assert_eq!(events.iter().filter(|event| *event == "report_limited").count(), 1, "{events:?}");
    // Other limits may be configured when the courier begins anew.
    ledger.look_at_limited(at(10)).unwrap();
    assert_eq!(report_of(&ledger, "a1").unwrap().next_attempt_at, at(10));
    // The newest certificate is the one that waits.
    renew(&ledger, "a", "a2", 20);
    assert_eq!(state_of(&ledger, "a1"), None);
    ledger.delivered(&first, at(30)).unwrap();
}

#[test]
fn reloads_are_told_by_site_and_since_when() {
    let (_folder, ledger) = new();
    for (site, leaf, second) in [("a", "1", 5), ("b", "2", 6), ("a", "3", 9)] {
        let reloaded_at = Some(at(second));
        ledger.install(&Installation { reloaded_at, ..installation(site, leaf) }, at(second)).unwrap();
    }
    ledger.install(&Installation { reloaded_at: None, ..installation("a", "4") }, at(10)).unwrap();
    ledger.note(&Entry::new(at(11), "b", "problem").saying("held_off: it changed 7 times")).unwrap();
    ledger.note(&Entry::new(at(12), "b", "problem").saying("stale: held_off")).unwrap();
    let of = |since| ledger.reloads_since(at(since)).unwrap();
    let b = vec![(at(6), false), (at(11), true)];
    assert_eq!(
        of(0),
        HashMap::from([("a".to_owned(), vec![(at(5), false), (at(9), false)]), ("b".to_owned(), b)])
    );
    let b = vec![(at(11), true)];
    assert_eq!(of(6), HashMap::from([("a".to_owned(), vec![(at(9), false)]), ("b".to_owned(), b)]));
}
