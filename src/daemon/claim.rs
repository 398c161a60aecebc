//! The state folder is this process's: it holds the lock, and answers at the control socket.
//!
//! Where the folder cannot be used the agent does its work without both, and takes them when it can; again,
//! too, when somebody has removed them.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::status_socket::StatusSocket;
use crate::control::{self, Call, Request};
use crate::platform::{self, Identity};
use crate::problem::Problem;

/// While lock and socket are there they are looked at so many times less often.
const STANDS: u32 = 60;

/// What this process has of the state folder, each with the file as it was made.
pub(super) struct Claim {
    state_dir: PathBuf,
    lock: Option<(File, Identity)>,
    /// Ends with the claim.
    socket: Option<(JoinSet<()>, Identity)>,
    /// For members of its group; not of the state folder, but kept like the rest.
    status: StatusSocket,
    /// What was warned of.
    problem: Option<Problem>,
}

impl Claim {
    /// Takes the lock, if the folder can be used.
    ///
    /// # Errors
    /// Somebody else held it for as long as `patience`.
    pub(super) async fn take(state_dir: &Path, patience: Duration) -> Result<Self, Problem> {
        let status = StatusSocket::default();
        let mut claim =
            Self { state_dir: state_dir.to_owned(), lock: None, socket: None, status, problem: None };
        let until = Instant::now() + patience;
        loop {
            match try_lock(state_dir) {
                Ok(None) if Instant::now() >= until || is_answered(state_dir).await => {
                    return Err(taken(state_dir));
                }
                Ok(None) => sleep(Duration::from_millis(50)).await,
                Ok(Some(lock)) => {
                    claim.lock = Some(lock).zip(platform::identity(&lock_path(state_dir)));
                    return Ok(claim);
                }
                // Told by whoever keeps the claim.
                Err(_) => return Ok(claim),
            }
        }
    }

    /// Keeps lock and socket until `end` comes or is dropped. The lock is held for as long as what is given back.
    pub(super) async fn keep(
        mut self,
        look_every: Duration,
        calls: mpsc::UnboundedSender<Call>,
        mut end: oneshot::Receiver<()>,
    ) -> Self {
        loop {
            self.status.renew(&calls).await;
            match self.renew(&calls) {
                Ok(()) => {
                    if self.problem.take().is_some() {
                        tracing::info!("the state folder can be used again");
                    }
                }
                Err(problem) if self.problem.as_ref() == Some(&problem) => {}
                Err(problem) => {
                    tracing::warn!(
                        code = problem.code,
                        problem = problem.message,
                        remedy = problem.remedy,
                        "certificates are served all the same; certhook's commands cannot reach this process"
                    );
                    self.problem = Some(problem);
                }
            }
            // What stands seldom falls.
            let pause = if self.problem.is_some() { look_every } else { look_every * STANDS };
            if timeout(pause, &mut end).await.is_ok() {
                break;
            }
        }
        std::mem::take(&mut self.status).close();
        if let Some((_, made)) = self.socket.take() {
            let path = control::socket(&self.state_dir);
            if platform::identity(&path) == Some(made) {
                // Whoever starts next finds none rather than a dead one.
                let _ = std::fs::remove_file(&path);
            }
        }
        self
    }

    /// Takes what is missing.
    fn renew(&mut self, calls: &mpsc::UnboundedSender<Call>) -> Result<(), Problem> {
        let (lock, socket) = (lock_path(&self.state_dir), control::socket(&self.state_dir));
        let stands = |made: Option<Identity>, path| made.is_some() && made == platform::identity(path);
        if !stands(self.lock.as_ref().map(|(_, made)| *made), &lock) {
            let file = try_lock(&self.state_dir)?.ok_or_else(|| taken(&self.state_dir))?;
            self.lock = Some(file).zip(platform::identity(&lock));
        }
        if !stands(self.socket.as_ref().map(|(_, made)| *made), &socket) {
            let listener = platform::listen(&socket).map_err(|error| no_socket(&socket, &error))?;
            let mut serving = JoinSet::new();
            serving.spawn(control::serve(listener, calls.clone()));
            self.socket = Some(serving).zip(platform::identity(&socket));
        }
        Ok(())
    }
}

/// Takes the state folder for this process: whoever holds it may act, nobody else. `None` while somebody does.
///
/// # Errors
/// The folder cannot be used.
pub fn try_lock(state_dir: &Path) -> Result<Option<File>, Problem> {
    let unusable = |error: std::io::Error| {
        let message = format!("the state folder {} cannot be used: {error}", state_dir.display());
        let remedy = match error.kind() {
            // Another folder would have another agent.
            ErrorKind::PermissionDenied => {
                format!("{}; where that is so already, let that user write there", platform::AS_WHOM)
            }
            _ => format!("let {} write there, or name another state_dir", platform::WORDS.user),
        };
        Problem::new("state_dir", message, remedy)
    };
    platform::create_private_folder(state_dir).map_err(unusable)?;
    let path = lock_path(state_dir);
    let file = platform::open_private(&path)
        // Where nothing can be written any more, the one that is there will do.
        .or_else(|error| platform::open_to_read(&path).map_err(|_| error))
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(unusable(error)),
    }
}

fn lock_path(state_dir: &Path) -> PathBuf {
    state_dir.join("lock")
}

async fn is_answered(state_dir: &Path) -> bool {
    // One that may not be asked is there all the same.
    !matches!(control::ask(state_dir, &Request::Status).await, Ok(None))
}

fn taken(state_dir: &Path) -> Problem {
    let message = format!("another certhook works in {}", state_dir.display());
    Problem::new("locked", message, "see certhook status; stop the other one first")
}

fn no_socket(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(
        "control_socket",
        format!("the control socket {} cannot be made: {error}", path.display()),
        format!("let {} write in state_dir, and keep its path short", platform::WORDS.user),
    )
}
