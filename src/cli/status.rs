//! `certhook status`

use super::{Outcome, Result, say, say_json, show, survey};
use crate::config::Config;
use crate::control::{self, Request};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> Result {
    let status = match control::ask(&config.state_dir, &Request::Status).await? {
        Some(status) => status,
        None => survey::status(config).await,
    };
    if arguments.json {
        say_json(&status);
    } else {
        say(&show::status(&status));
    }
    Ok(Outcome::from(status.is_well()))
}
