use jiff::SignedDuration;
use tempfile::TempDir;

use super::*;

mod evidence;
mod limits;
mod log;
mod outlets;
mod prune;
mod unreadable;

fn new() -> (TempDir, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    (folder, ledger)
}

/// Seconds after some moment.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

const DAY: i64 = 86_400;

fn leaf(name: &str) -> Fingerprint {
    Fingerprint::of(name.as_bytes())
}

/// What is written down when `site` serves `name`, a leaf of the given hosts.
fn of_hosts(site: &str, name: &str, hosts: &str) -> Installation {
    Installation {
        site: site.to_owned(),
        name: format!("name of {site}"),
        recorded: Recorded {
            leaf: leaf(name),
            set: leaf("chain"),
            intermediates: 2,
            evidence: Evidence::Handshake,
        },
        how: How::Installed,
        whole_at: at(1),
        reloaded_at: Some(at(2)),
        served_at: at(3),
        unseen: None,
        report: Some(NewReport {
            hosts: hosts.to_owned(),
            remote_create_date: format!("date of {name}"),
            not_after: at(90 * DAY),
            put_aside: false,
        }),
    }
}

fn installation(site: &str, name: &str) -> Installation {
    of_hosts(site, name, "contoso.com")
}

fn report_of(ledger: &Ledger, name: &str) -> Option<Report> {
    ledger.report_of(&leaf(name)).unwrap()
}

fn state_of(ledger: &Ledger, name: &str) -> Option<ReportState> {
    report_of(ledger, name).map(|report| report.state)
}

fn next(ledger: &Ledger) -> Option<Report> {
    ledger.next_report().unwrap()
}

fn why(code: &str) -> Problem {
    Problem::new(code, format!("because of {code}"), "none")
}

fn count(ledger: &Ledger, table: &str) -> u32 {
    let question = format!("SELECT count(*) FROM {table}");
    ledger.read(|connection| connection.query_row(&question, [], |row| row.get(0))).unwrap()
}

#[test]
fn what_is_recorded_is_there_after_opening_again() {
    let (folder, ledger) = new();
    assert!(ledger.recorded().unwrap().is_empty());
    let first = installation("contoso.com", "one");
    let second =
        Installation { how: How::Adopted, report: None, ..installation("/etc/ssl/\u{fc} 'b'.pem", "two") };
    ledger.install(&first, at(4)).unwrap();
    ledger.install(&second, at(4)).unwrap();
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    let wanted = [first, second].map(|installation| (installation.site, installation.recorded));
    assert_eq!(ledger.recorded().unwrap(), HashMap::from(wanted));
    let renewed = installation("contoso.com", "three");
    ledger.install(&renewed, at(5)).unwrap();
    assert_eq!(ledger.recorded().unwrap()["contoso.com"], renewed.recorded);
    assert_eq!(ledger.recorded().unwrap().len(), 2);
}

#[test]
fn a_report_is_made_once() {
    let (_folder, ledger) = new();
    for second in 4..7 {
        ledger.install(&installation("a", "one"), at(second)).unwrap();
    }
    assert_eq!((count(&ledger, "report"), count(&ledger, "site")), (1, 1));
    let wanted = Report {
        id: 1,
        site: "a".to_owned(),
        fingerprint: leaf("one"),
        hosts: "contoso.com".to_owned(),
        remote_create_date: "date of one".to_owned(),
        state: ReportState::Pending,
        attempts: 0,
        not_after: at(90 * DAY),
        next_attempt_at: at(4),
        postponed_at: at(4),
        created_at: at(4),
        released_at: None,
        error: None,
    };
    assert_eq!(next(&ledger), Some(wanted.clone()));
    assert_eq!(report_of(&ledger, "one"), Some(wanted.clone()));
    ledger.delivered(&wanted, at(8)).unwrap();
    ledger.install(&installation("a", "one"), at(9)).unwrap();
    ledger.install(&installation("b", "one"), at(9)).unwrap();
    assert_eq!((next(&ledger), state_of(&ledger, "one")), (None, Some(ReportState::Delivered)));
    ledger.install(&Installation { report: None, ..installation("c", "silent") }, at(9)).unwrap();
    assert_eq!((count(&ledger, "report"), report_of(&ledger, "silent")), (1, None));
}

