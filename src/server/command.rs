//! A reload by a command: its output goes into the log, its failure is the reload's.

use std::time::{Duration, Instant};

use crate::command::{self, Ended, Failure};
use crate::platform;
use crate::problem::{Problem, printable};

/// A program and its arguments.
#[derive(Debug, Clone)]
pub(super) struct Command(command::Command);

impl Command {
    pub(super) fn new(argv: &[String], patience: Duration) -> Self {
        Self(command::Command::new(argv, patience))
    }

    /// Runs it as a server's reload.
    pub(super) async fn run(&self, server: &str) -> Result<Duration, Problem> {
        let begun = Instant::now();
        let ended = self.output().await?;
        self.judge(server, &ended)?;
        Ok(begun.elapsed())
    }

    /// Puts what it said into the log.
    ///
    /// # Errors
    /// That it failed, with its last words.
    pub(super) fn judge(&self, server: &str, ended: &Ended) -> Result<(), Problem> {
        for line in ended.output.lines() {
            tracing::info!(server, output = %printable(line, 500), "reload command");
        }
        if ended.success {
            return Ok(());
        }
        let words = ended.output.lines().last().unwrap_or_default();
        let message = format!("{} ended with {}: {}", self.0.program(), ended.how, printable(words, 300));
        Err(Problem::new(
            "reload_command",
            message,
            "run the command by hand to see why; certhook tries again by itself",
        ))
    }

    /// Runs it to its end, or ends its whole process group when its time is over.
    pub(super) async fn output(&self) -> Result<Ended, Problem> {
        self.0.output().await.map_err(|failure| {
            let (code, remedy) = match failure {
                Failure::Nothing => ("reload_command", "name one with reload".to_owned()),
                Failure::NotRun(..) => {
                    let user = platform::WORDS.user;
                    ("reload_command", format!("see that the program is there and may be run by {user}"))
                }
                Failure::TooLong(..) => {
                    ("reload_timeout", "run it by hand, or raise reload_timeout".to_owned())
                }
            };
            Problem::new(code, failure.to_string(), remedy)
        })
    }

    pub(super) fn obstacles(&self) -> Vec<Problem> {
        if self.0.may_run() {
            return Vec::new();
        }
        let message = format!("the reload command {} cannot be run by this user", self.0.program());
        vec![Problem::new("reload_command", message, "see that it is there and executable")]
    }
}
