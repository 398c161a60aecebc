//! `certhook service install`, `uninstall` and `protect`

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::{Outcome, complain, say};
use crate::problem::Problem;
use crate::{files, platform};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// Make the service, or mend it: started with the system, and anew after a failure.
    Install,
    /// Stop and remove the service; configuration and ledger stay.
    Uninstall,
    /// Write a password, or the client secret, that this machine alone can read (DPAPI).
    ///
    /// It is typed, or comes from standard input.
    Protect {
        /// The file that is to hold it; what is there is replaced.
        file: PathBuf,
    },
}

/// Longer ones are none; so is a whole file by mistake.
const MOST_SECRET: u64 = 4096;

pub(super) fn run(config: &Path, arguments: &Arguments) -> Outcome {
    let (outcome, done) = match &arguments.what {
        What::Protect { file } => return protect(file),
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
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound && matches!(arguments.what, What::Uninstall) =>
        {
            complain(&format!("{error}: nothing is to be removed"));
            Outcome::Unwell
        }
        // It says itself what to do.
        Err(error) if error.raw_os_error().is_none() => {
            complain(&error.to_string());
            Outcome::Unwell
        }
        Err(error) => {
            complain(&format!("{error}; only an administrator may make or remove services"));
            Outcome::Unwell
        }
    }
}

fn protect(file: &Path) -> Outcome {
    if let Err(error) = platform::can_seal() {
        complain(&error.to_string());
        return Outcome::Wrong;
    }
    let done = read_secret().and_then(|secret| files::seal(file, &secret));
    match done {
        Ok(()) => {
            say(&format!("{} holds it, sealed: this machine alone can read it", file.display()));
            Outcome::Well
        }
        Err(problem) => {
            complain(&problem.to_string());
            Outcome::Unwell
        }
    }
}

fn read_secret() -> Result<Zeroizing<Vec<u8>>, Problem> {
    let unread = |message: String| Problem::new("bad_secret", message, "type it, or pipe it in UTF-8");
    let input = std::io::stdin();
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_SECRET as usize + 1));
    let read = if input.is_terminal() {
        let _unseen = platform::Unseen::begin();
        complain("type the secret, which is not shown, and press Enter");
        let mut line = Zeroizing::new(String::with_capacity(MOST_SECRET as usize + 1));
        let read = input.read_line(&mut line);
        bytes.extend_from_slice(line.as_bytes());
        read
    } else {
        input.lock().take(MOST_SECRET + 1).read_to_end(&mut bytes)
    };
    read.map_err(|error| unread(format!("the secret cannot be read: {error}")))?;
    if bytes.len() as u64 > MOST_SECRET {
        return Err(unread(format!("the secret has more than {MOST_SECRET} bytes")));
    }
    Ok(bytes)
}