#[test]
fn two_sites_of_one_certificate_make_one_report() {
    let (_folder, ledger) = new();
    ledger.install(&installation("a", "one"), at(4)).unwrap();
    ledger.install(&installation("b", "one"), at(5)).unwrap();
    assert_eq!((count(&ledger, "report"), count(&ledger, "site")), (1, 2));
    assert_eq!(next(&ledger).unwrap().site, "a");
    // The renewed one reaches the sites one after the other.
    ledger.install(&installation("b", "two"), at(6)).unwrap();
    assert_eq!(state_of(&ledger, "one"), Some(ReportState::Pending), "the first site still serves it");
    ledger.install(&installation("a", "two"), at(7)).unwrap();
    assert_eq!(state_of(&ledger, "one"), None);
    assert_eq!(next(&ledger).unwrap().fingerprint, leaf("two"));
}

#[test]
fn a_certificate_that_another_site_serves_is_reported_even_if_its_first_site_took_another() {
    let (_folder, ledger) = new();
    ledger.install(&of_hosts("a", "shared", "*.contoso.com"), at(4)).unwrap();
    ledger.install(&of_hosts("b", "shared", "*.contoso.com"), at(5)).unwrap();
    ledger.install(&of_hosts("a", "own", "a.contoso.com"), at(6)).unwrap();
    assert_eq!(state_of(&ledger, "shared"), Some(ReportState::Pending), "the second site serves it");
    assert_eq!(state_of(&ledger, "own"), Some(ReportState::Pending));
}

#[test]
fn a_newer_certificate_supersedes_what_was_not_delivered() {
    for (held, delivered) in [(false, false), (true, false), (false, true)] {
        let (_folder, ledger) = new();
        ledger.install(&installation("a", "old"), at(4)).unwrap();
        ledger.install(&of_hosts("other", "other", "fabrikam.com"), at(4)).unwrap();
        let old = report_of(&ledger, "old").unwrap();
        if held {
            ledger.hold(&old, &why("refused"), at(5)).unwrap();
        }
        if delivered {
            ledger.delivered(&old, at(5)).unwrap();
        }
        ledger.install(&installation("a", "new"), at(6)).unwrap();
        assert_eq!(state_of(&ledger, "old"), delivered.then_some(ReportState::Delivered));
        assert_eq!(state_of(&ledger, "new"), Some(ReportState::Pending));
        assert_eq!(state_of(&ledger, "other"), Some(ReportState::Pending), "of another site");
        assert_eq!(ledger.release_reports(at(7)).unwrap(), 2);

        ledger.install(&Installation { how: How::Restored, ..installation("a", "old") }, at(8)).unwrap();
        let back = report_of(&ledger, "old").unwrap();
        assert_eq!(back.id, old.id);
        match delivered {
            true => assert_eq!(back.state, ReportState::Delivered, "once is enough"),
            false => assert_eq!((back.state, back.next_attempt_at), (ReportState::Pending, at(8))),
        }
        assert_eq!(state_of(&ledger, "new"), None, "superseded in its turn");
    }
}

#[test]
fn an_answer_that_comes_after_its_report_was_superseded_changes_little() {
    let (_folder, ledger) = new();
    ledger.install(&installation("a", "old"), at(4)).unwrap();
    let old = report_of(&ledger, "old").unwrap();
    ledger.install(&installation("a", "new"), at(5)).unwrap();
    ledger.hold(&old, &why("refused"), at(6)).unwrap();
    ledger.postpone(&old, at(99), &why("busy"), at(6)).unwrap();
    assert_eq!((state_of(&ledger, "old"), next(&ledger).unwrap().fingerprint), (None, leaf("new")));
    ledger.delivered(&old, at(7)).unwrap();
    assert_eq!(state_of(&ledger, "old"), Some(ReportState::Delivered), "the portal has it");
}

