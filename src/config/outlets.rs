//! `[metrics]` and `[alert]`, key by key.

use std::net::SocketAddr;

use super::parts::{SECOND, path};
use super::raw::{At, File, Section};
use super::servers::full_path;
use super::{Alert, Metrics, MetricsTo};
use crate::platform;

pub(super) fn metrics(file: &File<'_>, mut section: Section<'_, '_>) -> Option<Metrics> {
    let line = section.line;
    let (has_file, has_listen) = (section.has("file"), section.has("listen"));
    let to_file = path(file, section.string("file"));
    let listen = section.string("listen").and_then(|at| listen_at(file, at));
    section.close();
    match (has_file, has_listen) {
        (true, false) => to_file.map(|path| Metrics { line, to: MetricsTo::File(path) }),
        (false, true) => listen.map(|to| Metrics { line, to }),
        (true, true) => {
            let message = "[metrics] has both file and listen";
            file.mistake(line, "bad_value", message, "leave one of them out");
            None
        }
        (false, false) => {
            let message = "[metrics] does not say where they go";
            let remedy = "add a line like file = \"/var/lib/prometheus/node-exporter/certhook.prom\" or \
                          listen = \"127.0.0.1:9321\"";
            file.mistake(line, "missing_key", message, remedy);
            None
        }
    }
}

/// Whoever may ask learns every site's name: an address is of loopback.
fn listen_at(file: &File<'_>, at: At<String>) -> Option<MetricsTo> {
    match at.value.strip_prefix("unix:") {
        Some(_) if platform::HAS_IIS => {
            let message = format!("listen = {:?}: Windows has no such sockets", at.value);
            file.mistake(at.line, "bad_value", message, "write an address, like \"127.0.0.1:9321\"");
            None
        }
        Some(socket) => {
            path(file, Some(At { value: socket.to_owned(), line: at.line })).map(MetricsTo::Socket)
        }
        None => loopback(file, &at).map(MetricsTo::Listen),
    }
}

fn loopback(file: &File<'_>, at: &At<String>) -> Option<SocketAddr> {
    let address = at.value.parse::<SocketAddr>().ok();
    let found = address.filter(|address| address.ip().is_loopback() && address.port() > 0);
    if found.is_none() {
        let message = format!("listen = {:?} is not an address and port of this host alone", at.value);
        let remedy = "write it like \"127.0.0.1:9321\", \"[::1]:9321\" or \"unix:/run/certhook/metrics.sock\"; for \
                      others put a proxy before it";
        file.mistake(at.line, "bad_value", message, remedy);
    }
    found
}

pub(super) fn alert(file: &File<'_>, mut section: Section<'_, '_>) -> Option<Alert> {
    const EXAMPLE: &str = "[\"/usr/bin/curl\", \"--config\", \"/etc/certhook/alert.curl\"]";
    let line = section.line;
    let given = section.has("command");
    let command = section.string_or_strings("command");
    let after = section.duration("after", 15 * 60 * SECOND);
    let min_interval = section.duration("min_interval", 60 * SECOND);
    section.close();
    if !given {
        let message = "[alert] has no command";
        file.mistake(line, "missing_key", message, format!("add a line like command = {EXAMPLE}"));
    }
    let command = full_path(file, "command", EXAMPLE, command?)?;
    Some(Alert { line, command, after, min_interval })
}
