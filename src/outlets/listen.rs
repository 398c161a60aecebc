//! The metrics' address or socket: listened on as soon as it can be.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;

use super::Source;
use crate::apart::{Apart, Kind};
use crate::metrics::{self, Listener};
use crate::platform::{self, Identity};
use crate::problem::{Problem, printable};

/// Pauses between attempts.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Where the metrics are given.
pub(super) enum Place {
    /// An address of loopback.
    Address(SocketAddr),
    /// A socket in the file system.
    Socket(PathBuf),
}

/// Never ends by itself.
pub(super) async fn listen(place: Place, source: Source) {
    let mut pause = FIRST;
    let (way, _until_the_end) = loop {
        match open(&place, source.apart.as_ref()).await {
            Ok(open) => break open,
            Err(error) => {
                let message = format!("nobody can be given metrics on {place}: {error}");
                let remedy = match place {
                    Place::Address(_) => "see what else listens there, or name another address",
                    Place::Socket(_) => {
                        "see what is there, let certhook's user write in its folder, or name another"
                    }
                };
                source.shared.set_metrics_problem(Some(Problem::new("metrics_listen", message, remedy)));
            }
        }
        sleep(pause).await;
        pause = LONGEST.min(pause * 2);
    };
    source.shared.set_metrics_problem(None);
    tracing::info!(address = %place, "metrics are given");
    match way {
        Way::Here(listener) => {
            let page = move || {
                let source = source.clone();
                async move { page(&source).await }
            };
            metrics::serve(listener, page).await;
        }
        Way::Apart(open) => {
            let mut callers = open.0.callers();
            while let Some(caller) = callers.recv().await {
                let (source, apart) = (source.clone(), open.0.clone());
                tokio::spawn(async move { apart.answer(caller, page(&source).await.as_deref()) });
            }
        }
    }
}

async fn page(source: &Source) -> Option<String> {
    let status = source.status().await?;
    Some(source.page(&status).await)
}

/// How callers come.
enum Way {
    Here(Listener),
    /// The second process lets them in, and asks here what to give them.
    Apart(Open),
}

/// What the second process lets callers in by. Closed when dropped.
struct Open(Apart);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.tell(Kind::Close);
    }
}

/// A socket in the file system is always opened here: who may call is a matter of its folder and its mode.
async fn open(place: &Place, apart: Option<&Apart>) -> io::Result<(Way, Option<Made>)> {
    match (place, apart) {
        (Place::Address(address), None) => {
            Ok((Way::Here(Listener::Tcp(TcpListener::bind(address).await?)), None))
        }
        (Place::Address(address), Some(apart)) => {
            let outcome: Result<(), String> = apart
                .ask(Kind::Listen, address)
                .await
                .map_err(|problem| io::Error::other(problem.message))?;
            outcome.map_err(io::Error::other)?;
            Ok((Way::Apart(Open(apart.clone())), None))
        }
        (Place::Socket(path), _) => {
            let listener = platform::listen_shared(path).await?;
            let made = platform::identity(path).map(|made| Made(path.clone(), made));
            Ok((Way::Here(Listener::Socket(listener)), made))
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Socket(path) => write!(f, "unix:{}", printable(&path.display().to_string(), 200)),
        }
    }
}

/// A socket that was made, which goes with this.
struct Made(PathBuf, Identity);

impl Drop for Made {
    fn drop(&mut self) {
        if platform::identity(&self.0) == Some(self.1) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}