#[test]
fn a_report_goes_through_its_states() {
    let (_folder, ledger) = new();
    let sites = ["a", "b", "c"];
    for (second, site) in (4..).zip(sites) {
        ledger.install(&installation(site, site), at(second)).unwrap();
    }
    let [a, b, c] = sites.map(|site| report_of(&ledger, site).unwrap());
    assert_eq!(next(&ledger), Some(a.clone()), "the oldest first");
    ledger.postpone(&a, at(50), &why("busy"), at(10)).unwrap();
    assert_eq!(next(&ledger), Some(b.clone()));
    ledger.hold(&b, &why("refused"), at(11)).unwrap();
    assert_eq!(next(&ledger), Some(c.clone()));
    ledger.postpone(&c, at(49), &why("busy"), at(12)).unwrap();
    assert_eq!(next(&ledger).unwrap().site, "c", "not due, and before the other");
    let held = report_of(&ledger, "b").unwrap();
    assert_eq!(held.state, ReportState::Held);
    assert_eq!(held.error, Some(why("refused")));

    assert_eq!(ledger.release_reports(at(20)).unwrap(), 3);
    let due = next(&ledger).unwrap();
    assert_eq!((due.site.as_str(), due.next_attempt_at), ("a", at(20)));
    assert_eq!(due.error.unwrap().code, "busy", "why it failed is kept until it is delivered");
    for report in [&a, &b, &c] {
        ledger.delivered(report, at(30)).unwrap();
    }
    assert_eq!((next(&ledger), ledger.release_reports(at(31)).unwrap()), (None, 0));
    assert_eq!(report_of(&ledger, "b").unwrap().error, None);
}

#[test]
fn looking_around_may_not_spend_the_requests_of_reports() {
    for (allowance, looks) in [(50, 40), (20, 16), (5, 4), (4, 4), (1, 1)] {
        let (_folder, ledger) = new();
        ledger.install(&installation("a", "a"), at(0)).unwrap();
        let report = report_of(&ledger, "a").unwrap();
        let spent = |purpose, second| match ledger.spend(purpose, allowance, at(second)) {
            Ok(_) => None,
            Err(Refusal::Spent(until)) => Some(until),
            Err(error) => panic!("{error}"),
        };
        for second in 0..looks {
            assert_eq!(spent(Purpose::Look, second), None, "{second} of {allowance}");
        }
        assert_eq!(spent(Purpose::Look, looks), Some(at(7 * DAY)), "of {allowance}");
        for second in looks..i64::from(allowance) {
            assert_eq!(spent(Purpose::Report(&report, 158), second), None, "{second} of {allowance}");
        }
        assert_eq!(spent(Purpose::Report(&report, 158), 100), Some(at(7 * DAY)));
        assert_eq!(ledger.usage(at(100)).unwrap().used, allowance, "a refused one is not counted");
        let attempts = report_of(&ledger, "a").unwrap().attempts;
        assert_eq!(i64::from(attempts), i64::from(allowance) - looks, "nor is it an attempt");
        // Only when the reserve is free again, and one more, may somebody look.
        let until = spent(Purpose::Look, 101).unwrap();
        assert_eq!(until, at(7 * DAY + i64::from(allowance) - looks), "of {allowance}");
        assert!(ledger.spend(Purpose::Look, allowance, until - SignedDuration::from_millis(1)).is_err());
        assert!(ledger.spend(Purpose::Look, allowance, until).is_ok());
    }
}

