//! What proved a leaf, and what that means for its report.

use super::*;

/// As [`installation`], proved by its load; `put_aside` as it is without `report_unproved`.
fn loaded(site: &str, name: &str, put_aside: bool) -> Installation {
    let seen = installation(site, name);
    let report = seen.report.map(|report| NewReport { put_aside, ..report });
    let recorded = Recorded { evidence: Evidence::Load, ..seen.recorded };
    Installation { recorded, report, unseen: Some("it shows none".to_owned()), ..seen }
}

#[test]
fn evidence_and_reason_are_kept_and_old_rows_are_handshakes() {
    let (folder, ledger) = new();
    ledger.install(&loaded("a", "one", false), at(4)).unwrap();
    ledger.install(&installation("b", "two"), at(4)).unwrap();
    let evidence = |site: &str| ledger.recorded().unwrap()[site].evidence;
    assert_eq!((evidence("a"), evidence("b")), (Evidence::Load, Evidence::Handshake));
    let details: Vec<_> = ledger.history(Some("a")).unwrap().into_iter().map(|entry| entry.detail).collect();
    assert_eq!(details, [None, None, Some("loaded, not seen: it shows none".to_owned())]);
    let reason = |site: &str| -> Option<String> {
        let connection = rusqlite::Connection::open(Ledger::path(folder.path())).unwrap();
        connection.query_row("SELECT reason FROM site WHERE site = ?1", [site], |row| row.get(0)).unwrap()
    };
    assert_eq!((reason("a").as_deref(), reason("b")), (Some("it shows none"), None));
    // A handshake shows it later.
    ledger.install(&Installation { how: How::Restored, ..installation("a", "one") }, at(5)).unwrap();
    assert_eq!((evidence("a"), reason("a")), (Evidence::Handshake, None));

    let folder = tempfile::tempdir().unwrap();
    let connection = rusqlite::Connection::open(Ledger::path(folder.path())).unwrap();
    MIGRATIONS[..6].iter().for_each(|step| connection.execute_batch(step).unwrap());
    connection.pragma_update(None, "user_version", 6).unwrap();
    let (leaf, insert) = (leaf("one").to_string(), "INSERT INTO site VALUES ('a', 'a', ?1, ?1, 0, 0)");
    connection.execute(insert, [leaf]).unwrap();
    assert_eq!(Ledger::open(folder.path()).unwrap().recorded().unwrap()["a"].evidence, Evidence::Handshake);
}

#[test]
fn an_unproved_report_waits_for_a_handshake_or_the_configuration() {
    let sites = ["a".to_owned()];
    for how in [How::Installed, How::Adopted] {
        let wanted = if how == How::Adopted { ReportState::Unasked } else { ReportState::Pending };
        let (_folder, ledger) = new();
        ledger.install(&Installation { how, ..loaded("a", "one", true) }, at(4)).unwrap();
        ledger.report_only(&sites, false, at(5)).unwrap();
        assert_eq!((next(&ledger), state_of(&ledger, "one")), (None, None));
        // The configuration says that it is to be reported, and then that it is not.
        ledger.report_only(&sites, true, at(6)).unwrap();
        assert_eq!(state_of(&ledger, "one"), Some(wanted));
        ledger.report_only(&sites, false, at(7)).unwrap();
        assert_eq!(state_of(&ledger, "one"), None);
        ledger.install(&Installation { how: How::Restored, ..loaded("a", "one", true) }, at(8)).unwrap();
        assert_eq!(state_of(&ledger, "one"), None);
        // A handshake shows it.
        ledger.install(&Installation { how: How::Restored, ..installation("a", "one") }, at(9)).unwrap();
        assert_eq!(state_of(&ledger, "one"), Some(wanted));
        ledger.report_only(&sites, false, at(10)).unwrap();
        assert_eq!(state_of(&ledger, "one"), Some(wanted));
    }
}

#[test]
fn a_certificate_that_was_reported_is_not_reported_again_on_other_evidence() {
    let (_folder, ledger) = new();
    ledger.install(&loaded("a", "one", false), at(4)).unwrap();
    ledger.delivered(&next(&ledger).unwrap(), at(5)).unwrap();
    ledger.install(&Installation { how: How::Restored, ..installation("a", "one") }, at(6)).unwrap();
    assert_eq!((next(&ledger), state_of(&ledger, "one")), (None, Some(ReportState::Delivered)));
}
