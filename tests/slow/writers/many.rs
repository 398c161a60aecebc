//! Hundreds of renewals by writers at random: one at a time, and in each other's way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use certhook_test_support::wire;
use certhook_test_support::writers::Writer;
use serde_json::Value;

use super::{Count, host_of, nothing_more_comes, renew_and_check};
use crate::host::{Host, PATIENCE, as_the_portal_wants};

/// As many renewals as the two runs of random ones have: 300, or `CERTHOOK_TEST_MANY`.
fn many() -> usize {
    std::env::var("CERTHOOK_TEST_MANY").map_or(300, |many| many.parse().expect("a number"))
}

/// Mostly up to 50 ms, one in ten up to half a second.
fn any_gap(chance: &mut fastrand::Rng) -> Duration {
    let most = if chance.u8(..10) == 0 { 500 } else { 50 };
    Duration::from_millis(chance.u64(..=most))
}

fn seed() -> u64 {
    let given = std::env::var("CERTHOOK_TEST_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..1_000_000), |seed| seed.parse().expect("a number"));
    println!("| CERTHOOK_TEST_SEED={seed} |");
    seed
}

/// One at a time on each of eight hosts: nothing half-written is ever in nginx's way.
#[test]
fn many_renewals_one_at_a_time() {
    const HOSTS: usize = 8;
    let many = many() / HOSTS * HOSTS;
    let seed = seed();
    let counts = std::thread::scope(|scope| {
        let hosts: Vec<_> =
            (0..HOSTS).map(|host| scope.spawn(move || play_at_random(seed, host, many / HOSTS))).collect();
        hosts.into_iter().map(|host| host.join().expect("see above")).collect::<Vec<_>>()
    });
    let sum = counts.into_iter().fold(Count::default(), Count::plus);
    println!(
        "\n| renewals, one at a time on each of {HOSTS} hosts       | {:>5} |\n|---|--:|\n\
         | served and reported with the right time          | {:>5} |\n\
         | reloads                                          | {:>5} |\n\
         | failed loads                                     | {:>5} |\n",
        sum.renewals, sum.reports, sum.reloads, sum.failed_loads,
    );
    assert_eq!(sum, Count { renewals: many, reloads: many, reports: many, failed_loads: 0 });
}

fn play_at_random(seed: u64, number: usize, renewals: usize) -> Count {
    let mut chance = fastrand::Rng::with_seed(seed + number as u64);
    // Half of the writers each; the portal's ids and the ports are the host's own.
    let writers: Vec<Writer> = Writer::ALL.into_iter().skip(number % 2).step_by(2).collect();
    let mut host = host_of(&writers);
    let begun = Count::of(&host, 0);
    let mut count = begun;
    for _ in 0..renewals {
        let (site, gap) = (chance.usize(..writers.len()), any_gap(&mut chance));
        count = renew_and_check(&mut host, site, gap, count);
    }
    nothing_more_comes(host, count);
    count.since(begun)
}

/// What a host's status says, asked by one for all who wait.
struct Watch<'a> {
    host: &'a Host,
    last: Mutex<Option<Value>>,
    news: Condvar,
}

impl Watch<'_> {
    fn look(&self) {
        *self.last.lock().unwrap() = self.host.agent_status();
        self.news.notify_all();
    }

    /// Whether it came to that before patience ended.
    fn wait(&self, mut wanted: impl FnMut(&Value) -> bool) -> bool {
        let until = Instant::now() + PATIENCE;
        let mut last = self.last.lock().unwrap();
        loop {
            if last.as_ref().is_some_and(&mut wanted) {
                return true;
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
            last = self.news.wait_timeout(last, left).unwrap().0;
        }
    }
}

fn done(status: &Value, site: usize, fingerprint: &str) -> bool {
    let told = &status["sites"][site];
    told["state"] == "current"
        && told["served"]["fingerprint"] == *fingerprint
        && told["report"]["state"] == "delivered"
}

/// A certificate of the run.
struct Issued {
    site: usize,
    fingerprint: String,
    written: SystemTime,
    /// How long from the last step until it was served and reported, where nothing else was written to its
    /// site before that.
    awaited: Option<Duration>,
}

