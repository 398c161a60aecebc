//! certhook's second process: all that is said over the network, by a process that has no rights. See [`crate::apart`].

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};

use crate::apart::{Body, Frame, Kind, body, content, read, write_all};
use crate::metrics::{self, Listener};
use crate::platform::{self, RereadSignal, StopSignals};
use crate::problem::Problem;
use crate::{fetch, portal, probe};

/// For handshakes, and beside them the portal.
const THREADS: usize = 2;
/// For names that are looked up.
const MOST_BLOCKING_THREADS: usize = 16;

/// Works until the first process hangs up.
///
/// # Errors
/// It could not start, or the first process sent a message of another shape.
pub fn run() -> Result<(), Problem> {
    // Before there is a second thread, and before anybody is listened to.
    let alone = platform::give_up_rights().and_then(|()| platform::confine_to_the_network());
    alone.map_err(|error| {
        let message = format!("the process that speaks to the network cannot give up its rights: {error}");
        Problem::new("network_process", message, "see that the unit's SystemCallFilter= is the package's")
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(MOST_BLOCKING_THREADS)
        .enable_all()
        .build();
    let outcome = runtime.and_then(|runtime| {
        let outcome = runtime.block_on(serve());
        runtime.shutdown_background();
        outcome
    });
    outcome.map_err(|error| {
        Problem::new(
            "network_process",
            format!("the process that speaks to the network cannot work: {error}"),
            "only certhook itself starts it: certhook run",
        )
    })
}

async fn serve() -> io::Result<()> {
    let stream = platform::first_process()?;
    // It ends with the first process, which may have a last report to send.
    let _passed_over = (StopSignals::new()?, RereadSignal::new()?);
    let (mut input, output) = tokio::io::split(stream);
    let (out, frames) = mpsc::unbounded_channel();
    tokio::spawn(write_all(output, frames));
    let desk = Arc::new(Desk { out, ..Desk::new() });
    while let Some(frame) = read(&mut input).await? {
        desk.hear(frame).await?;
    }
    Ok(())
}

/// Who does the tasks.
struct Desk {
    out: mpsc::UnboundedSender<Frame>,
    portal: portal::Desk,
    downloads: fetch::Desk,
    /// What is under way.
    running: Mutex<HashMap<u64, AbortHandle>>,
    listening: Mutex<Option<JoinHandle<()>>>,
    callers: Mutex<Callers>,
}

/// Who asked for the metrics and was not given them yet.
#[derive(Default)]
struct Callers {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Option<String>>>,
}

impl Desk {
    fn new() -> Self {
        Self {
            out: mpsc::unbounded_channel().0,
            portal: portal::Desk::default(),
            downloads: fetch::Desk::default(),
            running: Mutex::default(),
            listening: Mutex::default(),
            callers: Mutex::default(),
        }
    }

    async fn hear(self: &Arc<Self>, Frame { kind, number, body: said }: Frame) -> io::Result<()> {
        match kind {
            Kind::Handshakes => {
                let task: probe::Task = content(&said)?;
                self.begin(number, async move { body(&task.perform().await) });
            }
            Kind::Portal => {
                let task: portal::Task = content(&said)?;
                self.begin(number, self.portal.perform(task));
            }
            Kind::Download => {
                let (task, desk): (fetch::Task, _) = (content(&said)?, Arc::clone(self));
                self.begin(number, async move { body(&desk.downloads.perform(task).await) });
            }
            Kind::Listen => {
                self.close().await;
                let outcome = self.listen(content(&said)?).await.map_err(|error| error.to_string());
                self.answer(number, body(&outcome));
            }
            Kind::Close => self.close().await,
            Kind::ForgetToken => self.portal.forget_token(),
            Kind::Rest => {
                self.portal.rest();
                self.downloads.rest();
                probe::rest();
            }
            Kind::Cancel => {
                if let Some(task) = lock(&self.running).remove(&number) {
                    task.abort();
                }
            }
            Kind::Page => {
                let caller = lock(&self.callers).waiting.remove(&number);
                // He may have left.
                let _ = caller.map(|caller| caller.send(content_or_none(&said)));
            }
            // Nothing else is said in this direction.
            Kind::Ended | Kind::Caller => {}
        }
        Ok(())
    }

    fn begin(self: &Arc<Self>, number: u64, task: impl Future<Output = io::Result<Body>> + Send + 'static) {
        let desk = Arc::clone(self);
        // Held until it is noted, so that it cannot end before.
        let mut running = lock(&self.running);
        let handle = tokio::spawn(async move {
            let outcome = task.await;
            if lock(&desk.running).remove(&number).is_some() {
                desk.answer(number, outcome);
            }
        });
        running.insert(number, handle.abort_handle());
    }

    fn answer(&self, number: u64, outcome: io::Result<Body>) {
        match outcome {
            // Who is gone needs no answer.
            Ok(body) => drop(self.out.send(Frame { kind: Kind::Ended, number, body })),
            Err(error) => tracing::error!(%error, "an answer cannot be sent"),
        }
    }

    async fn listen(self: &Arc<Self>, address: SocketAddr) -> io::Result<()> {
        let listener = TcpListener::bind(address).await?;
        let desk = Arc::clone(self);
        let page = move || desk.page();
        *lock(&self.listening) = Some(tokio::spawn(metrics::serve(Listener::Tcp(listener), page)));
        Ok(())
    }

    async fn close(&self) {
        let listening = lock(&self.listening).take();
        if let Some(listening) = listening {
            listening.abort();
            // The address is free when it has ended.
            let _ = listening.await;
        }
    }

    fn page(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let (sender, page) = oneshot::channel();
        let mut callers = lock(&self.callers);
        callers.last += 1;
        let number = callers.last;
        callers.waiting.retain(|_, waiting| !waiting.is_closed());
        callers.waiting.insert(number, sender);
        drop(callers);
        let _ = self.out.send(Frame { kind: Kind::Caller, number, body: Body::default() });
        async move { page.await.ok().flatten() }
    }
}

fn content_or_none<T: DeserializeOwned>(said: &Body) -> Option<T> {
    content::<Option<T>>(said).ok().flatten()
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
