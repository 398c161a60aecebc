//! A host of many sites: one real nginx whose server block finds certificates by the name that is asked for, and one
//! more block for the last site, which nginx loads only when it is told.

#[allow(dead_code, reason = "the simulator's own tests use the rest")]
#[path = "../support/tests/portal/client.rs"]
mod client;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use certhook_test_support::ca::{Authority, Order, Pair};
use certhook_test_support::nginx::{Nginx, NginxSite};
use certhook_test_support::portal::{Portal, Record};
use serde_json::Value;

use crate::figures::Cost;

const PATIENCE: Duration = Duration::from_secs(600);
/// Between two changes of the last site while its notice is awaited.
const AGAIN: Duration = Duration::from_millis(20);

pub struct Ground {
    ca: Authority,
    portal: Portal,
    nginx: Nginx,
    sites: usize,
    agent: Option<Child>,
    folder: tempfile::TempDir,
}

impl Ground {
    pub fn new(sites: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("certhook-bench-").tempdir().unwrap();
        let (root, ca) = (folder.path().join("ssl"), Authority::new());
        let portal = Portal::builder().requests_per_week(900_000).start().unwrap();
        for site in 0..sites {
            let installed = Some("2026-01-01T00:00:00".to_owned());
            let id = 100 + i64::try_from(site).unwrap();
            portal.add_certificate(Record { remote_create_date: installed, ..Record::new(id, name(site)) });
            fs::create_dir_all(root.join(name(site))).unwrap();
            write(&root.join(name(site)), &issue(&ca, site));
        }
        for path in [folder.path(), &root] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let block = |names: &str, folder: &str| {
            NginxSite::new(
                &[names],
                root.join(folder).join("fullchain.pem"),
                root.join(folder).join("privkey.pem"),
            )
        };
        let last = name(sites - 1);
        let nginx = Nginx::builder().site(block("_", "$ssl_server_name")).site(block(&last, &last)).start();
        let ground = Self { ca, portal, nginx, sites, agent: None, folder };
        ground.configure();
        ground
    }

