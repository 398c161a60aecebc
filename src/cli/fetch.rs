//! `certhook fetch`: downloads what the portal has and this host lacks.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::{Outcome, Result, list, say, say_json, second_process, show};
use crate::config::Config;
use crate::fetch::{self, Fetcher, Format, Here};
use crate::platform;
use crate::portal::{Certificate, same_name};
use crate::problem::{Problem, printable};

/// Where the vendor's own client puts certificates.
const INTO: &str = "/etc/ssl/rclcertbot";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// These certificates only, by the portal's names; without them all that can be downloaded.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The folder of the certificates' folders [default: fetch_into of the configuration, or /etc/ssl/rclcertbot].
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Which files.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// As a JSON array.
    #[arg(long)]
    json: bool,
}

/// One certificate, as `--json` prints it. The names of the fields are stable.
#[derive(Debug, Serialize)]
struct Row {
    /// The portal's number.
    id: i64,
    /// The portal's name, as it spells it.
    name: String,
    /// `fetched`; `same`: it was here; `newer`: what is here ends later; `failed`: see the problem.
    outcome: &'static str,
    /// The certificate's own folder.
    folder: Option<String>,
    /// What was fetched: the leaf's SHA-256 and its end.
    fingerprint: Option<String>,
    not_after: Option<Timestamp>,
    problem: Option<Problem>,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> Result {
    let portal = list::portal(config)?;
    let format = arguments.format.unwrap_or_default();
    let configured = config.renewal.as_ref().and_then(|renewal| renewal.fetch_into.as_deref());
    let into = arguments.into.as_deref().or(configured).unwrap_or(Path::new(INTO));
    let apart = second_process(false)?;
    let certificates = list::ask(config, portal, apart.clone()).await?;
    let wanted = choose(&certificates, &arguments.names, format)?;
    let owner =
        config.renewal.as_ref().and_then(|renewal| renewal.owner.as_deref()).and_then(platform::owner);
    let fetcher = Fetcher::new(portal.endpoint.as_str(), portal.timeout, owner).apart(apart.as_ref());
    let mut rows = Vec::new();
    for (index, (certificate, folder)) in
        wanted.iter().zip(fetch::folders(wanted.iter().copied())).enumerate()
    {
        progress(&format!("{} of {}: {}", index + 1, wanted.len(), printable(&certificate.name, 60)));
        let outcome = match folder {
            Ok(_) => one(&fetcher, certificate, into, format).await,
            Err(problem) => Err(problem),
        };
        rows.push(outcome.unwrap_or_else(|problem| Row {
            outcome: "failed",
            problem: Some(problem),
            ..row(certificate, into)
        }));
    }
    progress("");
    if arguments.json {
        say_json(&rows);
    } else {
        say(&text(&rows));
    }
    Ok(Outcome::from(rows.iter().all(|row| row.problem.is_none())))
}

/// Those asked for; else all that can be downloaded.
fn choose<'c>(
    certificates: &'c [Certificate],
    names: &[String],
    format: Format,
) -> std::result::Result<Vec<&'c Certificate>, Problem> {
    let unknown = |name: &&String| !certificates.iter().any(|known| same_name(&known.name, name));
    if let Some(name) = names.iter().find(unknown) {
        let known: Vec<String> = certificates.iter().map(|known| printable(&known.name, 80)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join("; ") };
        return Err(Problem::new(
            "no_such_certificate",
            format!("the portal has no certificate {}", printable(name, 100)),
            format!("it has: {}", printable(&known, 1500)),
        ));
    }
    let is_wanted = |certificate: &&Certificate| match names {
        [] => fetch::has_links(certificate, format),
        _ => names.iter().any(|name| same_name(&certificate.name, name)),
    };
    Ok(certificates.iter().filter(is_wanted).collect())
}

async fn one(
    fetcher: &Fetcher,
    certificate: &Certificate,
    into: &Path,
    format: Format,
) -> std::result::Result<Row, Problem> {
    match fetch::here(into, certificate, format) {
        Here::Same => return Ok(row(certificate, into)),
        Here::Newer => return Ok(Row { outcome: "newer", ..row(certificate, into) }),
        Here::Lacks | Here::Older => {}
    }
    let fetched = fetcher.fetch(certificate, into, format, Timestamp::now()).await?;
    Ok(Row {
        outcome: if fetched.changed { "fetched" } else { "same" },
        fingerprint: Some(fetched.leaf.fingerprint.to_string()),
        not_after: Some(fetched.leaf.not_after),
        ..row(certificate, into)
    })
}

fn row(certificate: &Certificate, into: &Path) -> Row {
    let folder = fetch::folder(into, &certificate.name).ok();
    Row {
        id: certificate.id,
        name: certificate.name.clone(),
        outcome: "same",
        folder: folder.map(|folder| folder.display().to_string()),
        fingerprint: None,
        not_after: None,
        problem: None,
    }
}

fn text(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let name = printable(&row.name, 120);
        let folder = printable(row.folder.as_deref().unwrap_or_default(), 200);
        match (&row.problem, row.outcome, row.not_after) {
            (Some(Problem { code, message, remedy }), ..) => {
                let (message, remedy) = (printable(message, 500), printable(remedy, 500));
                format!("! {name}: failed: {message}\n  {remedy} [{code}]")
            }
            (None, "fetched", Some(end)) => {
                format!("  {name}: fetched into {folder}, ends {}", end.strftime("%Y-%m-%d"))
            }
            (None, "newer", _) => format!("  {name}: what is in {folder} ends later"),
            _ => format!("  {name}: same as in {folder}"),
        }
    };
    if rows.is_empty() {
        return "the portal has nothing to download in this format".to_owned();
    }
    let fetched = rows.iter().filter(|row| row.outcome == "fetched").count();
    let mut out: Vec<String> = rows.iter().map(line).collect();
    out.push(format!("{} of {} fetched", fetched, show::count(rows.len(), "certificate")));
    out.join("\n")
}

/// What is being done, for whoever watches; the next line takes its place.
fn progress(text: &str) {
    let mut terminal = std::io::stderr().lock();
    if terminal.is_terminal() {
        let _ = write!(terminal, "\r\x1b[K{text}");
        let _ = terminal.flush();
    }
}
