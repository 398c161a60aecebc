//! The files that nginx opens when it loads its configuration. It waits in `open()` where one of them is a pipe.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::levels::Block;
use super::reader::At;

/// A file that nginx opens when it loads its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The file.
    pub path: Box<Path>,
    /// The directive that names it.
    pub directive: &'static str,
    /// Where the directive stands.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: usize,
    /// The first name of the server that it stands in.
    pub site: Option<Arc<str>>,
}

impl Opened {
    /// Whether nginx writes it.
    pub fn is_log(&self) -> bool {
        matches!(self.directive, "access_log" | "error_log")
    }
}

/// Those that are relative to the configuration's directory, as nginx 1.31's modules open them. Files that are opened
/// for each request, such as `auth_basic_user_file`, are not among them.
const FILES: [&str; 40] = [
    "ssl_certificate",
    "ssl_conf_command",
    "ssl_certificate_key",
    "ssl_client_certificate",
    "ssl_trusted_certificate",
    "ssl_crl",
    "ssl_dhparam",
    "ssl_password_file",
    "ssl_session_ticket_key",
    "ssl_stapling_file",
    "ssl_ech_file",
    "quic_host_key",
    "proxy_ssl_certificate",
    "proxy_ssl_certificate_key",
    "proxy_ssl_trusted_certificate",
    "proxy_ssl_crl",
    "proxy_ssl_password_file",
    "grpc_ssl_certificate",
    "grpc_ssl_certificate_key",
    "grpc_ssl_trusted_certificate",
    "grpc_ssl_crl",
    "grpc_ssl_password_file",
    "uwsgi_ssl_certificate",
    "uwsgi_ssl_certificate_key",
    "uwsgi_ssl_trusted_certificate",
    "uwsgi_ssl_crl",
    "uwsgi_ssl_password_file",
    "geoip_country",
    "geoip_city",
    "geoip_org",
    "xslt_stylesheet",
    "xml_entities",
    "js_import",
    "js_include",
    "perl_require",
    "modsecurity_rules_file",
    "init_by_lua_file",
    "init_worker_by_lua_file",
    "zone_sync_ssl_certificate",
    "zone_sync_ssl_certificate_key",
];

/// Those that are relative to nginx's prefix.
const FILES_OF_PREFIX: [&str; 3] = ["access_log", "error_log", "load_module"];

/// A file as it was read; the server's names may follow it.
pub(super) struct Draft {
    path: Box<Path>,
    directive: &'static str,
    file: Rc<Path>,
    line: usize,
    server: Option<usize>,
}

/// Collects the files while the configuration is read.
#[derive(Default)]
pub(super) struct Drafts(Vec<Draft>);

impl Drafts {
    /// A directive that may name a file, with the blocks around it.
    pub fn directive(&mut self, words: &[String], at: &At, blocks: &[Block], folder: &Path, prefix: &Path) {
        let [name, arguments @ ..] = words else { return };
        if matches!(blocks.last(), Some(Block::Data | Block::Geo)) {
            return;
        }
        let find = |names: &[&'static str]| names.iter().copied().find(|known| *known == name.as_str());
        let (directive, base) = match (find(&FILES), find(&FILES_OF_PREFIX)) {
            (Some(directive), _) => (directive, folder),
            (None, Some(directive)) => (directive, prefix),
            (None, None) => return,
        };
        // `js_import NAME from FILE`
        let argument = match directive {
            "js_import" => arguments.last(),
            "ssl_conf_command" => arguments.get(1).filter(|_| opens_a_file(&arguments[0])),
            _ => arguments.first(),
        };
        if let Some(argument) = argument.filter(|argument| is_file(directive, argument)) {
            self.add(&base.join(argument), directive, at, blocks);
        }
    }

    pub fn add(&mut self, path: &Path, directive: &'static str, at: &At, blocks: &[Block]) {
        let server = blocks.iter().rev().find_map(|block| match block {
            Block::Server(index) => Some(*index),
            _ => None,
        });
        let (path, file, line) = (path.into(), Rc::clone(&at.file), at.first);
        self.0.push(Draft { path, directive, file, line, server });
    }

    /// Each file once, with the name of its server.
    pub fn finish(self, name: impl Fn(usize) -> Option<String>) -> Vec<Opened> {
        let mut names: HashMap<usize, Option<Arc<str>>> = HashMap::new();
        let mut files: HashMap<Rc<Path>, Arc<Path>> = HashMap::new();
        let mut known = HashSet::new();
        let drafts = self.0.into_iter().filter(|draft| known.insert((draft.path.clone(), draft.directive)));
        let opened = drafts.map(|Draft { path, directive, file, line, server }| {
            let site = server.and_then(|server| {
                names.entry(server).or_insert_with(|| name(server).map(Arc::from)).clone()
            });
            let file = Arc::clone(files.entry(file).or_insert_with_key(|file| Arc::from(&**file)));
            Opened { path, directive, file, line, site }
        });
        opened.collect()
    }
}

/// Whether a command of OpenSSL's has a file for its value.
fn opens_a_file(command: &str) -> bool {
    let files = ["Certificate", "PrivateKey", "ChainCAFile", "VerifyCAFile", "RequestCAFile", "ClientCAFile"];
    files.iter().chain(&["DHParameters"]).any(|name| name.eq_ignore_ascii_case(command))
}

/// Whether an argument is the name of a file that is opened at once.
fn is_file(directive: &str, argument: &str) -> bool {
    let other = match directive {
        "access_log" | "error_log" => matches!(argument, "off" | "stderr"),
        _ => {
            argument.starts_with("data:") || argument.starts_with("engine:") || argument.starts_with("store:")
        }
    };
    let elsewhere = ["syslog:", "memory:"].iter().any(|scheme| argument.starts_with(scheme));
    // A variable is known at the handshake or the request only.
    !other && !elsewhere && !argument.contains(['$', '\0', '\u{fffd}']) && !argument.is_empty()
}
