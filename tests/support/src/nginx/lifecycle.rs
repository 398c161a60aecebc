//! How a private nginx starts and ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::{self, Guard, poll};
use super::{Builder, Nginx, PATIENCE, RunMode, host};

impl Nginx {
    pub(super) fn launch(config: Builder) -> Result<Self, String> {
        let folder = host::prefix().map_err(|error| format!("no folder for nginx: {error}"))?;
        let guard = Guard::set(folder.path()).map_err(|error| format!("no guard for nginx: {error}"))?;
        let mut nginx = Self { config, master: None, foreground: None, guard, folder };
        nginx.mend_config();
        nginx.spawn()?;
        Ok(nginx)
    }

    /// Ends nginx at once, as `nginx -s stop`; the folder and the port stay its own.
    pub fn stop(&mut self) {
        if let Some(master) = self.master {
            let _ = kill(Pid::from_raw(master), Signal::SIGTERM);
            poll(PATIENCE, || process::group(master).is_empty().then_some(()));
        }
        self.bury();
    }

    /// Starts it again after [`Nginx::stop`], on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        assert!(self.master.is_none(), "nginx is running");
        self.spawn().unwrap_or_else(|error| panic!("nginx does not start again: {error}"));
    }

    fn spawn(&mut self) -> Result<(), String> {
        let started = match self.config.mode {
            RunMode::Daemon => self.spawn_daemon(),
            RunMode::Foreground | RunMode::ForegroundStderr => self.spawn_child(),
        };
        started.and_then(|()| self.wait_started())
    }

    fn spawn_daemon(&mut self) -> Result<(), String> {
        let output = self.command().stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// In a process group of its own, which a daemon has by itself.
    fn spawn_child(&mut self) -> Result<(), String> {
        let piped = self.config.mode == RunMode::ForegroundStderr;
        let log = |name| File::options().append(true).create(true).open(self.prefix().join(name));
        let spawn = || {
            let stderr = if piped { Stdio::piped() } else { Stdio::from(log("stderr.log")?) };
            let mut child = self.command().stdin(Stdio::null()).stderr(stderr).process_group(0).spawn()?;
            let mut log = log("error.log")?;
            let copy = |mut pipe| std::thread::spawn(move || drop(io::copy(&mut pipe, &mut log)));
            let copier = child.stderr.take().map(copy);
            Ok((child, copier))
        };
        self.foreground = Some(spawn().map_err(|error: io::Error| error.to_string())?);
        Ok(())
    }

    fn wait_started(&mut self) -> Result<(), String> {
        let pid_file = self.pid_file();
        let started = poll(PATIENCE, || {
            if let Some((child, _)) = &mut self.foreground
                && child.try_wait().is_ok_and(|status| status.is_some())
            {
                return Some(false);
            }
            self.master = fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse().ok());
            self.only_new_workers().then_some(true)
        });
        match started {
            Some(true) => Ok(()),
            _ => {
                self.bury();
                let stderr = fs::read_to_string(self.prefix().join("stderr.log")).unwrap_or_default();
                Err(format!("{stderr}{}", self.log_text()))
            }
        }
    }

    /// Takes the end of a child; a daemon's is taken by init.
    fn reap(&mut self) {
        if let Some((mut child, copier)) = self.foreground.take() {
            let _ = child.wait();
            if let Some(copier) = copier {
                let _ = copier.join();
            }
        }
    }

    /// Kills what is left, the workers of a dead master too, and waits until it is gone.
    fn bury(&mut self) {
        let child = self.foreground.as_ref().and_then(|(child, _)| i32::try_from(child.id()).ok());
        if let Some(group) = self.master.take().or(child) {
            process::kill_group(group);
            self.reap();
            poll(PATIENCE, || process::group(group).is_empty().then_some(()));
        }
        let _ = fs::remove_file(self.pid_file());
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.bury();
        self.guard.dismiss();
    }
}
