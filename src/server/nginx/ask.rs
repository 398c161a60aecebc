//! Running a program that answers a question, within a time limit and a bounded amount of output.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::command::{Ended, Failure, MOST_OUTPUT, NOT_FOR_CHILDREN};
use crate::platform;
use crate::problem::Problem;

/// Between looks whether a program has ended that has closed its output.
const END_INTERVAL: Duration = Duration::from_millis(2);

/// What a program may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// What certhook's user may.
    Own,
    /// Every file that certhook may read. For trusted programs with trusted arguments only.
    ReadAll,
}

/// Runs a program and returns its output; `None` where it fails or takes too long. Blocking.
pub(super) fn ask(argv: &[&str], limit: Duration) -> Option<String> {
    let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
    let ended = run(&argv, limit, Rights::Own).ok()?;
    ended.success.then_some(ended.output)
}

/// Runs a program to its end. Blocking.
///
/// # Errors
/// It cannot be started, or takes longer than `limit` and was killed.
pub(super) fn run(argv: &[String], limit: Duration, rights: Rights) -> Result<Ended, Problem> {
    let run = || run_with(argv, limit);
    let ended = if rights == Rights::ReadAll { platform::with_right_to_read(run) } else { run() };
    ended
        .map_err(|failure| Problem::new("not_run", failure.to_string(), "run the command by hand to see why"))
}

fn run_with(argv: &[String], limit: Duration) -> Result<Ended, Failure> {
    let [program, arguments @ ..] = argv else { return Err(Failure::Nothing) };
    let not_run = |error| Failure::NotRun(program.clone(), error);
    let (reader, writer) = std::io::pipe().map_err(not_run)?;
    let mut command = std::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(writer.try_clone().map_err(not_run)?).stderr(writer);
    for name in NOT_FOR_CHILDREN {
        command.env_remove(name);
    }
    let mut child = command.process_group(0).spawn().map_err(not_run)?;
    // Its ends of the pipe would keep the pipe open.
    drop(command);
    let (sender, answer) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        // An error ends the answer. What is beyond the bound is read and dropped, so that the program can end.
        let mut reader = reader.take(MOST_OUTPUT as u64);
        let _ = reader.read_to_end(&mut text);
        let _ = std::io::copy(&mut reader.into_inner(), &mut std::io::sink());
        let _ = sender.send(text);
    });
    let begun = Instant::now();
    let text = answer.recv_timeout(limit).ok();
    // A program may close its output and go on.
    while begun.elapsed() < limit && child.try_wait().map_err(not_run)?.is_none() {
        std::thread::sleep(END_INTERVAL);
    }
    let ended = child.try_wait().map_err(not_run)?;
    let (Some(text), Some(status)) = (text, ended) else {
        platform::end_group(child.id());
        // It is killed: this collects it.
        child.wait().map_err(not_run)?;
        return Err(Failure::TooLong(program.clone(), limit));
    };
    let output = String::from_utf8_lossy(&text).into_owned();
    Ok(Ended { success: status.success(), how: status.to_string(), output })
}
