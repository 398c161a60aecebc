//! `certhook status`

use super::{Outcome, Result, say, say_json, show, survey};
use crate::config::Config;
use crate::control::{self, Request};
use crate::ledger::Ledger;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> Result {
    let status = match control::ask(&config.state_dir, &Request::Status).await {
        Some(status) => status,
        None => {
            let ledger = Ledger::open_existing(&config.state_dir).map_err(|error| error.problem())?;
            survey::status(config, ledger.as_ref()).await.map_err(|error| error.problem())?
        }
    };
    if arguments.json {
        say_json(&status);
    } else {
        say(&show::status(&status));
    }
    Ok(Outcome::from(status.is_well()))
}
