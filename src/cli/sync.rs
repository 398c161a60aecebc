//! `certhook sync`: one pass, by the agent if one runs, else here. Two at once never act twice.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Outcome, Result, complain, say, say_json, second_process, show};
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
    /// Said by whatever has just reloaded the server: a running agent asks the wire, and passes over its own reloads.
    ///
    /// Where none runs there is nothing to do, and nothing is waited for unless --wait says so.
    #[arg(long, conflicts_with = "retry")]
    reloaded: bool,
    /// How long to wait for the outcome; 60s, if it is not said.
    #[arg(long, value_name = "TIME", value_parser = wait)]
    wait: Option<Duration>,
    /// Print the outcome as `status --json` does.
    #[arg(long)]
    json: bool,
}

fn wait(text: &str) -> std::result::Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write it like 10s, 30m or 6h".to_owned())
}

/// So long is waited where nothing else is said.
const WAIT: Duration = Duration::from_secs(60);

impl Arguments {
    /// Whether it is no more than a hint, which nobody owes an answer.
    pub(super) fn is_a_hint(&self) -> bool {
        self.reloaded
    }
}

pub(super) async fn run(config: Config, arguments: &Arguments) -> Result {
    if arguments.reloaded {
        return hint(&config, arguments.wait.unwrap_or_default()).await;
    }
    let status = pass(config, arguments).await?;
    if arguments.json {
        say_json(&status);
    } else {
        say(&show::summary(&status));
    }
    Ok(Outcome::from(status.is_settled()))
}

/// How things are is told by `status` and by alerts: whoever reloads a server is not to blame for it.
async fn hint(config: &Config, wait: Duration) -> Result {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let request = Request::Sync { retry: false, reloaded: true, wait_ms };
    match control::ask(&config.state_dir, &request).await {
        Ok(Some(_)) => say("the agent looks at what is served"),
        Ok(None) => say("no agent runs: nobody to tell"),
        Err(problem) => complain(&problem.to_string()),
    }
    Ok(Outcome::Well)
}

async fn pass(config: Config, arguments: &Arguments) -> std::result::Result<Status, Problem> {
    let until = Instant::now() + arguments.wait.unwrap_or(WAIT);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let wait_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let retry = arguments.retry;
        let request = Request::Sync { retry, reloaded: false, wait_ms };
        if let Some(status) = control::ask(&config.state_dir, &request).await? {
            return Ok(status);
        }
        if let Some(lock) = daemon::try_lock(&config.state_dir)? {
            return daemon::pass(config, lock, (retry, left), second_process(false)?).await;
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
