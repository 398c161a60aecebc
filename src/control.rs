//! How a command talks to the running agent: one line of JSON each way over a socket in the state folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};

use crate::platform::{self, ControlListener, ControlStream};
use crate::problem::{Problem, printable};
use crate::status::Status;

/// A request is one short line.
const MOST_REQUEST: u64 = 4096;
/// For a caller to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a command asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How things are.
    Status,
    /// One pass over everything; the answer comes when it is over.
    Sync {
        /// Send held reports again.
        retry: bool,
        /// It comes from a reload of the server by somebody else.
        #[serde(default)]
        reloaded: bool,
        /// How long to wait for the end.
        wait_ms: u64,
    },
}

/// A request with the place for its answer.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Status>,
}

/// Where the agent listens.
pub fn socket(state_dir: &Path) -> PathBuf {
    platform::control_path(state_dir)
}

/// Takes callers for as long as the agent runs.
pub async fn serve(listener: ControlListener, calls: mpsc::UnboundedSender<Call>) {
    loop {
        match platform::accept(&listener).await {
            Ok(stream) => {
                tokio::spawn(answer(stream, calls.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a command could not be taken");
                // Out of descriptors, most likely: they come back.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(mut stream: ControlStream, calls: mpsc::UnboundedSender<Call>) {
    let mut line = String::new();
    let mut limited = BufReader::new((&mut stream).take(MOST_REQUEST));
    let read = tokio::time::timeout(PATIENCE, limited.read_line(&mut line)).await;
    let Some(request) = read.ok().and_then(|_| serde_json::from_str(&line).ok()) else { return };
    let (sender, receiver) = oneshot::channel();
    if calls.send(Call { request, answer: sender }).is_err() {
        return;
    }
    if let Ok(Ok(mut text)) = receiver.await.map(|status| serde_json::to_vec(&status)) {
        text.push(b'\n');
        // A caller that left does not want it.
        let _ = stream.write_all(&text).await;
    }
}

/// Asks the agent of this state folder; `None` where none answers.
///
/// # Errors
/// This user may not ask it: whether one runs is not known then.
pub async fn ask(state_dir: &Path, request: &Request) -> Result<Option<Status>, Problem> {
    match tokio::time::timeout(PATIENCE, platform::connect(&socket(state_dir))).await {
        Ok(Ok(stream)) => Ok(converse(stream, request).await),
        Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => {
            let folder = printable(&state_dir.display().to_string(), 200);
            let message = format!("the agent of {folder} answers its own user and administrators alone");
            Err(Problem::new("agent_closed", message, platform::AS_WHOM))
        }
        _ => Ok(None),
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &Request) -> Option<Status> {
    let mut line = serde_json::to_vec(request).ok()?;
    line.push(b'\n');
    stream.write_all(&line).await.ok()?;
    let patience = match request {
        Request::Status => PATIENCE,
        Request::Sync { wait_ms, .. } => Duration::from_millis(*wait_ms) + PATIENCE,
    };
    let mut text = Vec::new();
    tokio::time::timeout(patience, stream.read_to_end(&mut text)).await.ok()?.ok()?;
    serde_json::from_slice(&text).ok()
}
