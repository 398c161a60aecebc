//! `certhook discover`: what the servers have, as configuration.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::survey::{self, Census};
use super::{Outcome, Result, say, show};
use crate::config::{self, Ask, Config, KeyAt, Kind};
use crate::discover::{Found, Pair, sites_of_iis};
use crate::problem::printable;
use crate::roster::as_found;
use crate::stage::Stage;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Also print the lines that make nginx read copies which certhook publishes whole (see `stage`).
    #[arg(long)]
    stage: bool,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> Result {
    let census = survey::census(config).await;
    let mut well = true;
    for (index, server) in config.servers.iter().enumerate().filter(|(_, server)| server.discovers()) {
        match &census.found[index] {
            Some(found) => say(&printed(config, index, found, arguments.stage)),
            None => say(&format!("# {}: nothing was found", server.name)),
        }
        if let Some(problem) = &census.problems[index] {
            well = false;
            super::complain(&format!("{}: {problem}", server.name));
        }
    }
    if !config.servers.iter().any(config::Server::discovers) {
        say("# no server has discover = true");
    }
    Ok(Outcome::from(well && !nothing(&census)))
}

fn nothing(census: &Census) -> bool {
    census.found.iter().flatten().all(|found| found.pairs.is_empty() && found.bindings.is_empty())
}

/// One server: its table, a [[site]] for each certificate, and what was left out.
fn printed(config: &Config, index: usize, found: &Found, stage: bool) -> String {
    let server = &config.servers[index];
    if let Kind::Iis(_) = server.kind {
        return of_iis(config, server, found);
    }
    let mut out = format!(
        "# {}: {} in {}\n",
        server.name,
        show::count(found.pairs.len(), "certificate"),
        show::count(found.files.len(), "configuration file"),
    );
    let folder = server.stage.clone().unwrap_or_else(|| config.state_dir.join("live"));
    let _ = writeln!(out, "[server.{}]\nkind = \"nginx\"\ndiscover = true", toml_key(&server.name));
    if stage {
        let _ = writeln!(out, "stage = {}", quoted(&folder.display().to_string()));
    }
    let mut names = std::collections::HashSet::new();
    for pair in &found.pairs {
        out.push('\n');
        for place in &pair.places {
            let _ = writeln!(out, "# {place}");
        }
        if let Some(site) = copied(config, index, pair) {
            let _ = writeln!(out, "# a copy of {}", printable(&site.certificate.display().to_string(), 500));
            continue;
        }
        let mut site = as_found(index, server.line, pair);
        let mut number = 2;
        while stage && !names.insert(site.copy_name()) {
            site.stage_as = Some(format!("{}-{number}", as_found(index, server.line, pair).copy_name()));
            number += 1;
        }
        out.push_str(&of_site(config, &site));
        if stage {
            let copy = Stage::of(&folder, &site);
            let _ = writeln!(out, "# in nginx, once certhook runs with this configuration:");
            let _ = writeln!(out, "#     ssl_certificate     {};", nginx_word(&copy.certificate()));
            let _ = writeln!(out, "#     ssl_certificate_key {};", nginx_word(&copy.key()));
        }
    }
    out.push_str(&left_out(found));
    out
}

/// Its certificates lie in Windows's store: which files they come from only an administrator knows.
fn of_iis(config: &Config, server: &config::Server, found: &Found) -> String {
    let several = (config.servers.len() > 1).then_some(server.name.as_str());
    format!(
        "# {}: {}\n[server.{}]\nkind = \"iis\"\ndiscover = true\n{}{}",
        server.name,
        show::count(found.bindings.len(), "binding"),
        toml_key(&server.name),
        sites_of_iis(found, several),
        left_out(found)
    )
}

fn left_out(found: &Found) -> String {
    let mut out = String::new();
    for left in &found.left_out {
        let _ = write!(out, "\n# left out: {}: {}: {}", left.place, left.what, left.why);
    }
    out
}

/// The [[site]] whose published copy this is.
fn copied<'c>(config: &'c Config, index: usize, pair: &Pair) -> Option<&'c config::Site> {
    let folder = config.servers[index].stage.as_ref()?;
    let of_it = |site: &&config::Site| {
        site.server == index && Stage::of(folder, site).certificate() == pair.certificate
    };
    config.sites.iter().map(Arc::as_ref).find(of_it)
}

fn of_site(config: &Config, site: &config::Site) -> String {
    let mut out = "[[site]]\n".to_owned();
    if config.servers.len() > 1 {
        let _ = writeln!(out, "server = {}", quoted(&config.servers[site.server].name));
    }
    let _ = writeln!(out, "certificate = {}", quoted(&site.certificate.display().to_string()));
    let key = match &site.key {
        KeyAt::File(path) => path.display().to_string(),
        KeyAt::Elsewhere(name) => name.clone(),
        // Of a certificate in a store no file is known.
        KeyAt::Pfx(_) => String::new(),
    };
    let _ = writeln!(out, "key = {}", quoted(&key));
    if let Some(name) = &site.stage_as {
        let _ = writeln!(out, "stage_as = {}", quoted(name));
    }
    let list = |texts: &[String]| texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
    let at = |ask: &Ask| quoted(&ask.endpoint.to_string());
    let same = site.verify.windows(2).all(|pair| pair[0].hosts == pair[1].hosts);
    match site.verify.first() {
        Some(first) if same => {
            let asks = site.verify.iter().map(at).collect::<Vec<_>>().join(", ");
            let _ = writeln!(out, "verify = [{asks}]");
            if !first.hosts.is_empty() {
                let _ = writeln!(out, "hosts = [{}]", list(&first.hosts));
            }
        }
        _ => {
            let ask = |ask: &Ask| match ask.hosts.as_slice() {
                [] => at(ask),
                hosts => format!("{{ at = {}, hosts = [{}] }}", at(ask), list(hosts)),
            };
            let asks = site.verify.iter().map(ask).collect::<Vec<_>>().join(",\n    ");
            let _ = writeln!(out, "verify = [\n    {asks},\n]");
        }
    }
    out
}

/// As nginx reads it: what ends a word stands between quotes.
fn nginx_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain =
        |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '@' | '+' | ',' | '=');
    if text.chars().all(is_plain) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn toml_key(name: &str) -> String {
    let bare = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare && !name.is_empty() { name.to_owned() } else { quoted(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_nginx_reads_them() {
        let word = |path: &str| nginx_word(Path::new(path));
        assert_eq!(word("/srv/live/contoso.com/privkey.pem"), "/srv/live/contoso.com/privkey.pem");
        assert_eq!(word("/srv/my \"live\";/a"), r#""/srv/my \"live\";/a""#);
    }
}
