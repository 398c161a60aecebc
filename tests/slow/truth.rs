//! Each report to the portal is true: three sites are renewed at once, again and again, while their files are touched,
//! another program reloads, a worker is stopped, and the machine is busy.

use std::process::{Child, Command};
use std::time::Duration;

use certhook_test_support::portal::What;
use certhook_test_support::writers::Writer;
use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::{Extra, Host};
use crate::machine::{say, setting};
use crate::renewals::Renewals;

/// Handshakes after each report.
const HANDSHAKES: usize = 12;

/// Four loops that compete for the processors.
struct Busy(Vec<Child>);

impl Busy {
    fn start() -> Self {
        let one = |_| Command::new("/bin/sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        Self((0..4).map(one).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Stops a worker; the thread lets it go on after 600 ms.
fn stop_one(host: &Host, random: &mut Rng) -> Option<std::thread::JoinHandle<()>> {
    let workers = host.nginx.workers();
    let worker = Pid::from_raw(*workers.get(random.usize(0..workers.len().max(1)))?);
    // It may have ended.
    kill(worker, Signal::SIGSTOP).ok()?;
    Some(std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(600));
        let _ = kill(worker, Signal::SIGCONT);
    }))
}

#[test]
fn after_each_report_every_handshake_shows_the_new_leaf() {
    let wanted = usize::try_from(setting("CERTHOOK_TRUTH_REPORTS", 45)).unwrap();
    let extra = Extra {
        portal: "requests_per_week = 100000".into(),
        portal_allows: Some(100_000),
        ..Extra::unlimited()
    };
    let mut host = Host::with(&[Writer::Lego, Writer::Certbot, Writer::AcmeSh], extra);
    host.start_agent_and_settle();
    let _busy = Busy::start();
    let (mut random, mut renewals) = (Rng::new(), Renewals::default());
    let (mut reports, mut lies, mut stopped) = (0, Vec::new(), Vec::new());
    while reports < wanted {
        let before = host.portal.journal().len();
        for site in 0..3 {
            renewals.renew(&mut host, site, Duration::from_millis(random.u64(0..20)));
            std::thread::sleep(Duration::from_millis(random.u64(0..60)));
        }
        let is_reported = |host: &Host, site: usize| {
            let journal = host.portal.journal();
            let mut posts = journal[before..].iter().filter(|entry| entry.what == What::Report);
            posts.any(|entry| entry.status == Some(200) && entry.json()["id"] == host.sites[site].id)
        };
        let mut open: Vec<usize> = (0..3).collect();
        let mut disturbances = random.usize(0..4);
        host.wait_until("three reports", || {
            if disturbances > 0 {
                disturbances -= 1;
                let layout = &host.sites[random.usize(0..3)].layout;
                match random.u8(0..4) {
                    // As a chmod or a second copy: nothing changes but the time.
                    0 => drop(Command::new("chmod").arg("g+r").arg(&layout.certificate).status()),
                    1 => drop(Command::new("chmod").arg("600").arg(&layout.key).status()),
                    2 => host.nginx.hup(),
                    _ => stopped.extend(stop_one(&host, &mut random)),
                }
            }
            for site in open.clone().into_iter().filter(|site| is_reported(&host, *site)) {
                open.retain(|other| *other != site);
                reports += 1;
                let expected = &host.sites[site].pair.fingerprint;
                let shown: Vec<String> = (0..HANDSHAKES).map(|_| host.served(site)).collect();
                let old = shown.iter().filter(|leaf| *leaf != expected).count();
                if old > 0 {
                    lies.push(format!("report {reports}: {old} of {HANDSHAKES} handshakes of site {site}"));
                }
            }
            open.is_empty()
        });
    }
    for thread in stopped {
        thread.join().unwrap();
    }
    host.stop_agent();
    assert_eq!(lies, [] as [String; 0], "of {reports} reports");
    say(&format!("truth: {reports} reports, {HANDSHAKES} handshakes after each: no old leaf"));
}

/// The exit code of `verify`, and the code of the site's problem.
fn verify(host: &Host) -> (i32, String) {
    let (verdicts, code) = host.json(&["verify", "--json"]);
    (code, verdicts[0]["problem"]["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn verify_is_not_green_while_an_old_worker_accepts() {
    let mut host = Host::unlimited(&[Writer::Lego]);
    host.start_agent_and_settle();
    assert_eq!(verify(&host), (0, String::new()));
    let old = Pid::from_raw(host.nginx.workers()[0]);
    kill(old, Signal::SIGSTOP).unwrap();
    host.renew(0, Duration::ZERO);
    let renewed = host.sites[0].pair.fingerprint.clone();
    host.wait_until("it is served", || host.served(0) == renewed);
    let state = |host: &Host| host.agent_status().map(|status| status["sites"][0]["state"].clone());
    host.wait_until("it is being proved", || state(&host).is_some_and(|state| state == "verifying"));
    assert_eq!(verify(&host), (1, "old_worker_accepts".to_owned()));
    // Where the file's time says nothing of when it came, the agent knows.
    let certificate = host.sites[0].layout.certificate.display().to_string();
    let touched = Command::new("touch").args(["-d", "1 hour ago", &certificate]).status().unwrap();
    assert!(touched.success());
    assert_eq!(verify(&host), (1, "proof_pending".to_owned()));
    assert!(Command::new("touch").arg(&certificate).status().unwrap().success());
    host.kill_agent();
    // Without an agent the workers themselves show it, and once it drains their titles alone.
    host.wait_until("the old worker ends", || {
        let _ = kill(old, Signal::SIGCONT);
        !host.nginx.workers().contains(&old.as_raw())
    });
    host.wait_until("verify is green", || verify(&host) == (0, String::new()));
}

#[test]
fn verify_without_an_agent_sees_an_old_worker() {
    let mut host = Host::unlimited(&[Writer::Lego]);
    let old = Pid::from_raw(host.nginx.workers()[0]);
    kill(old, Signal::SIGSTOP).unwrap();
    // More than the clocks of processes and files differ.
    std::thread::sleep(Duration::from_millis(100));
    host.renew(0, Duration::ZERO);
    host.nginx.hup();
    let renewed = host.sites[0].pair.fingerprint.clone();
    host.wait_until("it is served", || host.served(0) == renewed);
    assert_eq!(verify(&host), (1, "old_worker_accepts".to_owned()));
    kill(old, Signal::SIGCONT).unwrap();
    host.wait_until("verify is green", || verify(&host) == (0, String::new()));
}
