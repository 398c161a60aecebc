//! The main job: written, whole, reloaded, served, reported; once each, whatever the order of writing.

use std::time::Duration;

use certhook_test_support::ca;
use certhook_test_support::portal::Record;
use certhook_test_support::writers::{How, Order, Style, Writer, write_pair};

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
    assert_eq!((reports[0].id, reports[0].name.as_str()), (host.sites[0].id, "site0.test"));
    assert_eq!(reports[0].remote_create_date, as_the_portal_wants(written));
    assert_eq!(host.nginx.log().hups, 1);
    host.stop_agent();
}

/// Order × way × gap × key: one reload each, none on half a pair, one report with the right time.
fn every_order(how: How) {
    let mut host = Host::unlimited(&[Writer::Lego]);
    host.start_agent_and_settle();
    let (mut renewals, name) = (0, host.sites[0].name.clone());
    for order in [Order::KeyFirst, Order::CertificateFirst] {
        for gap in [0, 50, 500] {
            for keep_key in [false, true] {
                let gap = Duration::from_millis(gap);
                let what = format!("{order:?} {how:?} {gap:?} same key: {keep_key}");
                let reuse_key = keep_key.then_some(&host.sites[0].pair);
                let order_of = ca::Order { hosts: &[name.as_str()], reuse_key, ..ca::Order::default() };
                let pair = host.ca.issue(order_of);
                let written = write_pair(&host.sites[0].layout, &pair, Style { order, how, gap, keep_key });
                host.sites[0].pair = pair;
                host.wait_until_done(0);
                renewals += 1;
                let log = host.nginx.log();
                assert_eq!(log.hups, renewals, "{what}");
                assert_eq!(log.emergencies, [] as [String; 0], "{what}");
                assert_eq!(log.key_mismatches, 0, "{what}");
                let reports = host.portal.reports();
                assert_eq!(reports.len(), renewals, "{what}");
                let told = &reports[renewals - 1].remote_create_date;
                assert_eq!(*told, as_the_portal_wants(written.leaf_file_mtime), "{what}");
            }
        }
    }
    host.stop_agent();
}

#[test]
fn in_place_in_every_order() {
    every_order(How::InPlace);
}

#[test]
fn by_rename_in_every_order() {
    every_order(How::Rename);
}

#[test]
fn by_links_in_every_order() {
    every_order(How::Links);
}

#[test]
fn a_hundred_sites_at_once_take_at_most_four_reloads() {
    let writers: Vec<Writer> = std::iter::repeat_n(Writer::ALL, 100).flatten().take(100).collect();
    let mut host = Host::new(&writers);
    host.start_agent_and_settle();
    let pairs: Vec<_> = (0..100).map(|site| host.issue(site)).collect();
    // All at once, each as its tool does: they stir at the same time and end one by one.
    std::thread::scope(|scope| {
        for (site, pair) in host.sites.iter().zip(&pairs) {
            scope.spawn(move || site.writer.renew(&site.layout, pair, Duration::from_millis(1)));
        }
    });
    for (site, pair) in pairs.into_iter().enumerate() {
        host.sites[site].pair = pair;
    }
    for site in 0..100 {
        host.wait_until_served(site);
    }
    let log = host.nginx.log();
    assert!(log.hups <= 4, "{} reloads", log.hups);
    assert_eq!(log.emergencies, [] as [String; 0]);
    // The week has fifty requests: one was the list, the others are reports.
    host.portal.wait_for_reports(49, crate::host::PATIENCE).unwrap();
    for site in 0..100 {
        assert_eq!(host.served(site), host.sites[site].pair.fingerprint);
    }
    host.stop_agent();
}

