//! What was only just written is loaded without asking first, where nobody else can have had it loaded.

use super::*;

/// One renewal has shown how its server is: it loads when it is told.
fn renewed_once(sites: usize) -> World {
    let mut world = World::settled(sites);
    world.write(0, 2);
    world.run(SECOND);
    assert_eq!(world.reloads.len(), 1);
    world.probes = 0;
    world
}

/// How often the wire was asked before the reload that follows.
fn asked_before_the_reload(world: &mut World) -> u32 {
    let reloads = world.reloads.len();
    for _ in 0..4000 {
        if world.reloads.len() > reloads {
            return world.probes;
        }
        world.run(MS / 2);
    }
    panic!("no reload");
}

#[test]
fn a_server_that_had_to_be_told_is_not_asked_again() {
    let mut world = renewed_once(2);
    world.write(1, 2);
    assert_eq!(asked_before_the_reload(&mut world), 0);
    world.run(SECOND);
    world.assert_settled();
    assert!(world.probes >= 2, "what it serves is proved as ever");
}

#[test]
fn a_hint_more_while_it_waits_is_no_reason_to_ask() {
    let mut world = renewed_once(2);
    world.set(1, Disk::Torn);
    world.write(0, 3);
    world.run(MS * 20);
    // It waits for its neighbour; the same set is seen again.
    world.write(0, 3);
    world.write(1, 2);
    assert_eq!(asked_before_the_reload(&mut world), 0);
    world.run(SECOND);
    world.assert_settled();
    // Put back to what is recorded and served, it is in order.
    world.set(1, Disk::Torn);
    world.write(0, 4);
    world.run(MS * 20);
    let reloads = world.reloads.len();
    world.write(0, 3);
    world.write(1, 2);
    world.run(SECOND);
    assert_eq!(world.reloads.len(), reloads);
    world.assert_settled();
}

#[test]
fn where_somebody_else_may_have_had_it_loaded_the_wire_is_asked_first() {
    // No event told of the write.
    for cause in [Cause::Missed, Cause::Asked, Cause::Reloaded] {
        let mut world = renewed_once(2);
        world.run(SECOND * 10);
        world.probes = 0;
        world.disk[1] = Disk::Leaf(2);
        world.event(Event::Look(SiteId(1), cause));
        assert!(asked_before_the_reload(&mut world) > 0, "{cause:?}");
    }
    // The event is old: the set awaited quiet, or its other half.
    let mut world = renewed_once(2);
    world.doubt = Some(Doubt::KeyUnchecked("it is encrypted"));
    world.write(1, 2);
    assert!(asked_before_the_reload(&mut world) > 0);
}

#[test]
fn a_server_that_loads_by_itself_is_asked_each_time() {
    let mut world = renewed_once(2);
    world.disk[0] = Disk::Leaf(3);
    world.wire[0] = 3;
    world.event(Event::Look(SiteId(0), Cause::Asked));
    world.run(SECOND);
    assert_eq!(world.reloads.len(), 1, "it is served already");
    world.wire[1] = 2;
    world.write(1, 2);
    world.run(SECOND);
    assert_eq!(world.reloads.len(), 1, "and so is this");
    world.assert_settled();
}

#[test]
fn a_look_that_nothing_called_for_holds_up_nobody_for_long() {
    let mut world = renewed_once(2);
    world.run(SECOND * 10);
    // It never ends.
    world.hangs = true;
    world.event(Event::Look(SiteId(1), Cause::Asked));
    world.hangs = false;
    let begun = world.now;
    world.write(0, 3);
    world.run(SECOND);
    let waited = world.reloads[1] - begun;
    assert!((SCAN_HOLD..SCAN_HOLD + MS * 10).contains(&waited), "{waited:?}");
}

#[test]
fn of_a_hundred_only_the_first_few_are_asked_before_the_old_workers_are_gone() {
    let mut world = renewed_once(100);
    world.run(SECOND * 10);
    world.probes = 0;
    for site in 0..100 {
        world.write(site, 3);
    }
    world.overlap = MS * 100;
    while world.reloads.len() < 2 {
        world.run(MS);
    }
    world.run(MS * 95);
    assert!((1..=100).contains(&world.probes), "{} handshakes", world.probes);
    world.run(SECOND);
    assert_eq!(world.reloads.len(), 2);
    world.assert_settled();
    assert!(world.probes <= 100 + 200, "two of each beside: {}", world.probes);
}

#[test]
fn what_a_start_finds_new_shares_a_reload_however_long_the_wire_is_asked() {
    let mut world = World::known(3);
    (world.disk[0], world.disk[2]) = (Disk::Leaf(2), Disk::Leaf(2));
    world.start();
    // The old certificate may be the last of somebody's reload for a while; one is decided later than the other.
    world.run(SCAN_HOLD);
    world.event(Event::Look(SiteId(2), Cause::Asked));
    world.run(SECOND * 2);
    assert_eq!(world.reloads.len(), 1);
    world.assert_settled();
}
