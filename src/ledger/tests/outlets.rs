use super::*;

#[test]
fn events_are_counted_once_each_and_of_this_ledger_alone() {
    let (folder, ledger) = new();
    let mut tally = Tally::default();
    ledger.count_events(&mut tally).unwrap();
    assert!(tally.events.is_empty());
    ledger.install(&installation("a", "one"), at(4)).unwrap();
    ledger.install(&installation("b", "two"), at(5)).unwrap();
    let other = Ledger::open(folder.path()).unwrap();
    other.delivered(&next(&other).unwrap(), at(6)).unwrap();
    for _ in 0..2 {
        ledger.count_events(&mut tally).unwrap();
        let count = |event: &str| tally.events.get(event).copied().unwrap_or_default();
        assert_eq!((count("served"), count("reported"), count("report_held")), (2, 1, 0));
    }
    let mut again = Tally::default();
    ledger.count_events(&mut again).unwrap();
    assert_eq!(again, tally, "a restart changes no count");
    // Moved away: what was counted was another's.
    let (_folder, new) = new();
    new.install(&installation("a", "one"), at(4)).unwrap();
    new.count_events(&mut tally).unwrap();
    assert_eq!(tally.events.get("served"), Some(&1));
}

#[test]
fn cases_are_kept_as_they_are() {
    let (folder, ledger) = new();
    let case = |subject: &str, told: Option<&str>| Case {
        subject: subject.to_owned(),
        site: "contoso.com".to_owned(),
        server: String::new(),
        code: "stale".to_owned(),
        message: "words".to_owned(),
        remedy: "more".to_owned(),
        begun: at(1),
        since: at(2),
        told: told.map(str::to_owned),
        recovered: told.is_some(),
    };
    let cases = [case("a", None), case("b", Some("expired"))];
    ledger.keep_cases(&[case("c", None)]).unwrap();
    ledger.keep_cases(&cases).unwrap();
    assert_eq!(Ledger::open(folder.path()).unwrap().cases().unwrap(), cases);
    let twice = [case("a", None), case("a", None)];
    assert!(ledger.keep_cases(&twice).is_err());
    assert_eq!(ledger.cases().unwrap(), cases, "all or nothing");
}
