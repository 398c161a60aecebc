//! Hundreds of `kill -9` at random instants: whatever goes with the process, nothing is lost for good.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use certhook_test_support::writers::Writer;
use fastrand::Rng;
use nix::sys::signal::Signal;

use crate::host::{Extra, Host};
use crate::machine::{say, setting, signal};
use crate::renewals::Renewals;

/// How many hosts at the same time: most of a round is waiting.
const HOSTS: u64 = 4;
/// The longest life of an agent: a renewal is served, recorded and reported well before.
const LIFE: Duration = Duration::from_millis(500);

/// What became of one host's renewals.
struct Tally {
    renewals: usize,
    reported: usize,
    again: usize,
    /// Reloads that met a neighbour in the middle of being written: an agent that has just begun does not know.
    refused: usize,
}

#[test]
fn killed_at_random_instants_nothing_is_lost() {
    let kills = setting("CERTHOOK_KILLS", 500);
    let seed = setting("CERTHOOK_SEED", SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into());
    say(&format!("kill -9: {kills} times, CERTHOOK_SEED={seed}"));
    let begun = Instant::now();
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let share = |host| kills / HOSTS + u64::from(host < kills % HOSTS);
        let one = |host| scope.spawn(move || one_host(share(host), Rng::with_seed(seed * HOSTS + host)));
        let hosts: Vec<_> = (0..HOSTS).map(one).collect();
        hosts.into_iter().map(|host| host.join().unwrap()).collect()
    });
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    say(&format!(
        "kill -9: {kills} in {} s, {} renewals: none lost; {} certificates reported; reports sent again because the \
         kill came between the portal's answer and the ledger's note of it: {}; reloads that nginx refused: {}",
        begun.elapsed().as_secs(),
        sum(|tally| tally.renewals),
        sum(|tally| tally.reported),
        sum(|tally| tally.again),
        sum(|tally| tally.refused),
    ));
}

fn one_host(kills: u64, mut random: Rng) -> Tally {
    let writers = [Writer::VendorClient, Writer::Certbot, Writer::Certwarden, Writer::Kubernetes];
    let extra = Extra {
        portal: "requests_per_week = 100000".into(),
        portal_allows: Some(100_000),
        ..Extra::unlimited()
    };
    let mut host = Host::with(&writers, extra);
    host.start_agent_and_settle();
    host.kill_agent();
    let mut renewals = Renewals::default();
    for _ in 0..kills {
        let (site, gap) = (random.usize(0..host.sites.len()), Duration::from_micros(random.u64(0..3000)));
        // Now and then the certificate was renewed while no agent ran.
        let while_down = random.u8(0..4) == 0;
        if while_down {
            renewals.renew(&mut host, site, gap);
        }
        host.start_agent();
        let pid = host.agent_pid();
        let life = LIFE.mul_f64(random.f64());
        let begins = LIFE.mul_f64(random.f64() / 5.0);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(life);
                signal(pid, Signal::SIGKILL);
            });
            if !while_down {
                std::thread::sleep(begins);
                renewals.renew(&mut host, site, gap);
            }
        });
        host.kill_agent();
    }
    host.start_agent();
    for site in 0..host.sites.len() {
        let fingerprint = &host.sites[site].pair.fingerprint;
        // Of a site that was never renewed nothing is to be reported.
        match renewals.has(fingerprint) {
            true => host.wait_until_done(site),
            false => host.wait_until_served(site),
        }
        assert_eq!(host.served(site), *fingerprint);
    }
    host.stop_agent();
    judge(&host, &renewals)
}

/// What the portal was told, against what was renewed and what the ledger noted.
fn judge(host: &Host, renewals: &Renewals) -> Tally {
    let (history, _) = host.json(&["history", "--json"]);
    let reported = history.as_array().unwrap().iter().filter(|entry| entry["event"] == "reported");
    let reported: Vec<&str> = reported.map(|entry| entry["fingerprint"].as_str().unwrap()).collect();
    let noted: BTreeSet<&str> = reported.iter().copied().collect();
    assert_eq!(noted.len(), reported.len(), "the end of a report is noted once: {history}");
    let journal = host.portal.journal();
    let mut again = 0;
    for (fingerprint, posts) in renewals.posts(&journal) {
        let ended = usize::from(noted.contains(fingerprint.as_str()));
        for post in &posts[..posts.len() - ended] {
            // Each process has a token of its own: to be killed was the next that happened to this one.
            let next = journal[post.number..].iter().find(|entry| entry.token == post.token);
            assert!(next.is_none(), "{post} was not noted, and its process went on: {next:?}");
        }
        again += posts.len() - 1;
    }
    let refused = host.nginx.log().emergencies.len();
    Tally { renewals: renewals.count(), reported: noted.len(), again, refused }
}
