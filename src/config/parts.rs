//! Each table of the file, key by key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;

use super::raw::{At, File, Section};
use super::{Ask, Config, Endpoint, KeyAt, Kind, Nginx, Portal, Server, Site, Watch};

/// An address that a web request may go to: https, or http on loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebUrl(String);

impl WebUrl {
    /// Without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where the client secret is read from, at each use, so that it can be replaced while certhook runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSource {
    /// The file.
    pub path: PathBuf,
    /// The line that names it; 0 for the service manager's credential.
    pub line: usize,
}

/// How a server is told to load its certificates again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reload {
    /// SIGHUP to nginx's master.
    Signal,
    /// A program and its arguments, run without a shell.
    Command(Vec<String>),
}

const SECOND: Duration = Duration::from_secs(1);

/// Every `[server.NAME]` by its name, and those without a mistake: a site may name any of the first.
#[derive(Default)]
struct Servers {
    names: Vec<String>,
    sound: Vec<Server>,
}

pub(super) fn config(file: &File<'_>) -> Option<Config> {
    let mut top = file.top();
    let state_dir = path(file, top.string("state_dir")).unwrap_or_else(|| PathBuf::from("/var/lib/certhook"));
    let portal = top.section("portal").map(|section| portal(file, section));
    top.later("renewal", "scheduling renewals");
    let watch = watch(top.section("watch"));
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
    if sections.as_ref().is_some_and(Vec::is_empty) {
        file.mistake(
            0,
            "no_site",
            "the configuration names no site",
            "add a [[site]] with certificate, key and verify",
        );
    }
    let sites: Vec<Option<Site>> =
        sections.into_iter().flatten().map(|section| site(file, &servers, section)).collect();
    top.close();
    names_differ(file, &sites.iter().flatten().collect::<Vec<_>>());
    let sites = sites.into_iter().collect::<Option<Vec<_>>>();
    let portal = match portal {
        Some(portal) => Some(portal?),
        None => None,
    };
    let config = Config {
        path: file.path().to_owned(),
        state_dir,
        portal,
        watch,
        servers: servers.sound,
        sites: sites?,
    };
    keys_differ(file, &config);
    Some(config)
}

fn portal(file: &File<'_>, mut section: Section<'_, '_>) -> Option<Portal> {
    let url = |section: &mut Section<'_, '_>, key, default: &str| match section.string(key) {
        Some(at) => web_url(file, key, &at),
        None => Some(WebUrl(default.to_owned())),
    };
    let endpoint = url(&mut section, "endpoint", "https://letsencryptapi.azure-api.net");
    let login = url(&mut section, "login", "https://login.microsoftonline.com");
    let tenant_id = section.required("tenant_id", "\"contoso.com\"").and_then(|at| tenant(file, at));
    let client_id = section.required("client_id", "\"625bc9f6-3bf6-4b6d-94ba-e97cf07a22de\"");
    let secret = secret(file, &mut section);
    let requests = section.integer("requests_per_week", 1..1_000_000).map_or(50, |at| at.value);
    let timeout = section.duration("timeout", 30 * SECOND);
    let retry = section.duration("retry", 5 * SECOND);
    section.close();
    Some(Portal {
        endpoint: endpoint?,
        login: login?,
        tenant_id: tenant_id?,
        client_id: client_id?.value,
        secret: secret?,
        requests_per_week: u32::try_from(requests).unwrap_or(50),
        timeout,
        retry,
    })
}

/// The tenant becomes a part of the login's path.
fn tenant(file: &File<'_>, at: At<String>) -> Option<String> {
    let fits = at.value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if fits && !at.value.starts_with('.') {
        return Some(at.value);
    }
    let message = "tenant_id may hold letters, digits, dots and dashes only";
    file.mistake(at.line, "bad_value", message, "write the directory's domain or id, like \"contoso.com\"");
    None
}

fn secret(file: &File<'_>, section: &mut Section<'_, '_>) -> Option<SecretSource> {
    let given = section.has("client_secret_file");
    let named = section.string("client_secret_file");
    if given {
        let line = named.as_ref()?.line;
        return path(file, named).map(|path| SecretSource { path, line });
    }
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(folder) => Some(SecretSource { path: Path::new(&folder).join("client_secret"), line: 0 }),
        None => {
            let message = "[portal] has no client_secret_file, and the service manager passed no credential";
            let remedy = "add a line like client_secret_file = \"/etc/certhook/client_secret\"";
            file.mistake(section.line, "missing_key", message, remedy);
            None
        }
    }
}

