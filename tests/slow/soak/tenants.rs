//! Renewals of honest sites while tenants play their tricks at random. At the end nothing hung, nothing false was
//! recorded or reported, nothing of the tenants' was executed or signalled, and each neighbour's renewal was served and
//! reported. `make soak` plays for minutes, `make test` for a few rounds of each trick.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use certhook_test_support::ca::{Order, self_signed};
use certhook_test_support::portal::What;
use certhook_test_support::writers::Writer;
use fastrand::Rng;

use crate::attacks::hung::Hanging;
use crate::attacks::tenant::{Fake, TENANT, Tenant, Thing, alone, empty, run_as_service, start_as_packaged};
use crate::host::{Extra, Host};
use crate::machine::{has_for, setting};
use crate::renewals::Renewals;

/// Slack for the neighbours, which are renewed all the time; a flood is held back.
const LIMITS: &str = "[limits]\nchanges_free = 1000\nreports_per_day = 1000\nshare = \"0\"\n";
/// The tenant's site, the one on a mount that hangs, and the first neighbour.
const TENANTS: usize = 0;
const HANGS: usize = 1;
const NEIGHBOUR: usize = 2;
/// How often each trick is played where no minutes are given.
const ROUNDS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trick {
    /// A pipe in the certificate's place.
    Pipe,
    /// The certificate is a link that leads to a file of root's, to a device, and back, in turns.
    Links,
    /// Self-made certificates, one after the other.
    Flood,
    /// The mount hangs.
    Hang,
    /// Processes that call themselves nginx.
    Fakes,
}

impl Trick {
    /// Whether it keeps nginx from loading anything while it lasts: nginx then reads the tenant's files.
    fn blocks(self, staged: bool) -> bool {
        !staged && !matches!(self, Self::Fakes)
    }
}

struct Soak {
    host: Host,
    staged: bool,
    tenant: Tenant,
    mount: Option<Hanging>,
    /// A file that only root may read.
    secret: PathBuf,
    /// By what was played then: how long each renewal took until it was served and reported.
    took: BTreeMap<Option<Trick>, Vec<Duration>>,
    executed: Vec<String>,
    signalled: Vec<String>,
    renewals: Renewals,
    /// The fingerprints of all sets that the tenant wrote.
    made: BTreeSet<String>,
}

