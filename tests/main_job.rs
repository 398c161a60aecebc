//! The main job: written, whole, reloaded, served, reported.

use std::time::Duration;

use certhook_test_support::writers::Writer;

use crate::host::{Host, as_the_portal_wants};

#[test]
fn a_renewed_certificate_is_served_and_reported() {
    let mut host = Host::new(&[Writer::VendorClient]);
    host.start_agent_and_settle();
    assert_eq!(host.nginx.log().hups, 0, "the first start reloads nothing");
    let written = host.renew(0, Duration::from_millis(20));
    host.wait_until_done(0);
    assert_eq!(host.served(0), host.sites[0].pair.fingerprint);
    let reports = host.portal.reports();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!(reports[0].remote_create_date, as_the_portal_wants(written));
    assert_eq!(host.nginx.log().hups, 1);
    host.stop_agent();
}