fn web_url(file: &File<'_>, key: &str, at: &At<String>) -> Option<WebUrl> {
    let wrong = |message: String, remedy: &str| {
        file.mistake(at.line, "bad_url", message, remedy);
        None
    };
    let Ok(url) = Url::parse(&at.value) else {
        return wrong(format!("{key} is not a URL"), "write it like \"https://host.example\"");
    };
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return wrong(format!("{key} may hold a host and a path only"), "leave out user, query and fragment");
    }
    let loopback = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => {
            return wrong(
                format!("{key} is http://, which would send secrets in the clear"),
                "write https://",
            );
        }
        other => return wrong(format!("{key} is {other}://"), "write https://"),
    }
    // As it was understood: a parser of URLs passes over white space.
    Some(WebUrl(url.as_str().trim_end_matches('/').to_owned()))
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

fn default_server() -> Server {
    Server {
        name: "nginx".to_owned(),
        line: 0,
        kind: Kind::Nginx(Nginx::default()),
        reload: Reload::Signal,
        verify_timeout: 10 * SECOND,
        reload_timeout: 60 * SECOND,
    }
}

fn server(file: &File<'_>, name: String, mut section: Section<'_, '_>) -> Option<Server> {
    let line = section.line;
    let kind = section.string("kind");
    let reload_given = section.has("reload");
    let reload = section.string_or_strings("reload");
    let verify_timeout = section.duration("verify_timeout", 10 * SECOND);
    let reload_timeout = section.duration("reload_timeout", 60 * SECOND);
    let kind_name = kind.as_ref().map_or("nginx", |at| at.value.as_str());
    let kind_line = kind.as_ref().map_or(line, |at| at.line);
    let kind = match kind_name {
        "nginx" => {
            let nginx = nginx(file, &mut section);
            Some(Kind::Nginx(nginx))
        }
        "command" => Some(Kind::Command),
        "iis" => {
            file.mistake(
                kind_line,
                "not_yet",
                "kind = \"iis\" cannot be done by this version yet",
                "use \"nginx\" or \"command\"",
            );
            return None;
        }
        other => {
            let message = format!("kind = {other:?} is not a kind of server");
            file.mistake(kind_line, "bad_value", message, "use \"nginx\" or \"command\"");
            // Its other keys are read all the same: their mistakes are told at once.
            nginx(file, &mut section);
            None
        }
    };
    section.close();
    let kind = kind?;
    if reload_given && reload.is_none() {
        return None;
    }
    let reload = reload_of(file, line, &kind, reload)?;
    Some(Server { name, line, kind, reload, verify_timeout, reload_timeout })
}

fn nginx(file: &File<'_>, section: &mut Section<'_, '_>) -> Nginx {
    if let Some(At { value: true, line }) = section.boolean("discover") {
        let message = "discover = true cannot be done by this version yet";
        file.mistake(line, "not_yet", message, "leave the line out and name each site in a [[site]]");
    }
    section.later("stage", "publishing staged copies");
    section.later("unit", "asking systemd for the server");
    let mut file_at = |key| path(file, section.string(key));
    Nginx {
        binary: file_at("binary"),
        config: file_at("config"),
        prefix: file_at("prefix"),
        pid_file: file_at("pid_file"),
        pre_check: section.boolean("pre_check").is_some_and(|at| at.value),
    }
}

fn reload_of(file: &File<'_>, line: usize, kind: &Kind, given: Option<At<Vec<String>>>) -> Option<Reload> {
    let words = given.as_ref().map(|at| (at.line, at.value.as_slice()));
    match (kind, words) {
        (Kind::Nginx(_), None) => Some(Reload::Signal),
        (Kind::Nginx(_), Some((_, [word]))) if word == "signal" => Some(Reload::Signal),
        (_, Some((line, [word]))) if word == "systemd" => {
            file.mistake(
                line,
                "not_yet",
                "reload = \"systemd\" cannot be done by this version yet",
                "use \"signal\" or [\"program\", \"argument\"]",
            );
            None
        }
        (_, Some((_, words))) if Path::new(&words[0]).is_absolute() => Some(Reload::Command(words.to_vec())),
        (_, Some((line, _))) => {
            let message = "reload must name its program by its full path";
            file.mistake(
                line,
                "bad_value",
                message,
                "write it like [\"/usr/bin/systemctl\", \"reload\", \"haproxy\"]",
            );
            None
        }
        (Kind::Command, None) => {
            let message = "a server of kind \"command\" has no reload";
            file.mistake(
                line,
                "missing_key",
                message,
                "add a line like reload = [\"/usr/bin/systemctl\", \"reload\", \"haproxy\"]",
            );
            None
        }
    }
}

