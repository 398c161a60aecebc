//! What is pruned, and what never is.

use super::*;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn note(ledger: &Ledger, day: i64, event: &str) {
    ledger.note(&Entry::new(at(day * DAY), "a", event)).unwrap();
}

fn prune_all(ledger: &Ledger, rows: u32, day: i64) -> u32 {
    let mut steps = 1;
    while ledger.prune_to(YEAR, rows, at(day * DAY)).unwrap() {
        steps += 1;
    }
    steps
}

#[test]
fn history_is_pruned_by_age_in_small_steps() {
    let (_folder, ledger) = new();
    let write = |transaction: &Transaction<'_>| {
        (0..1200).try_for_each(|_| history::append(transaction, &Entry::new(at(0), "a", "problem")))
    };
    ledger.write(write).unwrap();
    note(&ledger, 300, "well");
    assert!(!ledger.prune(YEAR, at(364 * DAY)).unwrap());
    assert_eq!(count(&ledger, "history"), 1201, "none is a year old");
    assert!(ledger.prune(YEAR, at(366 * DAY)).unwrap());
    assert_eq!(count(&ledger, "history"), 701, "other writers wait only for one step");
    assert!(prune_all(&ledger, 1000, 366) >= 2);
    let left = ledger.history(None).unwrap();
    assert_eq!((left.len(), left[0].event.as_str()), (1, "well"));
    // The newest one stays: ids are not given twice.
    prune_all(&ledger, 1000, 10_000);
    assert_eq!(count(&ledger, "history"), 1);
}

#[test]
fn history_is_pruned_by_rows_and_oldest_first() {
    let (_folder, ledger) = new();
    for day in 0..30 {
        note(&ledger, day, &format!("event{day}"));
    }
    prune_all(&ledger, 10, 31);
    let events: Vec<String> = ledger.history(None).unwrap().into_iter().map(|entry| entry.event).collect();
    assert_eq!(events, (20..30).map(|day| format!("event{day}")).collect::<Vec<_>>());
}

#[test]
fn counts_stay_right_whatever_is_pruned() {
    let (_folder, ledger) = new();
    let (mut often, mut seldom) = (Tally::default(), Tally::default());
    for day in 0..40 {
        note(&ledger, day, if day % 2 == 0 { "served" } else { "problem" });
        if day == 5 {
            ledger.count_events(&mut seldom).unwrap();
        }
        ledger.count_events(&mut often).unwrap();
        prune_all(&ledger, 10, day);
        ledger.count_events(&mut often).unwrap();
        assert_eq!(often.events.values().sum::<u64>(), u64::try_from(day).unwrap() + 1);
    }
    // Rows that it had not counted are gone.
    ledger.count_events(&mut seldom).unwrap();
    let mut restarted = Tally::default();
    ledger.count_events(&mut restarted).unwrap();
    for tally in [often, seldom, restarted] {
        assert_eq!((tally.events["served"], tally.events["problem"]), (20, 20));
    }
}

#[test]
fn reports_that_may_still_matter_are_kept() {
    // The certificates end after 90 days.
    let (_folder, ledger) = new();
    for (site, name) in [("a", "served"), ("b", "replaced"), ("c", "pending"), ("d", "held")] {
        ledger.install(&of_hosts(site, name, site), at(0)).unwrap();
    }
    for name in ["served", "replaced"] {
        ledger.delivered(&report_of(&ledger, name).unwrap(), at(1)).unwrap();
    }
    ledger.hold(&report_of(&ledger, "held").unwrap(), &why("refused"), at(1)).unwrap();
    ledger.install(&of_hosts("b", "newer", "b"), at(2)).unwrap();
    ledger.install(&of_hosts("b", "newest", "b"), at(3)).unwrap();
    assert_eq!(count(&ledger, "report"), 6);
    // Ended long ago, but valid: it may be served again and is not to be told twice.
    ledger.prune(Duration::from_secs(1), at(80 * DAY)).unwrap();
    assert_eq!(count(&ledger, "report"), 6);
    ledger.prune(YEAR, at(100 * DAY)).unwrap();
    assert_eq!(count(&ledger, "report"), 6, "none is a year old");
    ledger.prune(YEAR, at(367 * DAY)).unwrap();
    let left =
        ["served", "replaced", "pending", "held", "newer", "newest"].map(|name| state_of(&ledger, name));
    let (pending, held) = (Some(ReportState::Pending), Some(ReportState::Held));
    assert_eq!(left, [Some(ReportState::Delivered), None, pending, held, None, pending]);
    assert_eq!(count(&ledger, "report"), 4);
}
