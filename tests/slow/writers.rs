//! Every way a certificate is written, at every pace: one reload, one report, the right time.
//!
//! `make writers` prints the tables. `CERTHOOK_TEST_SEED` repeats a run's choices.

#[path = "writers/many.rs"]
mod many;

use std::time::{Duration, Instant};

use certhook_test_support::portal::What;
use certhook_test_support::writers::Writer;

use crate::host::{Extra, Host, PATIENCE, as_the_portal_wants};

/// Between the steps of a renewal.
const GAPS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(200), Duration::from_secs(2)];

/// What nginx and the portal have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    renewals: usize,
    reloads: usize,
    reports: usize,
    failed_loads: usize,
}

impl Count {
    /// So far, on this host. Every signal is acted on by now, or two of them at once.
    fn of(host: &Host, renewals: usize) -> Self {
        let log = host.nginx.log();
        assert_eq!(log.loads + log.emergencies.len(), log.reloads, "{}", host.nginx.log_text());
        let posts = host.portal.journal().iter().filter(|entry| entry.what == What::Report).count();
        assert_eq!(posts, host.portal.reports().len(), "a report was not accepted");
        Self { renewals, reloads: log.hups, reports: posts, failed_loads: log.emergencies.len() }
    }

    fn since(self, before: Self) -> Self {
        Self {
            renewals: self.renewals - before.renewals,
            reloads: self.reloads - before.reloads,
            reports: self.reports - before.reports,
            failed_loads: self.failed_loads - before.failed_loads,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            renewals: self.renewals + other.renewals,
            reloads: self.reloads + other.reloads,
            reports: self.reports + other.reports,
            failed_loads: self.failed_loads + other.failed_loads,
        }
    }
}

/// The portal allows so much that its week does not matter.
fn plenty() -> Extra {
    let portal = "requests_per_week = 100000".to_owned();
    Extra { portal, portal_allows: Some(100_000), ..Extra::unlimited() }
}

fn host_of(writers: &[Writer]) -> Host {
    let mut host = Host::with(writers, plenty());
    host.start_agent_and_settle();
    host
}

/// One renewal from end to end: what is asserted of every single one.
fn renew_and_check(host: &mut Host, site: usize, gap: Duration, before: Count) -> Count {
    let what = format!("{:?}, gaps of {gap:?}", host.sites[site].writer);
    let written = host.renew(site, gap);
    // The portal says when it is time to ask: asking all the while would be most of the work.
    host.portal
        .wait_for_reports(before.reports + 1, PATIENCE)
        .unwrap_or_else(|error| panic!("{error}\n{}", host.log()));
    host.wait_until_done(site);
    let now = Count::of(host, before.renewals + 1);
    let one = Count { renewals: 1, reloads: 1, reports: 1, failed_loads: 0 };
    assert_eq!(now.since(before), one, "{what}\n{}\n{}", host.log(), host.nginx.log_text());
    let report = host.portal.reports().pop().unwrap();
    assert_eq!(
        (report.id, report.remote_create_date),
        (host.sites[site].id, as_the_portal_wants(written)),
        "{what}"
    );
    assert_eq!(host.served(site), host.sites[site].pair.fingerprint, "{what}");
    now
}

/// Whatever was late has come.
fn nothing_more_comes(mut host: Host, before: Count) {
    let (status, code) = host.json(&["sync", "--json"]);
    assert_eq!(code, 0, "{status}");
    host.nginx.wait_idle();
    assert_eq!(Count::of(&host, before.renewals), before, "{}", host.log());
    host.stop_agent();
}

