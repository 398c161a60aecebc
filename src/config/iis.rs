//! What IIS is known by: its table, and its bindings.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use super::parts::windows_path;
use super::raw::{At, File, Section};
use super::{Address, Endpoint};

/// What IIS is known by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Iis {
    /// Its bindings are read from its own configuration.
    pub discover: bool,
    /// The certificate store of the local machine that certificates are imported into.
    pub store: Store,
    /// Its Central Certificate Store, if it has one.
    pub central: Option<Central>,
    /// How long a replaced certificate stays in the store after the new one was proved; `None` keeps it.
    pub retire_after: Option<Duration>,
    /// `applicationHost.config`, where it is not at its usual place.
    pub config: Option<PathBuf>,
    /// A binding that a site names and IIS does not have is made.
    pub create_bindings: bool,
    /// Where HTTP.sys's records are kept while they are replaced.
    pub journal: PathBuf,
}

/// A store of the local machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Store {
    /// `My`, which most programs use.
    #[default]
    My,
    /// `WebHosting`, made for many certificates.
    WebHosting,
}

impl Store {
    /// As Windows calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::My => "My",
            Self::WebHosting => "WebHosting",
        }
    }
}

/// The Central Certificate Store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Central {
    /// Its folder, often a share.
    pub folder: PathBuf,
    /// Holds the password that IIS opens its files with; without it that is empty.
    pub password_file: Option<PathBuf>,
}

const DAY: Duration = Duration::from_secs(86_400);
const RETIRE_AFTER: Duration = Duration::from_secs(30 * DAY.as_secs());

pub(super) fn iis(file: &File<'_>, section: &mut Section<'_, '_>) -> Option<Iis> {
    let discover = section.boolean("discover").is_some_and(|at| at.value);
    let store = match section.string("store") {
        None => Some(Store::My),
        Some(at) => store(file, &at),
    };
    let central_given = section.has("central_store");
    let folder = windows_path(file, section.string("central_store"));
    let password_line = section.string("central_store_password_file");
    let line = password_line.as_ref().map(|at| at.line);
    let password_file = windows_path(file, password_line);
    if let Some(line) = line.filter(|_| !central_given) {
        let message = "central_store_password_file belongs to a central_store, and there is none";
        file.mistake(
            line,
            "missing_key",
            message,
            "name the folder with central_store, or leave the line out",
        );
    }
    let retire_after = retire_after(section);
    let config = windows_path(file, section.string("config"));
    let create_bindings = section.boolean("create_bindings").is_some_and(|at| at.value);
    let central = folder.map(|folder| Central { folder, password_file });
    // Known when the whole file is read.
    let journal = PathBuf::new();
    Some(Iis { discover, store: store?, central, retire_after, config, create_bindings, journal })
}

fn store(file: &File<'_>, at: &At<String>) -> Option<Store> {
    let found = [Store::My, Store::WebHosting].into_iter().find(|store| store.name() == at.value);
    if found.is_none() {
        let message = format!("store = {:?} is no store that IIS takes certificates from", at.value);
        file.mistake(at.line, "bad_value", message, "use \"My\" or \"WebHosting\"");
    }
    found
}

fn retire_after(section: &mut Section<'_, '_>) -> Option<Duration> {
    if section.says("retire_after", "never") {
        return None;
    }
    Some(section.duration("retire_after", RETIRE_AFTER))
}

/// A binding of IIS that speaks TLS: `SITE/ADDRESS:PORT:HOST`, as `Home/*:443:contoso.com`. The site may be left
/// out, and so may the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Binding {
    site: Option<String>,
    address: Option<IpAddr>,
    port: NonZeroU16,
    host: String,
}

impl Binding {
    /// Parses it; `None` where IIS would not take it.
    pub fn parse(text: &str) -> Option<Self> {
        match text.rsplit_once('/') {
            None => Self::of_site(None, text),
            Some((site, _)) if !is_site(site) => None,
            Some((site, information)) => Self::of_site(Some(site), information),
        }
    }

