//! What goes wrong, and how it ends.

use super::*;

#[test]
fn a_neighbour_that_stays_broken_holds_nobody_up_for_longer_than_a_second() {
    let mut world = World::settled(2);
    // It keeps being touched, so that only the bound helps.
    let begun = world.now;
    world.write(0, 2);
    for _ in 0..15 {
        world.set(1, Disk::Torn);
        world.run(MS * 100);
    }
    assert_eq!(world.reloads.len(), 1);
    assert!(world.reloads[0] - begun <= HOLD + MS * 20, "{:?}", world.reloads[0] - begun);
    // nginx loads all or none: it refused, and the problem says so until the neighbour is mended.
    assert_eq!(world.failed_loads, 1);
    assert_eq!(world.agent.site(SiteId(0)).unwrap().problem().unwrap().0.code, "refused");
    world.write(1, 2);
    world.run(SECOND * 10);
    assert_eq!(world.records().len(), 2);
    world.assert_settled();
}

#[test]
fn a_refused_reload_is_tried_again_ever_more_slowly_until_it_is_mended() {
    let mut world = World::settled(1);
    world.refuses = true;
    world.write(0, 2);
    world.run(SECOND * 3000);
    let pauses: Vec<u64> = world.reloads.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(pauses[..9], [1, 2, 4, 8, 16, 32, 64, 128, 256]);
    assert!(pauses[9..].iter().all(|pause| *pause == 300), "{pauses:?}");
    assert_eq!(world.records(), []);
    assert_eq!(world.told(0), [Some("refused")], "told once");
    world.refuses = false;
    world.run(SECOND * 301);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    assert_eq!(world.told(0), [Some("refused"), None]);
    world.assert_settled();
}

#[test]
fn a_reload_that_loads_ends_the_waiting_of_all() {
    let mut world = World::settled(2);
    world.refuses = true;
    world.write(0, 2);
    world.run(SECOND * 40);
    world.refuses = false;
    // The next try of its own is half a minute away.
    world.write(1, 2);
    world.run(SECOND);
    assert_eq!(world.records().len(), 2);
    world.assert_settled();
}

#[test]
fn somebody_elses_reload_ends_the_waiting_without_another() {
    let mut world = World::settled(1);
    world.refuses = true;
    world.write(0, 2);
    world.run(MS * 500);
    world.wire[0] = 2;
    world.refuses = false;
    world.run(SECOND * 2);
    assert_eq!(world.reloads.len(), 1);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
}

#[test]
fn a_server_that_never_serves_it_is_a_problem() {
    let mut world = World::settled(1);
    world.loads_nothing = true;
    world.write(0, 2);
    world.run(SECOND * 9);
    assert_eq!(world.told(0), [] as [Option<&str>; 0], "verify_timeout is 10 s");
    world.run(SECOND * 3);
    assert_eq!(world.told(0), [Some("stale")]);
    world.loads_nothing = false;
    world.run(SECOND * 30);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    assert_eq!(world.told(0), [Some("stale"), None]);
}

#[test]
fn a_write_without_a_close_is_acted_on_after_quiet() {
    let mut world = World::settled(1);
    let begun = world.now;
    for _ in 0..5 {
        world.disk[0] = Disk::Leaf(2);
        world.event(Event::Look(SiteId(0), Cause::Writing));
        world.run(MS * 100);
    }
    world.run(SECOND);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    let waited = world.reloads[0] - begun;
    assert!(waited >= MS * 400 + QUIET && waited < MS * 500 + QUIET, "{waited:?}");
}

#[test]
fn doubts_are_acted_on_after_quiet() {
    let settle = World::SETTLE;
    for (doubt, had_chain, quiet) in [
        (Doubt::KeyUnchecked("it is encrypted"), true, QUIET),
        (Doubt::LeafOnly, false, QUIET),
        (Doubt::LeafOnly, true, settle),
        (Doubt::ChainGap { at: 1 }, true, settle),
    ] {
        let mut world = World::with_chain(1, had_chain);
        world.doubt = Some(doubt.clone());
        let begun = world.now;
        world.write(0, 2);
        world.run(settle * 2);
        assert_eq!(world.records(), [(0, 2, How::Installed)], "{doubt:?}");
        let waited = world.reloads[0] - begun;
        assert!(waited >= quiet && waited < quiet + MS * 50, "{doubt:?}: {waited:?}");
        world.assert_settled();
    }
}