/// Many at a time on one host: a reload may catch a neighbour in the middle, fails, and is made good.
#[test]
fn many_renewals_in_each_others_way() {
    const SITES: usize = 32;
    const HANDS: usize = 16;
    let many = many();
    let seed = seed();
    let writers: Vec<Writer> = Writer::ALL.into_iter().cycle().take(SITES).collect();
    let host = host_of(&writers);
    let before = Count::of(&host, 0);
    let watch = Watch { host: &host, last: Mutex::default(), news: Condvar::new() };
    let over = AtomicBool::new(false);
    let mut issued = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                watch.look();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let work = |hand: usize| {
            let sites: Vec<usize> = (0..SITES).filter(|site| site % HANDS == hand).collect();
            let share = many / HANDS + usize::from(hand < many % HANDS);
            keep_renewing(&watch, &sites, share, fastrand::Rng::with_seed(seed + hand as u64))
        };
        let hands: Vec<_> = (0..HANDS).map(|hand| scope.spawn(move || work(hand))).collect();
        let results: Vec<_> = hands.into_iter().map(|hand| hand.join()).collect();
        over.store(true, Ordering::Relaxed);
        issued.extend(results.into_iter().flat_map(|certificates| certificates.expect("see above")));
    });
    let (status, code) = host.json(&["sync", "--json"]);
    assert_eq!(code, 0, "{status}");
    host.nginx.wait_idle();
    let count = Count::of(&host, issued.len()).since(before);
    // What became of each certificate.
    let (history, _) = host.json(&["history", "--json"]);
    let history = history.as_array().expect("an array");
    let of = |event: &str| {
        let entries = history.iter().filter(|entry| entry["event"] == event);
        entries.fold(HashMap::<&str, Vec<&Value>>::new(), |mut known, entry| {
            known.entry(entry["fingerprint"].as_str().unwrap()).or_default().push(entry);
            known
        })
    };
    let (served, reported) = (of("served"), of("reported"));
    let mut last = HashMap::new();
    let (mut served_count, mut waits) = (0, Vec::<Duration>::new());
    for certificate in &issued {
        let Issued { site, fingerprint, written, awaited } = certificate;
        last.insert(*site, certificate);
        served_count += usize::from(served.contains_key(fingerprint.as_str()));
        waits.extend(awaited);
        let reports = reported.get(fingerprint.as_str()).map_or(&[][..], Vec::as_slice);
        assert!(reports.len() <= 1, "reported twice: {reports:?}");
        assert!(awaited.is_none() || reports.len() == 1, "not reported: {fingerprint} of site {site}");
        for report in reports {
            assert_eq!(report["detail"], as_the_portal_wants(*written), "{report}");
        }
    }
    assert_eq!(reported.len(), count.reports, "the portal and the history differ");
    // Each waits for those that are being written, and so they share it: a tenth as many as renewals is usual.
    assert!(count.reloads < many / 3, "{count:?}");
    assert_eq!(last.len(), SITES);
    waits.sort_unstable();
    for (site, Issued { fingerprint, .. }) in last {
        assert!(done(&status, site, fingerprint), "{}", status["sites"][site]);
        let name = &host.sites[site].name;
        assert_eq!(wire::served(&host.nginx.endpoint(), name).unwrap().fingerprint, *fingerprint, "{name}");
    }
    println!(
        "\n| renewals on one host of {SITES} sites, {HANDS} at a time  | {:>5} |\n|---|--:|\n\
         | awaited: served and reported once                 | {:>5} |\n\
         | served                                            | {served_count:>5} |\n\
         | reported, each once, with the right time          | {:>5} |\n\
         | superseded before that                            | {:>5} |\n\
         | reloads                                           | {:>5} |\n\
         | failed loads, each made good                      | {:>5} |\n\
         | milliseconds from written to reported, median     | {:>5} |\n\
         | milliseconds from written to reported, longest    | {:>5} |\n",
        issued.len(),
        waits.len(),
        count.reports,
        issued.len() - count.reports,
        count.reloads,
        count.failed_loads,
        waits[waits.len() / 2].as_millis(),
        waits[waits.len() - 1].as_millis(),
    );
}

/// Renews its own sites, now waiting for the end, now not.
fn keep_renewing(
    watch: &Watch<'_>,
    sites: &[usize],
    renewals: usize,
    mut chance: fastrand::Rng,
) -> Vec<Issued> {
    let host = watch.host;
    let mut issued: Vec<Issued> = Vec::new();
    for left in (0..renewals).rev() {
        // The last round takes every site once, so that each has a last certificate that is awaited.
        let number = if left < sites.len() { sites[left] } else { sites[chance.usize(..sites.len())] };
        let pair = host.issue(number);
        let site = &host.sites[number];
        let gap = any_gap(&mut chance);
        let written = site.writer.renew(&site.layout, &pair, gap).leaf_file_mtime;
        let since = Instant::now();
        let mut awaited = None;
        if left < sites.len() || chance.bool() {
            let comes = watch.wait(|status| done(status, number, &pair.fingerprint));
            let log = || host.log().lines().rev().take(300).collect::<Vec<_>>().join("\n");
            assert!(comes, "not done: site {number}, {:?}\n{}", site.writer, log());
            awaited = Some(since.elapsed());
        }
        issued.push(Issued { site: number, fingerprint: pair.fingerprint, written, awaited });
    }
    issued
}
