//! Values that a ledger may hold and that once kept every report from being sent.

use super::*;

fn execute(ledger: &Ledger, statement: &str) {
    ledger.read(|connection| connection.execute_batch(statement)).unwrap();
}

fn with_end(site: &str, not_after: Timestamp) -> Installation {
    let mut one = of_hosts(site, site, site);
    one.report.as_mut().unwrap().not_after = not_after;
    one
}

#[test]
fn certificate_ends_at_the_calendar_s_edges_are_read_back() {
    let last = Timestamp::MAX;
    let second_before = Timestamp::from_second(last.as_second() - 1).unwrap();
    for (index, end) in [last, second_before, Timestamp::MIN, at(0)].into_iter().enumerate() {
        let (_folder, ledger) = new();
        let site = format!("site{index}");
        ledger.install(&with_end(&site, end), at(4)).unwrap();
        let report = next(&ledger).expect("a report");
        assert_eq!(report.not_after, end, "{end}");
        ledger.delivered(&report, at(5)).unwrap();
        assert_eq!(state_of(&ledger, &site), Some(ReportState::Delivered), "{end}");
        assert_eq!(ledger.unreadable_report().unwrap(), None);
    }
}

/// What each column of a report may hold by mistake, a flipped bit or another version.
#[test]
fn a_bad_row_keeps_no_other_from_being_sent_and_is_told_of() {
    for (spoilt, is_read) in [
        ("fingerprint = 'no fingerprint'", false),
        ("fingerprint = ''", false),
        ("attempts = -1", false),
        ("attempts = 5000000000", false),
        ("not_after = 9223372036854775807", true),
        ("not_after = -9223372036854775808", true),
        ("next_attempt_at = -9223372036854775808", true),
        ("postponed_at = 9223372036854775807", true),
        ("created_at = 9223372036854775807", true),
        ("released_at = 9223372036854775807", true),
        ("site = ''", true),
        ("remote_create_date = 'never'", true),
        ("error_code = 'x', error = NULL", true),
        ("site = CAST(x'ff' AS TEXT)", false),
    ] {
        let (_folder, ledger) = new();
        ledger.install(&of_hosts("bad", "bad", "bad"), at(4)).unwrap();
        ledger.install(&of_hosts("good", "good", "good"), at(5)).unwrap();
        execute(&ledger, &format!("UPDATE report SET {spoilt} WHERE site = 'bad'"));
        let mut read = Vec::new();
        while let Some(report) = next(&ledger) {
            ledger.delivered(&report, at(6)).unwrap();
            read.push(report.fingerprint);
        }
        assert!(read.contains(&leaf("good")), "{spoilt}");
        assert_eq!(read.len(), 1 + usize::from(is_read), "{spoilt}");
        let told = ledger.unreadable_report().unwrap();
        assert_eq!(
            told.as_ref().map(|problem| &*problem.code),
            (!is_read).then_some("ledger_corrupt"),
            "{spoilt}"
        );
        assert_eq!(state_of(&ledger, "good"), Some(ReportState::Delivered), "{spoilt}");
        ledger.unasked(10).unwrap();
        let leaves = [Some(leaf("bad")), Some(leaf("good"))];
        let reports = ledger.reports_of(&leaves).unwrap();
        assert!(reports[1].is_some(), "{spoilt}");
        let problem = told.map(|problem| problem.message).unwrap_or_default();
        assert!(is_read || problem.contains("row 1 of "), "{problem}");
    }
}

#[test]
fn a_site_whose_row_cannot_be_read_hides_no_other() {
    let (_folder, ledger) = new();
    ledger.install(&of_hosts("bad", "bad", "bad"), at(4)).unwrap();
    ledger.install(&of_hosts("good", "good", "good"), at(5)).unwrap();
    execute(&ledger, "UPDATE site SET leaf = 'x' WHERE site = 'bad'");
    let recorded = ledger.recorded().unwrap();
    assert_eq!(recorded.keys().collect::<Vec<_>>(), ["good"]);
    // It is a renewal then: the ledger had another leaf of it.
    let adopted = Installation { how: How::Adopted, ..of_hosts("bad", "new", "bad") };
    ledger.install(&adopted, at(6)).unwrap();
    assert_eq!(state_of(&ledger, "new"), Some(ReportState::Pending));
}

#[test]
fn a_remedy_is_kept_with_the_words() {
    let (_folder, ledger) = new();
    ledger.install(&installation("a", "a"), at(4)).unwrap();
    let report = next(&ledger).unwrap();
    ledger.hold(&report, &why("refused"), at(5)).unwrap();
    assert_eq!(report_of(&ledger, "a").unwrap().error, Some(why("refused")));
}
