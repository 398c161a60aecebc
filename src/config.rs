//! The configuration file, parsed into settings that cannot be wrong.
//!
//! Every mistake is found in one reading and told with its line and remedy; nothing is half-used.

mod asks;
mod copy;
mod endpoint;
mod iis;
mod ledger;
mod limits;
mod outlets;
mod parts;
mod portal;
mod raw;
mod servers;
mod sites;

use std::borrow::Cow;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::platform;
use crate::problem::{Problem, printable};
pub use endpoint::{Address, Ask, Endpoint};
pub use iis::{Binding, Bound, Central, Iis, Origin, Shows, Store};
pub use ledger::LedgerSettings;
pub use limits::{Limits, Share};
pub use parts::{Reload, SecretSource, WebUrl};

/// Larger files are no configurations: one of ten thousand sites has a quarter of this.
const MOST_BYTES: u64 = 8 << 20;

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// Where ledger, lock and control socket live.
    pub state_dir: PathBuf,
    /// Without it nothing is reported.
    pub portal: Option<Portal>,
    /// Without it nothing is renewed by itself.
    pub renewal: Option<Renewal>,
    /// How files are watched.
    pub watch: Watch,
    /// What one site may use of what all sites share.
    pub limits: Limits,
    /// What the ledger keeps.
    pub ledger: LedgerSettings,
    /// Without it nobody is given numbers.
    pub metrics: Option<Metrics>,
    /// Without it nobody is told of problems.
    pub alert: Option<Alert>,
    /// The servers, in the file's order; at least one.
    pub servers: Vec<Server>,
    /// The sites, in the file's order.
    pub sites: Box<[Arc<Site>]>,
}

/// A duration as the configuration writes it: `10s`, `30m`, `4d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    raw::duration(text)
}

/// `[portal]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portal {
    /// The API, without a slash at its end.
    pub endpoint: WebUrl,
    /// The login service, without a slash at its end.
    pub login: WebUrl,
    /// The directory that holds the application.
    pub tenant_id: String,
    /// The application.
    pub client_id: String,
    /// Where the application's secret is; this host's alone.
    #[serde(skip)]
    pub secret: SecretSource,
    /// The subscription's allowance, shared by all its hosts.
    pub requests_per_week: u32,
    /// Whether certificates are reported whose load is the only evidence that they are served.
    pub report_unproved: bool,
    /// For one request, from connecting to the answer's last byte.
    pub timeout: Duration,
    /// The first pause after a failed request; it grows to six hours.
    pub retry: Duration,
}

/// `[renewal]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// Its line.
    pub line: usize,
    /// From one time that the portal is asked to schedule renewals to the next.
    pub every: Duration,
    /// For the portal to renew what it scheduled.
    pub wait: Duration,
    /// There are Key Vault certificates, for which the portal wants a second token.
    pub key_vault: bool,
    /// Where what was renewed is downloaded to, in the layout of the portal's own client.
    pub fetch_into: Option<PathBuf>,
    /// Whose the downloaded files are to be: `user` or `user:group`.
    pub owner: Option<String>,
}

/// `[watch]`
#[derive(Debug, Clone)]
pub struct Watch {
    /// How long an incomplete set may stay quiet before it is a problem.
    pub settle: Duration,
    /// Between looks at everything, the wire included.
    pub rescan: Duration,
    /// Between looks at folders that give no events.
    pub poll: Duration,
}

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Its line.
    pub line: usize,
    /// Where they go.
    pub to: MetricsTo,
}

/// Where metrics go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricsTo {
    /// Into a file that another program hands on.
    File(PathBuf),
    /// To whoever on this host asks this address.
    Listen(SocketAddr),
    /// To whoever may open this socket.
    Socket(PathBuf),
}

/// `[alert]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Its line.
    pub line: usize,
    /// The program that tells somebody, by its full path, and its arguments.
    pub command: Vec<String>,
    /// How long a problem must last to be told.
    pub after: Duration,
    /// From one run of the command to the next, at least.
    pub min_interval: Duration,
}

/// `[server.NAME]`
#[derive(Debug, Clone)]
pub struct Server {
    /// The table's name.
    pub name: String,
    /// The line of its table.
    pub line: usize,
    /// Which program it is.
    pub kind: Kind,
    /// How it is told to load its certificates again.
    pub reload: Reload,
    /// For the new certificate to be on the wire after a reload.
    pub verify_timeout: Duration,
    /// For a reload to end: the command, or nginx until its new workers are there.
    pub reload_timeout: Duration,
    /// From the beginning of one reload to that of the next, at least.
    pub min_interval: Duration,
    /// While so many old workers drain, a reload waits; without it none does.
    pub max_draining: Option<usize>,
    /// Where copies of its sites' sets are published for it.
    pub stage: Option<PathBuf>,
}

/// What certhook knows of a server's program.
#[derive(Debug, Clone)]
pub enum Kind {
    /// nginx and its relatives.
    Nginx(Nginx),
    /// Anything that a command reloads.
    Command,
    /// IIS, which is told by its bindings.
    Iis(Iis),
}

/// What nginx's instance is known by; whatever is absent is found on the host.
#[derive(Debug, Clone, Default)]
pub struct Nginx {
    /// Every certificate of its configuration is a site.
    pub discover: bool,
    /// The program, for the configuration test.
    pub binary: Option<PathBuf>,
    /// Its `-c`.
    pub config: Option<PathBuf>,
    /// Its `-p`.
    pub prefix: Option<PathBuf>,
    /// Its unit, if systemd runs it.
    pub unit: Option<String>,
    /// Where its master writes its process id.
    pub pid_file: Option<PathBuf>,
    /// The user whose master is trusted beside root's and certhook's own.
    pub user: Option<String>,
    /// Test the configuration before every reload.
    pub pre_check: bool,
}

