//! The portal simulator, to be run by hand.
//!
//! ```text
//! portal-simulator --certificate 'id=158,name=contoso.com,expires=2026-12-31T00:00:00' &
//! curl -d '{"on":"report","times":2,"action":{"html":502}}' http://127.0.0.1:PORT/simulator/trouble
//! curl -X DELETE http://127.0.0.1:PORT/simulator/trouble
//! curl http://127.0.0.1:PORT/simulator/journal
//! curl -d '{"id":159,"name":"fabrikam.com"}' http://127.0.0.1:PORT/simulator/certificates
//! curl -d '{"id":160,"name":"tailspin.com","downloads":true}' http://127.0.0.1:PORT/simulator/certificates
//! curl -d '{"certificate":160,"file":"key","how":"other_key"}' http://127.0.0.1:PORT/simulator/spoils
//! curl http://127.0.0.1:PORT/simulator/downloads
//! curl -d '{"advance":600}' http://127.0.0.1:PORT/simulator/clock
//! curl -X POST http://127.0.0.1:PORT/simulator/renewals
//! curl http://127.0.0.1:PORT/simulator/root
//! ```

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use certhook_test_support::portal::{Portal, Record};
use clap::Parser;

/// Simulates the certificate portal and its login service on a loopback port.
///
/// Prints its address, then a line for each request; those to the download server begin with `download`.
///
/// It can be made to misbehave by `POST /simulator/trouble`, its downloads by `POST /simulator/spoils`;
/// `DELETE` the same to end it. `GET /simulator/journal`, `/simulator/downloads` and `/simulator/certificates`
/// show what there is, `/simulator/root` whom to trust. `POST /simulator/renewals` makes all that is scheduled
/// real now, `POST /simulator/clock` with `{"advance":SECONDS}` moves the portal's clock.
#[derive(Debug, Parser)]
struct Options {
    /// The loopback address to listen on; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The loopback address of the download server; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    downloads: SocketAddr,
    /// How long a scheduled renewal takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    renewal_takes: u64,
    /// How soon a certificate must end to be scheduled for renewal.
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    renew_within: u32,
    /// How long the signature of a download link is good for.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    link_lifetime: u64,
    /// A file that the portal's journal is added to.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// A certificate: `id=158,name=contoso.com,expires=2026-12-31T00:00:00`, also `issued=`,
    /// `installed=`, `target=`, `renewal=` (Automatic or Manual), `downloads=yes` (the simulator issues it and
    /// has its files), `fails=yes` (its renewals do). A name may have commas.
    #[arg(long = "certificate", value_name = "FIELDS", value_parser = certificate)]
    certificates: Vec<Record>,
    /// The tenant that tokens are asked for.
    #[arg(long, default_value = "contoso.com")]
    tenant: String,
    /// The client id that gets tokens.
    #[arg(long, default_value = "625bc9f6-3bf6-4b6d-94ba-e97cf07a22de")]
    client_id: String,
    /// The client secret that gets tokens.
    #[arg(long, default_value = "qkDwDJlDfig2IpeuUZYKH1Wb8q1V0ju6sILxQQqhJ+s=")]
    client_secret: String,
    /// The weekly budget.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    requests_per_week: usize,
    /// How long a token is good for.
    #[arg(long, value_name = "SECONDS", default_value_t = 3599)]
    token_lifetime: u64,
}

fn main() -> io::Result<()> {
    run(Options::parse(), &mut io::stdout())
}