impl Soak {
    fn new(staged: bool) -> Self {
        let portal = "requests_per_week = 100000".into();
        // A mount by FUSE gives no events.
        let watch = "poll = \"200ms\"".into();
        let extra = Extra { portal, watch, portal_allows: Some(100_000), ..Extra::default() };
        let writers = [Writer::AcmeSh, Writer::AcmeSh, Writer::Certbot, Writer::ReplacedFolder];
        let mut host = match staged {
            true => crate::staged::staged_with(&writers, extra),
            false => {
                let mut host = Host::with(&writers, Extra { server: "discover = true".into(), ..extra });
                host.start_agent_and_settle();
                host
            }
        };
        host.stop_agent();
        host.set_log_level("warn");
        start_as_packaged(&mut host);
        let text = fs::read_to_string(host.config_path()).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("pid_file"));
        let text = lines.map(|line| format!("{line}\n")).collect::<String>();
        fs::write(host.config_path(), text.replace("[watch]", &format!("{LIMITS}[watch]"))).unwrap();
        if host.certhook(&["check", "--config-only"]).status.code() == Some(2) {
            fs::write(host.config_path(), text).unwrap();
        }
        let behind = host.path().join("behind");
        let mount = staged.then(|| Hanging::mount(&host.path().join("ssl").join(HANGS.to_string()), &behind));
        let secret = host.path().join("secret");
        fs::write(&secret, "of root's\n").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let programs = host.path().join("programs");
        fs::create_dir(&programs).unwrap();
        empty(programs.to_str().unwrap());
        let tenant = Tenant::new(&host);
        run_as_service(&mut host);
        host.start_agent_and_settle();
        let made = BTreeSet::from([host.sites[TENANTS].pair.fingerprint.clone()]);
        let (took, executed, signalled, renewals) = Default::default();
        Self { host, staged, tenant, mount, secret, took, executed, signalled, renewals, made }
    }

    fn certificate(&self) -> PathBuf {
        self.host.sites[TENANTS].layout.certificate.clone()
    }

    /// Renews a neighbour, and waits until it is served and reported.
    fn renew(&mut self, site: usize, during: Option<Trick>) {
        self.renewals.renew(&mut self.host, site, Duration::ZERO);
        self.wait(site, during, Instant::now());
    }

    fn wait(&mut self, site: usize, during: Option<Trick>, since: Instant) {
        let name = self.host.sites[site].name.clone();
        let wanted = self.host.sites[site].pair.fingerprint.clone();
        self.host.wait_for(&format!("{name} is served and reported, {during:?}"), |status| {
            let mut sites = status["sites"].as_array().into_iter().flatten();
            sites.any(|site| {
                site["name"] == *name
                    && site["served"]["fingerprint"] == *wanted
                    && site["report"]["state"] == "delivered"
            })
        });
        self.took.entry(during).or_default().push(since.elapsed());
    }

    /// Plays a trick while neighbours are renewed.
    fn play(&mut self, trick: Trick, random: &mut Rng) {
        let good = fs::read(self.certificate()).unwrap();
        let (path, secret) = (self.certificate(), self.secret.clone());
        let over = AtomicBool::new(false);
        let made = Mutex::new(Vec::new());
        let mut fakes = Vec::new();
        let mut renewed = BTreeSet::new();
        match trick {
            Trick::Pipe => Thing::Pipe.replace(&path),
            Trick::Hang => self.mount.as_ref().expect("a mount").hang(),
            Trick::Fakes => fakes = self.fakes(),
            Trick::Links | Trick::Flood => {}
        }
        let layout = self.host.sites[TENANTS].layout.clone();
        let name = self.host.sites[TENANTS].name.clone();
        std::thread::scope(|scope| {
            let (over, made) = (&over, &made);
            // However the renewals end, so does the trick.
            let _end = Ends(over);
            match trick {
                Trick::Links => drop(scope.spawn(|| swap_links(&path, &secret, over))),
                Trick::Flood => drop(scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let pair = self_signed(Order { hosts: &[name.as_str()], ..Order::default() });
                        made.lock().unwrap().push(pair.fingerprint.clone());
                        Writer::AcmeSh.renew(&layout, &pair, Duration::ZERO);
                        std::thread::sleep(Duration::from_millis(100));
                    }
                })),
                _ => {}
            }
            for _ in 0..random.usize(1..4) {
                let site = random.usize(NEIGHBOUR..self.host.sites.len());
                if trick.blocks(self.staged) {
                    // It is served when the trick is over.
                    self.renewals.renew(&mut self.host, site, Duration::ZERO);
                    renewed.insert(site);
                    std::thread::sleep(Duration::from_millis(random.u64(0..300)));
                } else {
                    self.renew(site, Some(trick));
                }
            }
        });
        self.made.extend(made.into_inner().unwrap());
        let path = self.certificate();
        match trick {
            Trick::Pipe | Trick::Links => Thing::Pipe.put_back(&path, &good),
            Trick::Flood => {
                self.host.renew(TENANTS, Duration::ZERO);
                self.made.insert(self.host.sites[TENANTS].pair.fingerprint.clone());
            }
            Trick::Hang => self.mount.as_ref().expect("a mount").go_on(),
            Trick::Fakes => {}
        }
        let since = Instant::now();
        for site in renewed {
            self.wait(site, Some(trick), since);
        }
        for mut fake in fakes {
            self.signalled.extend(fake.signals());
        }
        self.executed.extend(self.tenant.executed());
    }

    fn fakes(&self) -> Vec<Fake> {
        let title = format!("nginx: master process {}/prog", self.tenant.home.display());
        let conf = self.host.nginx.config_path();
        vec![
            self.tenant.fake(&title),
            self.tenant.fake(&format!("{title} -c {}", conf.display())),
            self.tenant.fake_of_setuid_program(&self.host.path().join("programs"), &title),
        ]
    }

    fn judge(mut self) {
        // Everything is well again, the tenant's site too, and nginx's master lives.
        self.renew(HANGS, None);
        let before = self.host.nginx.log().hups;
        self.renew(NEIGHBOUR, None);
        assert!(self.host.nginx.log().hups > before);
        self.host.nginx.wait_idle();
        for site in NEIGHBOUR..self.host.sites.len() {
            assert_eq!(self.host.served(site), self.host.sites[site].pair.fingerprint);
        }
        self.told_is_true();
        assert_eq!((&self.executed[..], &self.signalled[..]), (&[][..], &[][..]), "executed, signalled");
        let secret = fs::metadata(&self.secret).unwrap();
        assert_eq!((secret.uid(), secret.len()), (0, 10), "the file of root's is as it was");
        self.print();
        self.host.stop_agent();
    }

    /// What was reported of the others was renewed, and what was recorded of the tenant's site was a whole set of its.
    fn told_is_true(&self) {
        let mut journal = self.host.portal.journal();
        journal
            .retain(|entry| entry.what != What::Report || entry.json()["id"] != self.host.sites[TENANTS].id);
        let told = self.renewals.posts(&journal);
        let renewed = self.renewals.count();
        assert!(told.len() <= renewed, "{} certificates reported, {renewed} renewed", told.len());
        let (history, _) = self.host.json(&["history", "--site", &self.host.sites[TENANTS].name, "--json"]);
        for entry in history.as_array().unwrap() {
            if let Some(fingerprint) = entry["fingerprint"].as_str() {
                assert!(self.made.contains(fingerprint), "never written whole: {entry}");
            }
        }
    }

    fn print(&self) {
        let kind = if self.staged { "with stage" } else { "without stage" };
        println!("| neighbours' renewals, {kind} | count | median ms | max ms |");
        println!("|---|---|---|---|");
        for (trick, took) in &self.took {
            let mut took = took.clone();
            took.sort();
            let name = trick.map_or("no trick".to_owned(), |trick| format!("{trick:?}"));
            let (median, most) = (took[took.len() / 2].as_millis(), took.last().unwrap().as_millis());
            println!("| {name} | {} | {median} | {most} |", took.len());
        }
        println!("| hung 0, false 0, executed 0, signalled 0 | | | |");
    }
}

