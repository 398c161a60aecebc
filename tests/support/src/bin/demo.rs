//! The demo: `make demo`.
//!
//! ```text
//! demo --certhook target/debug/certhook
//! ```

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use certhook_test_support::demo::{self, Stop};
use clap::Parser;

/// Plays certhook's main job on this machine: three renewals, from the file to the portal.
///
/// Ends with 0 only if what the web server serves and what the portal was told agree. Leaves nothing behind.
#[derive(Debug, Parser)]
struct Options {
    /// The program to play with.
    #[arg(long, value_name = "FILE")]
    certhook: PathBuf,
}

fn main() -> ExitCode {
    let (words, code) = match demo::play(&Options::parse().certhook) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Stop::Interrupted) => ("interrupted; nothing is left behind".to_owned(), 130),
        Err(Stop::Failed(words)) => (words, 1),
    };
    // Where nobody can read it, the exit code has to do.
    let _ = writeln!(std::io::stderr(), "demo: {words}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_fit_together() {
        <Options as clap::CommandFactory>::command().debug_assert();
    }
}
