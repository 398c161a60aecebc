//! Where no handshake shows anything, a load proves what it loaded.

use super::*;

/// Settled sites that no handshake shows from now on.
fn unseen(sites: usize) -> World {
    let mut world = World::known(sites);
    world.load_is_evidence = true;
    world.start();
    world.run(SECOND);
    world.assert_settled();
    world.refuses_handshakes = true;
    world
}

fn evidence(world: &World, site: usize) -> (Evidence, Option<&str>) {
    let site = world.agent.site(SiteId(site)).unwrap();
    let evidence = site.last_recorded().unwrap().evidence;
    (evidence, site.unseen().map(|problem| problem.code.as_str()))
}

const LOADED: (Evidence, Option<&str>) = (Evidence::Load, Some("no_handshake"));

#[test]
fn a_load_counts_when_a_handshake_has_had_its_time() {
    for overlap in [0, 100, 15_000] {
        let mut world = unseen(1);
        world.overlap = MS * overlap;
        for leaf in 2..4 {
            world.write(0, leaf);
            world.run(SECOND);
            let loaded = *world.reloads.last().unwrap();
            while world.now < loaded + (SECOND * 10).max(world.overlap) {
                assert_eq!(world.records(), [], "a handshake may still show it");
                world.run(MS * 10);
            }
            world.run(SECOND * 2);
            assert_eq!(world.records(), [(0, leaf, How::Installed)], "{overlap} ms");
            assert_eq!((world.reloads.len(), evidence(&world, 0)), (usize::from(leaf) - 1, LOADED));
            world.assert_settled();
        }
        assert_eq!(world.told(0), []);
    }
}

#[test]
fn a_listener_that_needs_a_moment_is_proved_by_its_handshake() {
    let mut world = unseen(1);
    world.write(0, 2);
    world.run(SECOND * 9);
    world.refuses_handshakes = false;
    world.run(SECOND * 3);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    assert_eq!(evidence(&world, 0), (Evidence::Handshake, None));
    world.assert_settled();
}

#[test]
fn a_hint_while_it_is_awaited_changes_nothing() {
    for delay in [1, 3, 8, 50, 500, 8_990, 9_990] {
        for cause in [Cause::Changed, Cause::Requested, Cause::Missed] {
            let mut world = unseen(1);
            world.write(0, 2);
            world.run(MS * delay);
            world.event(Event::Look(SiteId(0), cause));
            world.run((SECOND * 9).saturating_sub(MS * delay));
            assert_eq!(world.records(), [], "a handshake may still show it: {delay} ms, {cause:?}");
            world.run(SECOND * 20);
            assert_eq!(world.records(), [(0, 2, How::Installed)], "{delay} ms, {cause:?}");
            assert_eq!((world.reloads.len(), world.told(0), evidence(&world, 0)), (1, vec![], LOADED));
            world.assert_settled();
        }
    }
}

#[test]
fn once_loaded_it_stays_proved_over_rescans_and_restarts() {
    let mut world = unseen(1);
    world.write(0, 2);
    world.run(SECOND * 20);
    world.records_seen();
    for _ in 0..3 {
        world.run(World::RESCAN);
        world.event(Event::LookAtAll(Cause::Requested));
        world.event(Event::LookAtAll(Cause::Reloaded));
        world.run(SECOND * 60);
        world.reboot();
        world.start();
        world.run(SECOND * 60);
        assert_eq!(evidence(&world, 0), LOADED);
    }
    assert_eq!((world.records(), world.reloads.len(), world.told(0)), (vec![], 1, vec![]));
    world.assert_settled();
    // A handshake shows it in the end.
    world.refuses_handshakes = false;
    world.run(World::RESCAN * 2);
    assert_eq!(world.records(), [(0, 2, How::Restored)]);
    assert_eq!(evidence(&world, 0), (Evidence::Handshake, None));
    assert_eq!((world.reloads.len(), world.told(0)), (1, vec![]));
}

