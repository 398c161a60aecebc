//! The metrics' address: listened on as soon as it can be.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;

use super::Source;
use crate::metrics;
use crate::problem::Problem;

/// Pauses between attempts.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Never ends by itself.
pub(super) async fn listen(address: SocketAddr, source: Source) {
    let mut pause = FIRST;
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                let message = format!("nobody can be given metrics on {address}: {error}");
                let remedy = "see what else listens there, or name another address";
                source.shared.set_metrics_problem(Some(Problem::new("metrics_listen", message, remedy)));
            }
        }
        sleep(pause).await;
        pause = LONGEST.min(pause * 2);
    };
    source.shared.set_metrics_problem(None);
    tracing::info!(%address, "metrics are given");
    metrics::serve(listener, move || {
        let source = source.clone();
        async move {
            let status = source.status().await?;
            Some(source.page(&status).await)
        }
    })
    .await;
}
