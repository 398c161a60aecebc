//! `[[site]]`, key by key, and what no two of them may share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::iis::bindings as bindings_of;
use super::parts::{Paths, Servers, path_or_pattern};
use super::raw::{self, At, File, Section};
use super::{Ask, Config, Endpoint, KeyAt, Kind, Site, stars};

pub(super) fn site(file: &File<'_>, servers: &Servers, mut section: Section<'_, '_>) -> Option<Site> {
    let line = section.line;
    let name = section.string("name");
    let id = section.integer("id", 1..i64::MAX);
    let server_given = section.has("server");
    let server = match section.string("server") {
        Some(named) => server_named(file, servers, &named),
        None if server_given => None,
        None => only_server(file, servers, line),
    };
    let kind = server.map(|server| &servers.sound[server].kind);
    let key_is_given = section.has("key") || section.has("pfx");
    let files = files(file, &mut section, kind);
    let bindings_given = section.has("bindings");
    let bindings =
        section.strings("bindings").and_then(|at| of_iis(file, "bindings", at.line, kind).map(|()| at));
    let bindings = bindings.and_then(|at| bindings_of(file, at));
    let verify_given = section.has("verify");
    let verify = section.asks("verify");
    let stage_as_given = section.has("stage_as");
    let stage_as = section.string("stage_as").and_then(|at| stage_as(file, at));
    let hosts = section.strings("hosts").map_or_else(Vec::new, |at| at.value);
    let report = section.boolean("report").is_none_or(|at| at.value);
    section.close();

    let verify = match verify {
        Some(given) => asks(file, given, &hosts),
        None if verify_given => None,
        // Told by the server's configuration, or by the bindings.
        None if server.is_some_and(|server| servers.sound[server].discovers()) || bindings_given => {
            Some(Vec::new())
        }
        None => no_verify(file, line, kind),
    };
    if stage_as_given && stage_as.is_none() || bindings_given && bindings.is_none() {
        return None;
    }
    let (certificate, key) = files?;
    let of_one = name.is_some() || id.is_some() || stage_as.is_some() || bindings_given;
    pattern_fits(file, line, (&certificate, &key), of_one)?;
    Some(Site {
        line,
        known_as: None,
        name: name.map(|at| at.value),
        id: id.map(|at| at.value),
        verify: verify?.into(),
        verify_is_found: false,
        stage_as,
        server: server?,
        certificate,
        key,
        key_is_given,
        bindings: bindings.unwrap_or_default(),
        bound: Vec::new(),
        report,
    })
}

/// The set's own files: PEM, or for IIS one PFX.
fn files(file: &File<'_>, section: &mut Section<'_, '_>, kind: Option<&Kind>) -> Option<(PathBuf, KeyAt)> {
    let paths = match kind {
        Some(Kind::Nginx(_) | Kind::Command) => Paths::OfThisSystem,
        // Where the server is not known, that was told.
        Some(Kind::Iis(_)) | None => Paths::OfWindows,
    };
    let password_given = section.has("pfx_password_file");
    let password = section.string("pfx_password_file");
    let password_line = password.as_ref().map_or(section.line, |at| at.line);
    let password = password.and_then(|at| path_or_pattern(file, at, paths));
    if section.has("pfx") {
        let mut one_too_many = false;
        for other in ["certificate", "key"] {
            if let Some(At { line, .. }) = section.string(other) {
                let message = format!("a PFX holds the certificate and its key: {other} is one too many");
                file.mistake(line, "bad_value", message, format!("leave out pfx, or {other}"));
                one_too_many = true;
            }
        }
        let pfx = section.string("pfx")?;
        of_iis(file, "pfx", pfx.line, kind)?;
        let pfx = path_or_pattern(file, pfx, paths)?;
        if one_too_many || password_given && password.is_none() {
            return None;
        }
        return Some((pfx, KeyAt::Pfx(password)));
    }
    // From here on the key is known.
    section.string("pfx");
    if password_given {
        let message = "pfx_password_file belongs to a pfx, and there is none";
        file.mistake(password_line, "missing_key", message, "name it with pfx, or leave the line out");
    }
    let certificate = section.required("certificate", "\"/etc/ssl/contoso-com/fullchain.pem\"");
    let certificate = certificate.and_then(|at| path_or_pattern(file, at, paths));
    let key = match section.string("key") {
        Some(At { value, line }) if value.starts_with("engine:") || value.starts_with("store:") => {
            if matches!(kind, Some(Kind::Iis(_))) {
                let message = "key: IIS is given certificates with their keys, and this one is in no file";
                file.mistake(line, "bad_value", message, "name the key's file");
            }
            Some(KeyAt::Elsewhere(value))
        }
        Some(at) => path_or_pattern(file, at, paths).map(KeyAt::File),
        None => certificate.clone().map(KeyAt::File),
    };
    Some((certificate?, key?))
}

