//! The portal simulator, to be run by hand.
//!
//! ```text
//! portal-simulator --certificate 'id=158,name=contoso.com,expires=2026-12-31T00:00:00' &
//! curl -d '{"on":"report","times":2,"action":{"html":502}}' http://127.0.0.1:PORT/simulator/trouble
//! curl -X DELETE http://127.0.0.1:PORT/simulator/trouble
//! curl http://127.0.0.1:PORT/simulator/journal
//! curl -d '{"id":159,"name":"fabrikam.com"}' http://127.0.0.1:PORT/simulator/certificates
//! ```

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use certhook_test_support::portal::{Portal, Record};
use clap::Parser;

/// Simulates the certificate portal and its login service on a loopback port.
///
/// Prints its address, then a line for each request. It can be made to misbehave by
/// `POST /simulator/trouble`; `DELETE` the same to end it.
#[derive(Debug, Parser)]
struct Options {
    /// The loopback address to listen on; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A file that the journal is added to.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// A certificate: `id=158,name=contoso.com,expires=2026-12-31T00:00:00`, also `issued=` and
    /// `installed=`. A name may have commas.
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
    let mut printed = 0;
    loop {
        output.flush()?;
        // Whether it came or the time was up: what is new is printed.
        let _ = portal.wait_for(|journal| journal.len() > printed, Duration::from_secs(3600));
        for entry in portal.journal().iter().skip(printed) {
            writeln!(output, "{entry}")?;
            printed = entry.number;
        }
    }
}

/// Reads a certificate's fields; a part without one of the keys belongs to the value before it.
fn certificate(text: &str) -> Result<Record, String> {
    const KEYS: [&str; 5] = ["id", "name", "issued", "expires", "installed"];
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
    Ok(record)
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
        for (wrong, said) in [
            ("name=contoso.com", "id= is missing"),
            ("id=1", "name= is missing"),
            ("id=x,name=y", "id: "),
            ("id=1,name=y,expires=soon", "expires: "),
            ("id=1,name=y,nmae=z", "'nmae=z' is none of id=, name="),
            ("contoso.com", "'contoso.com' is none of"),
        ] {
            let error = certificate(wrong).unwrap_err();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }
}
