//! Nothing of a private nginx outlives its test, however that ends.

#![allow(clippy::disallowed_methods, reason = "what it reads is its own")]

mod disk;

use std::path::Path;
use std::time::Duration;

use certhook_test_support::ca::{Authority, Order};
use certhook_test_support::nginx::{Nginx, RunMode};
use disk::{Disk, alive};

const WHILE: Duration = Duration::from_secs(15);

#[test]
fn nothing_outlives_it() {
    let (authority, disk) = (Authority::new(), Disk::new());
    disk.put("contoso.com", &authority.issue(Order::default()));
    for mode in [RunMode::Daemon, RunMode::Foreground, RunMode::ForegroundStderr] {
        let nginx = Nginx::builder().site(disk.site("contoso.com")).mode(mode).start();
        let (processes, folder) = (nginx.processes(), nginx.prefix().to_owned());
        assert_eq!(processes.len(), 3);
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _nginx = nginx;
            std::panic::resume_unwind(Box::new("a failing test"));
        }));
        assert!(unwound.is_err());
        assert!(processes.iter().all(|pid| !alive(*pid)) && !folder.exists(), "{mode:?}");

        let nginx = Nginx::builder().site(disk.site("contoso.com")).mode(mode).start();
        let (processes, folder) = (nginx.processes(), nginx.prefix().to_owned());
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(nginx.pid()), nix::sys::signal::Signal::SIGKILL)
            .expect("a master to kill");
        drop(nginx);
        assert!(processes.iter().all(|pid| !alive(*pid)) && !folder.exists(), "{mode:?}, master killed");
    }
}

/// The test runs itself as a child, which starts an nginx and is killed.
#[test]
fn nothing_outlives_a_killed_test() {
    use std::io::{BufRead as _, BufReader};
    const CHILD: &str = "CERTHOOK_TEST_KILLED_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let disk = Disk::new();
        disk.put("contoso.com", &Authority::new().issue(Order::default()));
        let nginx = Nginx::builder().site(disk.site("contoso.com")).start();
        // Loaded, so needed no more; and nobody will remove it later.
        drop(disk);
        println!("\n{} {:?}", nginx.prefix().display(), nginx.processes());
        // Until it is killed; should the parent fail first, until its end of the pipe is gone.
        let _ = std::io::stdin().read_line(&mut String::new());
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "nothing_outlives_a_killed_test", "--nocapture"])
        .env(CHILD, "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("a child");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with('/')).expect("its nginx");
    let (folder, pids) = line.split_once(' ').expect("a folder and process ids");
    let pids: Vec<i32> =
        pids.trim_matches(['[', ']']).split(", ").map(|pid| pid.parse().expect("a number")).collect();
    assert!(pids.len() == 3 && pids.iter().all(|pid| alive(*pid)));
    child.kill().expect("a child to kill");
    child.wait().expect("its end");
    wait_gone(&pids, Path::new(folder));
}

fn wait_gone(pids: &[i32], folder: &Path) {
    let start = std::time::Instant::now();
    while pids.iter().any(|pid| alive(*pid)) || folder.exists() {
        assert!(start.elapsed() < WHILE, "{pids:?} or {} are still there", folder.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}