/// Ends a trick that a thread plays.
struct Ends<'o>(&'o AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn swap_links(path: &Path, secret: &Path, over: &AtomicBool) {
    let targets = [secret, Path::new("/dev/null"), Path::new("/etc/passwd"), Path::new("/nonexistent")];
    let new = path.with_extension("link");
    for target in targets.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            return;
        }
        symlink(target, &new).unwrap();
        std::os::unix::fs::lchown(&new, Some(TENANT), Some(TENANT)).unwrap();
        fs::rename(&new, path).unwrap();
        std::thread::sleep(Duration::from_millis(3));
    }
}

fn play(staged: bool) {
    let minutes = setting("CERTHOOK_SOAK_MINUTES", 0);
    let tricks: &[Trick] = match staged {
        true => &[Trick::Pipe, Trick::Links, Trick::Flood, Trick::Hang, Trick::Fakes],
        // By itself nginx would open the files on a mount that hangs.
        false => &[Trick::Pipe, Trick::Links, Trick::Flood, Trick::Fakes],
    };
    let (mut soak, mut random) = (Soak::new(staged), Rng::new());
    let begun = Instant::now();
    let mut left: Vec<Trick> = tricks.iter().copied().cycle().take(ROUNDS * tricks.len()).collect();
    random.shuffle(&mut left);
    while begun.elapsed() < Duration::from_secs(60 * minutes) || !left.is_empty() {
        let trick = left.pop().unwrap_or_else(|| tricks[random.usize(..tricks.len())]);
        let neighbour = random.usize(NEIGHBOUR..soak.host.sites.len());
        soak.renew(neighbour, None);
        soak.play(trick, &mut random);
    }
    soak.judge();
}

#[test]
fn with_stage_tenants_stop_no_neighbour() {
    if has_for("tenants' tricks", "bindfs") {
        alone(concat!(module_path!(), "::with_stage_tenants_stop_no_neighbour"), || play(true));
    }
}

#[test]
fn without_stage_tenants_stop_no_neighbour() {
    alone(concat!(module_path!(), "::without_stage_tenants_stop_no_neighbour"), || play(false));
}
