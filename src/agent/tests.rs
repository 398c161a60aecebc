//! Every transition, in virtual time.

mod model;
mod world;

use std::time::Duration;

use super::*;
use crate::certificate::Doubt;
use world::{Disk, World};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn first_start_takes_what_is_served_as_it_is() {
    let mut world = World::new(3);
    world.start();
    world.run(SECOND);
    assert_eq!(world.records(), [(0, 1, How::Adopted), (1, 1, How::Adopted), (2, 1, How::Adopted)]);
    assert_eq!(world.reloads.len(), 0);
    world.assert_settled();
}

#[test]
fn first_start_with_an_old_one_served_is_a_renewal() {
    let mut world = World::new(1);
    world.disk[0] = Disk::Leaf(2);
    world.start();
    world.run(SECOND);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    assert_eq!(world.reloads.len(), 1);
}

#[test]
fn a_site_that_comes_later_is_new_even_if_somebody_else_reloaded() {
    let mut world = World::new(1);
    world.disk[0] = Disk::Missing;
    world.start();
    world.run(SECOND);
    world.wire[0] = 7;
    world.write(0, 7);
    world.run(SECOND);
    assert_eq!(world.records(), [(0, 7, How::Installed)]);
    assert_eq!(world.reloads.len(), 0);
}

#[test]
fn a_restart_does_nothing_where_all_agree() {
    let mut world = World::known(5);
    world.start();
    world.run(SECOND);
    assert_eq!(world.records(), []);
    assert_eq!(world.reloads.len(), 0);
    world.assert_settled();
}

#[test]
fn a_renewal_is_one_reload_and_one_record() {
    let mut world = World::settled(3);
    world.write(1, 2);
    world.run(SECOND);
    assert_eq!(world.records(), [(1, 2, How::Installed)]);
    assert_eq!(world.reloads.len(), 1);
    world.assert_settled();
}

#[test]
fn what_crashed_between_reload_and_record_is_recorded_without_a_reload() {
    let mut world = World::known(1);
    (world.disk[0], world.wire[0]) = (Disk::Leaf(2), 2);
    world.start();
    world.run(SECOND);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    assert_eq!(world.reloads.len(), 0);
}

#[test]
fn half_written_pairs_are_waited_for() {
    for gap in [0, 1, 50, 500, 2000, 20_000] {
        let mut world = World::settled(2);
        world.set(0, Disk::Torn);
        world.run(MS * gap);
        assert_eq!(world.reloads.len(), 0, "gap {gap}");
        world.write(0, 2);
        world.run(SECOND);
        assert_eq!(world.records(), [(0, 2, How::Installed)], "gap {gap}");
        assert_eq!((world.reloads.len(), world.failed_loads), (1, 0), "gap {gap}");
    }
}

#[test]
fn a_touch_or_the_same_bytes_are_nothing() {
    let mut world = World::settled(2);
    for cause in [Cause::Changed, Cause::Writing, Cause::Missed, Cause::Asked] {
        world.event(Event::Look(SiteId(0), cause));
        world.run(SECOND * 2);
    }
    assert_eq!(world.records(), []);
    assert_eq!(world.reloads.len(), 0);
    world.assert_settled();
}

#[test]
fn a_hundred_at_once_share_reloads() {
    for (spacing, reload) in [(0, 5), (1, 100), (3, 300), (10, 1000)] {
        let mut world = World::settled(100);
        world.reload_takes = MS * reload;
        for site in 0..100 {
            world.set(site, Disk::Torn);
            world.run(MS / 2);
            world.write(site, 2);
            world.run(MS * spacing);
        }
        world.run(SECOND * 10);
        assert_eq!(world.records().len(), 100, "spacing {spacing}");
        let length = 100 * (2 * spacing + 1) / 2;
        let most = 3 + length / reload;
        assert!(world.reloads.len() as u32 <= most, "spacing {spacing} ms: {} reloads", world.reloads.len());
        world.assert_settled();
    }
}

#[test]
fn one_certificate_is_reloaded_at_once() {
    let mut world = World::settled(1);
    let begun = world.now;
    world.write(0, 2);
    world.run(SECOND);
    assert!(
        world.reloads[0] - begun <= world.looking_takes * 2 + LEAST_GATHER,
        "{:?}",
        world.reloads[0] - begun
    );
}

