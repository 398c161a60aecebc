//! A booted Debian with a systemd of its own, by `packaging/box/boot.sh`. It is gone when it is dropped, or when
//! this process ends in any way.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

const BOOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/box/boot.sh");

/// For anything that must come to pass: so long that only a fault reaches it, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running box.
#[derive(Debug)]
pub struct Machine {
    /// Waits for the end of its standard input, and cleans up then.
    keeper: Child,
    leader: u32,
}

impl Machine {
    /// Boots a Debian of this suite: `bullseye`, `bookworm` or `trixie`. Only root may.
    ///
    /// # Panics
    /// It does not boot.
    pub fn boot(suite: &str) -> Self {
        let mut keeper = Command::new(BOOT)
            .args([suite, "--hold"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{BOOT}: {error}"));
        let mut line = String::new();
        let output = keeper.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("its first line");
        let leader = line.strip_prefix("leader ").and_then(|pid| pid.trim().parse().ok());
        let leader = leader.unwrap_or_else(|| panic!("{suite} does not boot: {line:?}; see above"));
        Self { keeper, leader }
    }

    /// Runs a line of shell in it, as root.
    pub fn run(&self, line: &str) -> Output {
        let leader = self.leader.to_string();
        Command::new("nsenter")
            .args(["--target", &leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"])
            .args(["--root", "--wd", "env", "-i", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"])
            .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["DEBIAN_FRONTEND=noninteractive", "SYSTEMD_COLORS=0", "sh", "-c", line])
            .stdin(Stdio::null())
            .output()
            .expect("nsenter, of util-linux")
    }

    /// The same for a line that must succeed: what it printed, without the last line's end.
    ///
    /// # Panics
    /// It fails.
    pub fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {}\n{said}\n{complained}", output.status);
        said
    }

    /// Whether a line of shell succeeds.
    pub fn is(&self, line: &str) -> bool {
        self.run(line).status.success()
    }

    /// Where a file of it is, seen from here. Links that begin with a slash lead astray.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.leader))
    }

    /// Puts a file of the host into it.
    pub fn copy_in(&self, from: &Path, inside: &str) {
        let to = self.path(inside);
        std::fs::copy(from, to).unwrap_or_else(|error| panic!("{} to {inside}: {error}", from.display()));
    }

    /// Writes a file, root's and with this mode, by a rename; its folders are made.
    pub fn write(&self, inside: &str, mode: u32, text: &str) {
        let path = self.path(inside);
        std::fs::create_dir_all(path.parent().expect("a folder")).unwrap();
        let new = self.path(&format!("{inside}.new"));
        std::fs::write(&new, text).unwrap_or_else(|error| panic!("{inside}: {error}"));
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// Reads a file.
    pub fn read(&self, inside: &str) -> String {
        std::fs::read_to_string(self.path(inside)).unwrap_or_else(|error| panic!("{inside}: {error}"))
    }

    /// Does some work with the box's network: what it listens on is reached from inside, and the other way round.
    /// Threads that the work starts are in it too.
    pub fn in_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.leader)).expect("its network");
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                // A thread of its own: it does not come back.
                setns(network, CloneFlags::CLONE_NEWNET).expect("only root may");
                work()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Asks again and again until something is so.
    ///
    /// # Panics
    /// It never is; the journal's end is shown.
    pub fn wait_until(&self, what: &str, mut reached: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !reached(self) {
            if Instant::now() > until {
                let journal =
                    self.run("journalctl --no-pager --lines=40; systemctl --no-pager status certhook");
                panic!("not in time: {what}\n{}", String::from_utf8_lossy(&journal.stdout));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The end of its input is the sign.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
