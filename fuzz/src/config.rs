//! The configuration's text.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use super::shown::assert_shown;
use certhook::config::{Ask, Config, Endpoint, KeyAt, Mistakes, Reload, WebUrl, parse_duration};

/// Any text is a configuration that cannot be wrong, or mistakes that say where and what to do.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("/etc/certhook/certhook.toml");
    match Config::parse(path, text) {
        Ok(config) => right(&config),
        Err(mistakes) => told(&mistakes, path, text),
    }
    if let Some(found) = parse_duration(text) {
        assert!(found <= Duration::from_secs(366 * 86_400), "{found:?}");
    }
    if let Some(endpoint) = Endpoint::parse(text) {
        assert_shown(&endpoint.to_string(), text.len());
    }
}

fn right(config: &Config) {
    assert!(config.state_dir.is_absolute());
    assert!(!config.servers.is_empty());
    for server in &config.servers {
        assert!(server.verify_timeout > Duration::ZERO && server.reload_timeout > Duration::ZERO);
        if let Reload::Command(words) = &server.reload {
            assert!(Path::new(&words[0]).is_absolute(), "{words:?}");
        }
    }
    for site in &config.sites {
        assert!(site.server < config.servers.len(), "{site:?}");
        assert!(site.certificate.is_absolute(), "{site:?}");
        assert!(!site.verify.is_empty(), "{site:?}");
        let parses_again =
            |ask: &Ask| Endpoint::parse(&ask.endpoint.to_string()).as_ref() == Some(&ask.endpoint);
        assert!(site.verify.iter().all(parses_again), "{site:?}");
        if let KeyAt::File(key) = &site.key {
            assert!(key.is_absolute(), "{site:?}");
        }
    }
    let keys: BTreeSet<_> = config.sites.iter().map(|site| site.ledger_key()).collect();
    assert_eq!(keys.len(), config.sites.len(), "two sites cannot be told apart: {keys:?}");
    if let Some(portal) = &config.portal {
        assert!(portal.timeout > Duration::ZERO && portal.retry > Duration::ZERO);
        assert!(portal.requests_per_week > 0);
        for url in [&portal.endpoint, &portal.login] {
            assert!(keeps_secrets(url), "{url:?}");
        }
    }
}

/// By another way than the parser of URLs: what follows `http://` begins with a loopback address and no more.
fn keeps_secrets(url: &WebUrl) -> bool {
    let url = url.as_str();
    let clean = !url.contains(['@', '?', '#', ' ']) && !url.ends_with('/');
    let host = |rest: &str| rest.split('/').next().unwrap_or_default().to_owned();
    let loopback = |rest: &str| {
        let host = host(rest);
        let name = host.rsplit_once(':').map_or(host.as_str(), |(name, port)| {
            if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host.as_str() }
        });
        let address = name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
        address || name == "localhost" || name == "[::1]"
    };
    clean && (url.starts_with("https://") || url.strip_prefix("http://").is_some_and(loopback))
}

fn told(mistakes: &Mistakes, path: &Path, text: &str) {
    assert!(!mistakes.0.is_empty(), "refused without a mistake");
    let lines = 1 + text.bytes().filter(|byte| *byte == b'\n').count();
    for mistake in &mistakes.0 {
        assert_eq!(mistake.path, path);
        assert!(mistake.line <= lines, "{mistake} of {lines} lines");
        // Words of the file are shown as escapes of up to ten characters.
        assert_shown(&mistake.problem.message, 4001);
        assert_shown(&mistake.problem.remedy, 4001);
        assert_shown(&mistake.problem.code, 40);
    }
    assert!(mistakes.0.is_sorted_by_key(|mistake| mistake.line));
    let said = mistakes.to_string();
    assert_eq!(said.lines().count(), mistakes.0.len(), "{said:?}");
}