#[test]
fn requests_count_for_seven_days() {
    let (folder, ledger) = new();
    assert_eq!(ledger.usage(at(0)).unwrap(), Usage { used: 0, next_free_at: None });
    for day in [0, 1, 3] {
        ledger.spend(Purpose::Look, 50, at(day * DAY)).unwrap();
    }
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    let day = |day: i64| Some(at(day * DAY));
    for (second, used, next_free_at) in [
        (3 * DAY, 3, day(7)),
        (7 * DAY - 1, 3, day(7)),
        (7 * DAY, 2, day(8)),
        (9 * DAY, 1, day(10)),
        (10 * DAY, 0, None),
        (2 * DAY, 3, day(7)),
        (-5 * DAY, 2, day(7)),
        (-30 * DAY, 0, None),
    ] {
        assert_eq!(ledger.usage(at(second)).unwrap(), Usage { used, next_free_at }, "{second}");
    }
    // A clock set back by a day forgets nothing; one that was weeks ahead does not lock the portal for weeks.
    ledger.spend(Purpose::Look, 50, at(2 * DAY)).unwrap();
    assert_eq!(ledger.usage(at(2 * DAY)).unwrap().used, 4);
    assert!(ledger.spend(Purpose::Look, 5, at(2 * DAY)).is_err());
    ledger.spend(Purpose::Look, 1, at(-30 * DAY)).unwrap();
    assert_eq!(ledger.usage(at(-30 * DAY)).unwrap().used, 1);
}

#[test]
fn the_portals_list_is_replaced_as_a_whole() {
    let (_folder, ledger) = new();
    assert_eq!(ledger.portal_list().unwrap(), None);
    let of = |second, ids: &[i64]| {
        let record = |id: &i64| PortalRecord {
            id: *id,
            name: format!("name {id}"),
            expires: (*id > 1).then(|| at(90 * DAY)),
            installed: *id == 2,
        };
        PortalList { at: at(second), records: ids.iter().map(record).collect() }
    };
    ledger.keep_portal_list(&of(1, &[3, 1, 2])).unwrap();
    assert_eq!(ledger.portal_list().unwrap(), Some(of(1, &[1, 2, 3])));
    ledger.keep_portal_list(&of(2, &[2, 2])).unwrap();
    assert_eq!(ledger.portal_list().unwrap(), Some(of(2, &[2])));
    ledger.keep_portal_list(&of(3, &[])).unwrap();
    assert_eq!(ledger.portal_list().unwrap(), Some(of(3, &[])));
}

#[test]
fn the_history_tells_what_happened_in_order() {
    let (_folder, ledger) = new();
    ledger.install(&installation("a", "one"), at(4)).unwrap();
    let unreloaded = Installation { how: How::Restored, reloaded_at: None, ..installation("b", "two") };
    ledger.install(&unreloaded, at(4)).unwrap();
    ledger.install(&Installation { how: How::Adopted, ..installation("c", "three") }, at(4)).unwrap();
    let report = report_of(&ledger, "one").unwrap();
    ledger.postpone(&report, at(9), &why("busy"), at(5)).unwrap();
    ledger.hold(&report, &why("refused"), at(6)).unwrap();
    ledger.delivered(&report, at(7)).unwrap();
    let late = Entry::new(at(0), "a", "problem").saying("words");
    ledger.note(&late).unwrap();
    let events = |site: &str| {
        let history = ledger.history(Some(site)).unwrap();
        assert!(
            history.iter().all(|entry| entry.certificate == site && entry.site == format!("name of {site}"))
        );
        assert_eq!(ledger.history(Some(&format!("name of {site}"))).unwrap(), history);
        history.into_iter().map(|entry| entry.event).collect::<Vec<_>>()
    };
    let of_a = ["problem", "whole", "reloaded", "served", "report_failed", "report_held", "reported"];
    assert_eq!(
        (events("a"), events("b")),
        (of_a.map(str::to_owned).to_vec(), vec!["whole".into(), "served".into()])
    );
    assert_eq!((events("c"), events("none")), (vec!["adopted".to_owned()], vec![]));
    let all = ledger.history(None).unwrap();
    assert_eq!(all.len(), 10);
    assert!(all.is_sorted_by_key(|entry| entry.at));
    assert_eq!(all[0], Entry { site: "name of a".to_owned(), ..late });
    assert_eq!(all[9].fingerprint, Some(leaf("one").to_string()));
    assert_eq!(all[9].detail.as_deref(), Some("date of one"));
    let changed = ledger.read(|connection| connection.execute("UPDATE history SET event = 'nothing'", []));
    assert!(changed.unwrap_err().to_string().contains("append-only"));
    assert_eq!(ledger.history(None).unwrap(), all);
}

