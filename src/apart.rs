//! The way between certhook's two processes. The first one has the rights that the work on files needs, and no
//! connection to the network; the second one speaks to the network (portal, listeners, downloads, metrics' callers)
//! and has no rights.
//!
//! ```text
//! first ── Begin n, task ──▶ second      a task has a number
//!       ── Cancel n ───────▶             its result is no longer wanted
//!       ◀─ Ended n, outcome ─
//!       ◀─ Caller n ────────             a client requests the metrics
//!       ── Page n, text ───▶
//! ```
//!
//! The two are equally old: the second is the same program, started by the first. The first believes what the second
//! tells of the network, and nothing else: it opens no path and runs no program that the second names.

mod frame;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::platform;
use crate::problem::Problem;
pub use frame::{Body, Frame, Kind, body, content, read, write_all};

/// For the second process to end after it has hung up.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// The first process's end of the way. Its clones are one.
#[derive(Clone)]
pub struct Apart(Arc<Inner>);

struct Inner {
    out: mpsc::UnboundedSender<Frame>,
    next: AtomicU64,
    /// Who waits for which task; `None` when the second process has ended.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Body>>>>,
    /// Receives the numbers of metrics' callers.
    callers: Mutex<Option<mpsc::UnboundedSender<u64>>>,
    /// How the second process ended.
    over: watch::Sender<Option<String>>,
}

impl Apart {
    /// Starts the second process with these arguments; `None` where the system knows no such thing. Call it in the
    /// runtime that lives as long as certhook does.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(arguments: &[String]) -> Result<Option<Self>, Problem> {
        let second = platform::start_second(arguments).map_err(|error| lost(&error.to_string()))?;
        let Some(platform::Second { stream, mut child }) = second else { return Ok(None) };
        let ended = async move {
            match timeout(LAST_BREATH, child.wait()).await {
                Ok(Ok(status)) => status.to_string(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it runs, and hung up".to_owned(),
            }
        };
        Ok(Some(Self::over(stream, ended)))
    }

    /// `ended` says how the other one ended, when it has hung up.
    fn over<S>(stream: S, ended: impl Future<Output = String> + Send + 'static) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (out, frames) = mpsc::unbounded_channel();
        let inner = Inner {
            out,
            next: AtomicU64::new(0),
            waiting: Mutex::new(Some(HashMap::new())),
            callers: Mutex::default(),
            over: watch::Sender::new(None),
        };
        let apart = Self(Arc::new(inner));
        let (mut input, output) = tokio::io::split(stream);
        let writing = tokio::spawn(write_all(output, frames));
        let reader = apart.clone();
        tokio::spawn(async move {
            let why = loop {
                match read(&mut input).await {
                    Ok(Some(frame)) => reader.hear(frame),
                    Ok(None) => break ended.await,
                    Err(error) => break error.to_string(),
                }
            };
            // This ends every task that is waited for.
            reader.waiting().take();
            writing.abort();
            reader.0.over.send_replace(Some(why));
        });
        apart
    }

    /// Has a task done there.
    ///
    /// # Errors
    /// The second process has ended, or its answer is none.
    pub async fn ask<T: DeserializeOwned>(&self, kind: Kind, task: &impl Serialize) -> Result<T, Problem> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (answer, outcome) = oneshot::channel();
        let task = body(task).map_err(|error| lost(&error.to_string()))?;
        match self.waiting().as_mut() {
            Some(waiting) => drop(waiting.insert(number, answer)),
            None => return Err(self.problem()),
        }
        let asked = Asked { apart: self, number };
        // Without a writer the answer does not come either.
        let _ = self.0.out.send(Frame { kind, number, body: task });
        let outcome = outcome.await.map_err(|_| self.problem())?;
        drop(asked);
        content(&outcome).map_err(|error| lost(&error.to_string()))
    }

    /// Sends a message that has neither content nor answer.
    pub fn tell(&self, kind: Kind) {
        // A second process that has ended needs none.
        let _ = self.0.out.send(Frame { kind, number: 0, body: Body::default() });
    }

    /// Metrics' callers from now on, each to be answered by [`Apart::answer`].
    pub fn callers(&self) -> mpsc::UnboundedReceiver<u64> {
        let (sender, callers) = mpsc::unbounded_channel();
        *self.0.callers.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        callers
    }

    /// Gives a caller his page; none says that the agent ends.
    pub fn answer(&self, caller: u64, page: Option<&str>) {
        if let Ok(body) = body(&page) {
            let _ = self.0.out.send(Frame { kind: Kind::Page, number: caller, body });
        }
    }

    /// Waits for the end of the second process, for ever if need be.
    pub async fn ended(&self) -> Problem {
        // Its sender is here.
        let _ = self.0.over.subscribe().wait_for(Option::is_some).await;
        self.problem()
    }

    fn hear(&self, frame: Frame) {
        match frame.kind {
            Kind::Ended => {
                let waiter = self.waiting().as_mut().and_then(|waiting| waiting.remove(&frame.number));
                // Who waited may have left.
                let _ = waiter.map(|waiter| waiter.send(frame.body));
            }
            Kind::Caller => {
                let callers = self.0.callers.lock().unwrap_or_else(PoisonError::into_inner);
                let expected = callers.as_ref().is_some_and(|callers| callers.send(frame.number).is_ok());
                drop(callers);
                if !expected {
                    self.answer(frame.number, None);
                }
            }
            // Nothing else is said in this direction.
            _ => {}
        }
    }

    fn problem(&self) -> Problem {
        let how = self.0.over.borrow().clone();
        lost(how.as_deref().unwrap_or("it hung up"))
    }

    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Body>>>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that is waited for. Who leaves has it cancelled.
struct Asked<'a> {
    apart: &'a Apart,
    number: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let given_up = self.apart.waiting().as_mut().and_then(|waiting| waiting.remove(&self.number));
        if given_up.is_some() {
            let _ = self.apart.0.out.send(Frame {
                kind: Kind::Cancel,
                number: self.number,
                body: Body::default(),
            });
        }
    }
}

fn lost(how: &str) -> Problem {
    Problem::new(
        "network_process",
        format!("certhook's process that speaks to the network has ended: {how}"),
        "look at the log for why; the service manager starts both processes again",
    )
}

/// What cannot be said is a mistake of certhook's own.
fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
