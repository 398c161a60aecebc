//! `certhook verify` against OpenSSL's client, on real nginx: CERTHOOK_CONFIGURATIONS=150 of them, made by chance, of all
//! that nginx's own tests cover of TLS. What verify calls served is what the client sees, what it calls not served the
//! client does not see, and no certificate that the client sees is unknown to certhook.

#[path = "configurations/client.rs"]
mod client;
#[path = "configurations/http.rs"]
mod http;
#[path = "configurations/judge.rs"]
mod judge;
#[path = "configurations/made.rs"]
mod made;
#[path = "configurations/maker.rs"]
mod maker;
#[path = "configurations/others.rs"]
mod others;
#[path = "configurations/pool.rs"]
mod pool;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use certhook_test_support::nginx::Nginx;
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::machine::{say, setting, signal, wait_until};
use judge::Counts;
use made::{Made, THEMES};
use maker::Maker;
use pool::{Kind, Leaf, pool};

/// Configurations that one certhook is asked about.
const BATCH: u64 = 25;

/// One nginx with its configuration.
struct Ground {
    folder: TempDir,
    made: Made,
    master: Child,
}

impl Ground {
    /// Starts the configuration of a seed. A port may have been taken meanwhile: then others are tried.
    fn start(seed: u64) -> Self {
        let mut said = String::new();
        for _ in 0..5 {
            let folder = tempfile::Builder::new().prefix("certhook-configurations-").tempdir().unwrap();
            let made = Maker::make(seed, &format!("{}/", folder.path().display()));
            for (name, text) in &made.files {
                write(&folder.path().join(name), text);
            }
            match start(folder.path()) {
                Ok(master) => return Self { folder, made, master },
                Err(text) => said = format!("{text}\n{made}"),
            }
            assert!(said.contains("Address already in use"), "{said}");
        }
        panic!("no free ports: {said}");
    }

    fn name(&self) -> String {
        format!("n{}", self.made.seed)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        signal(self.master.id(), Signal::SIGTERM);
        let _ = self.master.wait();
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn binary() -> PathBuf {
    std::env::var_os("CERTHOOK_TEST_NGINX").map_or("/usr/sbin/nginx".into(), PathBuf::from)
}

/// Starts nginx, which ends with the thread that starts it; returns what nginx said where it does not run.
fn start(folder: &Path) -> Result<Child, String> {
    let stderr = folder.join("stderr");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(binary()).args(["-g", "daemon off;", "-p"]).arg(folder);
    command.arg("-e").arg(folder.join("error.log")).arg("-c").arg(folder.join("conf/nginx.conf"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&stderr).unwrap());
    let mut master = command.spawn().unwrap();
    let mut ended = false;
    wait_until("nginx starts", || {
        ended = master.try_wait().unwrap().is_some();
        // It is written when all sockets listen.
        ended || std::fs::read_to_string(folder.join("nginx.pid")).is_ok_and(|text| text.ends_with('\n'))
    });
    if ended { Err(std::fs::read_to_string(stderr).unwrap()) } else { Ok(master) }
}

/// certhook's word on some servers: what `verify` says, and what `discover` leaves out, by the server's name.
struct Word {
    verdicts: HashMap<String, Vec<Value>>,
    left_out: HashMap<String, Vec<String>>,
}

fn ask_certhook(grounds: &[Ground]) -> Word {
    let folder = tempfile::tempdir().unwrap();
    let mut config = format!("state_dir = {:?}\n", folder.path().join("state"));
    for ground in grounds {
        let pid_file = ground.folder.path().join("nginx.pid");
        let (name, binary) = (ground.name(), binary());
        writeln!(config, "[server.{name}]\nkind = \"nginx\"\ndiscover = true\nverify_timeout = \"25s\"")
            .unwrap();
        writeln!(config, "pid_file = {pid_file:?}\nbinary = {binary:?}").unwrap();
    }
    let path = folder.path().join("certhook.toml");
    write(&path, &config);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certhook"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("--config").arg(&path);
        let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (String::from_utf8(output.stdout).unwrap(), stderr)
    };
    let mut word = Word { verdicts: HashMap::new(), left_out: HashMap::new() };
    let (mut text, mut complaints) = run(&["verify", "--json"]);
    // Each listener answers; on a machine that is very busy it may do so too late.
    for _ in 0..3 {
        if text.contains("does not answer: no answer within") {
            (text, complaints) = run(&["verify", "--json"]);
        }
    }
    assert_eq!(complaints, "");
    for verdict in serde_json::from_str::<Vec<Value>>(&text).unwrap() {
        let name = verdict["server"].as_str().unwrap().to_owned();
        word.verdicts.entry(name).or_default().push(verdict);
    }
    let mut name = String::new();
    for line in run(&["discover"]).0.lines() {
        if let Some(rest) = line.strip_prefix("[server.") {
            name = rest.trim_end_matches(']').to_owned();
        } else if let Some(rest) = line.strip_prefix("# left out: ") {
            word.left_out.entry(name.clone()).or_default().push(rest.to_owned());
        }
    }
    word
}

/// Starts some configurations, renews a few of their certificates on disk, and compares.
fn run_batch(seeds: std::ops::Range<u64>) -> Counts {
    let grounds: Vec<Ground> = seeds.map(Ground::start).collect();
    for ground in &grounds {
        for (name, text) in &ground.made.renewed {
            write(&ground.folder.path().join(name), text);
        }
    }
    let word = ask_certhook(&grounds);
    let mut counts = Counts::default();
    for ground in &grounds {
        let name = ground.name();
        let verdicts = word.verdicts.get(&name).map_or(&[][..], Vec::as_slice);
        let left_out = word.left_out.get(&name).map_or(&[][..], Vec::as_slice);
        counts.judge(&ground.made, ground.folder.path(), verdicts, left_out);
    }
    counts
}

#[test]
fn verify_agrees_with_an_openssl_client_on_made_configurations() {
    assert!(Nginx::available());
    let wanted = setting("CERTHOOK_CONFIGURATIONS", 150);
    let first = setting("CERTHOOK_CONFIGURATIONS_FIRST", 0);
    let begun = std::time::Instant::now();
    let next = AtomicU64::new(first);
    let run = || {
        let mut counts = Counts::default();
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            if from >= first + wanted {
                return counts;
            }
            counts.add(run_batch(from..(from + BATCH).min(first + wanted)));
        }
    };
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(run)).collect();
        let mut all = Counts::default();
        for thread in threads {
            match thread.join() {
                Ok(counts) => all.add(counts),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    say(&format!("{counts}{wanted} configurations in {:?}", begun.elapsed()));
    let wrong = &counts.disagreements;
    let first: Vec<&str> = wrong.iter().take(12).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} disagreements, the first of them:\n{}", wrong.len(), first.join("\n\n"));
    // The corpus is about something.
    if wanted >= 150 {
        let wanted = usize::try_from(wanted).unwrap();
        let is_offered = |leaf: &&Leaf| !matches!(leaf.kind, Kind::Ed448 | Kind::MlDsa);
        assert!(
            pool().iter().filter(is_offered).all(|leaf| counts.kinds.contains_key(&leaf.kind)),
            "{counts}"
        );
        assert!(THEMES.iter().all(|theme| counts.themes[theme] >= wanted / 35), "{counts}");
        assert!(
            counts.served >= 4 * wanted && counts.stale >= wanted / 10 && counts.seen >= 2 * wanted,
            "{counts}"
        );
    }
}
