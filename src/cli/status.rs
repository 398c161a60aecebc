//! `certhook status`

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Outcome, Result, complain, say, say_json, show, survey};
use crate::config::Config;
use crate::control::{self, Request};
use crate::platform;
use crate::status::Status;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> Result {
    match control::ask(&config.state_dir, &Request::Status).await {
        Ok(Some(status)) => Ok(print(&status, arguments)),
        Ok(None) => Ok(print(&survey::status(config).await, arguments)),
        Err(_) if socket().is_some() => outward(arguments).await,
        Err(closed) => Err(closed),
    }
}

/// Whether this user may not read the configuration, and there is a status socket to ask instead.
pub(super) fn may_ask_outward(config: &Path) -> bool {
    let is_closed =
        platform::open_to_read(config).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    is_closed && socket().is_some()
}

fn socket() -> Option<PathBuf> {
    platform::status_path().filter(|path| path.symlink_metadata().is_ok())
}

/// For a user who may not ask the control socket: what the agent tells the members of a group.
pub(super) async fn outward(arguments: &Arguments) -> Result {
    let path = socket().unwrap_or_default();
    let status = control::ask_for_status(&path).await?;
    if !arguments.json {
        complain(&format!("told by {}, without details: those are for root", path.display()));
    }
    Ok(print(&status, arguments))
}

fn print(status: &Status, arguments: &Arguments) -> Outcome {
    if arguments.json {
        say_json(status);
    } else {
        say(&show::status(status));
    }
    Outcome::from(status.is_well())
}