/// `[[site]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// The line of its table.
    pub line: usize,
    /// What the ledger has it under, where that is not its certificate's path.
    pub known_as: Option<Box<str>>,
    /// The portal's name, if given.
    pub name: Option<String>,
    /// The portal's id, if given.
    pub id: Option<i64>,
    /// Index into [`Config::servers`].
    pub server: usize,
    /// The file that holds the leaf and its chain.
    pub certificate: PathBuf,
    /// Where the key is.
    pub key: KeyAt,
    /// Whether `key` is the administrator's word. Otherwise it is the certificate's own file, unless the server's
    /// configuration names another one.
    pub key_is_given: bool,
    /// The bindings of IIS that are to have it, beside those that have an earlier one.
    pub bindings: Vec<Binding>,
    /// All bindings that IIS's own configuration has, where it was asked.
    pub bound: Vec<Bound>,
    /// Where to ask for the served certificate; where there is none, the server's configuration tells.
    pub verify: Arc<[Ask]>,
    /// Whether `verify` is what the server's configuration says: then only addresses that its host has are asked.
    pub verify_is_found: bool,
    /// What its copy is called in the server's `stage`, if it is to have another name than it would get.
    pub stage_as: Option<String>,
    /// Whether the portal is to know.
    pub report: bool,
}

/// Where a site's private key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyAt {
    /// In a file; the certificate's own where no other is named.
    File(PathBuf),
    /// In a device (`engine:…`, `store:…`).
    Elsewhere(String),
    /// The certificate's file is a PFX that holds it too; the file with its password, which is empty else.
    Pfx(Option<PathBuf>),
}

/// One mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; 0 for the whole file.
    pub line: usize,
    /// What and what to do.
    pub problem: Problem,
}

impl Mistake {
    /// File and line, for people.
    pub fn place(&self) -> String {
        let path = printable(&self.path.display().to_string(), 500);
        match self.line {
            0 => path,
            line => format!("{path}:{line}"),
        }
    }
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place(), self.problem)
    }
}

/// Everything that is wrong with a configuration; at least one mistake.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// Whether the file is there and as a package installs it: empty, or with a sample's ids.
    pub fn say_nothing_is_configured(&self) -> bool {
        self.0.iter().all(|mistake| mistake.problem.code == parts::NOT_CONFIGURED)
    }
}

impl Config {
    /// Whether the portal gets reports of certificates that no handshake shows.
    pub fn reports_unproved(&self) -> bool {
        self.portal.as_ref().is_none_or(|portal| portal.report_unproved)
    }

    /// Reads and parses the file at `path`.
    ///
    /// # Errors
    /// All mistakes at once, each with its line and remedy.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        let text = read(path).map_err(|error| {
            let remedy = match error.kind() {
                // Nor may it see whether there is one.
                std::io::ErrorKind::PermissionDenied => platform::AS_WHOM,
                _ => "write one there, or name another with --config",
            };
            let message = format!("the configuration cannot be read: {error}");
            let problem = Problem::new("no_configuration", message, remedy);
            Mistakes(vec![Mistake { path: path.to_owned(), line: 0, problem }])
        })?;
        Self::parse(path, &text)
    }

    /// Parses a configuration's text; `path` is for its messages alone.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, Mistakes> {
        let file = raw::File::new(path, text);
        let config = parts::config(&file);
        file.finish(config)
    }

    /// For a look without any configuration: the server that a host of this system usually has, as it is.
    pub fn of_this_host() -> Self {
        if platform::HAS_IIS { Self::of_any_iis() } else { Self::of_any_nginx() }
    }

    /// The nginx of this host.
    pub fn of_any_nginx() -> Self {
        Self::of_any(Kind::Nginx(Nginx { discover: true, ..Nginx::default() }))
    }

    /// The IIS of this host.
    pub fn of_any_iis() -> Self {
        Self::of_any(Kind::Iis(Iis { discover: true, ..Iis::default() }))
    }

    fn of_any(kind: Kind) -> Self {
        let mut config = parts::empty();
        let name = if matches!(kind, Kind::Iis(_)) { "iis" } else { "nginx" };
        for server in &mut config.servers {
            (server.name, server.kind) = (name.to_owned(), kind.clone());
        }
        config
    }
}

/// The file's text; it may be a pipe, and is not read for ever.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    #[expect(clippy::disallowed_methods, reason = "`--config /dev/stdin` waits for who writes it")]
    let file = std::fs::File::open(path)?;
    file.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(std::io::Error::other(format!("it is larger than {} MB", MOST_BYTES >> 20)));
    }
    Ok(text)
}

impl Server {
    /// Whether its own configuration tells which sites there are.
    pub fn discovers(&self) -> bool {
        match &self.kind {
            Kind::Nginx(nginx) => nginx.discover,
            Kind::Iis(iis) => iis.discover,
            Kind::Command => false,
        }
    }
}

impl Site {
    /// Whether it stands for every certificate that matches its path.
    pub fn is_pattern(&self) -> bool {
        stars(&self.certificate) > 0
    }

    /// What tells it from all others in the ledger, whatever it is called: its certificate's path, with its server's
    /// name where several servers use one certificate.
    pub fn ledger_key(&self) -> Cow<'_, str> {
        self.known_as.as_deref().map_or_else(|| self.certificate.to_string_lossy(), Cow::Borrowed)
    }

    /// Its name, else its file.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.certificate.display().to_string())
    }
}

fn stars(path: &Path) -> usize {
    path.as_os_str().as_encoded_bytes().iter().filter(|byte| **byte == b'*').count()
}

#[cfg(test)]
mod tests;
