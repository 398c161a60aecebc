//! Each table of the file, key by key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;

use super::raw::{self, At, File, Section};
use super::{Ask, Config, Endpoint, KeyAt, Kind, Nginx, Portal, Renewal, Server, Site, Watch, stars};

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
    /// `systemctl reload` of nginx's unit.
    Systemd,
    /// A program and its arguments, run without a shell.
    Command(Vec<String>),
}

const STATE_DIR: &str = "/var/lib/certhook";
const SECOND: Duration = Duration::from_secs(1);

/// Every `[server.NAME]` by its name, and those without a mistake: a site may name any of the first.
#[derive(Default)]
struct Servers {
    names: Vec<String>,
    sound: Vec<Server>,
}

/// A configuration that says nothing.
pub(super) fn empty() -> Config {
    Config {
        path: PathBuf::new(),
        state_dir: PathBuf::from(STATE_DIR),
        portal: None,
        renewal: None,
        watch: watch(None),
        servers: vec![default_server()],
        sites: Vec::new(),
    }
}

pub(super) fn config(file: &File<'_>) -> Option<Config> {
    let mut top = file.top();
    let state_dir = path(file, top.string("state_dir")).unwrap_or_else(|| PathBuf::from(STATE_DIR));
    let portal = top.section("portal").map(|section| portal(file, section));
    let renewal = top.section("renewal").map(|section| renewal(file, section, portal.is_some()));
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
    names_differ(file, &sites.iter().flatten().collect::<Vec<_>>());
    let sites = sites.into_iter().collect::<Option<Vec<_>>>();
    let portal = match portal {
        Some(portal) => Some(portal?),
        None => None,
    };
    let renewal = match renewal {
        Some(renewal) => Some(renewal?),
        None => None,
    };
    let config = Config {
        path: file.path().to_owned(),
        state_dir,
        portal,
        renewal,
        watch,
        servers: servers.sound,
        sites: sites?,
    };
    keys_differ(file, &config);
    copies_differ(file, &config);
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

fn renewal(file: &File<'_>, mut section: Section<'_, '_>, has_portal: bool) -> Option<Renewal> {
    let line = section.line;
    let every = section.duration("every", 4 * 24 * 3600 * SECOND);
    let wait = section.duration("wait", 30 * 60 * SECOND);
    let key_vault = section.boolean("key_vault").is_some_and(|at| at.value);
    let fetch_given = section.has("fetch_into");
    let fetch_into = path(file, section.string("fetch_into"));
    let owner = section.string("owner").map(|at| at.value);
    section.close();
    if !has_portal {
        let message = "[renewal] asks the portal, and there is no [portal]";
        file.mistake(line, "no_portal", message, "add a [portal] with tenant_id and client_id");
    }
    if wait > every {
        let message = "[renewal] waits longer than until the next time";
        file.mistake(line, "out_of_range", message, "make wait shorter than every");
        return None;
    }
    if fetch_given && fetch_into.is_none() {
        return None;
    }
    Some(Renewal { line, every, wait, key_vault, fetch_into, owner })
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
        min_interval: Duration::ZERO,
        max_draining: None,
        stage: None,
    }
}

fn server(file: &File<'_>, name: String, mut section: Section<'_, '_>) -> Option<Server> {
    let line = section.line;
    let kind = section.string("kind");
    let reload_given = section.has("reload");
    let reload = section.string_or_strings("reload");
    let verify_timeout = section.duration("verify_timeout", 10 * SECOND);
    let reload_timeout = section.duration("reload_timeout", 60 * SECOND);
    let min_interval = section.duration("min_interval", Duration::ZERO);
    let max_draining = section.integer("max_draining", 1..1_000_000).map(|at| at.value);
    let stage_given = section.has("stage");
    let stage = path(file, section.string("stage"));
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
    if stage_given && stage.is_none() {
        return None;
    }
    Some(Server {
        name,
        line,
        kind,
        reload,
        verify_timeout,
        reload_timeout,
        min_interval,
        max_draining: max_draining.and_then(|most| usize::try_from(most).ok()),
        stage,
    })
}

fn nginx(file: &File<'_>, section: &mut Section<'_, '_>) -> Nginx {
    let discover = section.boolean("discover").is_some_and(|at| at.value);
    let unit = section.string("unit").and_then(|at| unit(file, at));
    let mut file_at = |key| path(file, section.string(key));
    Nginx {
        discover,
        binary: file_at("binary"),
        config: file_at("config"),
        prefix: file_at("prefix"),
        unit,
        pid_file: file_at("pid_file"),
        pre_check: section.boolean("pre_check").is_some_and(|at| at.value),
    }
}

/// It becomes an argument of `systemctl`.
fn unit(file: &File<'_>, at: At<String>) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
    if at.value.chars().all(fits) && !at.value.starts_with('-') {
        return Some(at.value);
    }
    let message = format!("unit = {:?} is not the name of a unit", at.value);
    file.mistake(at.line, "bad_value", message, "write it like \"nginx.service\"");
    None
}

