//! A site that changes all the time uses up no other site's reloads.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Settled sites, with six free changes.
fn limited(sites: usize) -> World {
    let mut world = World::known(sites);
    world.changes_free = 6;
    world.reboot();
    world.start();
    world.run(SECOND);
    world.assert_settled();
    world
}

/// Writes `count` new sets for site 0, one in each `apart`, and returns the last one's leaf.
fn flood(world: &mut World, first: u8, count: u8, apart: Duration) -> u8 {
    for leaf in first..first + count {
        world.write(0, leaf);
        world.run(apart);
    }
    first + count - 1
}

fn is_held_off(world: &World) -> bool {
    let site = world.agent.site(SiteId(0)).unwrap();
    let code = site.problem().map(|(problem, _)| problem.code.as_str());
    matches!(site.state(), State::HeldOff { .. }) && site.at_rest() && code == Some("held_off")
}

#[test]
fn flood_is_held_off_and_its_newest_set_counts() {
    let mut world = limited(2);
    flood(&mut world, 2, 30, SECOND);
    // No two looks reckon the end to the same millisecond.
    world.wall_lags = MS * 700;
    let last = flood(&mut world, 32, 30, SECOND);
    assert_eq!(world.reloads.len(), 6, "in the first minute");
    assert!(is_held_off(&world), "{:?}", world.agent.site(SiteId(0)));
    assert_eq!(world.told(0), [Some("held_off")], "once");
    world.run(10 * SECOND);
    let leaves: Vec<u8> = world.reloads_for[0].iter().map(|(_, leaf)| *leaf).collect();
    assert_eq!(leaves, [2, 3, 4, 5, 6, 7, last]);
    assert_eq!(world.records().len(), 7, "those between are superseded");
    assert_eq!(world.told(0), [Some("held_off"), None]);
    world.assert_settled();
}

#[test]
fn held_off_site_names_the_time_of_its_reload() {
    let mut world = limited(1);
    flood(&mut world, 2, 10, SECOND);
    let (problem, _) = world.agent.site(SiteId(0)).unwrap().problem().unwrap();
    let text = "the certificate changed 7 times in a short time; certhook loads the newest at 00:01:06 UTC";
    // The world began in 1970. The sixth set is written six seconds after that, and its hold-off takes a minute.
    assert_eq!(problem.message, text);
}

#[test]
fn pauses_of_a_site_that_never_stops_grow_to_an_hour() {
    let mut world = limited(1);
    for round in 0..6 * 60 * 4_u32 {
        world.write(0, u8::try_from(round % 250).unwrap() + 2);
        world.run(10 * SECOND);
    }
    let pauses: Vec<u64> = world
        .reloads
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs().next_multiple_of(10) / 60)
        .collect();
    assert_eq!(pauses[..5], [0, 0, 0, 0, 0]);
    let later: Vec<u64> = pauses[5..].to_vec();
    assert_eq!(later, [1, 2, 4, 8, 16, 32, 60, 60], "minutes");
}

#[test]
fn two_sets_in_turn_and_one_that_breaks_in_between_count_too() {
    for breaks in [false, true] {
        let mut world = limited(1);
        for round in 0..50_u8 {
            if breaks {
                world.set(0, Disk::Torn);
                world.run(SECOND / 2);
            }
            world.write(0, 2 + round % 2);
            world.run(SECOND / 2);
        }
        assert!(world.reloads.len() <= 7, "{} reloads", world.reloads.len());
        world.run(MINUTE * 70);
        world.assert_settled();
    }
}

#[test]
fn touches_and_broken_sets_that_cost_no_reload_do_not_count() {
    let mut world = limited(1);
    for _ in 0..50 {
        world.event(Event::Look(SiteId(0), Cause::Changed));
        world.set(0, Disk::Torn);
        world.run(SECOND);
        world.write(0, 1);
        world.run(SECOND);
    }
    world.write(0, 2);
    world.run(SECOND);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
}

