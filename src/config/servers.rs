//! `[server.NAME]`, key by key.

use std::path::Path;
use std::time::Duration;

use super::iis::iis;
use super::parts::{Reload, path};
use super::raw::{At, File, Section};
use super::{Kind, Nginx, Server};

const VERIFY_TIMEOUT: Duration = Duration::from_secs(10);
/// IIS looks into its Central Certificate Store every few minutes only.
const CENTRAL_VERIFY_TIMEOUT: Duration = Duration::from_secs(300);
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn default_server() -> Server {
    Server {
        name: "nginx".to_owned(),
        line: 0,
        kind: Kind::Nginx(Nginx::default()),
        reload: Reload::Signal,
        verify_timeout: VERIFY_TIMEOUT,
        reload_timeout: RELOAD_TIMEOUT,
        min_interval: Duration::ZERO,
        max_draining: None,
        stage: None,
    }
}

pub(super) fn server(file: &File<'_>, name: String, mut section: Section<'_, '_>) -> Option<Server> {
    let line = section.line;
    let kind = section.string("kind");
    let kind_name = kind.as_ref().map_or("nginx", |at| at.value.as_str());
    let kind_line = kind.as_ref().map_or(line, |at| at.line);
    if kind_name == "iis" {
        return iis_server(file, name, section);
    }
    let reload_given = section.has("reload");
    let reload = section.string_or_strings("reload");
    let verify_timeout = section.duration("verify_timeout", VERIFY_TIMEOUT);
    let reload_timeout = section.duration("reload_timeout", RELOAD_TIMEOUT);
    let min_interval = section.duration("min_interval", Duration::ZERO);
    let max_draining = section.integer("max_draining", 1..1_000_000).map(|at| at.value);
    let stage_given = section.has("stage");
    let stage = path(file, section.string("stage"));
    let kind = match kind_name {
        "nginx" => {
            let nginx = nginx(file, &mut section);
            Some(Kind::Nginx(nginx))
        }
        "command" => Some(Kind::Command),
        other => {
            let message = format!("kind = {other:?} is not a kind of server");
            file.mistake(kind_line, "bad_value", message, "use \"nginx\", \"iis\" or \"command\"");
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

/// IIS is not reloaded: its bindings are given the certificate. So it has no key that says how.
fn iis_server(file: &File<'_>, name: String, mut section: Section<'_, '_>) -> Option<Server> {
    let line = section.line;
    let iis = iis(file, &mut section);
    let central = iis.as_ref().is_some_and(|iis| iis.central.is_some());
    let patience = if central { CENTRAL_VERIFY_TIMEOUT } else { VERIFY_TIMEOUT };
    let verify_timeout = section.duration("verify_timeout", patience);
    let reload_timeout = section.duration("reload_timeout", RELOAD_TIMEOUT);
    let min_interval = section.duration("min_interval", Duration::ZERO);
    section.close();
    Some(Server {
        name,
        line,
        kind: Kind::Iis(iis?),
        // Nobody asks for it.
        reload: Reload::Signal,
        verify_timeout,
        reload_timeout,
        min_interval,
        max_draining: None,
        stage: None,
    })
}

fn nginx(file: &File<'_>, section: &mut Section<'_, '_>) -> Nginx {
    let discover = section.boolean("discover").is_some_and(|at| at.value);
    let unit = section.string("unit").and_then(|at| unit(file, at));
    let user = section.string("user").and_then(|at| user(file, at));
    let mut file_at = |key| path(file, section.string(key));
    Nginx {
        discover,
        binary: file_at("binary"),
        config: file_at("config"),
        prefix: file_at("prefix"),
        unit,
        pid_file: file_at("pid_file"),
        user,
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

fn user(file: &File<'_>, at: At<String>) -> Option<String> {
    if !at.value.is_empty() && !at.value.contains([':', '/']) && !at.value.contains(char::is_whitespace) {
        return Some(at.value);
    }
    let message = format!("user = {:?} is not the name of a user", at.value);
    file.mistake(at.line, "bad_value", message, "name the user that nginx's master runs as, like \"deploy\"");
    None
}

fn reload_of(file: &File<'_>, line: usize, kind: &Kind, given: Option<At<Vec<String>>>) -> Option<Reload> {
    const EXAMPLE: &str = "[\"/usr/bin/systemctl\", \"reload\", \"haproxy\"]";
    let words = given.as_ref().map(|at| (at.line, at.value.as_slice()));
    match (kind, words) {
        (Kind::Nginx(_), None) => Some(Reload::Signal),
        (Kind::Nginx(_), Some((_, [word]))) if word == "signal" => Some(Reload::Signal),
        (Kind::Nginx(_), Some((_, [word]))) if word == "systemd" => Some(Reload::Systemd),
        (_, Some(_)) => full_path(file, "reload", EXAMPLE, given?).map(Reload::Command),
        (Kind::Command | Kind::Iis(_), None) => {
            let message = "a server of kind \"command\" has no reload";
            file.mistake(line, "missing_key", message, format!("add a line like reload = {EXAMPLE}"));
            None
        }
    }
}

/// The words of a command whose program is named by its full path.
pub(super) fn full_path(
    file: &File<'_>,
    key: &str,
    example: &str,
    at: At<Vec<String>>,
) -> Option<Vec<String>> {
    let fits = at.value.iter().all(|word| !word.contains('\0'));
    if fits && at.value.first().is_some_and(|program| Path::new(program).is_absolute()) {
        return Some(at.value);
    }
    let message = format!("{key} must name its program by its full path");
    file.mistake(at.line, "bad_value", message, format!("write it like {example}"));
    None
}
