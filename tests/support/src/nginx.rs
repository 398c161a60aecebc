//! A private nginx for one test: real, on free loopback ports, in a folder of its own, gone when dropped.
//!
//! ```no_run
//! # use certhook_test_support::{nginx::{Nginx, NginxSite}, wire};
//! let nginx = Nginx::builder().site(NginxSite::new(&["contoso.com"], "/tmp/fullchain.pem", "/tmp/key.pem")).start();
//! let served = wire::served(&nginx.endpoint(), "contoso.com");
//! ```

mod config;
mod host;
mod lifecycle;
mod log;
mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

pub use config::{Builder, NginxSite, RunMode};
pub use host::free_port;
pub use log::LogSummary;

use process::{Guard, poll};

/// Starting, stopping and coming to rest take tens of milliseconds; this is for a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running nginx. Dropping it kills master and workers and removes its folder.
pub struct Nginx {
    config: Builder,
    master: Option<i32>,
    foreground: Option<(Child, Option<JoinHandle<()>>)>,
    guard: Guard,
    folder: TempDir,
}

impl Nginx {
    /// An nginx still to be described.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Whether there is an nginx to test with; `CERTHOOK_TEST_NGINX` names another than the installed one.
    pub fn available() -> bool {
        host::binary().is_some()
    }

    /// The port all sites share.
    pub fn port(&self) -> u16 {
        self.config.port
    }

    /// `127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// `[::1]:PORT`, served with [`Builder::ipv6`].
    pub fn endpoint_v6(&self) -> String {
        format!("[::1]:{}", self.port())
    }

    /// Process id of the master.
    ///
    /// # Panics
    /// When it is stopped.
    pub fn pid(&self) -> i32 {
        self.master.expect("a running nginx")
    }

    /// Folder of everything this nginx has (`-p`).
    pub fn prefix(&self) -> &Path {
        self.folder.path()
    }

    /// Its configuration (`-c`).
    pub fn config_path(&self) -> PathBuf {
        self.prefix().join("nginx.conf")
    }

    /// Its pid file.
    pub fn pid_file(&self) -> PathBuf {
        self.prefix().join("nginx.pid")
    }

    /// Its error log, on level `notice`.
    pub fn error_log_path(&self) -> PathBuf {
        self.prefix().join("error.log")
    }

    /// The program.
    pub fn binary(&self) -> PathBuf {
        host::binary().expect("it was there at the start")
    }

    /// Whether it is where packages install it.
    pub fn is_installed(&self) -> bool {
        std::env::var_os("CERTHOOK_TEST_NGINX").is_none()
    }

    /// The command line of this nginx, with which `-t` and `-s` speak to it too.
    pub fn command(&self) -> Command {
        let log = match self.config.mode {
            RunMode::ForegroundStderr => PathBuf::from("stderr"),
            RunMode::Daemon | RunMode::Foreground => self.error_log_path(),
        };
        let mut command = Command::new(self.binary());
        if !self.config.packaged {
            command.arg("-p").arg(self.prefix()).arg("-e").arg(log).arg("-c").arg(self.config_path());
        }
        // The command lines of Debian's unit, and of the container image.
        command.args(match self.config.mode {
            RunMode::Daemon => ["-g", "daemon on; master_process on;"],
            RunMode::Foreground | RunMode::ForegroundStderr => ["-g", "daemon off;"],
        });
        command
    }

    /// From the next start on its title has no paths, as the title of a packaged nginx. Its prefix must be where its
    /// program looks by itself: `/etc/nginx`, in a mount namespace.
    pub fn set_packaged(&mut self) {
        self.config.packaged = true;
    }

    /// Sets how it runs from its next start on.
    pub fn set_mode(&mut self, mode: RunMode) {
        self.config.mode = mode;
    }

    /// Makes the configuration one that nginx refuses.
    pub fn break_config(&self) {
        let text = self.config.text(self.prefix());
        fs::write(self.config_path(), text + "certhook_made_this_broken;\n")
            .expect("a writable configuration");
    }

    /// Writes the configuration as it should be.
    pub fn mend_config(&self) {
        self.config.write_files(self.prefix()).expect("a writable prefix");
        fs::write(self.config_path(), self.config.text(self.prefix())).expect("a writable configuration");
    }

    /// Writes a configuration with other sites; it takes effect with the next reload.
    pub fn set_sites(&mut self, sites: Vec<NginxSite>) {
        self.config.sites = sites;
        self.mend_config();
    }

    /// Sends SIGHUP to the master, and waits until the log tells that it came.
    ///
    /// # Panics
    /// When there is no master.
    pub fn hup(&self) {
        let before = self.log().hups;
        kill(Pid::from_raw(self.pid()), Signal::SIGHUP).expect("a running master");
        poll(PATIENCE, || (self.log().hups > before).then_some(())).expect("a signal that arrives");
    }

    /// Process ids of the workers, those shutting down included.
    pub fn workers(&self) -> Vec<i32> {
        self.master.map(process::workers).unwrap_or_default().into_iter().map(|(pid, _)| pid).collect()
    }

    /// Process ids of master and workers, whatever became of the master.
    pub fn processes(&self) -> Vec<i32> {
        self.master.map(process::group).unwrap_or_default()
    }

    /// What the error log tells of reloads since the first start.
    pub fn log(&self) -> LogSummary {
        LogSummary::of(&self.log_text())
    }

    /// The whole error log.
    pub fn log_text(&self) -> String {
        let bytes = fs::read(self.error_log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until nginx has acted on `count` reloads since the first start, failed ones included.
    pub fn wait_for_reloads(&self, count: usize, timeout: Duration) -> Result<LogSummary, String> {
        poll(timeout, || Some(self.log()).filter(|log| log.reloads >= count))
            .ok_or_else(|| format!("fewer than {count} reloads after {timeout:?}: {:?}", self.log()))
    }

    /// Waits until no reload is under way, no old worker is left, and the log has been still for 20 ms.
    ///
    /// # Panics
    /// When that does not come within 15 s.
    pub fn wait_idle(&self) {
        let mut last = (0, Instant::now());
        let idle = poll(PATIENCE, || {
            let text = self.log_text();
            if text.len() != last.0 {
                last = (text.len(), Instant::now());
            }
            let still = last.1.elapsed() >= Duration::from_millis(20);
            (still && log::settled(&text) && self.only_new_workers()).then_some(())
        });
        assert!(idle.is_some(), "nginx does not come to rest; its log:\n{}", self.log_text());
    }

    fn only_new_workers(&self) -> bool {
        let workers = self.master.map(process::workers).unwrap_or_default();
        workers.len() == self.config.workers && workers.iter().all(|(_, draining)| !draining)
    }
}
