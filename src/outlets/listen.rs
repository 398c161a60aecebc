//! The metrics' address or socket: listened on as soon as it can be.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;

use super::Source;
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
    let (listener, _until_the_end) = loop {
        match open(&place).await {
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
    metrics::serve(listener, move || {
        let source = source.clone();
        async move {
            let status = source.status().await?;
            Some(source.page(&status).await)
        }
    })
    .await;
}

async fn open(place: &Place) -> io::Result<(Listener, Option<Made>)> {
    match place {
        Place::Address(address) => Ok((Listener::Tcp(TcpListener::bind(address).await?), None)),
        Place::Socket(path) => {
            let listener = platform::listen_shared(path).await?;
            let made = platform::identity(path).map(|made| Made(path.clone(), made));
            Ok((Listener::Socket(listener), made))
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
