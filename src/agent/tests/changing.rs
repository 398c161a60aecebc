//! Sites that come and go, and servers that are spared.

use std::collections::BTreeSet;

use super::*;
use jiff::SignedDuration;

const HOUR: Duration = Duration::from_secs(3600);

fn code(world: &World, site: usize) -> Option<&str> {
    let site = world.agent.site(SiteId(site)).unwrap();
    site.problem().map(|(problem, _)| problem.code.as_str())
}

fn state(world: &World, site: usize) -> State {
    world.agent.site(SiteId(site)).unwrap().state()
}

/// One site is known and settled; another comes whose server has not loaded its part yet.
fn with_a_newcomer() -> World {
    let mut world = World::make(&[0, 0], Some(1), true);
    world.recorded[1] = None;
    world.add(0, false);
    world.run(SECOND);
    world.foreign = true;
    world.add(1, true);
    world.run(SECOND);
    world
}

#[test]
fn a_newcomer_is_not_reloaded_for_and_taken_when_somebody_did() {
    let mut world = with_a_newcomer();
    assert!(matches!(state(&world, 1), State::Awaiting { .. }));
    assert_eq!((world.reloads.len(), code(&world, 1)), (0, None));
    assert!(world.agent.site(SiteId(1)).unwrap().at_rest());
    world.foreign = false;
    world.event(Event::LoadedByOthers(ServerId(0)));
    world.run(SECOND);
    assert_eq!(world.records(), [(1, 1, How::Adopted)]);
    assert_eq!(world.reloads.len(), 0);
    world.assert_settled();
    // From here on it is a site like any other.
    world.write(1, 2);
    world.run(SECOND);
    assert_eq!(world.records(), [(1, 2, How::Installed)]);
    assert_eq!(world.reloads.len(), 1);
}

/// New workers are seen while old ones still answer.
#[test]
fn just_after_somebody_had_it_loaded_old_workers_are_no_reason() {
    let mut world = with_a_newcomer();
    world.event(Event::LoadedByOthers(ServerId(0)));
    world.run(MS * 110);
    world.foreign = false;
    world.run(SECOND);
    assert_eq!((world.reloads.len(), world.records()), (0, vec![(1, 1, How::Adopted)]));
    world.assert_settled();
}

#[test]
fn what_nobody_loads_becomes_a_problem_and_is_asked_for_less_and_less() {
    let mut world = with_a_newcomer();
    world.run(World::SETTLE);
    assert_eq!(code(&world, 1), Some("not_loaded_yet"));
    let probes = world.probes;
    world.run(HOUR / 2);
    assert!(world.probes - probes <= 16, "asked {} times in half an hour", world.probes - probes);
    assert_eq!(world.reloads.len(), 0);
    world.foreign = false;
    // Another site's renewal has it loaded.
    world.write(0, 2);
    world.run(SECOND);
    assert_eq!((world.reloads.len(), code(&world, 1)), (1, None));
    world.assert_settled();
}

#[test]
fn an_old_certificate_of_a_newcomer_is_a_reason_all_the_same() {
    let mut world = World::make(&[0], None, true);
    world.disk[0] = Disk::Leaf(2);
    world.add(0, true);
    world.run(SECOND);
    assert_eq!((world.reloads.len(), world.records()), (1, vec![(0, 2, How::Installed)]));
}

#[test]
fn a_site_whose_part_changed_awaits_the_load() {
    let mut world = World::settled(2);
    world.reachable = false;
    world.event(Event::Changed(SiteId(1)));
    world.run(SECOND);
    assert!(matches!(state(&world, 1), State::Awaiting { .. }));
    assert_eq!((world.reloads.len(), code(&world, 1)), (0, None));
    world.reachable = true;
    world.event(Event::LoadedByOthers(ServerId(0)));
    world.run(SECOND);
    world.assert_settled();
}

/// Somebody has edited its address and forgotten the reload: what is served where it was would expire.
#[test]
fn a_renewal_does_not_await_the_load() {
    let mut world = World::settled(2);
    world.reachable = false;
    world.event(Event::Changed(SiteId(1)));
    world.run(SECOND);
    assert_eq!(world.reloads.len(), 0);
    world.write(1, 2);
    world.run(MS * 50);
    assert_eq!(world.reloads.len(), 1);
    world.reachable = true;
    world.run(SECOND * 2);
    assert_eq!(world.records(), [(1, 2, How::Installed)]);
    world.assert_settled();
}

#[test]
fn a_site_that_goes_leaves_nothing_waiting() {
    // Half-written, a neighbour waits for it; then it goes.
    let mut world = World::settled(3);
    world.set(1, Disk::Torn);
    world.write(0, 2);
    world.run(MS * 50);
    assert_eq!(world.reloads.len(), 0);
    // With its part of the server's configuration.
    world.disk[1] = Disk::Leaf(1);
    world.event(Event::Removed(SiteId(1)));
    world.run(MS * 20);
    assert_eq!(world.reloads.len(), 1);
    world.run(MS * 200);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    assert!(world.agent.site(SiteId(1)).is_none());
    // What is still told of it is passed over.
    world.event(Event::Look(SiteId(1), Cause::Changed));
    world.event(Event::LookAtAll(Cause::Asked));
    world.run(HOUR * 2);
}

