//! Clocks that are wrong, and file times of all kinds: what is told is the file's time in UTC, and no report waits
//! for a clock.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use certhook_test_support::ca::{Order, Pair, Validity};
use certhook_test_support::portal::{Record, What};
use certhook_test_support::writers::Writer;
use jiff::SignedDuration;
use nix::sys::signal::Signal;

use crate::host::{Host, as_the_portal_wants};
use crate::machine::{self, skip};

pub const DAY: i64 = 24 * 3600;

/// The wall clock as certhook sees it; the steady one is left alone, as it is when somebody sets a clock.
pub struct Clock(PathBuf);

impl Clock {
    /// Every certhook of a host from here on has this clock; says so where that cannot be.
    pub fn of(host: &mut Host) -> Option<Self> {
        let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
        if !Path::new(library).exists() {
            skip("clocks that are set", &format!("there is no {library} (Debian: faketime)"));
            return None;
        }
        let clock = Self(host.path().join("clock"));
        clock.set(0);
        host.set_env("LD_PRELOAD", library);
        host.set_env("FAKETIME_TIMESTAMP_FILE", clock.0.to_str().unwrap());
        host.set_env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        host.set_env("FAKETIME_NO_CACHE", "1");
        host.set_env("NO_FAKE_STAT", "1");
        Some(clock)
    }

    /// So many seconds ahead of the true time.
    pub fn set(&self, ahead: i64) {
        let new = self.0.with_extension("new");
        fs::write(&new, format!("{ahead:+}\n")).unwrap();
        fs::rename(new, &self.0).unwrap();
    }
}

/// A certificate that is valid on any of these days.
fn issue(host: &Host) -> Pair {
    let valid =
        Validity { from: SignedDuration::from_hours(-10 * 24), to: SignedDuration::from_hours(90 * 24) };
    host.ca.issue(Order { hosts: &["site0.test"], valid, ..Order::default() })
}

/// Writes as `rsync -t` does: what takes the file's place has its time already. What the portal is to be told.
fn renew(host: &mut Host, written: Option<SystemTime>) -> String {
    let pair = issue(host);
    let layout = &host.sites[0].layout;
    for (path, text) in [(&layout.key, &pair.key_pem), (&layout.certificate, &pair.fullchain_pem)] {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        if let Some(written) = written {
            File::options().write(true).open(&new).unwrap().set_modified(written).unwrap();
        }
        fs::rename(&new, path).unwrap();
    }
    let told = as_the_portal_wants(fs::metadata(&layout.certificate).unwrap().modified().unwrap());
    host.sites[0].pair = pair;
    told
}

/// Renews; the portal is told the file's time, once, whatever certhook's clock says.
fn renew_and_see_it_told(host: &mut Host, written: Option<SystemTime>) {
    let before = host.portal.reports().len();
    let told = renew(host, written);
    host.wait_until_done(0);
    let reports = host.portal.reports();
    assert_eq!(reports.len(), before + 1, "{reports:?}");
    assert_eq!(reports[before].remote_create_date, told);
}

#[test]
fn a_clock_that_is_set_keeps_neither_a_reload_nor_a_report_waiting() {
    let mut host = Host::unlimited(&[Writer::RenamePerFile]);
    let Some(clock) = Clock::of(&mut host) else { return };
    host.start_agent_and_settle();
    renew_and_see_it_told(&mut host, None);
    let sees = |ahead: i64, host: &Host| {
        // What certhook itself says of now.
        let (status, _) = host.json(&["status", "--json"]);
        let seen: jiff::Timestamp =
            status["sites"][0]["served"]["checked_at"].as_str().unwrap().parse().unwrap();
        let off = seen.as_second() - jiff::Timestamp::now().as_second() - ahead;
        assert!(off.abs() < DAY / 2, "certhook does not have the clock: {off}");
    };
    for (from, to) in [(0, -DAY), (-DAY, 0), (0, DAY), (DAY, 0), (-DAY, DAY), (DAY, -DAY)] {
        clock.set(from);
        renew_and_see_it_told(&mut host, None);
        // While a report waits for its next attempt.
        host.portal.stop();
        let before = host.portal.reports().len();
        let told = renew(&mut host, None);
        host.wait_until_served(0);
        host.wait_for("an attempt", |status| !status["sites"][0]["report"]["error"].is_null());
        clock.set(to);
        host.portal.restart();
        host.wait_until_done(0);
        sees(to, &host);
        let reports = host.portal.reports();
        assert_eq!((reports.len(), &reports[before].remote_create_date), (before + 1, &told), "{from} {to}");
        // While a renewal comes.
        renew_and_see_it_told(&mut host, None);
        let (status, code) = host.json(&["status", "--json"]);
        assert_eq!(code, 0, "{from} {to}: {status}");
    }
    host.stop_agent();
}