fn reload_of(file: &File<'_>, line: usize, kind: &Kind, given: Option<At<Vec<String>>>) -> Option<Reload> {
    let words = given.as_ref().map(|at| (at.line, at.value.as_slice()));
    match (kind, words) {
        (Kind::Nginx(_), None) => Some(Reload::Signal),
        (Kind::Nginx(_), Some((_, [word]))) if word == "signal" => Some(Reload::Signal),
        (Kind::Nginx(_), Some((_, [word]))) if word == "systemd" => Some(Reload::Systemd),
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
    let certificate = certificate.and_then(|at| path_or_pattern(file, at));
    let key = section.string("key");
    let verify_given = section.has("verify");
    let verify = section.asks("verify");
    let stage_as_given = section.has("stage_as");
    let stage_as = section.string("stage_as").and_then(|at| stage_as(file, at));
    let hosts = section.strings("hosts").map_or_else(Vec::new, |at| at.value);
    let report = section.boolean("report").is_none_or(|at| at.value);
    section.close();

    let server = match server {
        Some(named) => server_named(file, servers, &named),
        None if server_given => None,
        None => only_server(file, servers, line),
    };
    let verify = match verify {
        Some(given) => asks(file, given, &hosts),
        None if verify_given => None,
        // Told by the server's configuration.
        None if server.is_some_and(|server| servers.sound[server].discovers()) => Some(Vec::new()),
        None => no_verify(file, line),
    };
    let key = match key {
        Some(At { value, .. }) if value.starts_with("engine:") || value.starts_with("store:") => {
            Some(KeyAt::Elsewhere(value))
        }
        Some(at) => path_or_pattern(file, at).map(KeyAt::File),
        None => certificate.clone().map(KeyAt::File),
    };
    if stage_as_given && stage_as.is_none() {
        return None;
    }
    if let (Some(certificate), Some(KeyAt::File(key))) = (&certificate, &key) {
        let of_one = name.is_some() || id.is_some() || stage_as.is_some();
        pattern_fits(file, line, (certificate, key), of_one)?;
    }
    Some(Site {
        line,
        name: name.map(|at| at.value),
        id: id.map(|at| at.value),
        verify: verify?,
        stage_as,
        server: server?,
        certificate: certificate?,
        key: key?,
        report,
    })
}

/// A pattern stands for many sites: what belongs to one cannot be said of it.
fn pattern_fits(
    file: &File<'_>,
    line: usize,
    (certificate, key): (&Path, &Path),
    of_one: bool,
) -> Option<()> {
    let count = stars(certificate);
    if count != stars(key) {
        let message = "certificate and key must have a * at the same places";
        let remedy = "write them like \"/etc/ssl/*/fullchain.pem\" and \"/etc/ssl/*/privkey.pem\"";
        file.mistake(line, "bad_pattern", message, remedy);
        return None;
    }
    if count > 0 && of_one {
        let message = "a pattern stands for many certificates, which cannot share name, id or stage_as";
        file.mistake(line, "bad_pattern", message, "leave those out, or write the path out");
        return None;
    }
    Some(())
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

fn no_verify(file: &File<'_>, line: usize) -> Option<Vec<Ask>> {
    file.mistake(
        line,
        "no_verify",
        "the site has no verify: whether its certificate is served could not be proved",
        "say where the server listens, like verify = [\"127.0.0.1:443\"]",
    );
    None
}

fn asks(file: &File<'_>, given: Vec<raw::Ask>, of_all: &[String]) -> Option<Vec<Ask>> {
    let parsed = given.into_iter().map(|raw::Ask { at: At { value, line }, hosts }| {
        let endpoint = Endpoint::parse(&value);
        if endpoint.is_none() {
            let message = format!("verify: {value:?} is not an address");
            let remedy = "write it like \"127.0.0.1:443\", \"[::1]:443\" or \"unix:/run/nginx.sock\"";
            file.mistake(line, "bad_value", message, remedy);
        }
        Some(Ask { endpoint: endpoint?, hosts: hosts.unwrap_or_else(|| of_all.to_vec()) })
    });
    parsed.collect::<Vec<_>>().into_iter().collect()
}

/// It becomes the name of a link in the server's `stage`.
fn stage_as(file: &File<'_>, at: At<String>) -> Option<String> {
    let fits = at.value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if fits && !at.value.starts_with('.') && at.value.len() <= 100 {
        return Some(at.value);
    }
    let message = "stage_as may hold letters, digits, dots and dashes only, at most 100";
    file.mistake(
        at.line,
        "bad_value",
        message,
        "write a name for the folder of the copy, like \"contoso.com\"",
    );
    None
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

/// Two sites whose copies had one name would replace each other's.
fn copies_differ(file: &File<'_>, config: &Config) {
    let mut known = BTreeMap::new();
    for site in &config.sites {
        let Some(stage) = &config.servers[site.server].stage else { continue };
        // What a pattern stands for is not known here.
        if site.is_pattern() {
            continue;
        }
        let copy = stage.join(site.copy_name());
        if let Some(first) = known.insert(copy.clone(), site) {
            let message =
                format!("{} is the copy of another site already, at line {}", copy.display(), first.line);
            file.mistake(site.line, "same_site", message, "give one of them stage_as = \"another-name\"");
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
    if value.contains('*') {
        let message = format!("{value}: a pattern can stand for a site's certificate and key only");
        file.mistake(line, "bad_pattern", message, "write the path out");
        return None;
    }
    path_or_pattern(file, At { value, line })
}

/// A full path that may hold a star.
fn path_or_pattern(file: &File<'_>, At { value, line }: At<String>) -> Option<PathBuf> {
    if value.contains('?') || value.split('/').any(|part| part.matches('*').count() > 1) {
        let message = format!("{value}: a pattern may hold one * between two slashes, and nothing else");
        file.mistake(line, "bad_pattern", message, "write it like \"/etc/ssl/*/fullchain.pem\"");
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
