//! Killed with -9 after every step of the line, the next start ends in the same state.

use std::time::Duration;

use certhook_test_support::writers::Writer;

use crate::host::{Host, as_the_portal_wants};

/// After which step, and how many POSTs the journal has in the end.
const POINTS: [(&str, usize); 12] = [
    ("hinted", 1),
    ("inspected", 1),
    ("asked", 1),
    ("reload-signalled", 1),
    ("reloaded", 1),
    ("shown", 1),
    ("verified", 1),
    ("recorded", 1),
    ("token-got", 1),
    ("request-noted", 1),
    // The portal has answered and the ledger does not know it yet: the one point where nobody can know.
    ("report-answered", 2),
    ("report-noted", 1),
];

#[test]
fn killed_after_any_step_the_end_is_the_same() {
    let mut host = Host::unlimited(&[Writer::Certwarden, Writer::Certbot]);
    host.start_agent_and_settle();
    host.stop_agent();
    let mut expected = 0;
    for (point, posts) in POINTS {
        host.set_env("CERTHOOK_CRASH_AT", point);
        host.start_agent_and_settle();
        let site = expected % 2;
        let written = host.renew(site, Duration::from_millis(5));
        host.wait_for_agents_end();
        host.clear_env();
        host.start_agent();
        host.wait_until_done(site);
        host.stop_agent();
        let reports = host.portal.reports();
        assert_eq!(reports.len() - expected, posts, "{point}: {reports:?}");
        for report in &reports[expected..] {
            assert_eq!(report.remote_create_date, as_the_portal_wants(written), "{point}");
        }
        expected = reports.len();
        assert_eq!(host.served(site), host.sites[site].pair.fingerprint, "{point}");
        assert_eq!(host.nginx.log().emergencies, [] as [String; 0], "{point}");
    }
    // Old workers answer for a moment after a reload: a start in that moment asks them, and reloads once more.
    let may_reload_twice = ["reload-signalled", "reloaded", "shown"].len();
    let hups = host.nginx.log().hups;
    assert!(hups <= POINTS.len() + may_reload_twice, "{hups} reloads for {} renewals", POINTS.len());
}