#[test]
fn a_report_outlives_a_start_with_another_clock() {
    let mut host = Host::unlimited(&[Writer::RenamePerFile]);
    let Some(clock) = Clock::of(&mut host) else { return };
    host.start_agent_and_settle();
    for (from, to) in [(0, -DAY), (-DAY, DAY), (DAY, -DAY)] {
        clock.set(from);
        host.portal.stop();
        let before = host.portal.reports().len();
        let told = renew(&mut host, None);
        host.wait_until_served(0);
        host.wait_for("an attempt", |status| !status["sites"][0]["report"]["error"].is_null());
        host.stop_agent();
        clock.set(to);
        host.portal.restart();
        host.start_agent();
        host.wait_until_done(0);
        let reports = host.portal.reports();
        assert_eq!((reports.len(), &reports[before].remote_create_date), (before + 1, &told), "{from} {to}");
    }
    host.stop_agent();
}

/// A machine that slept: the wall clock has leapt, the steady one has not, and what was renewed meanwhile is there.
#[test]
fn a_leap_over_a_suspend_loses_nothing() {
    let mut host = Host::unlimited(&[Writer::RenamePerFile]);
    let Some(clock) = Clock::of(&mut host) else { return };
    host.start_agent_and_settle();
    renew_and_see_it_told(&mut host, None);
    machine::freeze(host.agent_pid());
    clock.set(DAY);
    let told = renew(&mut host, None);
    machine::signal(host.agent_pid(), Signal::SIGCONT);
    host.wait_until_done(0);
    assert_eq!(host.portal.reports().last().unwrap().remote_create_date, told);
    assert_eq!(host.portal.reports().len(), 2);
    host.stop_agent();
}

fn at(time: &str) -> SystemTime {
    time.parse::<jiff::Timestamp>().unwrap().into()
}

/// The portal takes no time of its future; it is sent as it is all the same, and the portal's words are shown.
#[test]
fn a_file_time_in_the_future_is_told_as_it_is() {
    let mut host = Host::unlimited(&[Writer::RenamePerFile]);
    host.start_agent_and_settle();
    renew(&mut host, Some(at("2036-02-07T06:28:16Z")));
    let status = host.wait_for("held", |status| status["sites"][0]["report"]["state"] == "held");
    let words = status["sites"][0]["report"]["error"].as_str().unwrap();
    assert!(words.contains("future"), "{words}");
    assert_eq!(status["sites"][0]["certificate"]["written_at"], "2036-02-07T06:28:16Z");
    assert_eq!(host.served(0), host.sites[0].pair.fingerprint);
    let journal = host.portal.journal();
    let posts: Vec<_> = journal.iter().filter(|entry| entry.what == What::Report).collect();
    assert_eq!(posts.len(), 1);
    assert_eq!(posts[0].json()["remoteCreateDate"], "2036-02-07T06:28:16");
    // Ten years later the portal takes it.
    host.portal.advance(Duration::from_secs(10 * 366 * 24 * 3600));
    host.portal.set_certificate(Record::new(158, "site0.test"));
    assert_eq!(host.certhook(&["sync", "--retry"]).status.code(), Some(0));
    assert_eq!(host.portal.reports()[0].remote_create_date, "2036-02-07T06:28:16");
    host.stop_agent();
}

#[test]
fn file_times_of_all_kinds_are_told_as_they_are_in_utc() {
    // Berlin and New York, without the help of a time zone database.
    let zones = ["UTC", "CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT,M3.2.0,M11.1.0", "<+1245>-12:45"];
    let times = [
        "1970-01-01T00:00:00Z",
        // In Berlin's hours that come twice and never, and New York's.
        "2026-10-25T00:30:00Z",
        "2026-10-25T01:30:00Z",
        "2026-03-29T01:30:00Z",
        "2026-11-01T05:30:00Z",
        "2026-11-01T06:30:00Z",
    ];
    let extra = crate::host::Extra {
        portal: "requests_per_week = 1000".into(),
        portal_allows: Some(1000),
        ..crate::host::Extra::unlimited()
    };
    let mut host = Host::with(&[Writer::RenamePerFile], extra);
    for zone in zones {
        host.set_env("TZ", zone);
        host.start_agent_and_settle();
        for time in times {
            let before = host.portal.reports().len();
            renew_and_see_it_told(&mut host, Some(at(time)));
            let told = &host.portal.reports()[before].remote_create_date;
            assert_eq!(*told, time.trim_end_matches('Z'), "{zone}");
        }
        let (status, code) = host.json(&["status", "--json"]);
        assert_eq!(code, 0, "{zone}: {status}");
        host.stop_agent();
    }
}
