//! Some minutes of renewals while the portal, the disk and nginx fail at random: at the end everything is told,
//! and certhook has grown by nothing. Left out unless `CERTHOOK_SOAK_MINUTES` says how long: `make soak`.

#[path = "soak/tenants.rs"]
mod tenants;

use std::fs;
use std::time::{Duration, Instant};

use certhook_test_support::portal::{Action, Trouble, What};
use certhook_test_support::writers::Writer;
use fastrand::Rng;

use crate::host::{Extra, Host};
use crate::machine::{Mount, is_root_for, say, setting};
use crate::renewals::Renewals;

/// The pace at which something happens.
const STEP: Duration = Duration::from_millis(700);

/// What fails for now, and for how many steps more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Portal,
    PortalGone,
    Disk,
    NginxRefuses,
    NginxGone,
}

const FAULTS: [Fault; 5] =
    [Fault::Portal, Fault::PortalGone, Fault::Disk, Fault::NginxRefuses, Fault::NginxGone];

#[test]
fn soak() {
    let minutes = setting("CERTHOOK_SOAK_MINUTES", 0);
    if minutes == 0 || !is_root_for("soak") {
        return;
    }
    let extra = Extra {
        portal: "requests_per_week = 100000".into(),
        portal_allows: Some(100_000),
        ..Extra::unlimited()
    };
    let writers = [Writer::VendorClient, Writer::Certbot, Writer::Kubernetes, Writer::ReplacedFolder];
    let mut host = Host::with(&writers, extra);
    // The log is for people; a trace of that many minutes is not.
    host.set_log_level("warn");
    let disk = Mount::tmpfs(&host.state_dir(), 16 << 10);
    let mut renewals = Renewals::default();
    let mut random = Rng::new();
    host.start_agent_and_settle();
    say("minute  RSS kB  descriptors  renewals  reports  faults");
    let begun = Instant::now();
    let (mut first, mut last) = (None, (0, 0));
    let (mut fault, mut left, mut faults): (Option<Fault>, u32, u32) = (None, 0, 0);
    let mut minute = 0;
    while minute < minutes {
        if left == 0 {
            mend(&mut host, fault.take());
            left = random.u32(2..8);
            if random.bool() {
                let next = FAULTS[random.usize(..FAULTS.len())];
                cause(&mut host, next, &mut random);
                fault = Some(next);
                faults += 1;
            }
        }
        left -= 1;
        let step = Instant::now();
        let site = random.usize(0..host.sites.len());
        renewals.renew(&mut host, site, Duration::from_micros(random.u64(0..20_000)));
        if begun.elapsed() >= Duration::from_secs(60 * (minute + 1)) {
            // Measured at rest, and well.
            mend(&mut host, fault.take());
            wait_until_all_done(&host, &renewals);
            minute += 1;
            last = (resident(host.agent_pid()), descriptors(host.agent_pid()));
            first.get_or_insert(last);
            let reports = host.portal.reports().len();
            say(&format!(
                "{minute:6}  {:6}  {:11}  {:8}  {reports:7}  {faults:6}",
                last.0,
                last.1,
                renewals.count()
            ));
        }
        std::thread::sleep(STEP.saturating_sub(step.elapsed()));
    }
    let first = first.unwrap();
    let within = |what: &str, first: u64, last: u64| {
        assert!(last * 10 <= first * 11, "{what}: {first} after the first minute, {last} at the end");
    };
    within("RSS", first.0, last.0);
    within("descriptors", first.1, last.1);
    for site in 0..host.sites.len() {
        assert_eq!(host.served(site), host.sites[site].pair.fingerprint);
    }
    // Whatever was told was renewed.
    let journal = host.portal.journal();
    let told = renewals.posts(&journal);
    let again = told.values().map(|posts| posts.len() - 1).sum::<usize>();
    host.stop_agent();
    say(&format!(
        "soak: {minutes} minutes, {} renewals, {faults} faults, {} certificates reported, {again} reports sent again \
         where the answer or its note was lost",
        renewals.count(),
        told.len()
    ));
    drop(disk);
}

fn cause(host: &mut Host, fault: Fault, random: &mut Rng) {
    match fault {
        Fault::Portal => {
            let actions = [
                Action::status(500),
                Action::Html(502),
                Action::Garbage,
                Action::CutBefore,
                Action::CutMidBody,
            ];
            let action = actions[random.usize(..actions.len())].clone();
            let what = if random.bool() { What::Report } else { What::Token };
            host.portal.revoke_tokens();
            host.portal.trouble(Trouble::new(action).on(what).until_cleared());
        }
        Fault::PortalGone => host.portal.stop(),
        Fault::Disk => crate::disks::fill(&host.state_dir()),
        Fault::NginxRefuses => host.nginx.break_config(),
        Fault::NginxGone => host.nginx.stop(),
    }
}

fn mend(host: &mut Host, fault: Option<Fault>) {
    match fault {
        None => {}
        Some(Fault::Portal) => host.portal.clear_troubles(),
        Some(Fault::PortalGone) => host.portal.restart(),
        Some(Fault::Disk) => fs::remove_file(host.state_dir().join("filler")).unwrap(),
        Some(Fault::NginxRefuses) => host.nginx.mend_config(),
        Some(Fault::NginxGone) => host.nginx.start_again(),
    }
}

fn wait_until_all_done(host: &Host, renewals: &Renewals) {
    // Pauses have grown meanwhile; an operator would not wait for them either.
    host.certhook(&["sync", "--retry"]);
    for site in 0..host.sites.len() {
        match renewals.has(&host.sites[site].pair.fingerprint) {
            true => host.wait_until_done(site),
            false => host.wait_until_served(site),
        }
    }
}

/// kB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

fn descriptors(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64
}
