//! `[portal]` and `[renewal]`, key by key.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::parts::{NOT_CONFIGURED, SECOND, SecretSource, WebUrl, path};
use super::raw::{At, File, Section};
use super::{Portal, Renewal};

pub(super) fn portal(file: &File<'_>, mut section: Section<'_, '_>) -> Option<Portal> {
    let url = |section: &mut Section<'_, '_>, key, default: &str| match section.string(key) {
        Some(at) => web_url(file, key, &at),
        None => Some(WebUrl(default.to_owned())),
    };
    let endpoint = url(&mut section, "endpoint", "https://letsencryptapi.azure-api.net");
    let login = url(&mut section, "login", "https://login.microsoftonline.com");
    let tenant_id = section.required("tenant_id", "\"contoso.com\"");
    let tenant_id = tenant_id.and_then(|at| replaced(file, "tenant_id", at)).and_then(|at| tenant(file, at));
    let client_id = section.required("client_id", "\"625bc9f6-3bf6-4b6d-94ba-e97cf07a22de\"");
    let client_id = client_id.and_then(|at| replaced(file, "client_id", at));
    let secret = secret(file, &mut section);
    let requests = section.integer("requests_per_week", 1..1_000_000).map_or(50, |at| at.value);
    let report_unproved = section.boolean("report_unproved").is_none_or(|at| at.value);
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
        report_unproved,
        timeout,
        retry,
    })
}

pub(super) fn renewal(file: &File<'_>, mut section: Section<'_, '_>, has_portal: bool) -> Option<Renewal> {
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

/// An id, unless it is the sample's of noughts: nobody has configured anything yet then.
fn replaced(file: &File<'_>, key: &str, at: At<String>) -> Option<At<String>> {
    if at.value.chars().any(|c| !matches!(c, '0' | '-')) {
        return Some(at);
    }
    let message = format!("{key} is still the sample's: nothing is configured yet");
    file.mistake(
        at.line,
        NOT_CONFIGURED,
        message,
        format!("write your own {key}; the portal's settings show it"),
    );
    None
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
    let path = default_secret(std::env::var_os("CREDENTIALS_DIRECTORY"), file.path());
    Some(SecretSource { path, line: 0 })
}

/// The service manager's credential, else the file beside the configuration. A unit may hand over an empty
/// credential where there is no secret to hand over.
pub(super) fn default_secret(credentials: Option<OsString>, config: &Path) -> PathBuf {
    const NAME: &str = "client_secret";
    let credential = credentials.map(|folder| Path::new(&folder).join(NAME));
    let is_there = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|found| found.len() > 0);
    credential.filter(is_there).unwrap_or_else(|| config.with_file_name(NAME))
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