/// Whether a key can be of use to the site's server; what is wrong with the server itself was told.
fn of_iis(file: &File<'_>, key: &str, line: usize, kind: Option<&Kind>) -> Option<()> {
    if matches!(kind, Some(Kind::Iis(_)) | None) {
        return Some(());
    }
    let message = format!("{key} is for servers of kind \"iis\", and this site's server is none");
    file.mistake(line, "bad_value", message, format!("leave out {key}, or name another server"));
    None
}

/// A pattern stands for many sites: what belongs to one cannot be said of it.
fn pattern_fits(
    file: &File<'_>,
    line: usize,
    (certificate, key): (&Path, &KeyAt),
    of_one: bool,
) -> Option<()> {
    let count = stars(certificate);
    let fits = match key {
        KeyAt::Elsewhere(_) | KeyAt::Pfx(None) => true,
        KeyAt::File(key) => stars(key) == count,
        // One password may open all of them.
        KeyAt::Pfx(Some(password)) => [0, count].contains(&stars(password)),
    };
    if !fits {
        let message = "certificate and key must have a * at the same places";
        let remedy = "write them like \"/etc/ssl/*/fullchain.pem\" and \"/etc/ssl/*/privkey.pem\"";
        file.mistake(line, "bad_pattern", message, remedy);
        return None;
    }
    if count > 0 && of_one {
        let message =
            "a pattern stands for many certificates, which cannot share name, id, bindings or stage_as";
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

fn no_verify(file: &File<'_>, line: usize, kind: Option<&Kind>) -> Option<Vec<Ask>> {
    let remedy = match kind {
        Some(Kind::Iis(_)) => "set discover = true, or name the bindings",
        _ => "say where the server listens, like verify = [\"127.0.0.1:443\"]",
    };
    let message = "the site has no verify: whether its certificate is served could not be proved";
    file.mistake(line, "no_verify", message, remedy);
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
pub(super) fn names_differ(file: &File<'_>, sites: &[&Site]) {
    let (mut labels, mut certificates) = (BTreeMap::new(), BTreeMap::new());
    for (index, site) in sites.iter().enumerate() {
        let label = *labels.entry((site.server, site.label())).or_insert(index);
        let certificate = *certificates.entry((site.server, &site.certificate)).or_insert(index);
        let first = label.min(certificate);
        if first != index {
            let message = format!("{} is a site already, at line {}", site.label(), sites[first].line);
            file.mistake(site.line, "same_site", message, "leave one of the two out, or the name of one");
        }
    }
}

/// Two sites of IIS that name one binding would take it from each other in turn.
pub(super) fn bindings_differ(file: &File<'_>, sites: &[&Site]) {
    // Of thousands few name any.
    let sites: Vec<&&Site> = sites.iter().filter(|site| !site.bindings.is_empty()).collect();
    for (index, site) in sites.iter().enumerate() {
        let earlier = sites[..index].iter().filter(|earlier| earlier.server == site.server);
        let both = |earlier: &&&&Site| {
            site.bindings.iter().find(|binding| earlier.bindings.iter().any(|other| other.is_same(binding)))
        };
        if let Some((first, binding)) = earlier.filter_map(|earlier| Some((earlier, both(&earlier)?))).next()
        {
            let message = format!(
                "{} and {}, at line {}, both name the binding {binding}, which shows one certificate",
                site.label(),
                first.label(),
                first.line
            );
            file.mistake(site.line, "same_binding", message, "take it from one of the two");
        }
    }
}

/// Two sites whose copies had one name would replace each other's.
pub(super) fn copies_differ(file: &File<'_>, config: &Config) {
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
pub(super) fn keys_differ(file: &File<'_>, config: &Config) {
    let mut known = BTreeMap::new();
    for site in &config.sites {
        let key = site.ledger_key();
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