#[test]
fn a_copy_that_pauses_after_the_leaf_is_one_reload() {
    let mut world = World::with_chain(1, true);
    world.doubt = Some(Doubt::LeafOnly);
    world.write(0, 2);
    world.run(SECOND * 2);
    assert_eq!(world.reloads.len(), 0);
    world.doubt = None;
    world.write(0, 2);
    world.run(SECOND);
    assert_eq!(world.reloads.len(), 1);
}

#[test]
fn an_old_file_is_quiet_enough() {
    let mut world = World::known(1);
    world.doubt = Some(Doubt::KeyUnchecked("it is encrypted"));
    world.age = SECOND * 3600;
    (world.disk[0], world.wire[0]) = (Disk::Leaf(2), 2);
    world.start();
    world.run(MS * 50);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
}

#[test]
fn what_stays_broken_is_a_problem_after_settle_and_well_when_mended() {
    let mut world = World::settled(2);
    world.set(0, Disk::Torn);
    world.run(World::SETTLE - SECOND);
    assert_eq!(world.told(0), [] as [Option<&str>; 0]);
    assert!(!world.agent.site(SiteId(0)).unwrap().at_rest());
    world.run(SECOND * 2);
    assert_eq!(world.told(0), [Some("torn")]);
    assert!(world.agent.site(SiteId(0)).unwrap().at_rest());
    // No event tells of the repair: it is looked at from time to time all the same.
    world.disk[0] = Disk::Leaf(1);
    world.run(World::SETTLE * 2);
    assert_eq!(world.told(0), [Some("torn"), None]);
    assert_eq!(world.reloads.len(), 0);
    world.assert_settled();
}

#[test]
fn a_broken_set_holds_nobody_up_once_it_is_quiet() {
    let mut world = World::settled(2);
    world.set(1, Disk::Torn);
    world.run(SECOND * 2);
    // Loading succeeds for this server, whatever the neighbour's files hold.
    world.loads_each = true;
    let begun = world.now;
    world.write(0, 2);
    world.run(MS * 300);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    assert!(world.reloads[0] - begun < MS * 20);
}

#[test]
fn nobody_answers_one_reload_and_then_only_questions() {
    let mut world = World::settled(1);
    world.reachable = false;
    world.write(0, 2);
    world.run(SECOND * 120);
    assert_eq!(world.reloads.len(), 1);
    assert_eq!(world.told(0), [Some("unreachable")]);
    world.reachable = true;
    world.run(SECOND * 120);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    assert_eq!(world.reloads.len(), 1);
}

#[test]
fn an_address_of_another_host_proves_nothing_and_a_renewal_is_loaded() {
    let mut world = World::settled(1);
    world.not_here = true;
    world.write(0, 2);
    world.run(SECOND * 120);
    assert_eq!((world.reloads.len(), world.records().len()), (1, 0));
    assert_eq!(world.told(0), [Some("not_on_this_host")]);
    world.not_here = false;
    world.run(SECOND * 301);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    assert_eq!((world.reloads.len(), world.told(0)), (1, vec![Some("not_on_this_host"), None]));
    // One address that is here is witness enough.
    let not_here = |endpoint: &str| Sighting {
        endpoint: endpoint.into(),
        host: "site.test".into(),
        outcome: Err(Unseen::NotHere(Problem::new("not_on_this_host", "it is not here", "nothing"))),
    };
    let disk = world.agent.site(SiteId(0)).unwrap().disk().unwrap();
    let here = Sighting { outcome: Ok(Arc::clone(&disk.bundle.leaf)), ..not_here("127.0.0.1:443") };
    assert_eq!(judge::judge(disk, None, &[not_here("10.0.0.1:443"), here]), judge::Wire::Served);
}

