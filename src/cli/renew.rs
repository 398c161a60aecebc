//! `certhook renew`: has the portal schedule renewals, and, if asked to, waits until they are real.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::sleep;

use super::{Outcome, Result, list, say, say_json, second_process, show};
use crate::config::{Config, Renewal, parse_duration};
use crate::ledger::{Ledger, Progress, Scheduled};
use crate::portal::{Certificate, Portal};
use crate::problem::{Problem, printable};
use crate::renewal::{Renewer, look_after};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Also renew certificates in Azure Key Vault, with a token for it from the same credentials.
    #[arg(long)]
    key_vault: bool,
    /// Wait so long until what was scheduled is renewed; the portal is asked at most four times.
    #[arg(long, value_name = "TIME", value_parser = time)]
    wait: Option<Duration>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

fn time(text: &str) -> std::result::Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write it like 15m or 1h".to_owned())
}

/// What came of it, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Told {
    scheduled: Vec<Entry>,
    renewed: Vec<String>,
    not_renewed: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Entry {
    id: i64,
    name: String,
    expiry_date: Option<Timestamp>,
}

impl From<&Certificate> for Entry {
    fn from(certificate: &Certificate) -> Self {
        Self { id: certificate.id, name: certificate.name.clone(), expiry_date: certificate.expires() }
    }
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> Result {
    let portal = list::portal(config)?;
    let wait = arguments.wait.unwrap_or(Duration::from_secs(15 * 60));
    let renewal = Renewal {
        line: 0,
        every: config.renewal.as_ref().map_or(Duration::from_secs(4 * 86_400), |renewal| renewal.every),
        wait: config
            .renewal
            .as_ref()
            .filter(|_| arguments.wait.is_none())
            .map_or(wait, |renewal| renewal.wait),
        key_vault: arguments.key_vault || config.renewal.as_ref().is_some_and(|renewal| renewal.key_vault),
        // The agent's, or `certhook fetch`'s.
        fetch_into: config.renewal.as_ref().and_then(|renewal| renewal.fetch_into.clone()),
        owner: None,
    };
    let client = Arc::new(Portal::apart(portal.clone(), second_process(false)?));
    let ledger = Arc::new(Ledger::at(&config.state_dir));
    let renewer = Renewer::new(ledger, client, (&renewal, portal), Vec::new());
    let begun = Instant::now();
    let scheduled = renewer.ask().await.map_err(|trouble| trouble.problem())?;
    if !arguments.json {
        say(&match scheduled.len() {
            0 => "nothing is to be renewed".to_owned(),
            count => format!("{} scheduled", show::count(count, "renewal")),
        });
        for certificate in &scheduled {
            let ends = certificate.expires().map_or("-".to_owned(), |at| at.strftime("%Y-%m-%d").to_string());
            say(&format!("  {}  ends {ends}", printable(&certificate.name, 120)));
        }
    }
    let (mut renewed, mut not_renewed) = (Vec::new(), Vec::new());
    if arguments.wait.is_some() && !scheduled.is_empty() {
        (renewed, not_renewed) = wait_for(config, &renewer, (begun, wait), arguments.json).await?;
    }
    let well = not_renewed.is_empty();
    if arguments.json {
        say_json(&Told { scheduled: scheduled.iter().map(Entry::from).collect(), renewed, not_renewed });
    } else {
        for name in &not_renewed {
            say(&format!("not renewed: {}", printable(name, 120)));
        }
    }
    Ok(Outcome::from(well))
}

/// Looks at the portal's list, with growing pauses, until all are renewed or the time is over. A running agent that
/// looks after the same renewal is let do it.
async fn wait_for(
    config: &Config,
    renewer: &Renewer,
    (begun, wait): (Instant, Duration),
    quiet: bool,
) -> std::result::Result<(Vec<String>, Vec<String>), Problem> {
    let ledger = Ledger::at(&config.state_dir);
    let mut told = 0;
    for looks in 0.. {
        let due = begun + look_after(wait, looks);
        progress(begun, due, quiet).await;
        let last = ledger.last_renewal().map_err(|error| error.problem())?;
        let Some(mut last) = last else { break };
        let open = |last: &crate::ledger::Renewal| {
            last.certificates.iter().filter(|one| one.progress == Progress::Scheduled).count()
        };
        if open(&last) > 0 && last.looks as usize <= looks {
            renewer.look(&last).await.map_err(|trouble| trouble.problem())?;
            last = ledger.last_renewal().map_err(|error| error.problem())?.unwrap_or(last);
        }
        let done: Vec<&Scheduled> =
            last.certificates.iter().filter(|one| one.progress != Progress::Scheduled).collect();
        if !quiet && done.len() > told {
            told = done.len();
            say(&format!("{told} of {} done", last.certificates.len()));
        }
        if open(&last) == 0 || begun.elapsed() >= wait {
            let names = |renewed: bool| {
                let is = |one: &&Scheduled| {
                    matches!(one.progress, Progress::Renewed | Progress::Fetched) == renewed
                };
                last.certificates.iter().filter(is).map(|one| one.name.clone()).collect()
            };
            return Ok((names(true), names(false)));
        }
    }
    Ok((Vec::new(), Vec::new()))
}

/// Sleeps; on a terminal a line tells for how long yet.
async fn progress(begun: Instant, due: Instant, quiet: bool) {
    let shown = !quiet && std::io::stderr().is_terminal();
    while Instant::now() < due {
        if shown {
            let left = due.saturating_duration_since(Instant::now()).as_secs();
            eprint_line(&format!("waiting for {} s, looked at again in {left} s", begun.elapsed().as_secs()));
        }
        let pause = if shown { Duration::from_secs(1) } else { Duration::MAX };
        sleep(pause.min(due.saturating_duration_since(Instant::now()))).await;
    }
    if shown {
        eprint_line("");
    }
}

/// Over what stands in the line.
fn eprint_line(text: &str) {
    use std::io::Write;
    let _ = write!(std::io::stderr().lock(), "\r\x1b[K{text}");
}
