//! What a proof needs of the machine beyond a user's rights, and saying so where it is not there.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::PATIENCE;

/// For people, past the harness, which keeps what passing tests print.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says that a proof is left out here, and why.
pub fn skip(proof: &str, why: &str) {
    say(&format!("LEFT OUT: {proof}: {why}"));
}

/// Says so if this is not root.
pub fn is_root_for(proof: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(proof, "only root may mount");
    }
    root
}

/// Says so if a program is not there.
pub fn has_for(proof: &str, program: &str) -> bool {
    let folders = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
    let there = folders.iter().any(|folder| Path::new(folder).join(program).exists());
    if !there {
        skip(proof, &format!("{program} is not installed"));
    }
    there
}

/// Runs a program to its end; its words where it fails.
pub fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// A number from the environment.
pub fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Waits for what has no host that could wait for it.
pub fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Sends a signal.
pub fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// Stops a process, and waits until every thread of it stands still.
pub fn freeze(pid: u32) {
    signal(pid, Signal::SIGSTOP);
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let state = |task: &Path| {
        let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next())
    };
    wait_until("every thread is stopped", || {
        let mut tasks = std::fs::read_dir(&tasks).unwrap().flatten();
        tasks.all(|task| matches!(state(&task.path()), Some('T' | 't')))
    });
}

/// A file system of a test's own; gone when dropped. Make it after the host below which it is mounted.
pub struct Mount {
    at: PathBuf,
    how: Vec<String>,
}

impl Mount {
    /// A tmpfs of so many kB.
    pub fn tmpfs(at: &Path, kilobytes: u32) -> Self {
        Self::with(at, &["-t", "tmpfs", "-o", &format!("size={kilobytes}k,mode=700"), "tmpfs"])
    }

    /// A new ext4 in a file, by a loop device.
    pub fn ext4(image: &Path, at: &Path) -> Self {
        File::create(image).unwrap().set_len(24 << 20).unwrap();
        let path = image.to_str().unwrap();
        run("mkfs.ext4", &["-q", "-E", "lazy_itable_init=0", path]).unwrap();
        Self::with(at, &["-o", "loop,errors=remount-ro", path])
    }

    fn with(at: &Path, how: &[&str]) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let mount = Self { at: at.to_owned(), how: how.iter().map(ToString::to_string).collect() };
        mount.mount();
        mount
    }

    fn mount(&self) {
        let mut words: Vec<&str> = self.how.iter().map(String::as_str).collect();
        words.push(self.at.to_str().unwrap());
        run("mount", &words).unwrap();
    }

    /// Another state of the same file system: `ro`, `rw`.
    pub fn remount(&self, option: &str) {
        run("mount", &["-o", &format!("remount,{option}"), self.at.to_str().unwrap()]).unwrap();
    }

    /// Has an ext4 find itself broken, whereupon it turns read-only.
    pub fn break_ext4(&self) -> Result<(), String> {
        let source = self.source();
        let trigger = Path::new("/sys/fs/ext4").join(source.file_name().unwrap()).join("trigger_fs_error");
        std::fs::write(&trigger, "1").map_err(|error| format!("{}: {error}", trigger.display()))
    }

    /// The device.
    fn source(&self) -> PathBuf {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mut words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let found = words.rfind(|words| Path::new(words[1]) == self.at);
        PathBuf::from(found.expect("it is mounted")[0])
    }

    /// Unmounts an image, when no process here uses it any more, and mounts it again.
    pub fn again(&self) {
        self.unmount();
        self.mount();
    }

    /// As [`Mount::again`], with a check of an ext4 in between.
    pub fn check_and_mount_again(&self) {
        // A file system that found itself broken takes nothing more.
        let _ = run("sync", &["-f", self.at.to_str().unwrap()]);
        self.unmount();
        // Its code tells that something was mended.
        let _ = run("fsck.ext4", &["-p", self.image()]);
        self.mount();
    }

    /// Also replaces the image by a copy. Another test's mount namespace may hold a copy of this mount: the
    /// old file system lives as long, and to mount its image would be to meet it again.
    fn unmount(&self) {
        wait_until("nobody uses it", || run("umount", &[self.at.to_str().unwrap()]).is_ok());
        let copy = format!("{}.copy", self.image());
        run("cp", &["--sparse=always", self.image(), &copy]).unwrap();
        std::fs::rename(copy, self.image()).unwrap();
    }

    fn image(&self) -> &str {
        self.how.last().expect("the file")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", self.at.to_str().unwrap()]);
    }
}