    /// A site's, by its `bindingInformation`: `*:443:contoso.com`.
    pub fn of_site(site: Option<&str>, information: &str) -> Option<Self> {
        let (place, host) = information.rsplit_once(':')?;
        let (address, port) = place.rsplit_once(':')?;
        let address = match address.strip_prefix('[') {
            Some(rest) => Some(IpAddr::V6(rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?)),
            None if matches!(address, "*" | "") => None,
            None => Some(IpAddr::V4(address.parse::<Ipv4Addr>().ok()?)),
        };
        let all_digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| all_digits)?;
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        (host.is_empty() || is_host(&host)).then(|| Self {
            site: site.map(str::to_owned),
            address,
            port,
            host,
        })
    }

    /// The site that it is of, if that is said.
    pub fn site(&self) -> Option<&str> {
        self.site.as_deref()
    }

    /// Its own address; `None` is every one.
    pub fn address(&self) -> Option<IpAddr> {
        self.address.filter(|address| !address.is_unspecified() || address.is_ipv6())
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.get()
    }

    /// Its host in lower case, which may begin with `*.`; empty where it has none.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// As `bindingInformation` has it.
    pub fn information(&self) -> String {
        match self.address() {
            None => format!("*:{}:{}", self.port, self.host),
            Some(IpAddr::V4(address)) => format!("{address}:{}:{}", self.port, self.host),
            Some(IpAddr::V6(address)) => format!("[{address}]:{}:{}", self.port, self.host),
        }
    }

    /// Whether the two mean one binding; where one does not say its site, any will do. IIS knows no case.
    pub fn is_same(&self, other: &Self) -> bool {
        let site = match (&self.site, &other.site) {
            (Some(one), Some(other)) => one.to_lowercase() == other.to_lowercase(),
            _ => true,
        };
        site && self.address() == other.address() && (self.port, &self.host) == (other.port, &other.host)
    }

    /// The address at which somebody on this host reaches it.
    pub(super) fn reached_at(&self) -> IpAddr {
        match self.address() {
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(IpAddr::V6(address)) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            Some(address) => address,
        }
    }

    /// Where somebody on this host reaches it.
    pub fn endpoint(&self) -> Endpoint {
        let address = std::net::SocketAddr::new(self.reached_at(), self.port()).to_string();
        Endpoint { address: Address::Tcp(address), proxy_protocol: false }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(site) = &self.site {
            write!(f, "{site}/")?;
        }
        f.write_str(&self.information())
    }
}

/// A binding that IIS has.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// With its site.
    pub binding: Binding,
    /// What its record of HTTP.sys shows.
    pub shows: Shows,
}

/// What a certificate has in common with its renewals, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    names: String,
    issuer: String,
}

impl Origin {
    /// Of the names that it is for, and of who issued it.
    pub fn new(names: &impl fmt::Display, issuer: &impl fmt::Display) -> Self {
        Self { names: names.to_string(), issuer: issuer.to_string() }
    }
}

/// What a record shows, as far as the machine's certificate stores tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Shows {
    /// It cannot be told.
    Unknown,
    /// There is none, or its certificate is in no store.
    Nothing,
    /// This.
    Certificate {
        /// Whose.
        origin: Origin,
        /// Certhook imported it.
        ours: bool,
    },
}

impl Bound {
    /// Whether its record has a certificate, or an earlier one of its names, as far as is known.
    pub(super) fn may_show(&self, wanted: &Origin) -> bool {
        match &self.shows {
            Shows::Unknown => true,
            Shows::Nothing => false,
            Shows::Certificate { origin, ours } => {
                origin.names == wanted.names && (*ours || origin.issuer == wanted.issuer)
            }
        }
    }
}

/// IIS refuses these in the name of a site.
fn is_site(name: &str) -> bool {
    let fits = |c: char| !c.is_control() && !"\\/?;:@&=+$,|\"<>*".contains(c);
    !name.trim().is_empty() && name.chars().all(fits)
}

fn is_host(host: &str) -> bool {
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    host.len() <= 253 && host.strip_prefix("*.").unwrap_or(host).split('.').all(fits)
}

pub(super) fn bindings(file: &File<'_>, at: At<Vec<String>>) -> Option<Vec<Binding>> {
    let parsed = at.value.iter().map(|text| {
        let binding = Binding::parse(text);
        if binding.is_none() {
            let message = format!("bindings: {text:?} is not a binding");
            let remedy = "write it like \"Home/*:443:contoso.com\", \"*:443:\" or \"Home/[::1]:443:\"";
            file.mistake(at.line, "bad_value", message, remedy);
        }
        binding
    });
    parsed.collect::<Vec<_>>().into_iter().collect()
}