#[test]
fn what_is_acknowledged_survives_a_power_cut_and_is_nobody_elses() {
    let (folder, ledger) = new();
    ledger.note(&Entry::new(at(1), "a", "well")).unwrap();
    let pragma = |name: &str| {
        ledger
            .read(|connection| {
                connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
            })
            .unwrap()
    };
    assert_eq!(pragma("synchronous"), 2.into(), "FULL");
    assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
    assert_eq!(pragma("user_version"), 7.into());
    let below = folder.path().join("made/by/certhook");
    let made = Ledger::open(&below).unwrap();
    made.note(&Entry::new(at(1), "a", "well")).unwrap();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        // On Windows the folder's access list is for all that SQLite makes in it.
        if certhook_test_support::wine::cannot_prove("it lets files inherit no access list") {
            break;
        }
        assert_eq!(platform::readable_by_others(&below.join(name)).unwrap(), None, "{name}");
        #[cfg(unix)]
        assert_eq!(mode(&folder.path().join(name)), 0o600, "{name}");
    }
    assert_eq!(platform::readable_by_others(&below).unwrap(), None);
    #[cfg(unix)]
    assert_eq!(mode(&below), 0o700);
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path).unwrap()) & 0o777
}

#[test]
fn a_failed_step_leaves_nothing_behind() {
    let (_folder, ledger) = new();
    let trigger = "CREATE TRIGGER no BEFORE INSERT ON report BEGIN SELECT RAISE(ABORT, 'no'); END";
    ledger.read(|connection| connection.execute_batch(trigger)).unwrap();
    ledger.install(&installation("a", "one"), at(4)).unwrap_err();
    assert!(ledger.recorded().unwrap().is_empty() && ledger.history(None).unwrap().is_empty());
    ledger.read(|connection| connection.execute_batch("DROP TRIGGER no")).unwrap();
    ledger.install(&installation("a", "one"), at(4)).unwrap();
}

#[test]
fn two_processes_lose_no_writes() {
    const EACH: i64 = 12;
    let (folder, first) = new();
    let second = Ledger::open_existing(folder.path()).unwrap().unwrap();
    std::thread::scope(|scope| {
        for (site, ledger) in [("a", &first), ("b", &second)] {
            scope.spawn(move || {
                for number in 0..EACH {
                    ledger.install(&installation(site, &format!("{site}{number}")), at(number)).unwrap();
                    // Refused or not: the two together spend no more than the allowance.
                    let _ = ledger.spend(Purpose::Look, 19, at(number));
                }
            });
        }
    });
    for ledger in [&first, &second] {
        assert_eq!(ledger.history(None).unwrap().len(), usize::try_from(6 * EACH).unwrap());
        assert_eq!(count(ledger, "report"), u32::try_from(2 * EACH).unwrap());
        assert_eq!(ledger.usage(at(EACH)).unwrap().used, 16);
        assert_eq!(state_of(ledger, "a11"), Some(ReportState::Pending));
        assert_eq!(state_of(ledger, "b10"), None);
    }
}

#[test]
fn two_processes_may_make_the_ledger_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(Ledger::open_existing(path).unwrap().is_none());
    std::thread::scope(|scope| {
        let opened = [0; 4].map(|_| scope.spawn(|| Ledger::open(path).map(drop)));
        opened.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    });
    assert!(Ledger::open_existing(path).unwrap().is_some());
}