#[test]
fn a_site_may_go_at_any_step_of_its_renewal() {
    for after in 0..40 {
        let mut world = World::settled(2);
        world.write(0, 2);
        world.write(1, 2);
        world.run(MS * after);
        world.leave(1);
        world.run(SECOND * 2);
        let records = world.records();
        assert!(records.contains(&(0, 2, How::Installed)), "after {after} ms: {records:?}");
        assert_eq!(state(&world, 0), State::Current, "after {after} ms");
        // It comes back with what the ledger knows of it.
        world.add(1, true);
        world.run(SECOND * 2);
        assert_eq!(state(&world, 1), State::Current, "after {after} ms");
    }
}

/// Sites whose server is spared as `setup` says; both are known and settled.
fn spared(setup: impl Fn(&mut ServerSetup)) -> World {
    let mut world = World::known(2);
    setup(&mut world.server_setup);
    world.reboot();
    world.start();
    world.run(SECOND);
    world.assert_settled();
    world
}

#[test]
fn reloads_keep_their_distance() {
    let mut world = spared(|server| server.min_interval = HOUR);
    world.write(0, 2);
    world.run(SECOND);
    world.write(1, 2);
    world.run(HOUR - SECOND * 2);
    assert_eq!(world.reloads.len(), 1);
    world.write(0, 3);
    world.run(SECOND * 2);
    assert_eq!(world.reloads.len(), 2, "one for both");
    assert_eq!(world.reloads[1].duration_since(world.reloads[0]), HOUR);
    world.assert_settled();
}

#[test]
fn no_distance_is_kept_past_the_end_of_what_is_served() {
    let mut world = spared(|server| server.min_interval = HOUR * 24);
    world.write(0, 2);
    world.run(SECOND);
    // What is served ends in an hour of the wall clock.
    world.leaves_end = world.wall() + SignedDuration::from_hours(1);
    world.write(1, 2);
    world.run(HOUR - LAST_MINUTE - SECOND);
    assert_eq!(world.reloads.len(), 1);
    world.run(SECOND * 2);
    assert_eq!(world.reloads.len(), 2);
    // Nor is anything waited for that has ended already.
    world.leaves_end = world.wall() - SignedDuration::from_hours(1);
    world.write(1, 3);
    world.run(SECOND);
    assert_eq!(world.reloads.len(), 3);
}

#[test]
fn while_many_old_workers_drain_none_are_added() {
    let mut world = spared(|server| server.max_draining = Some(4));
    world.draining = 4;
    world.write(0, 2);
    world.run(SECOND * 10);
    assert_eq!(world.reloads.len(), 0);
    assert!((8..=12).contains(&world.counts), "counted {} times in ten seconds", world.counts);
    world.write(1, 2);
    world.draining = 3;
    world.run(SECOND * 2);
    assert_eq!(world.reloads.len(), 1, "one for both");
    world.assert_settled();
    // Where it cannot be counted, nothing is waited for; where the old one ends, neither.
    world.draining = 4;
    world.leaves_end = world.wall() + SignedDuration::from_mins(2);
    world.write(0, 3);
    world.run(SECOND * 59);
    assert_eq!(world.reloads.len(), 1);
    world.run(SECOND * 2);
    assert_eq!(world.reloads.len(), 2);
}

#[test]
fn without_a_limit_nobody_counts() {
    let mut world = World::settled(1);
    world.draining = 1000;
    world.write(0, 2);
    world.run(SECOND);
    assert_eq!((world.reloads.len(), world.counts), (1, 0));
}

#[test]
fn who_is_not_at_fault_is_blocked_by_who_is() {
    let mut world = World::settled(3);
    world.refuses = true;
    world.at_fault = Some(BTreeSet::from([SiteId(2)]));
    for site in 0..3 {
        world.write(site, 2);
    }
    world.run(MS * 100);
    assert_eq!([0, 1, 2].map(|site| code(&world, site)), [Some("blocked"), Some("blocked"), Some("refused")]);
    let (problem, _) = world.agent.site(SiteId(0)).unwrap().problem().unwrap();
    assert!(problem.message.contains("the server refused"), "{problem}");
    // Mended: all of them by one reload, and at once.
    world.refuses = false;
    let reloads = world.reloads.len();
    world.event(Event::Mended(ServerId(0)));
    world.run(MS * 200);
    assert_eq!(world.reloads.len(), reloads + 1);
    world.assert_settled();
}