#[test]
fn neighbours_of_a_held_off_site_wait_for_it_once_at_most() {
    let mut world = limited(2);
    flood(&mut world, 2, 20, SECOND / 4);
    assert!(is_held_off(&world));
    // Each wait may be for files that are half-written at that moment; only the first one is.
    world.set(0, Disk::Torn);
    world.run(SECOND * 2);
    world.loads_each = true;
    for leaf in 2..10 {
        let begun = world.now;
        world.set(0, Disk::Torn);
        world.write(1, leaf);
        world.run(SECOND / 10);
        let reload = *world.reloads.last().unwrap();
        assert!(reload >= begun && reload - begun < MS * 20, "leaf {leaf}: {:?}", reload - begun);
        world.run(SECOND);
        if leaf == 5 {
            // The neighbour has free changes of its own.
            world.event(Event::LookAtAll(Cause::Requested));
            world.run(SECOND);
            world.write(0, 100);
            world.run(SECOND);
            world.write(0, 101);
            world.run(SECOND);
            assert!(is_held_off(&world));
            world.set(0, Disk::Torn);
            world.run(SECOND * 2);
        }
        if leaf == 6 {
            break;
        }
    }
}

#[test]
fn another_sites_reload_loads_and_records_a_held_off_set() {
    let mut world = limited(2);
    let last = flood(&mut world, 2, 10, SECOND);
    world.records_seen();
    assert!(is_held_off(&world));
    world.write(1, 9);
    world.run(SECOND);
    let mut records = world.records();
    records.sort_by_key(|record| record.0);
    assert_eq!(records, [(0, last, How::Installed), (1, 9, How::Installed)]);
    assert_eq!(world.reloads.len(), 7);
    world.assert_settled();
    // It costs no change: the hold-off goes on for what comes next.
    world.write(0, 99);
    world.run(SECOND);
    assert!(is_held_off(&world));
}

#[test]
fn an_operator_ends_a_hold_off_and_the_rescan_and_a_start_do_not() {
    for (cause, ends) in [(Cause::Requested, true), (Cause::Asked, false), (Cause::Reloaded, false)] {
        let mut world = limited(1);
        let last = flood(&mut world, 2, 10, SECOND);
        world.event(Event::LookAtAll(cause));
        world.run(SECOND);
        assert_eq!(world.reloads.len(), 6 + usize::from(ends), "{cause:?}");
        assert_eq!(is_held_off(&world), !ends, "{cause:?}");
        if ends {
            assert_eq!(world.reloads_for[0].last().unwrap().1, last);
            world.write(0, 99);
            world.run(SECOND);
            assert!(is_held_off(&world), "the changes before still count");
        }
    }
}

#[test]
fn a_restart_does_not_begin_anew() {
    let mut world = limited(1);
    flood(&mut world, 2, 10, SECOND);
    world.reboot();
    world.start();
    world.run(SECOND);
    assert_eq!(world.reloads.len(), 6);
    assert!(is_held_off(&world));
    world.run(MINUTE);
    assert_eq!(world.reloads.len(), 7);
    world.assert_settled();
}

#[test]
fn a_certificate_that_ends_soon_is_not_held_past_its_end_once_an_hour() {
    let mut world = limited(1);
    flood(&mut world, 2, 6, SECOND);
    // What is served must be replaced in ten seconds.
    world.leaves_end = world.wall() + LAST_MINUTE + SECOND * 10;
    flood(&mut world, 10, 5, SECOND);
    assert!(is_held_off(&world));
    world.run(SECOND * 12);
    assert_eq!(world.reloads.len(), 7, "it was loaded before the end");
    // All that it serves from now on ends at once: that is no way round the limit.
    world.leaves_end = world.wall();
    flood(&mut world, 20, 50, SECOND);
    assert_eq!(world.reloads.len(), 7);
    assert!(is_held_off(&world));
}

#[test]
fn zero_switches_the_hold_off_off() {
    let mut world = World::settled(1);
    flood(&mut world, 2, 50, SECOND);
    assert_eq!(world.reloads.len(), 50);
    world.assert_settled();
}
