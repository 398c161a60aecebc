//! `certhook history`

use super::{Outcome, Result, say, say_json};
use crate::config::Config;
use crate::ledger::{Entry, Ledger};
use crate::problem::printable;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Of this site only: its name, or its certificate's path.
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// As a JSON array.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Config, arguments: &Arguments) -> Result {
    let ledger = Ledger::open_existing(&config.state_dir).map_err(|error| error.problem())?;
    let entries = match &ledger {
        Some(ledger) => ledger.history(arguments.site.as_deref()).map_err(|error| error.problem())?,
        None => Vec::new(),
    };
    if arguments.json {
        say_json(&entries);
    } else {
        for entry in &entries {
            say(&line(entry));
        }
    }
    Ok(Outcome::Well)
}

fn line(entry: &Entry) -> String {
    let fingerprint =
        entry.fingerprint.as_ref().map_or("", |fingerprint| &fingerprint[..fingerprint.len().min(12)]);
    let detail = printable(entry.detail.as_deref().unwrap_or_default(), 500);
    let site = printable(&entry.site, 200);
    format!("{:.3}  {site}  {:<13} {fingerprint:<12}  {detail}", entry.at, entry.event).trim_end().to_owned()
}
