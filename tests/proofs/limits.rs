//! One tenant's certificates, written again and again, cost no other tenant a reload or a report.

use std::time::{Duration, Instant};

use certhook_test_support::writers::Writer;

use crate::host::Host;

const FLOOD: usize = 60;
const AFTER: usize = 5;

/// Renews the tenant's site and waits until the agent has seen the new set.
fn renew_and_see(host: &mut Host) {
    host.renew(0, Duration::ZERO);
    let fingerprint = host.sites[0].pair.fingerprint.clone();
    host.wait_for("the new set is seen", |status| {
        status["sites"][0]["certificate"]["fingerprint"] == *fingerprint
    });
}

/// How many hold-offs, of one minute, two, four, can have ended.
fn ended(begun: Instant) -> usize {
    let minutes = u32::try_from(begun.elapsed().as_secs() / 60).unwrap();
    usize::try_from((minutes + 1).ilog2()).unwrap()
}

#[test]
fn flood_of_one_site_costs_its_neighbour_nothing() {
    let mut host = Host::new(&[Writer::RenamePerFile, Writer::RenamePerFile]);
    host.start_agent_and_settle();
    let begun = Instant::now();
    for _ in 0..4 {
        host.renew(0, Duration::ZERO);
        host.wait_until_done(0);
    }
    for _ in 4..FLOOD {
        renew_and_see(&mut host);
    }
    // A hold-off may end just now, but each set after that begins another one.
    for _ in 0..AFTER {
        if !is_held_off(&host) {
            renew_and_see(&mut host);
        }
    }
    host.renew(1, Duration::ZERO);
    host.wait_until_done(1);
    for _ in 0..AFTER {
        renew_and_see(&mut host);
    }
    host.wait_for("the tenant's site is held off", |status| {
        let site = &status["sites"][0];
        site["state"] == "waiting" && site["problem"]["code"] == "held_off"
    });
    let reloads = host.nginx.log().hups;
    // Six at once, the neighbour's, and one at the end of each hold-off.
    assert!(reloads <= 6 + 1 + ended(begun), "{reloads} reloads in {:?}", begun.elapsed());
    assert_eq!((reports(&host, 0), reports(&host, 1)), (4, 1));

    let (status, _) = host.json(&["status", "--json"]);
    let (report, problem) = (&status["sites"][0]["report"], &status["sites"][0]["problem"]);
    assert_eq!(report["state"], "pending", "{status:#}");
    assert!(report["next_attempt_at"].is_string(), "{status:#}");
    assert!(report["error"].as_str().unwrap().contains("within 24 hours (reports_per_day)"), "{status:#}");
    assert!(problem["message"].as_str().unwrap().ends_with(" UTC"), "{status:#}");

    // Neither is forgotten over a restart.
    host.stop_agent();
    host.start_agent();
    renew_and_see(&mut host);
    host.wait_for("the limits outlive a restart", |status| {
        status["sites"][0]["problem"]["code"] == "held_off" || ended(begun) > 0
    });
    // An administrator's word ends the hold-off, as the remedy says.
    host.certhook(&["sync", "--wait", "60s"]);
    host.wait_until_served(0);
    assert_eq!(reports(&host, 0), 4);
    host.stop_agent();
}

fn reports(host: &Host, site: usize) -> usize {
    host.portal.reports().iter().filter(|report| report.id == host.sites[site].id).count()
}

fn is_held_off(host: &Host) -> bool {
    host.agent_status().is_some_and(|status| status["sites"][0]["problem"]["code"] == "held_off")
}
