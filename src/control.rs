//! How a command talks to the running agent: one line of JSON each way over a socket in the state folder. A second
//! socket, for the members of a group, tells the outward status and nothing else.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::platform::{self, ControlListener, ControlStream};
use crate::problem::{Problem, printable};
use crate::status::Status;

/// A request is one short line.
const MOST_REQUEST: u64 = 4096;
/// For a caller to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// Callers of the status socket at once; others wait in the system's queue.
const MOST_STATUS_CALLERS: usize = 8;
/// For a caller of the status socket to say what it wants.
const STATUS_REQUEST: Duration = Duration::from_secs(1);
/// For all of a call of the status socket: who does not read its answer makes room for others.
const STATUS_CALL: Duration = Duration::from_secs(15);
/// A status that was told at the status socket is told again for so long. Each one costs the loop time.
const STATUS_KEPT: Duration = Duration::from_secs(1);

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
    let Some(request) = request(&mut stream, PATIENCE).await else { return };
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

/// Tells the outward status at the status socket, for as long as the agent runs.
pub async fn serve_status(listener: ControlListener, calls: mpsc::UnboundedSender<Call>) {
    let (permits, told) = (Arc::new(Semaphore::new(MOST_STATUS_CALLERS)), Arc::new(Mutex::new(None)));
    loop {
        // Nobody closes it.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match platform::accept(&listener).await {
            Ok(stream) => {
                let (calls, told) = (calls.clone(), Arc::clone(&told));
                tokio::spawn(async move {
                    let _ = timeout(STATUS_CALL, tell(stream, &calls, &told)).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a caller of the status socket could not be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The last outward status that was told, as it was sent.
type Told = Mutex<Option<(Instant, Arc<[u8]>)>>;

async fn tell(mut stream: ControlStream, calls: &mpsc::UnboundedSender<Call>, told: &Told) {
    let Some(Request::Status) = request(&mut stream, STATUS_REQUEST).await else { return };
    let mut told = told.lock().await;
    let text = match &*told {
        Some((at, text)) if at.elapsed() < STATUS_KEPT => Arc::clone(text),
        _ => {
            let (answer, status) = oneshot::channel();
            if calls.send(Call { request: Request::Status, answer }).is_err() {
                return;
            }
            let Ok(Ok(mut text)) = status.await.map(|status| serde_json::to_vec(&status.outward())) else {
                return;
            };
            text.push(b'\n');
            let text: Arc<[u8]> = text.into();
            *told = Some((Instant::now(), Arc::clone(&text)));
            text
        }
    };
    // Others are answered while this one reads.
    drop(told);
    let _ = stream.write_all(&text).await;
}

/// What a caller asks; `None` where it does not say so in time, or says anything else.
async fn request(stream: &mut ControlStream, patience: Duration) -> Option<Request> {
    let mut line = String::new();
    let mut limited = BufReader::new(stream.take(MOST_REQUEST));
    timeout(patience, limited.read_line(&mut line)).await.ok()?.ok()?;
    serde_json::from_str(&line).ok()
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

/// Asks the agent for its outward status, at `path`.
///
/// # Errors
/// No agent answers there, or this user may not ask: with what to do.
pub async fn ask_for_status(path: &Path) -> Result<Status, Problem> {
    let shown = printable(&path.display().to_string(), 200);
    let stream = match timeout(PATIENCE, platform::connect(path)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => {
            let (group, user) = (platform::STATUS_GROUP, platform::user_name());
            let message = format!("{shown} is for members of the group {group}");
            let remedy =
                format!("run as root: usermod -aG {group} {}; then log in again", printable(&user, 60));
            return Err(Problem::new("agent_closed", message, remedy));
        }
        _ => {
            let message = format!("no agent answers at {shown}");
            return Err(Problem::new("agent_closed", message, platform::AS_WHOM));
        }
    };
    converse(stream, &Request::Status).await.ok_or_else(|| {
        Problem::new("agent_closed", format!("the agent at {shown} gave no answer"), platform::AS_WHOM)
    })
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