    fn configure(&self) {
        let secret = self.path("client_secret");
        fs::write(&secret, self.portal.client_secret()).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let mut text = format!(
            "state_dir = {:?}\n[portal]\nendpoint = {1:?}\nlogin = {1:?}\ntenant_id = {2:?}\nclient_id = {3:?}\n\
             requests_per_week = 999999\n[limits]\nchanges_free = 0\nreports_per_day = 0\nshare = 0\n[server.nginx]\nkind = \"nginx\"\npid_file = {4:?}\n",
            self.path("state"),
            self.portal.endpoint(),
            self.portal.tenant(),
            self.portal.client_id(),
            self.nginx.pid_file(),
        );
        for site in 0..self.sites {
            let folder = self.folder(site);
            text += &format!(
                "[[site]]\ncertificate = {:?}\nkey = {:?}\nname = {:?}\nverify = [{:?}]\n",
                folder.join("fullchain.pem"),
                folder.join("privkey.pem"),
                name(site),
                self.nginx.endpoint(),
            );
        }
        fs::write(self.path("certhook.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn folder(&self, site: usize) -> PathBuf {
        self.path("ssl").join(name(site))
    }

    fn command(&self, words: &[&str]) -> Command {
        let program = std::env::var_os("CERTHOOK").unwrap_or_else(|| env!("CARGO_BIN_EXE_certhook").into());
        let mut command = Command::new(program);
        command.arg("--config").arg(self.path("certhook.toml")).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    pub fn start(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        self.agent = Some(self.command(&["run"]).stderr(log).spawn().unwrap());
    }

    pub fn pid(&self) -> u32 {
        self.agent.as_ref().expect("a running agent").id()
    }

    pub fn stop(&mut self) {
        let mut agent = self.agent.take().expect("a running agent");
        Command::new("kill").arg(agent.id().to_string()).status().unwrap();
        agent.wait().unwrap();
    }

    /// Has the ledger know every site, and the page cache every file.
    pub fn settle_once(&mut self) {
        self.start();
        self.wait_until_current();
        self.stop();
    }

    fn status(&self) -> Option<Value> {
        let mut stream = UnixStream::connect(self.path("state/control.sock")).ok()?;
        stream.write_all(b"\"status\"\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    fn wait(&self, what: &str, pause: Duration, mut reached: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !reached() {
            let log = || fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(Instant::now() < until, "not in time: {what}\n{}", log());
            std::thread::sleep(pause);
        }
    }

    pub fn wait_until_current(&self) {
        self.wait("every site current", Duration::from_millis(200), || {
            self.status().is_some_and(|status| {
                let sites = status["sites"].as_array().expect("sites");
                sites.len() == self.sites && sites.iter().all(|site| site["state"] == "current")
            })
        });
    }

    /// Until for so long less than a millisecond of each second goes to it: what was needed for work is given back
    /// then.
    pub fn wait_until_calm(&self) {
        const CALM: u32 = 30;
        let (mut last, mut calm) = (Cost::of(self.pid()), 0);
        self.wait("calm", Duration::from_secs(1), || {
            let now = Cost::of(self.pid());
            calm = if now.since(&last).0 < 1.0 { calm + 1 } else { 0 };
            last = now;
            calm >= CALM
        });
    }

    /// As the agent must at least: each folder watched, by one inotify; each file read.
    pub fn watch_and_read_all(&self) -> Duration {
        let begun = Instant::now();
        let mut watcher = notify::recommended_watcher(|_| ()).unwrap();
        for site in 0..self.sites {
            let folder = self.folder(site);
            notify::Watcher::watch(&mut watcher, &folder, notify::RecursiveMode::NonRecursive).unwrap();
            for file in ["fullchain.pem", "privkey.pem"] {
                std::hint::black_box(fs::read(folder.join(file)).unwrap());
            }
        }
        begun.elapsed()
    }

    fn renew(&self, site: usize) -> Pair {
        let pair = issue(&self.ca, site);
        write(&self.folder(site), &pair);
        pair
    }

    /// Some for the last site, issued while nothing is measured.
    pub fn pairs_of_last(&self) -> Vec<Pair> {
        (0..16).map(|_| issue(&self.ca, self.sites - 1)).collect()
    }

    /// Renews the last site again and again until nginx was told.
    pub fn renew_last_until_signalled(&self, pairs: &[Pair]) {
        let before = self.nginx.log().hups;
        let (mut count, mut next) = (0, Instant::now());
        while self.nginx.log().hups == before {
            if Instant::now() >= next {
                write(&self.folder(self.sites - 1), &pairs[count % pairs.len()]);
                count += 1;
                next = Instant::now() + AGAIN;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Renews the last site and waits until that is reported.
    pub fn renew_last(&self) {
        let reports = self.portal.requests_counted();
        self.renew(self.sites - 1);
        self.wait_until_reported_since(reports, 1);
    }

    /// Renews every site, and waits until all are served and none is reported.
    pub fn renew_all(&self) {
        let pairs: Vec<Pair> = (0..self.sites).map(|site| self.renew(site)).collect();
        self.wait("every site served", Duration::from_millis(200), || {
            self.status().is_some_and(|status| {
                let sites = status["sites"].as_array().expect("sites");
                sites.iter().zip(&pairs).all(|(site, pair)| {
                    site["state"] == "current" && site["served"]["fingerprint"] == *pair.fingerprint
                })
            })
        });
    }

    pub fn portal_away(&self, away: bool) {
        if away { self.portal.stop() } else { self.portal.restart() }
    }

    /// As an operator does after an outage.
    pub fn release_reports(&self) {
        self.command(&["sync", "--retry"]).status().unwrap();
    }

    pub fn wait_until_reported(&self, reports: usize) {
        self.wait_until_reported_since(0, reports);
    }

    fn wait_until_reported_since(&self, before: usize, reports: usize) {
        let pause = Duration::from_millis(5);
        self.wait("every report accepted", pause, || self.portal.requests_counted() >= before + reports);
    }

    pub fn status_times(&self) -> Vec<Duration> {
        let once = || {
            let begun = Instant::now();
            self.command(&["status"]).status().unwrap();
            begun.elapsed()
        };
        (0..5).map(|_| once()).collect()
    }

    /// MiB, with the write-ahead log.
    pub fn ledger_size(&self) -> f64 {
        let sizes = ["ledger.db", "ledger.db-wal"]
            .map(|file| fs::metadata(self.path("state").join(file)).map_or(0, |metadata| metadata.len()));
        sizes.iter().sum::<u64>() as f64 / f64::from(1 << 20)
    }

    /// Seconds for the same requests on one connection.
    pub fn floor_of_requests(&self, requests: usize) -> f64 {
        let token = self.portal.tokens_issued().pop().expect("a token was asked for");
        let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
        let mut client = client::Client::of(&self.portal);
        let begun = Instant::now();
        for site in 0..requests {
            let (id, name) = (100 + site, name(site % self.sites));
            let body = format!(r#"{{"id":{id},"name":"{name}","remoteCreateDate":"2026-11-01T00:00:00"}}"#);
            let answer = client.ask("POST", client::REPORT, &headers, &body).expect("an answer");
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        begun.elapsed().as_secs_f64()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

fn name(site: usize) -> String {
    format!("site{site}.bench.test")
}

fn issue(ca: &Authority, site: usize) -> Pair {
    ca.issue(Order { hosts: &[name(site).as_str()], ..Order::default() })
}

fn write(folder: &Path, pair: &Pair) {
    for (file, text) in [("privkey.pem", &pair.key_pem), ("fullchain.pem", &pair.fullchain_pem)] {
        let new = folder.join(format!(".{file}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, folder.join(file)).unwrap();
    }
}