#[test]
fn a_touch_a_rewrite_a_chmod_and_a_restart_are_nothing() {
    let mut host = Host::new(&[Writer::Lego, Writer::Certbot]);
    host.start_agent_and_settle();
    let looks =
        |host: &Host| host.log().matches("Inspected").count() + host.log().matches("Inspect(").count();
    for site in 0..2 {
        let layout = &host.sites[site].layout;
        let certificate = layout.certificate.canonicalize().unwrap();
        let bytes = std::fs::read(&certificate).unwrap();
        let before = looks(&host);
        let file = std::fs::File::options().append(true).open(&certificate).unwrap();
        file.set_modified(std::time::SystemTime::now()).unwrap();
        host.wait_until("the touch was looked at", || looks(&host) > before);
        let before = looks(&host);
        std::fs::write(&certificate, bytes).unwrap();
        host.wait_until("the rewrite was looked at", || looks(&host) > before);
        let before = looks(&host);
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&certificate, std::fs::Permissions::from_mode(0o640)).unwrap();
        host.wait_until("the chmod was looked at", || looks(&host) > before);
    }
    // sync returns when all is at rest again.
    let (status, code) = host.json(&["sync", "--json"]);
    assert_eq!(code, 0, "{status}");
    host.stop_agent();
    host.start_agent_and_settle();
    host.stop_agent();
    assert_eq!(host.nginx.log().hups, 0);
    // The first start's list, and nothing since.
    assert_eq!(host.portal.requests_counted(), 1);
    assert!(host.portal.reports().is_empty());
}

#[test]
fn the_first_start_reports_what_the_portal_misses_and_no_more() {
    let mut host = Host::new(&[Writer::Lego; 5]);
    let missing = |record: &mut Record| record.remote_create_date = None;
    let other = |record: &mut Record| record.expiry_date = "2031-01-01T00:00:00".parse().unwrap();
    let change = |host: &Host, id, changes: &[&dyn Fn(&mut Record)]| {
        let mut record = host.portal.certificate(id).unwrap();
        changes.iter().for_each(|change| change(&mut record));
        host.portal.set_certificate(record);
    };
    // 158 is missed; 159 is known; 160 is missed, but of another certificate; 161 is not there at all.
    change(&host, 158, &[&missing]);
    change(&host, 160, &[&missing, &other]);
    host.portal.remove_certificate(161);
    change(&host, 162, &[&missing]);
    // Long before: what is not in the list has not come since.
    let written = std::time::SystemTime::now() - Duration::from_secs(3600);
    for site in &host.sites {
        let file = std::fs::File::options().append(true).open(&site.layout.certificate).unwrap();
        file.set_modified(written).unwrap();
    }
    host.start_agent();
    host.portal.wait_for_reports(2, crate::host::PATIENCE).unwrap();
    let (status, code) = host.json(&["sync", "--json"]);
    assert_eq!(code, 0, "{status}");
    let states: Vec<_> =
        (0..5).map(|site| status["sites"][site]["report"]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["delivered", "none", "none", "none", "delivered"]);
    let mut reports = host.portal.reports();
    reports.sort_by_key(|report| report.id);
    assert_eq!(reports.iter().map(|report| report.id).collect::<Vec<_>>(), [158, 162]);
    assert_eq!(reports[0].remote_create_date, as_the_portal_wants(written));
    assert_eq!(host.portal.requests_counted(), 3, "one list and two reports");
    assert_eq!(host.nginx.log().hups, 0);
    // The next start asks nothing.
    host.stop_agent();
    host.start_agent_and_settle();
    assert_eq!(host.certhook(&["sync"]).status.code(), Some(0));
    assert_eq!(host.portal.requests_counted(), 3);
    host.stop_agent();
}

#[test]
fn a_certificate_that_is_not_the_portals_is_not_told_of() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    let name = host.sites[0].name.clone();
    let day = jiff::SignedDuration::from_hours(24);
    let valid = ca::Validity { from: -day, to: day * 30 };
    let pair = host.ca.issue(ca::Order { hosts: &[name.as_str()], valid, ..ca::Order::default() });
    host.sites[0].writer.renew(&host.sites[0].layout, &pair, Duration::ZERO);
    host.sites[0].pair = pair;
    let status = host.wait_for("held", |status| status["sites"][0]["report"]["state"] == "held");
    let words = status["sites"][0]["report"]["error"].as_str().unwrap();
    assert!(words.contains("ends") && words.contains(&name), "{words}");
    assert_eq!(host.served(0), host.sites[0].pair.fingerprint);
    assert!(host.portal.reports().is_empty());
    // The portal renews it, and certhook is told to look again.
    let end = (jiff::Timestamp::now() + day * 30).to_zoned(jiff::tz::TimeZone::UTC).datetime();
    host.portal.renew(158, end);
    let (status, code) = host.json(&["sync", "--retry", "--json"]);
    assert_eq!((code, &status["sites"][0]["report"]["state"]), (0, &"delivered".into()), "{status}");
    assert_eq!(host.portal.reports().len(), 1);
    host.stop_agent();
}
