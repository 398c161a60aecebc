//! A reload by a command: no shell, a process group of its own, a time limit, its output in the log.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::platform;
use crate::problem::{Problem, printable};

/// So much of a command's output is kept, from its beginning.
const MOST_OUTPUT: usize = 16 * 1024;
/// For what a program wrote last to be read after its end.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// What the service manager hands to certhook alone.
const NOT_FOR_CHILDREN: [&str; 2] = ["CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"];

/// A program and its arguments.
#[derive(Debug, Clone)]
pub(super) struct Command {
    argv: Vec<String>,
    patience: Duration,
}

/// How a program ended, and what it said.
pub(super) struct Ended {
    pub(super) success: bool,
    pub(super) how: String,
    pub(super) output: String,
}

impl Command {
    pub(super) fn new(argv: &[String], patience: Duration) -> Self {
        Self { argv: argv.to_vec(), patience }
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
        let message = format!("{} ended with {}: {}", self.program(), ended.how, printable(words, 300));
        Err(Problem::new(
            "reload_command",
            message,
            "run the command by hand to see why; certhook tries again by itself",
        ))
    }

    /// Runs it to its end, or ends its whole process group when its time is over.
    pub(super) async fn output(&self) -> Result<Ended, Problem> {
        let [program, arguments @ ..] = self.argv.as_slice() else {
            return Err(Problem::new("reload_command", "there is no reload command", "name one with reload"));
        };
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in NOT_FOR_CHILDREN {
            command.env_remove(name);
        }
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            let message = format!("{program} cannot be run: {error}");
            Problem::new(
                "reload_command",
                message,
                "see that the program is there and may be run by certhook's user",
            )
        })?;
        let group = child.id();
        let (stdout, stderr) = (Output::of(child.stdout.take()), Output::of(child.stderr.take()));
        let Ok(status) = timeout(self.patience, child.wait()).await else {
            if let Some(group) = group {
                platform::end_group(group);
            }
            let message = format!("{program} did not end within {} s and was ended", self.patience.as_secs());
            return Err(Problem::new("reload_timeout", message, "run it by hand, or raise reload_timeout"));
        };
        // What it started in the background may keep its output open for ever.
        let mut output = stdout.text().await;
        output.push_str(&stderr.text().await);
        match status {
            Ok(status) => Ok(Ended { success: status.success(), how: status.to_string(), output }),
            Err(error) => Ok(Ended { success: false, how: error.to_string(), output }),
        }
    }

    pub(super) fn obstacles(&self) -> Vec<Problem> {
        if candidates(self.program()).iter().any(|path| platform::may_run(path)) {
            return Vec::new();
        }
        let message = format!("the reload command {} cannot be run by this user", self.program());
        vec![Problem::new("reload_command", message, "see that it is there and executable")]
    }

    fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
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

/// Where a program may be: itself, or below each folder of `PATH`.
fn candidates(program: &str) -> Vec<PathBuf> {
    if program.contains('/') {
        return vec![PathBuf::from(program)];
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).collect()
}

/// What a program writes: its beginning is kept, and it is read to its end, so that a talkative program is not
/// stopped by a full pipe.
struct Output {
    kept: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Output {
    fn of(stream: Option<impl AsyncRead + Send + Unpin + 'static>) -> Self {
        let kept = Arc::<Mutex<Vec<u8>>>::default();
        let shared = Arc::clone(&kept);
        let reading = tokio::spawn(async move {
            let Some(mut stream) = stream else { return };
            let mut chunk = [0; 4096];
            // An error ends the output, not the reload.
            while let Ok(length @ 1..) = stream.read(&mut chunk).await {
                let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MOST_OUTPUT.saturating_sub(kept.len());
                kept.extend_from_slice(&chunk[..length.min(room)]);
            }
        });
        Self { kept, reading }
    }

    /// What was written until a little after the program's end.
    async fn text(mut self) -> String {
        if timeout(LAST_WORDS, &mut self.reading).await.is_err() {
            self.reading.abort();
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}
