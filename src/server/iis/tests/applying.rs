use proptest::prelude::*;

use super::super::apply::{Journal as _, Undone, apply};
use super::super::failure::NOT_THERE;
use super::super::journal::{JournalFile, recover};
use super::super::plan::{Change, Plan};
use super::*;

fn change(from: &Record) -> Change {
    Change { from: from.clone(), to: from.with(hash(9), "WebHosting") }
}

fn old_records() -> Vec<Record> {
    let mut records = vec![
        record(ip("0.0.0.0:443"), hash(1)),
        record(ip("[::1]:8443"), hash(1)),
        record(sni("contoso.com"), hash(2)),
        record(sni("untouched.test"), hash(3)),
    ];
    records[1].app = AppId([7; 16]);
    records
}

fn whole_plan() -> Plan {
    let records = old_records();
    Plan {
        changes: records[..3].iter().map(change).collect(),
        additions: vec![Record::new(sni("new.test"), hash(9), "WebHosting")],
        ..Plan::default()
    }
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by(|a, b| a.key.cmp(&b.key));
    records
}

fn run(fake: &Fake, plan: &Plan) -> Result<(), Undone> {
    apply(plan, &mut fake.clone(), &mut fake.clone())
}

#[test]
fn all_of_it_is_done_in_place_where_that_can_be() {
    for updates in [true, false] {
        let fake = Fake::with(&old_records());
        fake.0.borrow_mut().updates = updates;
        run(&fake, &whole_plan()).unwrap();
        let plan = whole_plan();
        let mut expected: Vec<Record> = plan.changes.into_iter().map(|change| change.to).collect();
        expected.extend(plan.additions);
        expected.push(old_records().remove(3));
        assert_eq!(sorted(fake.records()), sorted(expected));
        let deleted = fake.log().iter().filter(|line| line.starts_with("delete")).count();
        assert_eq!(deleted, if updates { 0 } else { 3 });
    }
}

#[test]
fn what_is_not_as_it_was_planned_for_is_left_alone() {
    let of = |change: fn(&mut Windows)| {
        let fake = Fake::with(&old_records());
        change(&mut fake.0.borrow_mut());
        let before = fake.records();
        let undone = run(&fake, &whole_plan()).unwrap_err();
        assert_eq!((undone.problem.code.as_str(), undone.not_there), ("record_changed", false));
        assert_eq!((fake.records(), fake.log().len()), (before, 0), "nothing was touched");
        undone.problem.message
    };
    let vanished = of(|windows| drop(windows.records.remove(&sni("contoso.com"))));
    assert!(vanished.contains("contoso.com:443 has vanished meanwhile"), "{vanished}");
    let other = of(|windows| windows.records.get_mut(&ip("0.0.0.0:443")).unwrap().parameters.flags = 1);
    assert!(other.contains("0.0.0.0:443 was changed by somebody else"), "{other}");
    of(|windows| drop(windows.records.insert(sni("new.test"), record(sni("new.test"), hash(4)))));
}

#[test]
fn nothing_to_do_calls_nothing() {
    let fake = Fake::default();
    run(&fake, &Plan::default()).unwrap();
    assert_eq!(fake.0.borrow().calls, 0);
}

#[test]
fn a_windows_without_the_calls_says_so() {
    let fake = Fake::with(&old_records());
    fake.0.borrow_mut().read_only = true;
    assert!(run(&fake, &whole_plan()).unwrap_err().not_there);
    assert_eq!(NOT_THERE.number(), 120);
}

#[test]
fn a_success_that_had_no_effect_is_seen_when_it_is_read_back() {
    // Listed once, then three changes and an addition.
    for lie in 2..=5 {
        let fake = Fake::with(&old_records());
        fake.0.borrow_mut().lying.insert(lie);
        let undone = run(&fake, &whole_plan()).unwrap_err();
        assert_eq!(undone.problem.code, "record_changed", "{lie}");
        assert!(undone.problem.message.contains("; as before again: "), "{}", undone.problem);
        assert_eq!(sorted(fake.records()), sorted(old_records()), "{lie}");
    }
}

#[test]
fn what_cannot_be_put_back_is_named() {
    let fake = Fake::with(&old_records());
    fake.0.borrow_mut().updates = false;
    // The third call deletes the first record; from then on nothing works.
    fake.0.borrow_mut().failing = (3..100).map(|call| (call, false)).collect();
    let undone = run(&fake, &whole_plan()).unwrap_err();
    assert_eq!(undone.problem.code, "not_restored");
    assert!(undone.problem.message.contains("perhaps not as before: 0.0.0.0:443"), "{}", undone.problem);
    // It can be seen, and not set.
    let fake = Fake::with(&old_records());
    fake.0.borrow_mut().updates = false;
    let listings = [5, 7, 9, 11];
    fake.0.borrow_mut().failing = (3..100).filter(|n| !listings.contains(n)).map(|n| (n, false)).collect();
    let undone = run(&fake, &whole_plan()).unwrap_err();
    assert!(undone.problem.message.ends_with("; NOT as before: 0.0.0.0:443"), "{}", undone.problem);
}