/// Runs until nobody reads the journal any more.
fn run(options: Options, output: &mut impl Write) -> io::Result<()> {
    let mut builder = Portal::builder()
        .listen(options.listen)
        .downloads_listen(options.downloads)
        .renewal_takes(Duration::from_secs(options.renewal_takes))
        .renew_within(Duration::from_secs(u64::from(options.renew_within) * 24 * 3600))
        .link_lifetime(Duration::from_secs(options.link_lifetime))
        .tenant(options.tenant)
        .client_id(options.client_id)
        .client_secret(options.client_secret)
        .requests_per_week(options.requests_per_week)
        .token_lifetime(Duration::from_secs(options.token_lifetime));
    if let Some(path) = options.journal {
        builder = builder.journal_file(path);
    }
    for record in options.certificates {
        builder = builder.certificate(record);
    }
    let portal = builder.start()?;
    writeln!(output, "{}", portal.endpoint())?;
    let (mut printed, mut downloaded) = (0, 0);
    loop {
        output.flush()?;
        // Whether it came or the time was up: what is new is printed.
        let news = || portal.downloads().len() > downloaded;
        let _ = portal.wait_for(|journal| journal.len() > printed || news(), Duration::from_secs(3600));
        for download in portal.downloads().iter().skip(downloaded) {
            writeln!(output, "download  {download}")?;
            downloaded = download.number;
        }
        for entry in portal.journal().iter().skip(printed) {
            writeln!(output, "{entry}")?;
            printed = entry.number;
        }
    }
}

/// Reads a certificate's fields; a part without one of the keys belongs to the value before it.
fn certificate(text: &str) -> Result<Record, String> {
    const KEYS: [&str; 9] =
        ["id", "name", "issued", "expires", "installed", "target", "renewal", "downloads", "fails"];
    let mut fields: Vec<(&str, String)> = Vec::new();
    for part in text.split(',') {
        match (part.split_once('='), fields.last_mut()) {
            (Some((key, value)), _) if KEYS.contains(&key) => fields.push((key, value.to_owned())),
            (None, Some((_, value))) => *value = format!("{value},{part}"),
            _ => return Err(format!("'{part}' is none of {}", KEYS.join("=, ") + "=")),
        }
    }
    let field = |wanted: &str| fields.iter().find(|(key, _)| *key == wanted).map(|(_, value)| value.clone());
    let date = |key: &str| {
        let date = field(key).map(|value| value.parse().map_err(|error| format!("{key}: {error}")));
        date.transpose()
    };
    let id = field("id").ok_or("id= is missing")?;
    let id = id.parse().map_err(|error| format!("id: {error}"))?;
    let name = field("name").ok_or("name= is missing")?;
    let mut record = Record::new(id, name);
    record.issue_date = date("issued")?.unwrap_or(record.issue_date);
    record.expiry_date = date("expires")?.unwrap_or(record.expiry_date);
    record.remote_create_date = field("installed");
    record.target = field("target").unwrap_or(record.target);
    record.renewal = field("renewal").unwrap_or(record.renewal);
    let flag = |key: &str| match field(key).as_deref() {
        None | Some("no") => Ok(false),
        Some("yes") => Ok(true),
        Some(_) => Err(format!("{key}: yes or no")),
    };
    record.fails_to_renew = flag("fails")?;
    Ok(if flag("downloads")? { record.issued() } else { record })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_fit_together() {
        <Options as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn reads_certificates() {
        let read = certificate("id=158,name=contoso.com, *.contoso.com,expires=2026-12-31T00:00:00");
        let read = read.unwrap();
        assert_eq!((read.id, read.name.as_str()), (158, "contoso.com, *.contoso.com"));
        assert_eq!(read.expiry_date.to_string(), "2026-12-31T00:00:00");
        assert_eq!(read.remote_create_date, None);
        assert!(read.issued.is_none() && !read.fails_to_renew);
        let read = certificate("id=1,name=y,downloads=yes,fails=yes,target=Azure Key Vault,renewal=Manual");
        let read = read.unwrap();
        assert!(read.issued.is_some() && read.fails_to_renew);
        assert_eq!((read.target.as_str(), read.renewal.as_str()), ("Azure Key Vault", "Manual"));
        for (wrong, said) in [
            ("name=contoso.com", "id= is missing"),
            ("id=1", "name= is missing"),
            ("id=x,name=y", "id: "),
            ("id=1,name=y,expires=soon", "expires: "),
            ("id=1,name=y,downloads=maybe", "downloads: yes or no"),
            ("id=1,name=y,nmae=z", "'nmae=z' is none of id=, name="),
            ("contoso.com", "'contoso.com' is none of"),
        ] {
            let error = certificate(wrong).unwrap_err();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }
}