#[test]
fn what_is_wrong_with_a_ledger_has_a_code() {
    let code = |state_dir: &Path| Ledger::open(state_dir).unwrap_err().problem().code;
    type Spoil = fn(&Path);
    let table: [(&str, Spoil); 6] = [
        ("ledger_newer", |file| {
            let connection = Connection::open(file).unwrap();
            connection.pragma_update(None, "user_version", 99).unwrap();
        }),
        ("ledger_corrupt", |file| std::fs::write(file, "no database at all".repeat(99)).unwrap()),
        ("ledger_corrupt", |file| {
            let mut bytes = std::fs::read(file).unwrap();
            bytes[100..4096].fill(0xa5);
            std::fs::write(file, bytes).unwrap();
        }),
        ("ledger_corrupt", |file| {
            let bytes = std::fs::read(file).unwrap();
            std::fs::write(file, &bytes[..5000]).unwrap();
        }),
        ("ledger_io", |file| {
            std::fs::remove_file(file).unwrap();
            std::fs::create_dir(file).unwrap();
        }),
        ("ledger_io", |file| {
            std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file.parent().unwrap(), "").unwrap();
        }),
    ];
    for (index, (wanted, spoil)) in table.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("state");
        Ledger::open(&state_dir).unwrap().install(&installation("a", "one"), at(4)).unwrap();
        spoil(&Ledger::path(&state_dir));
        assert_eq!(code(&state_dir), wanted, "row {index}");
    }
    let newer = LedgerError::Newer { found: 99, known: 1 };
    assert!(newer.problem().message.contains("version 99"), "{newer}");
}

#[test]
fn of_what_was_there_at_the_first_start_the_portal_is_asked() {
    let (_folder, ledger) = new();
    for name in ["one", "two"] {
        let adopted = Installation { how: How::Adopted, ..of_hosts(name, name, name) };
        ledger.install(&adopted, at(4)).unwrap();
        assert_eq!(state_of(&ledger, name), Some(ReportState::Unasked));
    }
    let unasked = next(&ledger).unwrap();
    assert_eq!((unasked.site.as_str(), unasked.state), ("one", ReportState::Unasked));
    ledger.decide(&[(&unasked, true)], at(5)).unwrap();
    assert_eq!(state_of(&ledger, "one"), Some(ReportState::Pending));
    ledger.decide(&[(&next(&ledger).unwrap(), false)], at(5)).unwrap();
    assert_eq!(state_of(&ledger, "two"), Some(ReportState::Known));
    ledger.delivered(&next(&ledger).unwrap(), at(6)).unwrap();
    assert_eq!(next(&ledger), None);
    // A renewal makes it a report like any other, decided or not.
    ledger.install(&of_hosts("two", "three", "two"), at(7)).unwrap();
    assert_eq!(state_of(&ledger, "three"), Some(ReportState::Pending));
}

#[test]
fn what_only_seems_to_be_there_at_the_first_start_is_a_renewal() {
    let (_folder, ledger) = new();
    ledger.install(&installation("a", "one"), at(4)).unwrap();
    // The agent began while the ledger could not be read.
    ledger.install(&Installation { how: How::Adopted, ..installation("a", "two") }, at(5)).unwrap();
    assert_eq!(state_of(&ledger, "two"), Some(ReportState::Pending));
    ledger.install(&Installation { how: How::Adopted, ..installation("a", "two") }, at(6)).unwrap();
    assert_eq!((count(&ledger, "report"), state_of(&ledger, "two")), (2, Some(ReportState::Pending)));
}

#[test]
#[cfg_attr(windows, ignore = "nobody can move a database away that is open")]
fn a_ledger_that_was_moved_away_is_begun_anew() {
    let (folder, ledger) = new();
    ledger.install(&installation("a", "one"), at(4)).unwrap();
    let away = tempfile::tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        std::fs::rename(folder.path().join(name), away.path().join(name)).unwrap();
    }
    assert!(ledger.recorded().unwrap().is_empty());
    ledger.install(&installation("a", "two"), at(5)).unwrap();
    assert_eq!(Ledger::open(folder.path()).unwrap().recorded().unwrap()["a"].leaf, leaf("two"));
    assert_eq!(Ledger::open(away.path()).unwrap().recorded().unwrap()["a"].leaf, leaf("one"));
}

#[test]
fn a_ledger_that_could_not_be_used_is_used_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let state_dir = folder.path().join("state");
    std::fs::write(&state_dir, "in the way").unwrap();
    let ledger = Ledger::at(&state_dir);
    assert_eq!(ledger.recorded().unwrap_err().problem().code, "ledger_io");
    std::fs::remove_file(&state_dir).unwrap();
    ledger.install(&installation("a", "one"), at(4)).unwrap();
    assert_eq!(ledger.recorded().unwrap().len(), 1);
}

