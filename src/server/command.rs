//! A reload by a command: its output goes into the log, its failure is the reload's.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::command::{self, Ended, Failure, MOST_OUTPUT, NOT_FOR_CHILDREN};
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
                Failure::Nothing => ("reload_command", "name one with reload"),
                Failure::NotRun(..) => {
                    ("reload_command", "see that the program is there and may be run by certhook's user")
                }
                Failure::TooLong(..) => ("reload_timeout", "run it by hand, or raise reload_timeout"),
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

/// Runs a program that answers a question, and waits for its end; `None` where it fails or takes too long.
/// Blocking.
pub(super) fn ask(argv: &[&str], patience: Duration) -> Option<String> {
    let [program, arguments @ ..] = argv else { return None };
    let (reader, writer) = std::io::pipe().ok()?;
    let mut command = std::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(writer.try_clone().ok()?).stderr(writer);
    for name in NOT_FOR_CHILDREN {
        command.env_remove(name);
    }
    let mut child = command.process_group(0).spawn().ok()?;
    // Its ends of the pipe would keep it open.
    drop(command);
    let (sender, answer) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        // An error ends the answer.
        let _ = reader.take(MOST_OUTPUT as u64).read_to_end(&mut text);
        let _ = sender.send(text);
    });
    let text = answer.recv_timeout(patience);
    // Whoever has said everything ends at once; whoever has not is ended.
    if text.is_err() {
        platform::end_group(child.id());
    }
    let success = child.wait().is_ok_and(|status| status.success());
    text.ok().filter(|_| success).map(|text| String::from_utf8_lossy(&text).into_owned())
}
