//! `certhook sync`: one pass, by the agent if one runs, else here. Two at once never act twice.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Outcome, Result, say, say_json, show};
use crate::config::{Config, parse_duration};
use crate::control::{self, Request};
use crate::daemon;
use crate::problem::Problem;
use crate::status::Status;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Send reports again that the portal has refused.
    #[arg(long)]
    retry: bool,
    /// Said by whatever has just reloaded the server: the wire is asked, and certhook's own reloads are passed over.
    #[arg(long)]
    reloaded: bool,
    /// How long to wait for the outcome.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = wait)]
    wait: Duration,
    /// Print the outcome as `status --json` does.
    #[arg(long)]
    json: bool,
}

fn wait(text: &str) -> std::result::Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write it like 10s, 30m or 6h".to_owned())
}

pub(super) async fn run(config: Config, arguments: &Arguments) -> Result {
    let status = pass(config, arguments).await?;
    if arguments.json {
        say_json(&status);
    } else {
        say(&show::summary(&status));
    }
    Ok(Outcome::from(status.is_settled()))
}

async fn pass(config: Config, arguments: &Arguments) -> std::result::Result<Status, Problem> {
    let until = Instant::now() + arguments.wait;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let wait_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let Arguments { retry, reloaded, .. } = *arguments;
        let request = Request::Sync { retry, reloaded, wait_ms };
        if let Some(status) = control::ask(&config.state_dir, &request).await {
            return Ok(status);
        }
        if let Some(lock) = daemon::try_lock(&config.state_dir)? {
            return daemon::pass(config, lock, retry, left).await;
        }
        // Another pass, or an agent that is just starting or ending.
        if left.is_zero() {
            let message =
                format!("another certhook worked in {} for all of the time", config.state_dir.display());
            return Err(Problem::new("locked", message, "see certhook status, or give a longer --wait"));
        }
        sleep(Duration::from_millis(20)).await;
    }
}