#[test]
fn sites_that_no_longer_report_are_put_aside_and_taken_up_again() {
    let (_folder, ledger) = new();
    for site in ["a", "b"] {
        ledger.install(&of_hosts(site, site, site), at(4)).unwrap();
    }
    ledger.hold(&report_of(&ledger, "a").unwrap(), &why("refused"), at(5)).unwrap();
    ledger.report_only(&["b".to_owned()], true, at(6)).unwrap();
    assert_eq!((state_of(&ledger, "a"), state_of(&ledger, "b")), (None, Some(ReportState::Pending)));
    ledger.delivered(&next(&ledger).unwrap(), at(7)).unwrap();
    ledger.report_only(&["a".to_owned(), "b".to_owned()], true, at(8)).unwrap();
    assert_eq!(
        (state_of(&ledger, "a"), state_of(&ledger, "b")),
        (Some(ReportState::Pending), Some(ReportState::Delivered))
    );
    // What is not served any more is not taken up.
    ledger.install(&of_hosts("a", "newer", "a"), at(9)).unwrap();
    ledger.report_only(&["a".to_owned()], true, at(10)).unwrap();
    assert_eq!((state_of(&ledger, "a"), state_of(&ledger, "newer")), (None, Some(ReportState::Pending)));
}

/// A file that is renamed in the configuration: one path goes as the other comes back.
#[test]
fn what_one_site_leaves_another_takes_up_in_the_same_step() {
    let (_folder, ledger) = new();
    ledger.install(&of_hosts("a", "one", "a"), at(4)).unwrap();
    ledger.report_only(&[], true, at(5)).unwrap();
    ledger.install(&of_hosts("b", "one", "a"), at(6)).unwrap();
    assert_eq!(next(&ledger).unwrap().site, "b");
    ledger.report_only(&["a".to_owned()], true, at(7)).unwrap();
    assert_eq!(next(&ledger).unwrap().site, "a");
    ledger.report_only(&["b".to_owned()], true, at(8)).unwrap();
    assert_eq!(next(&ledger).unwrap().site, "b");
    // Of two that come back at once one tells the portal.
    ledger.report_only(&[], true, at(9)).unwrap();
    ledger.report_only(&["a".to_owned(), "b".to_owned()], true, at(10)).unwrap();
    ledger.delivered(&next(&ledger).unwrap(), at(11)).unwrap();
    assert_eq!(next(&ledger), None);
}

#[test]
fn all_wait_when_one_has_to_and_a_request_that_was_not_sent_is_given_back() {
    let (_folder, ledger) = new();
    for site in ["a", "b", "c"] {
        ledger.install(&of_hosts(site, site, site), at(4)).unwrap();
    }
    ledger.postpone(&report_of(&ledger, "c").unwrap(), at(100), &why("busy"), at(5)).unwrap();
    ledger.postpone_all(at(60), at(5)).unwrap();
    let due = |name: &str| report_of(&ledger, name).unwrap().next_attempt_at;
    assert_eq!((due("a"), due("b"), due("c")), (at(60), at(60), at(100)));
    let spent = ledger.spend(Purpose::Record(&report_of(&ledger, "a").unwrap()), 50, at(6)).unwrap();
    let _kept = ledger.spend(Purpose::Look, 50, at(6)).unwrap();
    ledger.refund(spent).unwrap();
    assert_eq!(ledger.usage(at(7)).unwrap().used, 1);
}

