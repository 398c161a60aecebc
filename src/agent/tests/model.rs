//! Any order of events, crashes and answers ends with disk = wire = record, and nothing is recorded that no
//! handshake has shown (the world asserts that at every record). Where changes are limited, no site has its server
//! reloaded for more sets than that.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{Disk, World};
use crate::agent::*;

const SITES: usize = 3;

/// What may befall a host.
#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Tear(usize),
    Remove(usize),
    /// Changed on disk, and no event told of it.
    WriteUnseen(usize),
    Hint(usize, Cause),
    LookAtAll(Cause),
    Wait(u64),
    Crash,
    Refuse(bool),
    Reachable(bool),
    LedgerFails(bool),
    LoadsNothing(bool),
    ReloadBySomebody,
    FallBack(usize),
    Slow(u64, u64),
    Leave(usize),
    Come(usize, bool),
    PartChanges(usize),
    Spare(u64, Option<usize>),
    Draining(usize),
    Mended,
    /// From the next start on.
    Limit(u32),
    Requested,
}

fn step() -> impl Strategy<Value = Step> {
    let site = 0..SITES;
    let cause =
        prop_oneof![Just(Cause::Changed), Just(Cause::Writing), Just(Cause::Missed), Just(Cause::Asked)];
    prop_oneof![
        6 => site.clone().prop_map(Step::Write),
        4 => site.clone().prop_map(Step::Tear),
        1 => site.clone().prop_map(Step::Remove),
        1 => site.clone().prop_map(Step::WriteUnseen),
        2 => (site.clone(), cause.clone()).prop_map(|(site, cause)| Step::Hint(site, cause)),
        1 => cause.prop_map(Step::LookAtAll),
        4 => (0_u64..10).prop_map(Step::Wait),
        3 => (0_u64..1500).prop_map(Step::Wait),
        1 => (0_u64..100_000).prop_map(Step::Wait),
        2 => Just(Step::Crash),
        1 => any::<bool>().prop_map(Step::Refuse),
        1 => any::<bool>().prop_map(Step::Reachable),
        1 => any::<bool>().prop_map(Step::LedgerFails),
        1 => any::<bool>().prop_map(Step::LoadsNothing),
        1 => Just(Step::ReloadBySomebody),
        1 => site.clone().prop_map(Step::FallBack),
        1 => site.clone().prop_map(Step::Leave),
        1 => (site.clone(), any::<bool>()).prop_map(|(site, unloaded)| Step::Come(site, unloaded)),
        1 => site.prop_map(Step::PartChanges),
        1 => (0_u64..3000, prop::option::of(1_usize..3)).prop_map(|(apart, most)| Step::Spare(apart, most)),
        1 => (0_usize..4).prop_map(Step::Draining),
        1 => Just(Step::Mended),
        1 => prop_oneof![Just(0), Just(2), Just(6)].prop_map(Step::Limit),
        1 => Just(Step::Requested),
        1 => (1_u64..400, 0_u64..150).prop_map(|(reload, overlap)| Step::Slow(reload, overlap)),
    ]
}

/// Whether events tell of everything that happens, so that nothing has to wait for the rescan.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    All,
    Some,
}

