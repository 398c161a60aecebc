//! nginx by signal: find its master, make sure it is one, send SIGHUP, watch for new workers.
//!
//! A reload that fails leaves the old workers and writes `[emerg]` lines to the error log, and `kill`
//! returned 0 all the same. New children of the master are the quickest sign that it loaded; only the
//! wire is proof.

mod log;
mod process;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::command::Command;
use crate::config;
use crate::problem::{Problem, printable};
use log::ErrorLog;
use process::Master;

/// After an `[emerg]` line nginx may still go on (it tries to bind several times).
const AFTER_EMERGENCY: Duration = Duration::from_millis(50);

/// One nginx instance.
#[derive(Debug, Clone)]
pub(super) struct Nginx {
    found_by: config::Nginx,
    patience: Duration,
}

impl Nginx {
    pub(super) fn new(found_by: config::Nginx, patience: Duration) -> Self {
        Self { found_by, patience }
    }

    /// SIGHUP, and the time until new workers were seen.
    pub(super) async fn reload(&self) -> Result<Duration, Problem> {
        let master = process::find(&self.found_by)?;
        if self.found_by.pre_check {
            self.test(&master).await?;
        }
        let before: BTreeSet<i32> = master.children().into_iter().collect();
        let mut errors = ErrorLog::of(&master);
        let sent = Instant::now();
        master.hang_up()?;
        crate::crash::point("reload-signalled");
        let mut refused: Option<Instant> = None;
        loop {
            if master.children().iter().any(|child| !before.contains(child)) {
                return Ok(sent.elapsed());
            }
            if refused.is_none() && errors.as_mut().is_some_and(|errors| !errors.emergencies().is_empty()) {
                refused = Some(Instant::now());
            }
            if refused.is_some_and(|since| since.elapsed() >= AFTER_EMERGENCY) {
                return Err(refusal(errors.as_mut().map(ErrorLog::emergencies).unwrap_or_default()));
            }
            if !master.is_alive() {
                return Err(Problem::new(
                    "not_running",
                    "nginx ended during the reload",
                    "start nginx; certhook goes on by itself",
                ));
            }
            if sent.elapsed() >= self.patience {
                self.test(&master).await?;
                let message = format!(
                    "nginx started no new workers within {} s of the signal",
                    self.patience.as_secs()
                );
                return Err(Problem::new("not_loaded", message, "see nginx's error log"));
            }
            // Fine while a small configuration loads, coarser for a large one.
            let pause = (sent.elapsed() / 50).clamp(Duration::from_millis(1), Duration::from_millis(20));
            tokio::time::sleep(pause).await;
        }
    }

    /// nginx's own configuration test with the master's arguments.
    async fn test(&self, master: &Master) -> Result<(), Problem> {
        let Some(binary) = self.found_by.binary.clone().or_else(|| master.binary()) else { return Ok(()) };
        let mut argv = vec![binary.display().to_string(), "-t".to_owned(), "-q".to_owned()];
        argv.extend(master.arguments());
        let ended = Command::new(&argv, self.patience).output().await?;
        if ended.success {
            return Ok(());
        }
        Err(refusal(&log::emergencies(&ended.output)))
    }

    pub(super) fn obstacles(&self) -> Vec<Problem> {
        match process::find(&self.found_by) {
            Err(problem) => vec![problem],
            Ok(master) => master.may_signal().err().into_iter().collect(),
        }
    }
}

fn refusal(emergencies: &[String]) -> Problem {
    let words = match emergencies {
        [] => "its error log cannot be read".to_owned(),
        lines => lines.iter().take(3).map(|line| printable(line, 300)).collect::<Vec<_>>().join("; "),
    };
    Problem::new(
        "nginx_refused",
        format!("nginx refused the reload: {words}"),
        "mend what it names; certhook tries again by itself",
    )
}
