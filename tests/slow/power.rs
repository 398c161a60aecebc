//! The power goes: what certhook has acknowledged is there when it comes back.

use std::collections::BTreeSet;
use std::time::Duration;

use certhook_test_support::writers::Writer;
use fastrand::Rng;

use crate::host::{Extra, Host};
use crate::machine::{self, Mount, has_for, run, say, setting};
use crate::renewals::Renewals;

/// Nothing of the file system reaches the disk any more: FS_IOC_SHUTDOWN without flushing the journal. What
/// was written and not yet brought there is gone.
const CUT: &str = r#"open(my $d, "<", $ARGV[0]) or die "$ARGV[0]: $!"; my $flag = pack("L", 2); ioctl($d, 0x8004587d, $flag) or die "ioctl: $!";"#;

/// A file that is written just before the cut.
const UNSYNCED: &str = "unsynced";

/// The certificates that certhook has said of that they are recorded, or reported.
struct Acknowledged {
    recorded: BTreeSet<String>,
    reported: BTreeSet<String>,
}

impl Acknowledged {
    /// A line is written after the ledger has taken it.
    fn by_the_log(log: &str) -> Self {
        let with = |words: &str| {
            let lines = log.lines().filter(|line| line.contains(words));
            lines.map(|line| fingerprint(line).to_owned()).collect()
        };
        Self { recorded: with("INFO served and recorded "), reported: with("INFO reported ") }
    }

    fn in_the_history(host: &Host) -> Self {
        let (history, _) = host.json(&["history", "--json"]);
        let with = |events: &[&str]| {
            let entries = history.as_array().unwrap().iter();
            let entries = entries.filter(|entry| events.iter().any(|event| entry["event"] == *event));
            entries.map(|entry| entry["fingerprint"].as_str().unwrap().to_owned()).collect()
        };
        Self { recorded: with(&["adopted", "served"]), reported: with(&["reported"]) }
    }
}

/// The one word of a line that is as long as a fingerprint.
fn fingerprint(line: &str) -> &str {
    let mut words = line.split(|c: char| !c.is_ascii_hexdigit());
    words.find(|word| word.len() == 64).unwrap_or_else(|| panic!("no fingerprint: {line}"))
}

#[test]
fn after_a_power_cut_everything_acknowledged_is_there() {
    let proof = "power cut";
    if !machine::is_root_for(proof) || !has_for(proof, "perl") || !has_for(proof, "mkfs.ext4") {
        return;
    }
    let rounds = setting("CERTHOOK_POWER_CUTS", 20);
    let mut random = Rng::new();
    let extra = Extra {
        portal: "requests_per_week = 10000".into(),
        portal_allows: Some(10_000),
        ..Extra::unlimited()
    };
    let mut host = Host::with(&[Writer::Lego, Writer::Certbot, Writer::Kubernetes], extra);
    let state = host.state_dir();
    let disk = Mount::ext4(&host.path().join("disk.img"), &state);
    let mut renewals = Renewals::default();
    let (mut records, mut reports, mut again) = (0, 0, 0);
    host.start_agent_and_settle();
    for round in 0..rounds {
        let acknowledged = work_until_the_cut(&mut host, &mut renewals, &mut random);
        host.kill_agent();
        let posts = host.portal.journal().len();
        disk.again();
        assert_eq!(std::fs::read(state.join(UNSYNCED)).unwrap_or_default(), b"", "the cut was none");

        let there = Acknowledged::in_the_history(&host);
        let lost = |was: &BTreeSet<String>, is: &BTreeSet<String>| was.difference(is).count();
        let lost =
            (lost(&acknowledged.recorded, &there.recorded), lost(&acknowledged.reported, &there.reported));
        assert_eq!(lost, (0, 0), "round {round}: records and reports that were acknowledged and are gone");
        records = acknowledged.recorded.len();
        reports = acknowledged.reported.len();

        host.start_agent();
        for site in 0..host.sites.len() {
            match renewals.has(&host.sites[site].pair.fingerprint) {
                true => host.wait_until_done(site),
                false => host.wait_until_served(site),
            }
            assert_eq!(host.served(site), host.sites[site].pair.fingerprint);
        }
        for (fingerprint, posts_of_it) in renewals.posts(&host.portal.journal()) {
            let sent_now = posts_of_it.iter().filter(|post| post.number > posts).count();
            assert!(sent_now <= 1, "{posts_of_it:?}");
            let known = acknowledged.reported.contains(&fingerprint);
            assert!(!known || sent_now == 0, "round {round}: reported again: {posts_of_it:?}");
            again += usize::from(sent_now == 1 && posts_of_it.len() > 1);
        }
    }
    host.stop_agent();
    assert!(records as u64 > rounds, "nothing was proved");
    say(&format!(
        "power cut: {rounds} cuts; {records} of {records} acknowledged records and {reports} of {reports} \
         acknowledged reports are there after them; reports sent again because the cut came between the portal's \
         answer and the ledger's note of it: {again}"
    ));
}

/// Some renewals, and the cut at any moment of the last; what the agent had acknowledged by then.
fn work_until_the_cut(host: &mut Host, renewals: &mut Renewals, random: &mut Rng) -> Acknowledged {
    for _ in 0..random.usize(1..5) {
        let site = random.usize(0..host.sites.len());
        renewals.renew(host, site, Duration::ZERO);
        host.wait_until_served(site);
    }
    renewals.renew(host, random.usize(0..host.sites.len()), Duration::ZERO);
    std::thread::sleep(Duration::from_micros(random.u64(0..400_000)));
    machine::freeze(host.agent_pid());
    let state = host.state_dir();
    std::fs::write(state.join(UNSYNCED), "what nobody brought to the disk").unwrap();
    run("perl", &["-e", CUT, state.to_str().unwrap()]).unwrap();
    Acknowledged::by_the_log(&host.log())
}