fn play(steps: &[Step], told: Told) -> World {
    let mut world = World::known(SITES);
    world.start();
    let mut leaf = 1;
    let mut fresh = || {
        leaf += 1;
        leaf
    };
    for step in steps {
        match *step {
            Step::WriteUnseen(_) | Step::FallBack(_) | Step::LoadsNothing(_) if told == Told::All => {}
            Step::Write(site) => world.write(site, fresh()),
            Step::Tear(site) => world.set(site, Disk::Torn),
            Step::Remove(site) => world.set(site, Disk::Missing),
            Step::WriteUnseen(site) => world.disk[site] = Disk::Leaf(fresh()),
            Step::Hint(site, cause) => world.event(Event::Look(SiteId(site), cause)),
            Step::LookAtAll(cause) => world.event(Event::LookAtAll(cause)),
            Step::Wait(milliseconds) => world.run(Duration::from_millis(milliseconds)),
            Step::Crash => {
                world.reboot();
                world.start();
            }
            Step::Refuse(refuses) => world.refuses = refuses,
            Step::Reachable(reachable) => world.reachable = reachable,
            Step::LedgerFails(fails) => world.ledger_fails = fails,
            Step::LoadsNothing(nothing) => world.loads_nothing = nothing,
            Step::ReloadBySomebody => {
                world.reload_by_somebody(0);
                world.event(Event::LoadedByOthers(ServerId(0)));
            }
            Step::Leave(site) => world.leave(site),
            Step::Come(site, unloaded) => world.come(site, unloaded),
            Step::PartChanges(site) => world.event(Event::Changed(SiteId(site))),
            // From the next start on.
            Step::Spare(apart, most) => {
                world.server_setup.min_interval = Duration::from_millis(apart);
                world.server_setup.max_draining = most;
            }
            Step::Draining(workers) => world.draining = workers,
            Step::Limit(free) => world.changes_free = free,
            Step::Requested => world.event(Event::LookAtAll(Cause::Requested)),
            Step::Mended => world.event(Event::Mended(ServerId(0))),
            Step::FallBack(site) => world.wire[site] = 1,
            Step::Slow(reload, overlap) => {
                world.reload_takes = Duration::from_millis(reload);
                world.overlap = Duration::from_millis(overlap);
            }
        }
    }
    // Whatever was wrong is mended, and whoever left is back.
    world.draining = 0;
    for site in 0..SITES {
        world.come(site, false);
    }
    (world.refuses, world.reachable, world.ledger_fails, world.loads_nothing) = (false, true, false, false);
    let reloads = world.reloads.len();
    for site in 0..SITES {
        if matches!(world.disk[site], Disk::Torn | Disk::Missing) {
            world.disk[site] = Disk::Leaf(fresh());
            if told == Told::All {
                world.event(Event::Look(SiteId(site), Cause::Changed));
            }
        }
    }
    // The longest pause after failures, or the rescan on top of it; or a hold-off.
    let long_enough = match told {
        Told::All => Duration::from_secs(700),
        Told::Some => World::RESCAN + Duration::from_secs(700),
    } + LONGEST_HOLD_OFF;
    if told == Told::Some {
        // What a server was reloaded for in vain is not tried again without a request.
        world.event(Event::LookAtAll(Cause::Requested));
    }
    world.run(long_enough);
    let reloads = world.reloads.len() - reloads;
    assert!(reloads <= 3 * SITES, "{reloads} reloads after all was mended");
    world
}

/// Writes a set for site 0 at each of these moments after the one before, the neighbour's at some of them.
fn play_flood(world: &mut World, writes: &[(u64, bool, bool)]) {
    let mut leaf = 1;
    for (pause, torn, neighbour) in writes {
        leaf += 1;
        if *torn {
            world.set(0, Disk::Torn);
            world.run(Duration::from_millis(20));
        }
        world.write(0, leaf);
        if *neighbour {
            world.write(1, leaf);
        }
        world.run(Duration::from_millis(*pause));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_things_ends_well(steps in prop::collection::vec(step(), 1..60)) {
        play(&steps, Told::Some).assert_settled();
    }

    #[test]
    fn what_events_tell_of_ends_well_without_the_rescan(steps in prop::collection::vec(step(), 1..60)) {
        play(&steps, Told::All).assert_settled();
    }

    #[test]
    fn quiet_renewals_are_recorded_once_each(
        renewals in prop::collection::vec((0..SITES, 0_u64..50, 400_u64..3000), 1..20)
    ) {
        let mut world = World::settled(SITES);
        let mut leaf = 1;
        for (site, gap, pause) in &renewals {
            world.set(*site, Disk::Torn);
            world.run(Duration::from_millis(*gap));
            leaf += 1;
            world.write(*site, leaf);
            world.run(Duration::from_millis(*pause));
        }
        let (all, distinct) = world.count_records();
        prop_assert_eq!(all, renewals.len());
        prop_assert_eq!(distinct, renewals.len());
        prop_assert_eq!(world.reloads.len(), renewals.len());
        prop_assert_eq!(world.failed_loads, 0);
        world.assert_settled();
    }

    #[test]
    fn no_flood_has_more_reloads_than_it_may(
        free in 1_u32..8,
        writes in prop::collection::vec((0_u64..90_000, any::<bool>(), prop::bool::weighted(0.05)), 1..100)
    ) {
        let mut world = World::known(2);
        world.changes_free = free;
        world.reboot();
        world.start();
        world.run(Duration::from_secs(1));
        play_flood(&mut world, &writes);
        let begun = world.reloads_for[0].first().map_or(world.now, |(at, _)| *at);
        let hours = u32::try_from((world.now - begun).as_secs() / 3600).unwrap() + 1;
        // Free ones, those that are forgotten meanwhile, and one at the end of each hold-off until that takes an hour.
        let most = free + hours * (free + 7);
        let found = u32::try_from(world.reloads_for[0].len()).unwrap();
        prop_assert!(found <= most, "{} reloads in {} hours with {} free", found, hours, free);
        world.run(LONGEST_HOLD_OFF + Duration::from_secs(700));
        world.assert_settled();
    }
}