fn site(file: &File<'_>, servers: &Servers, mut section: Section<'_, '_>) -> Option<Site> {
    let line = section.line;
    section.later("pfx", "PFX files");
    section.later("pfx_password_file", "PFX files");
    section.later("bindings", "IIS bindings");
    let name = section.string("name");
    let id = section.integer("id", 1..i64::MAX);
    let server_given = section.has("server");
    let server = section.string("server");
    let certificate = section.required("certificate", "\"/etc/ssl/contoso-com/fullchain.pem\"");
    let certificate = path(file, certificate);
    let key = section.string("key");
    let verify_given = section.has("verify");
    let verify = section.strings("verify");
    let hosts = section.strings("hosts").map_or_else(Vec::new, |at| at.value);
    let report = section.boolean("report").is_none_or(|at| at.value);
    section.close();

    let server = match server {
        Some(named) => server_named(file, servers, &named),
        None if server_given => None,
        None => only_server(file, servers, line),
    };
    let verify = match verify {
        Some(texts) => endpoints(file, &texts),
        None if verify_given => None,
        None => no_verify(file, line),
    };
    let key = match key {
        Some(At { value, .. }) if value.starts_with("engine:") || value.starts_with("store:") => {
            Some(KeyAt::Elsewhere(value))
        }
        Some(at) => path(file, Some(at)).map(KeyAt::File),
        None => certificate.clone().map(KeyAt::File),
    };
    let ask = |endpoint| Ask { endpoint, hosts: hosts.clone() };
    Some(Site {
        line,
        name: name.map(|at| at.value),
        id: id.map(|at| at.value),
        verify: verify?.into_iter().map(ask).collect(),
        server: server?,
        certificate: certificate?,
        key: key?,
        report,
    })
}

fn server_named(file: &File<'_>, servers: &Servers, wanted: &At<String>) -> Option<usize> {
    let At { value, line } = wanted;
    if !servers.names.contains(value) {
        let remedy = format!("name one of: {}", servers.names.join(", "));
        file.mistake(*line, "unknown_server", format!("there is no [server.{value}]"), remedy);
    }
    servers.sound.iter().position(|server| server.name == *value)
}

fn only_server(file: &File<'_>, servers: &Servers, line: usize) -> Option<usize> {
    if servers.names.len() > 1 {
        let remedy = format!("add server = one of: {}", servers.names.join(", "));
        file.mistake(line, "missing_key", "a site must say which server it belongs to", remedy);
    }
    (servers.sound.len() == 1).then_some(0)
}

fn no_verify(file: &File<'_>, line: usize) -> Option<Vec<Endpoint>> {
    file.mistake(
        line,
        "no_verify",
        "the site has no verify: whether its certificate is served could not be proved",
        "say where the server listens, like verify = [\"127.0.0.1:443\"]",
    );
    None
}

fn endpoints(file: &File<'_>, given: &At<Vec<String>>) -> Option<Vec<Endpoint>> {
    let parsed = given.value.iter().map(|text| {
        let endpoint = Endpoint::parse(text);
        if endpoint.is_none() {
            let message = format!("verify: {text:?} is not an address");
            let remedy = "write it like \"127.0.0.1:443\" or \"[::1]:443\"";
            file.mistake(given.line, "bad_value", message, remedy);
        }
        endpoint
    });
    parsed.collect::<Vec<_>>().into_iter().collect()
}

/// Two sites of one name on one server could not be told apart, in `status` and in the ledger.
fn names_differ(file: &File<'_>, sites: &[&Site]) {
    let same = |a: &Site, b: &Site| {
        a.server == b.server && (a.label() == b.label() || a.certificate == b.certificate)
    };
    for (index, site) in sites.iter().enumerate() {
        if let Some(first) = sites[..index].iter().find(|earlier| same(earlier, site)) {
            let message = format!("{} is a site already, at line {}", site.label(), first.line);
            file.mistake(site.line, "same_site", message, "leave one of the two out, or the name of one");
        }
    }
}

/// A path may end as the key of another site does that has its server's name at the end.
fn keys_differ(file: &File<'_>, config: &Config) {
    let mut known = BTreeMap::new();
    for site in &config.sites {
        let key = config.site_key(site);
        match known.get(&key) {
            None => drop(known.insert(key, site)),
            Some(first) if first.certificate == site.certificate => {}
            Some(first) => {
                let message = format!("{key} stands for another site already, at line {}", first.line);
                file.mistake(site.line, "same_site", message, "give the file or the server another name");
            }
        }
    }
}

fn path(file: &File<'_>, given: Option<At<String>>) -> Option<PathBuf> {
    let At { value, line } = given?;
    if value.contains(['*', '?']) {
        file.mistake(
            line,
            "not_yet",
            format!("{value}: patterns cannot be used by this version yet"),
            "write one [[site]] for each",
        );
        return None;
    }
    if value.contains('\0') || !Path::new(&value).is_absolute() {
        file.mistake(
            line,
            "relative_path",
            format!("{value:?} is not a full path"),
            "write it from the root, like \"/etc/ssl/…\"",
        );
        return None;
    }
    Some(PathBuf::from(value))
}