#[test]
fn nobody_answers_for_a_known_one_and_nothing_is_reloaded() {
    let mut world = World::settled(1);
    world.reachable = false;
    world.run(World::RESCAN + SECOND);
    assert_eq!(world.reloads.len(), 0);
    assert_eq!(world.told(0), [Some("unreachable")]);
    world.reachable = true;
    world.run(SECOND * 10);
    assert_eq!(world.told(0), [Some("unreachable"), None]);
}

#[test]
fn a_server_of_other_names_is_reloaded_once_and_then_a_problem() {
    let mut world = World::settled(1);
    world.foreign = true;
    world.write(0, 2);
    world.run(SECOND * 600);
    assert_eq!(world.reloads.len(), 1);
    assert_eq!(world.told(0), [Some("not_served")]);
}

#[test]
fn a_server_that_falls_back_is_noticed_by_the_rescan() {
    let mut world = World::settled(1);
    world.write(0, 2);
    world.run(SECOND);
    world.records_seen();
    world.wire[0] = 1;
    world.run(World::RESCAN + SECOND);
    assert_eq!(world.records(), [(0, 2, How::Restored)]);
    assert_eq!(world.reloads.len(), 2);
    assert_eq!(world.wire[0], 2);
}

#[test]
fn a_ledger_that_cannot_write_is_tried_again_without_a_reload() {
    let mut world = World::settled(1);
    world.ledger_fails = true;
    world.write(0, 2);
    world.run(SECOND * 10);
    assert_eq!((world.reloads.len(), world.wire[0]), (1, 2));
    assert_eq!(world.told(0), [Some("ledger")]);
    world.ledger_fails = false;
    world.run(SECOND * 20);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    assert_eq!(world.reloads.len(), 1);
    assert_eq!(world.told(0), [Some("ledger"), None]);
}

#[test]
fn a_certificate_of_tomorrow_is_taken_when_its_time_has_come() {
    let mut world = World::settled(1);
    world.disk[0] = Disk::NotYet(2, world.now + SECOND * 5);
    world.event(Event::Look(SiteId(0), Cause::Changed));
    world.run(SECOND * 4);
    assert_eq!(world.reloads.len(), 0);
    world.run(SECOND * 3);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
}

#[test]
fn whoever_asks_does_not_wait_for_the_retry() {
    let mut world = World::settled(1);
    world.refuses = true;
    world.write(0, 2);
    world.run(SECOND * 60);
    world.refuses = false;
    world.event(Event::LookAtAll(Cause::Asked));
    world.run(SECOND);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
}

#[test]
fn a_server_that_uses_another_file_is_reloaded_a_few_times_and_no_more() {
    let mut world = World::settled(1);
    world.loads_nothing = true;
    world.write(0, 2);
    world.run(World::RESCAN - SECOND * 60);
    assert_eq!(world.reloads.len(), usize::from(MOST_RELOADS));
    assert_eq!(world.told(0), [Some("stale")]);
    // A rescan causes no reload; a request causes one.
    world.run(World::RESCAN * 5);
    assert_eq!(world.reloads.len(), usize::from(MOST_RELOADS));
    world.event(Event::LookAtAll(Cause::Requested));
    world.run(SECOND * 60);
    let reloads = world.reloads.len();
    assert_eq!(reloads, usize::from(MOST_RELOADS) + 1);
    world.loads_nothing = false;
    world.write(0, 3);
    world.run(SECOND * 5);
    assert_eq!((world.records(), world.reloads.len()), (vec![(0, 3, How::Installed)], reloads + 1));
}

#[test]
fn one_odd_handshake_of_a_known_site_reloads_nothing() {
    let mut world = World::settled(1);
    world.foreign = true;
    world.event(Event::LookAtAll(Cause::Asked));
    world.run(MS * 500);
    world.foreign = false;
    world.run(SECOND * 10);
    assert_eq!(world.reloads.len(), 0);
    assert_eq!(world.told(0), [Some("not_served"), None]);
    world.assert_settled();
}

