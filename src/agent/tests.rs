//! Every transition, in virtual time.

mod changing;
mod fresh;
mod limits;
mod load;
mod model;
mod proof;
mod trouble;
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

/// A start looks at each site as it comes, and nobody has to say that all are to be looked at.
#[test]
fn the_slow_look_at_everything_begins_with_the_first_event() {
    let now = Instant::now();
    let mut agent = Agent::new(Tuning { settle: SECOND, rescan: SECOND * 100, changes_free: 0 }, &[]);
    assert_eq!(agent.next_deadline(), None);
    agent.handle(now, Event::Tick);
    assert_eq!(agent.next_deadline(), Some(now + SECOND * 100));
    agent.handle(now + SECOND * 100, Event::Tick);
    assert_eq!(agent.next_deadline(), Some(now + SECOND * 200));
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
fn a_stream_of_renewals_is_loaded_by_few_reloads_and_its_last_soon() {
    let mut world = World::settled(50);
    world.reload_takes = MS * 100;
    for site in 0..50 {
        world.run(MS * 50);
        world.write(site, 2);
    }
    let last = world.now;
    world.run(SECOND * 5);
    assert_eq!(world.records().len(), 50);
    assert!(world.reloads.len() <= 8, "{} reloads", world.reloads.len());
    let after = *world.reloads.last().unwrap() - last;
    assert!(after <= MS * (2 * 50 + 10), "{after:?} after the last");
    world.assert_settled();
}

#[test]
fn who_comes_late_to_a_burst_waits_for_its_reload_and_no_longer() {
    let mut world = World::settled(10);
    world.reload_takes = MS * 100;
    for site in 0..9 {
        world.write(site, 2);
        world.run(MS);
    }
    while world.reloads.is_empty() {
        world.run(MS);
    }
    world.write(9, 2);
    world.run(SECOND);
    assert_eq!(world.reloads.len(), 2);
    let between = world.reloads[1] - world.reloads[0];
    assert!(between <= MS * 110, "{between:?}");
    world.assert_settled();
}

#[test]
fn one_certificate_is_reloaded_at_once() {
    let mut world = World::settled(1);
    let begun = world.now;
    world.write(0, 2);
    world.run(SECOND);
    assert!(world.reloads[0] - begun <= world.looking_takes * 2, "{:?}", world.reloads[0] - begun);
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
    // Before the reload old, after it new, and of the new workers alone old, then new.
    world.script = vec![1, 2, 1, 2];
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
