//! The whole file, part by part, and what several parts are made of.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ledger::ledger;
use super::limits::limits;
use super::outlets::{alert, metrics};
use super::portal::{portal, renewal};
use super::raw::{At, File, Section};
use super::servers::{default_server, server};
use super::sites::{bindings_differ, copies_differ, keys_differ, names_differ, site};
use super::{Config, Kind, Limits, Server, Site, Watch};
use crate::platform;

/// An address that a web request may go to: https, or http on loopback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebUrl(pub(super) String);

impl WebUrl {
    /// Without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where the client secret is read from, at each use, so that it can be replaced while certhook runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretSource {
    /// The file.
    pub path: PathBuf,
    /// The line that names it; 0 where none does.
    pub line: usize,
}

/// How a server is told to load its certificates again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reload {
    /// SIGHUP to nginx's master.
    Signal,
    /// `systemctl reload` of nginx's unit.
    Systemd,
    /// A program and its arguments, run without a shell.
    Command(Vec<String>),
}

/// The code of a file that says nothing.
pub(super) const NOT_CONFIGURED: &str = "not_configured";
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// Every `[server.NAME]` by its name, and those without a mistake: a site may name any of the first.
#[derive(Default)]
pub(super) struct Servers {
    pub(super) names: Vec<String>,
    pub(super) sound: Vec<Server>,
}

/// A configuration that says nothing.
pub(super) fn empty() -> Config {
    Config {
        path: PathBuf::new(),
        state_dir: platform::default_state_dir(),
        portal: None,
        renewal: None,
        watch: watch(None),
        limits: Limits::default(),
        ledger: ledger(None),
        metrics: None,
        alert: None,
        servers: vec![default_server()],
        sites: Box::default(),
    }
}

/// A table's name may have whatever no file's name may.
fn journal(state_dir: &Path, server: &str) -> PathBuf {
    let name: String = server.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    state_dir.join(format!("records-{name}.json"))
}

pub(super) fn config(file: &File<'_>) -> Option<Config> {
    let mut top = file.top();
    if top.is_empty() {
        file.mistake(
            0,
            NOT_CONFIGURED,
            "nothing is configured yet",
            format!(
                "put in [server.{}] with {}discover = true, and a [portal]; then run: certhook check --online",
                if platform::HAS_IIS { "iis" } else { "nginx" },
                if platform::HAS_IIS { "kind = \"iis\" and " } else { "" },
            ),
        );
        return None;
    }
    let state_dir = path(file, top.string("state_dir")).unwrap_or_else(platform::default_state_dir);
    let portal = top.section("portal").map(|section| portal(file, section));
    let renewal = top.section("renewal").map(|section| renewal(file, section, portal.is_some()));
    let watch = watch(top.section("watch"));
    let limits = limits(file, top.section("limits"));
    let ledger = ledger(top.section("ledger"));
    let metrics = top.section("metrics").map(|section| metrics(file, section));
    let alert = top.section("alert").map(|section| alert(file, section));
    let mut servers = Servers::default();
    for (name, section) in top.named("server") {
        servers.names.push(name.clone());
        servers.sound.extend(server(file, name, section));
    }
    if servers.names.is_empty() {
        let server = default_server();
        servers.names.push(server.name.clone());
        servers.sound.push(server);
    }
    let sections = top.list("site");
    if sections.as_ref().is_some_and(Vec::is_empty) && !servers.sound.iter().any(Server::discovers) {
        file.mistake(
            0,
            "no_site",
            "the configuration names no site",
            "write discover = true below [server.nginx], or add a [[site]] with certificate, key and verify",
        );
    }
    let sites: Vec<Option<Site>> =
        sections.into_iter().flatten().map(|section| site(file, &servers, section)).collect();
    top.close();
    let sound: Vec<&Site> = sites.iter().flatten().collect();
    names_differ(file, &sound);
    bindings_differ(file, &sound);
    let mut sites = sites.into_iter().collect::<Option<Vec<_>>>();
    share_asks(sites.iter_mut().flatten());
    tell_apart(sites.as_deref_mut().unwrap_or_default(), &servers.sound);
    let portal = match portal {
        Some(portal) => Some(portal?),
        None => None,
    };
    let renewal = match renewal {
        Some(renewal) => Some(renewal?),
        None => None,
    };
    for server in &mut servers.sound {
        if let Kind::Iis(iis) = &mut server.kind {
            iis.journal = journal(&state_dir, &server.name);
        }
    }
    let config = Config {
        path: file.path().to_owned(),
        state_dir,
        portal,
        renewal,
        watch,
        limits,
        ledger,
        // Where one of them is wrong, a mistake was told.
        metrics: metrics.flatten(),
        alert: alert.flatten(),
        servers: servers.sound,
        sites: sites?.into_iter().map(Arc::new).collect(),
    };
    keys_differ(file, &config);
    copies_differ(file, &config);
    Some(config)
}