#[test]
fn a_neighbour_that_is_being_written_is_waited_for() {
    let mut world = World::settled(2);
    world.set(1, Disk::Torn);
    world.write(0, 2);
    world.run(MS * 300);
    assert_eq!(world.reloads.len(), 0);
    world.write(1, 2);
    world.run(SECOND);
    assert_eq!((world.reloads.len(), world.failed_loads), (1, 0));
    assert_eq!(world.records().len(), 2);
}

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
    assert_eq!(world.agent.site(SiteId(0)).problem().unwrap().0.code, "refused");
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
fn the_wire_is_asked_until_old_workers_are_gone_and_twice() {
    let mut world = World::settled(1);
    world.overlap = MS * 110;
    world.write(0, 2);
    world.run(SECOND * 2);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    assert_eq!(world.reloads.len(), 1);
    let served = world.record_times[0];
    assert!(served - world.reloads[0] >= MS * 110);
    assert!(world.probes >= 3);
}

#[test]
fn one_handshake_is_no_proof() {
    let mut world = World::settled(1);
    // Before the reload old, after it new, old, new, new.
    world.script = vec![1, 2, 1, 2, 2];
    world.write(0, 2);
    world.run(SECOND * 2);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    assert!(world.script.is_empty());
}

#[test]
fn asking_again_while_old_workers_still_answer_reloads_nothing() {
    for delay in 0..300 {
        let mut world = World::settled(1);
        world.overlap = MS * 110;
        world.write(0, 2);
        world.run(MS * delay);
        // Two lucky handshakes may come before an unlucky one.
        world.script = if world.reloads.is_empty() { Vec::new() } else { vec![2, 2, 1, 1] };
        world.event(Event::LookAtAll(Cause::Asked));
        world.run(SECOND * 2);
        assert_eq!(world.reloads.len(), 1, "delay {delay}");
        world.assert_settled();
    }
}

#[test]
fn a_start_just_after_somebodys_reload_reloads_nothing() {
    let mut world = World::known(1);
    world.disk[0] = Disk::Leaf(2);
    world.overlap = MS * 110;
    world.reload_by_somebody(0);
    world.start();
    world.run(SECOND);
    assert_eq!(world.reloads.len(), 0);
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
fn renewed_again_at_any_moment_the_newest_ends_served_and_recorded() {
    for delay in 0..400 {
        let mut world = World::settled(2);
        world.reload_takes = MS * 60;
        world.overlap = MS * 110;
        world.write(0, 2);
        world.run(MS * delay);
        world.set(0, Disk::Torn);
        world.run(MS * 5);
        world.write(0, 3);
        world.run(SECOND * 5);
        world.assert_settled();
        let records = world.records();
        assert_eq!(records.last(), Some(&(0, 3, How::Installed)), "delay {delay}");
        assert!(
            records.len() <= 2 && world.reloads.len() <= 2 + world.failed_loads,
            "delay {delay}: {records:?}"
        );
    }
}

#[test]
fn a_change_while_it_waits_for_the_reload_takes_it_out_of_the_reload() {
    let mut world = World::settled(2);
    // The neighbour keeps the window open.
    world.set(1, Disk::Torn);
    world.write(0, 2);
    world.run(MS * 100);
    world.set(0, Disk::Torn);
    world.write(1, 2);
    world.run(MS * 100);
    assert_eq!(world.failed_loads, 0);
    world.write(0, 3);
    world.run(SECOND * 2);
    assert_eq!(world.failed_loads, 0);
    world.assert_settled();
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
    assert!(!world.agent.site(SiteId(0)).at_rest());
    world.run(SECOND * 2);
    assert_eq!(world.told(0), [Some("torn")]);
    assert!(world.agent.site(SiteId(0)).at_rest());
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
fn a_mended_chain_is_loaded_but_is_no_new_certificate() {
    let mut world = World::settled(1);
    world.chain_version = 2;
    world.write(0, 1);
    world.run(SECOND);
    assert_eq!(world.reloads.len(), 1);
    assert_eq!(world.records(), [(0, 1, How::Restored)]);
    world.assert_settled();
    world.run(World::RESCAN * 2);
    assert_eq!(world.reloads.len(), 1);
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
    world.run(SECOND * 600);
    assert!(world.reloads.len() > usize::from(MOST_RELOADS), "the rescan tries again");
    let reloads = world.reloads.len();
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
fn put_back_while_verifying_the_wire_is_asked_again() {
    for delay in 0..200 {
        let mut world = World::settled(1);
        world.overlap = MS * 110;
        world.write(0, 2);
        world.run(MS * delay);
        world.write(0, 1);
        world.run(SECOND * 5);
        world.assert_settled();
    }
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
fn servers_do_not_wait_for_each_other() {
    let mut world = World::on_servers(&[0, 1]);
    world.start();
    world.run(SECOND);
    world.records_seen();
    world.set(1, Disk::Torn);
    let begun = world.now;
    world.write(0, 2);
    world.run(SECOND);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    assert!(world.reloads[0] - begun < MS * 20);
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
