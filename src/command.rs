//! Running a program of the administrator's: no shell, a process group of its own, a time limit, bounded output.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::platform;

/// So much of a program's output is kept, from its beginning.
pub const MOST_OUTPUT: usize = 16 * 1024;
/// What the service manager hands to certhook alone.
pub const NOT_FOR_CHILDREN: [&str; 2] = ["CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"];
/// For what a program wrote last to be read after its end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A program and its arguments, and what it is told.
#[derive(Debug, Clone)]
pub struct Command {
    argv: Vec<String>,
    patience: Duration,
    environment: Vec<(&'static str, String)>,
    input: Vec<u8>,
}

/// How a program ended, and what it said.
pub struct Ended {
    /// Whether it says that all went well.
    pub success: bool,
    /// The system's words for its end.
    pub how: String,
    /// What it wrote to standard output, then to standard error.
    pub output: String,
}

/// Why there is no end to tell of.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No program is named.
    #[error("there is no command")]
    Nothing,
    /// The system's.
    #[error("{0} cannot be run: {1}")]
    NotRun(String, std::io::Error),
    /// Its whole process group was ended.
    #[error("{0} did not end within {1:?} and was ended")]
    TooLong(String, Duration),
}

impl Command {
    /// A program by its words; `patience` is for all of its run.
    pub fn new(argv: &[String], patience: Duration) -> Self {
        Self { argv: argv.to_vec(), patience, environment: Vec::new(), input: Vec::new() }
    }

    /// With more in its environment than certhook's own has; values without NUL.
    #[must_use]
    pub fn with_environment(mut self, environment: Vec<(&'static str, String)>) -> Self {
        self.environment = environment;
        self
    }

    /// With something to read on its standard input, which is empty else.
    #[must_use]
    pub fn with_input(mut self, input: Vec<u8>) -> Self {
        self.input = input;
        self
    }

    /// Runs it to its end, or ends its whole process group when its time is over.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn output(&self) -> Result<Ended, Failure> {
        let [program, arguments @ ..] = self.argv.as_slice() else { return Err(Failure::Nothing) };
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() });
        for name in NOT_FOR_CHILDREN {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.kill_on_drop(true);
        let (mut child, children) =
            platform::spawn(&mut command).map_err(|error| Failure::NotRun(program.clone(), error))?;
        if let Some(mut stdin) = child.stdin.take() {
            let (input, patience) = (self.input.clone(), self.patience);
            // Whoever does not read to the end is not made to.
            tokio::spawn(async move { timeout(patience, stdin.write_all(&input)).await });
        }
        let (stdout, stderr) = (Output::of(child.stdout.take()), Output::of(child.stderr.take()));
        let Ok(status) = timeout(self.patience, child.wait()).await else {
            children.end();
            return Err(Failure::TooLong(program.clone(), self.patience));
        };
        // What it started in the background may keep its output open for ever.
        let mut output = stdout.text().await;
        output.push_str(&stderr.text().await);
        match status {
            Ok(status) => Ok(Ended { success: status.success(), how: status.to_string(), output }),
            Err(error) => Ok(Ended { success: false, how: error.to_string(), output }),
        }
    }

    /// Whether its program is there and this user may run it.
    pub fn may_run(&self) -> bool {
        candidates(self.program()).iter().any(|path| platform::may_run(path))
    }

    /// Its first word.
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }
}

/// Where a program may be: itself, or below each folder of `PATH`.
fn candidates(program: &str) -> Vec<PathBuf> {
    if Path::new(program).components().count() != 1 {
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
            // An error ends the output, not the program.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    fn shell(script: &str, patience: Duration) -> Command {
        Command::new(&["/bin/sh", "-c", script].map(str::to_owned), patience)
    }

    fn run(command: &Command) -> Result<Ended, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(command.output())
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[cfg(unix)] // a script of the shell's
    #[test]
    fn a_program_is_told_by_its_input_and_its_environment() {
        let command = shell("cat; printf %s \"$SAID\" >&2; exit 3", MINUTE)
            .with_input(b"[1]".to_vec())
            .with_environment(vec![("SAID", " $(id)\n".to_owned())]);
        let ended = run(&command).unwrap();
        assert_eq!((ended.success, ended.output.as_str()), (false, "[1] $(id)\n"));
        assert!(ended.how.contains('3'), "{}", ended.how);
        assert_eq!(run(&shell("cat", MINUTE)).unwrap().output, "", "without input there is none to wait for");
    }

    #[cfg(unix)] // a script of the shell's
    #[test]
    fn a_program_that_does_not_read_is_not_waited_for() {
        let ended = run(&shell("exit 0", MINUTE).with_input(vec![b'x'; 1 << 20])).unwrap();
        assert!(ended.success);
    }

    #[cfg(unix)] // a script of the shell's
    #[test]
    fn a_program_that_says_too_much_is_read_to_its_end_and_kept_in_part() {
        let ended = run(&shell("head -c 300000 /dev/zero | tr '\\0' x; exit 0", MINUTE)).unwrap();
        assert!(ended.success && ended.output.len() == MOST_OUTPUT, "{}", ended.output.len());
    }

    #[cfg(unix)] // a script of the shell's
    #[test]
    fn a_program_that_does_not_end_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! >{}; wait", pid.display());
        let failure = run(&shell(&script, Duration::from_secs(2))).err().unwrap();
        assert!(matches!(failure, Failure::TooLong(..)), "{failure}");
        let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        let child = nix::unistd::Pid::from_raw(pid);
        // Its end is the system's to note.
        let gone = |_: &u32| {
            std::thread::sleep(Duration::from_millis(10));
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            nix::sys::signal::kill(child, None).is_err() || stat.contains(") Z ")
        };
        assert!((0..3000).find(gone).is_some(), "its child lives on");
    }

    #[test]
    fn what_cannot_be_run_says_so() {
        let missing = Command::new(&["/nowhere/x".to_owned()], MINUTE);
        assert!(!missing.may_run());
        assert!(matches!(run(&missing), Err(Failure::NotRun(..))));
        assert!(matches!(run(&Command::new(&[], MINUTE)), Err(Failure::Nothing)));
        let usual = if cfg!(windows) { "cmd" } else { "sh" };
        assert!(Command::new(&[usual.to_owned()], MINUTE).may_run());
    }
}
