//! A month in the life of a host with forty certificates, day by day: fifty requests a week are enough, and all is
//! told.

use std::collections::BTreeMap;
use std::time::Duration;

use certhook_test_support::portal::What;
use certhook_test_support::wire;
use jiff::{SignedDuration, Timestamp};

use crate::host::{Extra, Host};
use crate::time::{Clock, DAY};

const CERTIFICATES: usize = 40;
const FIRST: i64 = 300;

fn name(site: usize) -> String {
    format!("month{site}.test")
}

/// Certificates that the portal renews six days after it has issued them: all of them, again and again.
fn host() -> Host {
    let extra = Extra {
        discovered: true,
        portal: "[renewal]\nevery = \"4d\"\nwait = \"2s\"\nfetch_into = \"ROOT/rcl\"".into(),
        portal_built: Some(|builder| {
            builder.renewal_takes(Duration::ZERO).renew_within(Duration::from_secs(84 * 86_400))
        }),
        ..Extra::unlimited()
    };
    let host = Host::with(&[], extra);
    for site in 0..CERTIFICATES {
        let id = FIRST + i64::try_from(site).unwrap();
        host.add_portals_own(id, &name(site), SignedDuration::from_hours(90 * 24));
    }
    host.nginx.hup();
    host.nginx.wait_idle();
    host
}

#[test]
fn fifty_requests_a_week_are_enough_for_forty_certificates() {
    let mut host = host();
    let Some(clock) = Clock::of(&mut host) else { return };
    for day in 0..30 {
        clock.set(day * DAY);
        let today = Timestamp::now() + SignedDuration::from_hours(24 * day);
        host.start_agent();
        // At rest, and nothing due today: what the week's requests do not allow waits for another day.
        host.wait_for(&format!("day {day}"), |status| {
            let at = |value: &serde_json::Value| value.as_str().and_then(|at| at.parse::<Timestamp>().ok());
            let sites = status["sites"].as_array().unwrap();
            let waits = |report: &serde_json::Value| {
                let later = at(&report["next_attempt_at"])
                    .is_some_and(|at| at > today + SignedDuration::from_mins(1));
                report["state"] != "pending" || later
            };
            let rests = sites.iter().all(|site| site["state"] == "current" && waits(&site["report"]));
            let renewal = &status["renewal"];
            let planned = at(&renewal["next_at"]).is_some_and(|at| at > today + SignedDuration::from_mins(1));
            let spent = status["portal"]["requests_left"].as_u64().is_some_and(|left| left <= 10);
            sites.len() == CERTIFICATES && rests && (planned || spent)
        });
        host.stop_agent();
        host.portal.advance(Duration::from_secs(86_400));
    }
    let journal = host.portal.journal();
    assert!(!journal.iter().any(|entry| entry.status == Some(429)), "the portal's limit was met");
    let mut weeks: BTreeMap<i64, usize> = BTreeMap::new();
    for entry in journal.iter().filter(|entry| entry.counted.is_some()) {
        *weeks.entry(entry.time.as_second() / (7 * DAY)).or_default() += 1;
    }
    let asked = journal.iter().filter(|entry| entry.what == What::Renew && entry.status == Some(200)).count();
    let told = host.portal.reports().len();
    println!(
        "| {CERTIFICATES} certificates, 30 days | {asked} calls to renew | {told} reports | requests by week {weeks:?} |"
    );
    assert!(weeks.values().all(|requests| *requests <= 50), "{weeks:?}");
    assert!(asked >= 4 && told >= 2 * CERTIFICATES, "{asked} calls, {told} reports");
    // Whatever is served is the portal's last, and the portal knows it.
    for site in 0..CERTIFICATES {
        let id = FIRST + i64::try_from(site).unwrap();
        let served = wire::served(&host.nginx.endpoint(), &name(site)).unwrap().fingerprint;
        assert_eq!(served, host.portal.issued(id).unwrap().fingerprint, "{}", name(site));
        let known = host.portal.certificate(id).unwrap().remote_create_date;
        assert!(known.is_some_and(|date| !date.is_empty()), "{} was not told of", name(site));
    }
}
