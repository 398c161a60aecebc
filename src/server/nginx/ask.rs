//! Asking a program, and not for longer than one can wait.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use crate::command::{MOST_OUTPUT, NOT_FOR_CHILDREN};
use crate::platform;

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
