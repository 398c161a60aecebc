//! What thousands of sites have to tell at once takes few threads.

use std::fmt::Write as _;
use std::fs::File;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use certhook_test_support::ca::{Authority, Order};

use crate::host::PATIENCE;

const SITES: usize = 2000;
/// Fewer than the pool may have: looks, handshakes and notes have bounds of their own.
const MOST_THREADS: usize = 40;

/// Ends with its test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    fn threads(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).expect("a running agent");
        threads.trim().parse().unwrap()
    }
}

/// Each has a problem to note, all in the same moment.
#[test]
fn thousands_of_sites_of_an_nginx_that_does_not_run_take_few_threads() {
    let folder = tempfile::Builder::new().prefix("certhook-").tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let pair = Authority::new().issue(Order { hosts: &["s.test"], ..Order::default() });
    let mut text = format!(
        "state_dir = {:?}\n[server.nginx]\nkind = \"nginx\"\npid_file = {:?}\n",
        path("state"),
        path("none.pid")
    );
    for site in 0..SITES {
        let file = |end: &str| path(&format!("{site}.{end}"));
        std::fs::write(file("pem"), &pair.fullchain_pem).unwrap();
        std::fs::write(file("key"), &pair.key_pem).unwrap();
        write!(
            text,
            "[[site]]\ncertificate = {:?}\nkey = {:?}\nverify = [\"127.0.0.1:9\"]\n",
            file("pem"),
            file("key")
        )
        .unwrap();
    }
    std::fs::write(path("certhook.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_certhook"));
    command.arg("--config").arg(path("certhook.toml")).args(["--log-format", "json", "run"]);
    let agent = Agent(command.stderr(File::create(path("log")).unwrap()).spawn().unwrap());
    let (until, mut most) = (Instant::now() + 2 * PATIENCE, 0);
    loop {
        most = most.max(agent.threads());
        let log = std::fs::read_to_string(path("log")).unwrap();
        if log.matches("not_running").count() >= SITES {
            break;
        }
        assert!(Instant::now() < until, "not every site has told in time: {}", &log[..log.len().min(2000)]);
        std::thread::sleep(Duration::from_millis(5));
    }
    // What they told is being noted still.
    for _ in 0..50 {
        most = most.max(agent.threads());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(most <= MOST_THREADS, "{most} threads");
}
