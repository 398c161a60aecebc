//! What newer nginx keeps over a reload (`ssl_object_cache_inheritable`, from 1.27.4): a loaded certificate or
//! key whose file has the same inode and the same whole second of writing. nginx's own doing, without certhook.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use certhook::config::Config;
use certhook::server::Server;
use certhook_test_support::ca::{Authority, Order, Pair};
use certhook_test_support::nginx::{Nginx, NginxSite};
use certhook_test_support::wire;
use certhook_test_support::writers::Writer;

use crate::host::Host;

const NAME: &str = "site0.test";
const WITH: &str = "CERTHOOK_TEST_NGINX";

/// Runs one test of this file with the newest nginx that Debian has; `true` in that run. Without one it says so.
fn with_new_nginx(test: &str) -> bool {
    if std::env::var_os(WITH).is_some() {
        return true;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/new-nginx.sh");
    let found = Command::new("sh").arg(script).output().unwrap();
    if !found.status.success() {
        println!("skipped: {test}: no newer nginx: {}", String::from_utf8_lossy(&found.stderr));
        return false;
    }
    let program = String::from_utf8(found.stdout).unwrap();
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", &format!("cache::{test}"), "--nocapture"]).env(WITH, program.trim());
    let output = again.output().unwrap();
    assert!(output.status.success(), "with {program}{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    false
}

/// The new nginx with one site, on its first certificate.
struct Web {
    ca: Authority,
    nginx: Nginx,
    certificate: PathBuf,
    key: PathBuf,
    _folder: tempfile::TempDir,
}

impl Web {
    fn new() -> Self {
        let (ca, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let first = ca.issue(Order { hosts: &[NAME], ..Order::default() });
        std::fs::write(&certificate, &first.fullchain_pem).unwrap();
        std::fs::write(&key, &first.key_pem).unwrap();
        let nginx = Nginx::builder().site(NginxSite::new(&[NAME], &certificate, &key)).start();
        let web = Self { ca, nginx, certificate, key, _folder: folder };
        assert!(web.serves(&first));
        web
    }

    fn issue(&self) -> Pair {
        self.ca.issue(Order { hosts: &[NAME], ..Order::default() })
    }

    /// Over the old content, as `cp` does: the inodes stay.
    fn write_in_place(&self, pair: &Pair) {
        std::fs::write(&self.key, &pair.key_pem).unwrap();
        std::fs::write(&self.certificate, &pair.fullchain_pem).unwrap();
    }

    /// And waits for what comes of it: two workers and none of before, or a refusal.
    fn reload(&self) {
        let (before, refused) = (self.nginx.workers(), self.nginx.log().emergencies.len());
        self.nginx.hup();
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let now = self.nginx.workers();
            let replaced = now.len() == before.len() && now.iter().all(|pid| !before.contains(pid));
            if replaced || self.nginx.log().emergencies.len() > refused {
                return;
            }
            assert!(Instant::now() < until, "nginx does not come to rest:\n{}", self.nginx.log_text());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn serves(&self, pair: &Pair) -> bool {
        wire::served(&self.nginx.endpoint(), NAME).unwrap().fingerprint == pair.fingerprint
    }

    /// The whole seconds in which key and certificate were written.
    fn seconds(&self) -> [u64; 2] {
        [&self.key, &self.certificate].map(|path| {
            let written = std::fs::metadata(path).unwrap().modified().unwrap();
            written.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
        })
    }

    /// Two renewals in place within one second, each with a reload.
    fn renew_twice_in_a_second(&self) -> [Pair; 2] {
        for _ in 0..20 {
            let pairs = [self.issue(), self.issue()];
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            // Write times come from a clock that ticks every few milliseconds.
            let to_the_next = Duration::from_nanos(1_020_000_000 - u64::from(now.subsec_nanos()));
            std::thread::sleep(to_the_next);
            self.write_in_place(&pairs[0]);
            let first = self.seconds();
            self.reload();
            assert!(self.serves(&pairs[0]), "a renewal a second after the last is served");
            self.write_in_place(&pairs[1]);
            self.reload();
            if self.seconds() == first && first[0] == first[1] {
                return pairs;
            }
        }
        panic!("this machine is too slow for two reloads in a second");
    }
}

fn touch(path: &Path, seconds: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

#[test]
fn the_second_of_two_writes_in_a_second_is_not_served_until_touched() {
    if !with_new_nginx("the_second_of_two_writes_in_a_second_is_not_served_until_touched") {
        return;
    }
    let web = Web::new();
    let [first, second] = web.renew_twice_in_a_second();
    assert!(web.serves(&first), "this nginx does not keep what it loaded");
    // However often it is reloaded.
    web.reload();
    assert!(web.serves(&first));
    // Fractions of a second do not count.
    let [key, certificate] = web.seconds();
    touch(&web.key, key);
    touch(&web.certificate, certificate);
    web.reload();
    assert!(web.serves(&first));
    touch(&web.key, key - 1);
    touch(&web.certificate, certificate - 1);
    web.reload();
    assert!(web.serves(&second));
    assert_eq!(web.nginx.log().emergencies, [] as [String; 0]);
}

#[test]
fn a_renewal_by_rename_is_served_at_once() {
    if !with_new_nginx("a_renewal_by_rename_is_served_at_once") {
        return;
    }
    let web = Web::new();
    web.renew_twice_in_a_second();
    let [key, certificate] = web.seconds();
    let third = web.issue();
    for (path, text, seconds) in
        [(&web.key, &third.key_pem, key), (&web.certificate, &third.fullchain_pem, certificate)]
    {
        let beside = path.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        touch(&beside, seconds);
        std::fs::rename(&beside, path).unwrap();
    }
    assert_eq!(web.seconds(), [key, certificate]);
    web.reload();
    assert!(web.serves(&third));
}

/// nginx takes a kept key and a new certificate, sees that they do not belong together, and reads both anew:
/// touching one of the two is enough.
#[test]
fn half_a_set_that_looks_unchanged_is_read_anew() {
    if !with_new_nginx("half_a_set_that_looks_unchanged_is_read_anew") {
        return;
    }
    let web = Web::new();
    for half in [&web.certificate, &web.key] {
        let [key, certificate] = web.seconds();
        let pair = web.issue();
        web.write_in_place(&pair);
        touch(&web.key, key);
        touch(&web.certificate, certificate);
        web.reload();
        assert!(!web.serves(&pair), "it looks unchanged");
        touch(half, key + 5);
        web.reload();
        assert!(web.serves(&pair), "{}", half.display());
    }
    assert_eq!(web.nginx.log().emergencies, [] as [String; 0]);
}

#[test]
fn certhook_knows_which_nginx_does_it() {
    if !with_new_nginx("certhook_knows_which_nginx_does_it") {
        return;
    }
    let web = Web::new();
    let text = format!(
        "[server.nginx]\npid_file = {:?}\nbinary = {:?}\n[[site]]\ncertificate = \"/c\"\nverify = [\"[::1]:1\"]\n",
        web.nginx.pid_file(),
        web.nginx.binary(),
    );
    let config = Config::parse(Path::new("certhook.toml"), &text).unwrap();
    assert!(Server::new(&config.servers[0]).keeps_unchanged());
}

/// Two renewals in place within one second, the first of them loaded in between: what nginx alone would never
/// serve.
#[test]
fn certhook_has_the_second_of_two_writes_in_a_second_served() {
    if !with_new_nginx("certhook_has_the_second_of_two_writes_in_a_second_served") {
        return;
    }
    let mut host = Host::unlimited(&[Writer::Lego]);
    host.start_agent_and_settle();
    let (mut seen, mut renewals) = (0, 0);
    for _ in 0..30 {
        let second = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        // From the beginning of a second, so that both have room in it.
        let now = second(SystemTime::now());
        host.wait_until("the next second", || second(SystemTime::now()) > now);
        let first = host.renew(0, Duration::ZERO);
        host.wait_until_served(0);
        let again = host.renew(0, Duration::ZERO);
        host.wait_until_served(0);
        assert_eq!(host.served(0), host.sites[0].pair.fingerprint);
        seen += usize::from(second(first) == second(again));
        renewals += 2;
        if seen == 3 {
            break;
        }
    }
    assert_eq!(seen, 3, "this machine is too slow for two renewals in a second");
    let (history, _) = host.json(&["history", "--json"]);
    let touched = history.as_array().unwrap().iter().filter(|entry| entry["event"] == "touched").count();
    // Once each at least; a file that was touched is a second ahead, so that what is written then meets its mark too.
    assert!(touched >= 3, "{touched}: {history}");
    let log = host.nginx.log();
    assert_eq!(log.emergencies, [] as [String; 0]);
    // It was known beforehand: none was reloaded in vain first.
    assert_eq!(log.hups, renewals);
    host.stop_agent();
}