/// Of a certificate that several servers use, each has a site.
fn tell_apart(sites: &mut [Site], servers: &[Server]) {
    let mut users = HashMap::new();
    for site in &*sites {
        *users.entry(site.certificate.clone()).or_insert(0) += 1;
    }
    for site in sites.iter_mut().filter(|site| users[&site.certificate] > 1) {
        let key = format!("{}@{}", site.certificate.display(), servers[site.server].name);
        site.known_as = Some(key.into());
    }
}

/// Many sites are asked for at the same place.
fn share_asks<'s>(sites: impl Iterator<Item = &'s mut Site>) {
    let mut last = Arc::default();
    for site in sites {
        if site.verify == last {
            site.verify = last;
        }
        last = Arc::clone(&site.verify);
    }
}

fn watch(section: Option<Section<'_, '_>>) -> Watch {
    let mut watch = Watch { settle: 30 * SECOND, rescan: 3600 * SECOND, poll: 10 * SECOND };
    if let Some(mut section) = section {
        watch.settle = section.duration("settle", watch.settle);
        watch.rescan = section.duration("rescan", watch.rescan);
        watch.poll = section.duration("poll", watch.poll);
        section.close();
    }
    watch
}

pub(super) fn path(file: &File<'_>, given: Option<At<String>>) -> Option<PathBuf> {
    full_path_at(file, given, Paths::OfThisSystem)
}

/// A path on a Windows host, wherever its configuration is read.
pub(super) fn windows_path(file: &File<'_>, given: Option<At<String>>) -> Option<PathBuf> {
    full_path_at(file, given, Paths::OfWindows)
}

fn full_path_at(file: &File<'_>, given: Option<At<String>>, paths: Paths) -> Option<PathBuf> {
    let At { value, line } = given?;
    if value.contains('*') {
        let message = format!("{value}: a pattern can stand for a site's certificate and key only");
        file.mistake(line, "bad_pattern", message, "write the path out");
        return None;
    }
    path_or_pattern(file, At { value, line }, paths)
}

/// Which paths begin at a root.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Paths {
    OfThisSystem,
    /// Also `C:\…`, `C:/…` and `\\server\share`: what is written for IIS can be checked on any system.
    OfWindows,
}

impl Paths {
    fn is_full(self, path: &str) -> bool {
        Path::new(path).is_absolute() || self == Self::OfWindows && is_full_on_windows(path)
    }

    fn separators(self) -> &'static [char] {
        if self == Self::OfWindows { &['/', '\\'] } else { &['/'] }
    }

    fn example(self) -> &'static str {
        if self == Self::OfWindows { "C:/ssl/…" } else { "/etc/ssl/…" }
    }
}

fn is_full_on_windows(path: &str) -> bool {
    if let [drive, b':', b'/' | b'\\', ..] = path.as_bytes() {
        return drive.is_ascii_alphabetic();
    }
    let share = path.strip_prefix(r"\\").and_then(|rest| rest.split_once(['/', '\\']));
    share.is_some_and(|(server, share)| !server.is_empty() && !share.is_empty())
}

/// A full path that may hold a star.
pub(super) fn path_or_pattern(
    file: &File<'_>,
    At { value, line }: At<String>,
    paths: Paths,
) -> Option<PathBuf> {
    if value.contains('?') || value.split(paths.separators()).any(|part| part.matches('*').count() > 1) {
        let message = format!("{value}: a pattern may hold one * between two slashes, and nothing else");
        file.mistake(line, "bad_pattern", message, "write it like \"/etc/ssl/*/fullchain.pem\"");
        return None;
    }
    if value.contains('\0') || !paths.is_full(&value) {
        file.mistake(
            line,
            "relative_path",
            format!("{value:?} is not a full path"),
            format!("write it from the root, like \"{}\"", paths.example()),
        );
        return None;
    }
    Some(PathBuf::from(value))
}
