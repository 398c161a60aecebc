//! What is recorded was proved, by whichever way it came there.

use super::*;

/// Lets time pass up to a moment, and sees that nothing is recorded before it.
fn nothing_is_recorded_until(world: &mut World, moment: Instant, what: &str) {
    while world.now < moment {
        assert_eq!(world.records(), [], "{what}");
        world.run(MS);
    }
}

#[test]
fn nothing_is_recorded_while_an_old_worker_accepts_whatever_happens_meanwhile() {
    for delay in 0..400 {
        for event in 0..4 {
            let mut world = World::settled(1);
            world.overlap = MS * 350;
            world.write(0, 2);
            world.run(MS * delay);
            // Every handshake is lucky.
            world.script = vec![2; 200];
            match event {
                0 => {}
                1 => world.event(Event::Look(SiteId(0), Cause::Changed)),
                2 => world.event(Event::LookAtAll(Cause::Requested)),
                _ => world.event(Event::LookAtAll(Cause::Missed)),
            }
            let gone = world.reloads.first().map(|at| *at + world.reload_takes + MS * 350);
            let Some(gone) = gone else { continue };
            nothing_is_recorded_until(&mut world, gone, &format!("delay {delay}, event {event}"));
            world.script.clear();
            world.run(SECOND * 3);
            assert_eq!(world.records(), [(0, 2, How::Installed)], "delay {delay}, event {event}");
            assert_eq!(world.reloads.len(), 1);
            world.assert_settled();
        }
    }
}

#[test]
fn somebody_elses_reload_is_waited_for_too() {
    for old_answers in [0, 5, 40, 200, 900] {
        let mut world = World::settled(1);
        world.disk[0] = Disk::Leaf(2);
        world.overlap = MS * old_answers;
        world.reload_by_somebody(0);
        world.script = vec![2; 100];
        let gone = world.now + world.reload_takes + world.overlap;
        world.event(Event::Look(SiteId(0), Cause::Missed));
        nothing_is_recorded_until(&mut world, gone, &format!("{old_answers} ms"));
        world.script.clear();
        world.run(SECOND * 12);
        assert_eq!(world.records(), [(0, 2, How::Installed)], "{old_answers} ms");
        assert_eq!(world.reloads.len(), 0);
        world.assert_settled();
    }
}

#[test]
fn where_workers_cannot_be_seen_twelve_handshakes_over_two_seconds_stand_in_for_them() {
    let mut world = World::settled(1);
    world.workers_unseen = true;
    world.write(0, 2);
    while world.reloads.is_empty() {
        world.run(MS);
    }
    let (loaded, probes) = (world.now + world.reload_takes, world.probes);
    while world.records().is_empty() {
        world.run(MS);
    }
    assert!(world.now >= loaded + SECOND * 2, "{:?}", world.now - loaded);
    assert!(world.probes - probes >= 12, "{}", world.probes - probes);
    world.run(SECOND);
    world.assert_settled();

    // A handshake that shows the old certificate restarts the count.
    world.records_seen();
    world.write(0, 3);
    world.script = vec![2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2];
    while !world.script.is_empty() {
        world.run(MS);
    }
    let last_old = world.now;
    while world.records().is_empty() {
        world.run(MS);
    }
    assert!(world.now >= last_old + SECOND * 2);
}

#[test]
fn a_worker_that_goes_on_accepting_is_told_of_and_holds_the_record_back() {
    let mut world = World::settled(2);
    world.old_accepts = true;
    world.write(0, 2);
    world.run(OLD_WORKER_LIMIT - SECOND);
    assert_eq!((world.records(), world.told(0)), (vec![], vec![]));
    world.run(SECOND * 3);
    assert_eq!(world.told(0), [Some("old_worker_accepts")]);
    assert_eq!(world.told(1), []);
    let looks = world.looks_at_workers;
    world.run(SECOND * 60);
    assert!(world.looks_at_workers - looks <= 60 * 5, "{} looks a minute", world.looks_at_workers - looks);
    // A newer certificate does not wait for it.
    world.write(1, 2);
    world.run(SECOND * 5);
    assert_eq!((world.reloads.len(), world.records()), (2, vec![]));
    world.old_accepts = false;
    world.run(SECOND * 5);
    assert_eq!(world.records(), [(0, 2, How::Installed), (1, 2, How::Installed)]);
    assert_eq!(world.told(0).last(), Some(&None));
    assert_eq!(world.reloads.len(), 2);
    world.assert_settled();
}

#[test]
fn an_old_certificate_on_an_old_worker_is_no_reason_for_more_reloads() {
    let mut world = World::settled(1);
    world.old_accepts = true;
    world.overlap = SECOND * 20;
    world.write(0, 2);
    world.run(SECOND * 90);
    assert_eq!((world.reloads.len(), world.records()), (1, vec![]));
    assert_eq!(world.told(0), [Some("old_worker_accepts")]);
    world.old_accepts = false;
    world.run(SECOND * 5);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    assert_eq!(world.reloads.len(), 1);
}

#[test]
fn of_a_thousand_sites_the_workers_are_looked_at_for_all_at_once() {
    let mut world = World::new(1000);
    world.start();
    world.run(SECOND * 30);
    assert_eq!(world.records().len(), 1000);
    assert!(world.looks_at_workers <= 300, "{}", world.looks_at_workers);
}

/// HarperFast/harper#2382 and others: the certificate comes 1.2 s before its key, which cannot be checked.
#[test]
fn a_key_that_comes_after_its_certificate_is_a_new_attempt() {
    for delay in [0, 1200, 20_000, 40_000, 4_000_000] {
        let mut world = World::settled(1);
        world.doubt = Some(Doubt::KeyUnchecked("it is encrypted"));
        // It was there before: what is known of it is known.
        world.event(Event::LookAtAll(Cause::Asked));
        world.run(SECOND * 60);
        world.records_seen();
        let before = world.reloads.len();
        // Old key and new certificate are taken by the server, and every handshake fails.
        world.write(0, 2);
        world.run(MS * delay);
        let early = world.reloads.len() - before;
        assert_eq!(early, usize::from(delay >= 40_000), "{delay} ms: a key is waited for, and not for ever");
        world.key = 7;
        world.event(Event::Look(SiteId(0), Cause::Changed));
        world.run(SECOND * 5);
        assert_eq!(world.reloads.len() - before, early + 1, "{delay} ms: the key is loaded");
        world.assert_settled();
    }
}

#[test]
fn a_key_that_is_no_file_keeps_its_half_second() {
    let mut world = World::settled(1);
    world.doubt = Some(Doubt::KeyUnchecked("it is not in a file"));
    world.key_elsewhere = true;
    world.write(0, 2);
    world.run(MS * 700);
    assert_eq!(world.reloads.len(), 1);
}

#[test]
fn one_silent_endpoint_holds_nobody_back() {
    let mut world = World::settled(1);
    world.one_is_silent = true;
    world.write(0, 2);
    world.run(SECOND * 5);
    assert_eq!((world.records(), world.reloads.len()), (vec![], 1), "it has time to answer");
    world.run(SECOND * 10);
    assert_eq!(world.records(), [(0, 2, How::Installed)]);
    // It is a problem, and causes no reload.
    world.event(Event::LookAtAll(Cause::Asked));
    world.run(SECOND * 600);
    assert_eq!((world.told(0), world.reloads.len()), (vec![Some("unreachable")], 1));
    world.one_is_silent = false;
    world.run(SECOND * 600);
    assert_eq!(world.told(0), [Some("unreachable"), None]);
    world.assert_settled();
}