#[test]
fn every_writer_at_every_pace() {
    // A host for each: sites of one nginx share reloads.
    let rows = std::thread::scope(|scope| {
        let hosts = Writer::ALL.map(|writer| (writer, scope.spawn(move || play(writer))));
        hosts.map(|(writer, host)| (writer, host.join().unwrap_or_else(|_| panic!("{writer:?}: see above"))))
    });
    let mut table = vec![
        "| writer           | gaps                   | renewals | reloads | reports | failed loads \
         | two within a second | reloads | reports | failed loads |"
            .to_owned(),
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|".to_owned(),
    ];
    let quick: usize = rows.iter().map(|(_, (.., quick))| quick).sum();
    let pairs: usize = rows.iter().map(|(_, (_, double, _))| double.renewals / 2).sum();
    for (writer, (single, double, _)) in rows {
        table.push(format!(
            "| {:<16} | {} | {:>8} | {:>7} | {:>7} | {:>12} | {:>19} | {:>7} | {:>7} | {:>12} |",
            format!("{writer:?}"),
            "0, 20 ms, 200 ms, 2 s ",
            single.renewals,
            single.reloads,
            single.reports,
            single.failed_loads,
            double.renewals,
            double.reloads,
            double.reports,
            double.failed_loads,
        ));
    }
    table.push(format!("| {quick} of {pairs} twos were written within a second |"));
    println!("\n{}\n", table.join("\n"));
}

/// One writer's row: single renewals, renewals by twos, and how many of the twos took no longer than a second.
fn play(writer: Writer) -> (Count, Count, usize) {
    let mut host = host_of(&[writer]);
    let mut single = Count::of(&host, 0);
    for gap in GAPS {
        single = renew_and_check(&mut host, 0, gap, single);
    }
    let (mut all, mut quick) = (single, 0);
    for second in [Second::AtOnce(GAPS[0]), Second::AtOnce(GAPS[1]), Second::OnceLoaded, Second::OnceReported]
    {
        let (now, took) = renew_twice(&mut host, second, all);
        all = now;
        quick += usize::from(took < Duration::from_secs(1));
    }
    nothing_more_comes(host, all);
    (single, all.since(single), quick)
}

/// When the second of two renewals begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Second {
    /// When the first is written; both have gaps.
    AtOnce(Duration),
    /// When nginx has loaded the first; certhook has yet to see that.
    OnceLoaded,
    /// When the first is reported.
    OnceReported,
}

fn renew_twice(host: &mut Host, second: Second, before: Count) -> (Count, Duration) {
    let what = format!("{:?}, {second:?}", host.sites[0].writer);
    let loads = host.nginx.log().loads;
    let gap = if let Second::AtOnce(gap) = second { gap } else { Duration::ZERO };
    let begun = Instant::now();
    let first = host.renew(0, gap);
    match second {
        Second::AtOnce(_) => {}
        Second::OnceLoaded => host.wait_until("the first is loaded", || host.nginx.log().loads > loads),
        Second::OnceReported => host.wait_until_done(0),
    }
    let second_written = host.renew(0, gap);
    let took = begun.elapsed();
    host.wait_until_done(0);
    let now = Count::of(host, before.renewals + 2);
    let count = now.since(before);
    let log = || format!("{what}: {count:?}\n{}\n{}", host.log(), host.nginx.log_text());
    match second {
        // nginx may read the first while the second is half written: then it fails once, and the second's reload
        // makes it good. If it loads the first, that may be reported or not.
        Second::AtOnce(_) => {
            assert!(count.failed_loads <= 1 && (1..=2).contains(&(count.reloads)), "{}", log());
            assert!((1..=count.reloads - count.failed_loads).contains(&count.reports), "{}", log());
        }
        Second::OnceLoaded => {
            assert_eq!((count.reloads, count.failed_loads), (2, 0), "{}", log());
            assert!((1..=2).contains(&count.reports), "{}", log());
        }
        Second::OnceReported => {
            assert_eq!((count.reloads, count.reports, count.failed_loads), (2, 2, 0), "{}", log());
        }
    }
    let wanted = [first, second_written].map(as_the_portal_wants);
    let told = host.portal.reports().split_off(before.reports);
    let told: Vec<String> = told.into_iter().map(|report| report.remote_create_date).collect();
    assert_eq!(told, wanted[2 - count.reports..], "{}", log());
    assert_eq!(host.served(0), host.sites[0].pair.fingerprint, "{}", log());
    (now, took)
}