#[test]
fn files_that_cannot_be_read_in_time_are_a_problem() {
    let mut world = World::settled(2);
    world.hangs = true;
    world.write(0, 2);
    world.run(LOOK_LIMIT + SECOND);
    assert_eq!(world.told(0), [Some("not_read")]);
    assert_eq!(world.told(1), [] as [Option<&str>; 0]);
    world.hangs = false;
    world.run(SECOND * 60);
    assert_eq!(world.told(0), [Some("not_read"), None]);
    world.assert_settled();
}

#[test]
fn a_half_copy_that_no_event_told_of_is_not_taken_for_quiet() {
    let mut world = World::with_chain(1, false);
    // An event of long ago.
    world.event(Event::Look(SiteId(0), Cause::Changed));
    world.run(SECOND * 600);
    world.doubt = Some(Doubt::LeafOnly);
    world.disk[0] = Disk::Leaf(2);
    world.event(Event::LookAtAll(Cause::Missed));
    world.run(MS * 100);
    assert_eq!(world.reloads.len(), 0);
    world.run(SECOND);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
}

#[test]
fn lost_events_are_made_good_by_looking_at_everything() {
    let mut world = World::settled(3);
    world.disk[2] = Disk::Leaf(2);
    world.event(Event::LookAtAll(Cause::Missed));
    world.run(SECOND);
    assert_eq!(world.records(), [(2, 2, How::Installed)]);
}

#[test]
fn pauses_double_to_five_minutes() {
    let seconds = |failures| retry_pause(failures).as_secs();
    assert_eq!([1, 2, 3, 9, 10, 40, u32::MAX].map(seconds), [1, 2, 4, 256, 300, 300, 300]);
}

#[test]
fn chain_fault_is_told_once_and_beside_other_problems() {
    let mut world = World::settled(1);
    let fault = |code| Err(Problem::new(code, "x", "y"));
    let seen = |world: &mut World, outcome| world.event(Event::ChainSeen(SiteId(0), outcome));
    seen(&mut world, Ok(()));
    assert_eq!(world.told(0), [] as [Option<&str>; 0]);
    seen(&mut world, fault("incomplete_chain"));
    seen(&mut world, fault("incomplete_chain"));
    assert_eq!(world.told(0), [Some("incomplete_chain")]);
    // The leaf is what it was.
    world.assert_settled();
    // Another problem comes and goes; the chain's is left.
    world.refuses = true;
    world.write(0, 2);
    world.run(SECOND * 10);
    let site = world.agent.site(SiteId(0)).unwrap();
    let codes = [site.problem(), site.chain_problem()].map(|told| told.map(|(told, _)| told.code.clone()));
    assert_eq!(codes, [Some("refused".to_owned()), Some("incomplete_chain".to_owned())]);
    world.refuses = false;
    world.run(SECOND * 20);
    world.assert_settled();
    seen(&mut world, Ok(()));
    assert!(world.agent.site(SiteId(0)).unwrap().chain_problem().is_none());
    assert_eq!(world.told(0), [Some("incomplete_chain"), Some("refused"), Some("incomplete_chain"), None]);
}

#[test]
fn new_set_behind_a_chain_fault_is_loaded_once() {
    let mut world = World::settled(1);
    world.disk[0] = Disk::Leaf(2);
    // Another program has loaded the leaf, with a chain that was completed since.
    world.reload_by_somebody(0);
    world.run(SECOND);
    world.event(Event::ChainSeen(SiteId(0), Err(Problem::new("incomplete_chain", "x", "y"))));
    world.event(Event::Look(SiteId(0), Cause::Changed));
    world.run(SECOND * 10);
    assert_eq!((world.reloads.len(), world.records()), (1, vec![(0, 2, How::Installed)]));
    world.event(Event::LookAtAll(Cause::Asked));
    world.run(SECOND * 600);
    assert_eq!(world.reloads.len(), 1);
}
