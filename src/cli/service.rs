//! `certhook service install` and `uninstall`

use std::path::Path;

use clap::{Args, Subcommand};

use super::{Outcome, complain, say};
use crate::platform;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum What {
    /// Make the service, or mend it: started with the system, and anew after a failure.
    Install,
    /// Stop and remove the service; configuration and ledger stay.
    Uninstall,
}

pub(super) fn run(config: &Path, arguments: &Arguments) -> Outcome {
    let (outcome, done) = match arguments.what {
        What::Install => (
            platform::install_service(config).map(|left_out| {
                for what in left_out {
                    complain(&format!("this system does not know of {what}; the service is made without"));
                }
            }),
            format!("the service is made, for {}; start it: sc start certhook", config.display()),
        ),
        What::Uninstall => (platform::uninstall_service(), "the service is removed".to_owned()),
    };
    match outcome {
        Ok(()) => {
            say(&done);
            Outcome::Well
        }
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
            complain(&error.to_string());
            Outcome::Wrong
        }
        Err(error) => {
            complain(&format!("{error}; only an administrator may make or remove services"));
            Outcome::Unwell
        }
    }
}