/// Each one's reload is news to the others, and no reason for theirs.
#[test]
fn those_that_are_never_served_do_not_reload_for_each_other() {
    let mut world = World::settled(3);
    world.loads_nothing = true;
    for site in 0..3 {
        world.write(site, 2);
        world.run(SECOND * 25);
    }
    world.run(HOUR / 2);
    let most = 3 * usize::from(MOST_RELOADS);
    assert!(world.reloads.len() <= most, "{} reloads", world.reloads.len());
    let reloads = world.reloads.len();
    world.event(Event::LoadedByOthers(ServerId(0)));
    world.event(Event::Mended(ServerId(0)));
    world.run(SECOND * 600);
    assert_eq!(world.reloads.len(), reloads);
}

#[test]
fn a_set_that_could_not_be_put_before_the_server_is_kept_back_alone() {
    let mut world = World::settled(2);
    world.kept_back = vec![(SiteId(1), Problem::new("disk_full", "no room", "make some"))];
    world.write(0, 2);
    world.write(1, 2);
    world.run(MS * 500);
    assert_eq!((code(&world, 0), code(&world, 1)), (None, Some("disk_full")));
    world.run(SECOND * 3);
    world.assert_settled();
}

#[test]
fn sites_kept_back_together_each_have_their_own_problem() {
    let mut world = World::settled(2);
    let problem = |site: usize| {
        (
            SiteId(site),
            Problem::new(["code0", "code1"][site], format!("site {site} has no room"), "make some"),
        )
    };
    world.kept_back = vec![problem(0), problem(1)];
    let reloads = world.reloads.len();
    world.write(0, 2);
    world.write(1, 2);
    world.run(MS * 500);
    assert_eq!((code(&world, 0), code(&world, 1)), (Some("code0"), Some("code1")));
    assert_eq!(world.reloads.len(), reloads, "there was nothing to load");
    world.run(SECOND * 3);
    world.assert_settled();
}

#[test]
fn half_written_sources_of_copies_hold_nobody_up() {
    let mut world = spared(|server| server.staged = true);
    world.loads_each = true;
    world.set(1, Disk::Torn);
    world.run(MS * 10);
    world.write(0, 2);
    world.run(MS * 20);
    assert_eq!(world.reloads.len(), 1);
    world.run(MS * 200);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
}

#[test]
fn files_that_look_as_loaded_are_known_beforehand() {
    let mut world = World::known(1);
    world.mark = Mark { inode: 7, second: 100 };
    world.start();
    world.run(SECOND);
    let unchanged = |world: &World| world.agent.site(SiteId(0)).unwrap().seems_unchanged();
    assert!(!unchanged(&world));
    // Written in place within the second.
    world.set(0, Disk::Leaf(2));
    world.loads_nothing = true;
    world.run(MS * 10);
    assert!(unchanged(&world));
    // Another second, and another file.
    for mark in [Mark { inode: 7, second: 101 }, Mark { inode: 8, second: 100 }] {
        world.mark = mark;
        world.set(0, Disk::Leaf(2));
        world.run(MS * 10);
        assert!(!unchanged(&world), "{mark:?}");
    }
    world.loads_nothing = false;
    world.run(SECOND * 10);
    world.assert_settled();
    // The same set again is no other one.
    world.event(Event::Look(SiteId(0), Cause::Asked));
    world.run(SECOND);
    assert!(!unchanged(&world));
}

#[test]
fn just_after_somebodys_reload_old_workers_without_the_site_are_no_reason() {
    let mut world = World::new(1);
    world.foreign = true;
    world.start();
    world.run(MS * 100);
    world.foreign = false;
    world.run(SECOND);
    assert_eq!((world.reloads.len(), world.records()), (0, vec![(0, 1, How::Adopted)]));
}

/// With `reload = "systemd"` nginx's unit tells certhook of every reload, certhook's own included.
#[test]
fn a_server_whose_reloads_tell_of_themselves_is_not_reloaded_for_ever() {
    for refuses in [false, true] {
        let mut world = World::make(&[0], Some(1), true);
        world.add(0, false);
        world.run(SECOND);
        (world.refuses, world.loads_nothing) = (refuses, !refuses);
        world.write(0, 2);
        let (mut reloads, until) = (0, world.now + 60 * SECOND);
        while world.now < until {
            world.run(MS * 50);
            if world.reloads.len() > reloads {
                reloads = world.reloads.len();
                world.event(Event::LookAtAll(Cause::Reloaded));
            }
        }
        let most = if refuses { 7 } else { usize::from(MOST_RELOADS) };
        assert!((2..=most).contains(&reloads), "refuses: {refuses}: {reloads} reloads in a minute");
    }
}

#[test]
fn a_reload_that_is_told_of_is_looked_at_without_one_more() {
    let mut world = with_a_newcomer();
    world.foreign = false;
    let probes = world.probes;
    world.event(Event::LookAtAll(Cause::Reloaded));
    world.run(SECOND);
    assert_eq!((world.reloads.len(), world.records()), (0, vec![(1, 1, How::Adopted)]));
    assert!(world.probes >= probes + 2, "the known site is asked too");
    world.assert_settled();
}