#[test]
fn a_renewal_goes_on_where_it_was() {
    let (folder, ledger) = new();
    assert_eq!(ledger.last_renewal().unwrap(), None);
    let begun = ledger.begin_renewal(at(100), at(0)).unwrap();
    // Killed before an answer was noted.
    let seen = Ledger::open(folder.path()).unwrap().last_renewal().unwrap().unwrap();
    assert_eq!((seen.stage, seen.asked_at, seen.next_at), (Stage::Asked, at(0), at(100)));
    ledger.renewal_refused(&begun, &why("http_500"), at(50), at(1)).unwrap();
    let refused = ledger.last_renewal().unwrap().unwrap();
    assert_eq!((refused.stage, refused.failures), (Stage::Refused, 1));
    assert_eq!(refused.error, Some(("http_500".to_owned(), "because of http_500".to_owned())));

    let second = ledger.begin_renewal(at(200), at(60)).unwrap();
    assert_eq!(second.failures, 1, "the pauses go on growing");
    let scheduled = |id| Scheduled {
        id,
        name: format!("c{id}.test"),
        expires: Some(at(DAY)),
        issued: None,
        progress: Progress::Scheduled,
        error: None,
    };
    ledger.renewal_scheduled(&second, &[scheduled(1), scheduled(2)], at(120), at(61)).unwrap();
    let waiting = ledger.last_renewal().unwrap().unwrap();
    assert_eq!((waiting.stage, waiting.failures, waiting.error.clone()), (Stage::Waiting, 0, None));
    assert_eq!(waiting.certificates, [scheduled(1), scheduled(2)]);
    ledger.renewal_progress(&waiting, (1, "c1.test"), Progress::Renewed, None, at(121)).unwrap();
    ledger.renewal_progress(&waiting, (2, "c2.test"), Progress::Failed, Some("too late"), at(121)).unwrap();
    ledger.move_renewal(&waiting, Stage::Waiting, at(130), None).unwrap();
    ledger.move_renewal(&waiting, Stage::Fetching, at(140), None).unwrap();
    ledger.move_renewal(&waiting, Stage::Fetching, at(150), Some(&why("io"))).unwrap();
    let fetching = ledger.last_renewal().unwrap().unwrap();
    assert_eq!((fetching.stage, fetching.looks, fetching.failures), (Stage::Fetching, 1, 1));
    let states: Vec<_> =
        fetching.certificates.iter().map(|one| (one.progress, one.error.as_deref())).collect();
    assert_eq!(states, [(Progress::Renewed, None), (Progress::Failed, Some("too late"))]);
    let told: Vec<String> = ledger
        .history(None)
        .unwrap()
        .into_iter()
        .map(|entry| format!("{} {}", entry.site, entry.event))
        .collect();
    assert_eq!(
        told,
        [
            "portal renewal_refused",
            "c1.test renewal_scheduled",
            "c2.test renewal_scheduled",
            "c1.test renewed",
            "c2.test renewal_failed",
        ]
    );
}

#[test]
fn renewing_leaves_the_last_requests_to_reports() {
    let (_folder, ledger) = new();
    for second in 0..40 {
        ledger.spend(Purpose::Renew, 50, at(second)).unwrap();
    }
    assert!(matches!(ledger.spend(Purpose::Renew, 50, at(41)), Err(Refusal::Spent(_))));
    ledger.install(&installation("a", "one"), at(4)).unwrap();
    let report = report_of(&ledger, "one").unwrap();
    assert!(ledger.spend(Purpose::Record(&report), 50, at(42)).is_ok());
}

#[test]
fn a_report_that_was_put_aside_is_not_sent_without_asking_first() {
    let (_folder, ledger) = new();
    ledger.install(&Installation { how: How::Adopted, ..installation("a", "one") }, at(1)).unwrap();
    ledger.install(&of_hosts("b", "two", "b.test"), at(1)).unwrap();
    let held =
        next(&ledger).filter(|report| report.site == "b").or_else(|| report_of(&ledger, "two")).unwrap();
    ledger.hold(&held, &why("http_400"), at(2)).unwrap();
    ledger.report_only(&[], true, at(3)).unwrap();
    assert_eq!(next(&ledger), None);
    ledger.report_only(&["a".to_owned(), "b".to_owned()], true, at(4)).unwrap();
    // The portal's list is asked first of the one; the other has one more chance.
    assert_eq!(state_of(&ledger, "one"), Some(ReportState::Unasked));
    assert_eq!(state_of(&ledger, "two"), Some(ReportState::Pending));
}