#[test]
fn wherever_it_ends_no_record_is_lost() {
    let run_to_the_end = |by_netsh: bool| {
        for lives in 0.. {
            let fake = Fake::with(&old_records());
            (fake.0.borrow_mut().updates, fake.0.borrow_mut().lives) = (false, Some(lives));
            let done = run(&fake, &whole_plan()).is_ok();
            let at_the_end = fake.records().len();
            {
                // Another process.
                let mut windows = fake.0.borrow_mut();
                (windows.lives, windows.read_only, windows.obedient) = (None, by_netsh, true);
                windows.log.clear();
            }
            let back = recover(&mut fake.clone(), &mut fake.clone(), &mut fake.clone());
            if by_netsh && at_the_end < old_records().len() {
                // It has words for few of them.
                assert!(back.is_err() || fake.log()[0].starts_with("netsh http add"), "{back:?}");
                continue;
            }
            let back = back.unwrap();
            for record in fake.records() {
                let plan = whole_plan();
                let mut wanted = plan.changes.iter().map(|change| &change.to).chain(&plan.additions);
                assert!(old_records().contains(&record) || wanted.any(|wanted| *wanted == record), "{lives}");
            }
            for old in old_records() {
                assert!(fake.records().iter().any(|record| record.key == old.key), "{lives}: {}", old.key);
            }
            assert_eq!(fake.0.borrow().journal, []);
            assert_eq!(back.len(), fake.log().len());
            if done {
                return lives;
            }
        }
        unreachable!()
    };
    // The journal, three times two, an addition, the journal.
    assert_eq!(run_to_the_end(false), 9);
    run_to_the_end(true);
}

#[test]
fn nothing_is_deleted_that_the_journal_does_not_have() {
    let fake = Fake::with(&old_records());
    (fake.0.borrow_mut().updates, fake.0.borrow_mut().no_journal) = (false, true);
    assert_eq!(run(&fake, &whole_plan()).unwrap_err().problem.code, "journal");
    assert_eq!(fake.log(), [""; 0]);
}

#[test]
fn the_journal_s_file_is_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records-iis.json");
    let mut journal = JournalFile(path.clone());
    assert_eq!(journal.kept().unwrap(), []);
    journal.keep(&old_records()).unwrap();
    // Half a file of an earlier time is in nobody's way.
    std::fs::write(folder.path().join("records-iis.new"), "[").unwrap();
    assert_eq!(journal.kept().unwrap(), old_records());
    journal.keep(&old_records()[..1]).unwrap();
    assert_eq!(journal.kept().unwrap(), old_records()[..1]);
    journal.keep(&[]).unwrap();
    journal.keep(&[]).unwrap();
    assert!(!path.exists());
    std::fs::write(&path, "[{").unwrap();
    let problem = journal.kept().unwrap_err();
    assert!(problem.code == "journal" && problem.message.contains("records-iis.json"), "{problem}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// One call fails, or two, with its effect or without: what is not all done is as before, or is named.
    #[test]
    fn whatever_fails_the_records_are_as_before(
        updates: bool,
        first in 1_usize..16,
        first_has_effect: bool,
        second in prop::option::of((1_usize..16, any::<bool>())),
        changes in 0_usize..4,
        adds: bool,
    ) {
        let fake = Fake::with(&old_records());
        {
            let mut windows = fake.0.borrow_mut();
            windows.updates = updates;
            windows.failing = second.into_iter().chain([(first, first_has_effect)]).collect();
        }
        let mut plan = whole_plan();
        plan.changes.truncate(changes);
        if !adds {
            plan.additions.clear();
        }
        let outcome = run(&fake, &plan);
        let (now, old) = (sorted(fake.records()), sorted(old_records()));
        match outcome {
            Ok(()) => {
                let all: Vec<_> = plan.changes.iter().map(|change| &change.to).chain(&plan.additions).collect();
                prop_assert!(all.iter().all(|record| now.contains(record)));
                prop_assert_eq!(now.len(), old.len() + plan.additions.len());
            }
            Err(undone) => {
                prop_assert_eq!(&now, &old, "{}", undone.problem);
                prop_assert!(!undone.problem.message.contains(" NOT as before"), "{}", undone.problem);
            }
        }
    }
}