#[test]
fn another_leaf_on_the_wire_is_no_evidence() {
    // Other sites' certificate; the old one.
    for foreign in [true, false] {
        let mut world = unseen(1);
        world.refuses_handshakes = false;
        world.foreign = foreign;
        world.loads_nothing = !foreign;
        world.write(0, 2);
        world.run(SECOND * 100);
        assert_eq!(world.records(), [], "foreign: {foreign}");
        assert!(world.told(0).last().unwrap().is_some(), "foreign: {foreign}");
    }
    // It was proved by its load, and the wire shows the one before it.
    let mut world = unseen(1);
    world.write(0, 2);
    world.run(SECOND * 20);
    (world.refuses_handshakes, world.wire[0]) = (false, 1);
    world.run(World::RESCAN + SECOND * 20);
    assert_eq!(world.reloads.len(), 2, "it is loaded again");
    assert_eq!(evidence(&world, 0), (Evidence::Handshake, None));
    world.assert_settled();
}

#[test]
fn without_workers_that_accept_there_is_no_evidence() {
    let mut world = unseen(1);
    world.workers_unseen = true;
    world.write(0, 2);
    world.run(SECOND * 60);
    assert_eq!((world.records(), world.told(0)), (vec![], vec![Some("no_handshake")]));
    world.workers_unseen = false;
    world.run(SECOND * 60);
    assert_eq!((world.records(), world.reloads.len()), (vec![(0, 2, How::Installed)], 1));
    assert_eq!(world.told(0), [Some("no_handshake"), None]);
    // What was proved so is not while its server is gone.
    (world.workers_unseen, world.reachable) = (true, false);
    world.run(World::RESCAN);
    assert_eq!(world.told(0).last(), Some(&Some("unreachable")));
    assert_eq!(world.agent.site(SiteId(0)).unwrap().unseen(), None);
    world.workers_unseen = false;
    world.run(SECOND * 600);
    assert_eq!((world.told(0).last(), world.reloads.len()), (Some(&None), 1));
    world.assert_settled();
}

#[test]
fn an_old_worker_that_accepts_holds_the_evidence_back() {
    let mut world = unseen(1);
    world.old_accepts = true;
    world.write(0, 2);
    world.run(SECOND * 20);
    for cause in [Cause::Changed, Cause::Requested, Cause::Missed] {
        world.event(Event::Look(SiteId(0), cause));
        world.run(SECOND);
    }
    world.run(OLD_WORKER_LIMIT + SECOND * 5);
    assert_eq!((world.records(), world.told(0)), (vec![], vec![Some("old_worker_accepts")]));
    world.old_accepts = false;
    world.run(SECOND * 20);
    assert_eq!((world.records(), world.reloads.len()), (vec![(0, 2, How::Installed)], 1));
    world.assert_settled();
}

#[test]
fn a_file_written_again_during_the_load_is_loaded_again() {
    let mut world = unseen(1);
    world.write(0, 2);
    while world.reloads.is_empty() {
        world.run(MS);
    }
    // The same, in another file.
    world.mark = Mark { inode: 9, second: 9 };
    world.run(SECOND * 40);
    assert_eq!((world.reloads.len(), world.records()), (2, vec![(0, 2, How::Installed)]));
    assert_eq!((evidence(&world, 0), world.told(0)), (LOADED, vec![]));
    world.assert_settled();
}

#[test]
fn a_server_that_gives_no_evidence_keeps_its_problem() {
    let mut world = unseen(1);
    world.event(Event::LoadIsEvidence(SiteId(0), false));
    world.write(0, 2);
    world.run(SECOND * 100);
    assert_eq!((world.records(), world.told(0)), (vec![], vec![Some("no_handshake")]));
    assert_eq!(world.reloads.len(), 1);
    world.event(Event::LoadIsEvidence(SiteId(0), true));
    world.run(SECOND * 400);
    assert_eq!((world.records(), world.reloads.len()), (vec![(0, 2, How::Installed)], 1));
}

#[test]
fn at_a_first_start_one_reload_stands_for_all_and_nothing_is_new() {
    let mut world = World::new(3);
    (world.load_is_evidence, world.refuses_handshakes) = (true, true);
    world.start();
    world.run(SECOND * 20);
    let adopted = |site| (site, 1, How::Adopted);
    assert_eq!((world.records(), world.reloads.len()), ([0, 1, 2].map(adopted).to_vec(), 1));
    assert_eq!(evidence(&world, 2), LOADED);
    world.assert_settled();
}
