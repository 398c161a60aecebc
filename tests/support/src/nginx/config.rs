//! The description of a private nginx, and its text.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Nginx;
use super::host::{binary, free_port, worker_user};
use crate::wire::Versions;

/// One `server` block.
#[derive(Clone, Debug)]
pub struct NginxSite {
    /// `server_name`.
    pub server_names: Vec<String>,
    /// `ssl_certificate`.
    pub certificate: PathBuf,
    /// `ssl_certificate_key`.
    pub key: PathBuf,
    /// Further lines of the block: more certificates, more listens.
    pub extra: String,
    /// Its `listen` lines' values instead of the shared one, with `ssl`: `["127.0.0.1:8443 ssl"]`.
    pub listen: Vec<String>,
}

impl NginxSite {
    /// A site on the shared port.
    pub fn new(server_names: &[&str], certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            server_names: server_names.iter().map(ToString::to_string).collect(),
            certificate: certificate.into(),
            key: key.into(),
            extra: String::new(),
            listen: Vec::new(),
        }
    }

    /// Adds a line to the block.
    #[must_use]
    pub fn extra(mut self, line: &str) -> Self {
        self.extra.push_str(line);
        self.extra.push('\n');
        self
    }
}

/// How nginx runs. In each mode but the last `/proc/MASTER/fd/2` is the error log: nginx turns it there itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunMode {
    /// As packaged: it leaves for the background with `-g 'daemon on; master_process on;'`.
    #[default]
    Daemon,
    /// `-g 'daemon off;'`, a child of the test.
    Foreground,
    /// As in a container: the same with `error_log stderr`, which is a pipe that ends up in the error log's file.
    ForegroundStderr,
}

/// Describes an nginx, then starts it.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) sites: Vec<NginxSite>,
    pub(super) port: u16,
    pub(super) workers: usize,
    pub(super) mode: RunMode,
    pub(super) packaged: bool,
    ipv6: bool,
    versions: Versions,
    listen_options: String,
    http_extra: String,
    client_authority: Option<String>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            sites: Vec::new(),
            port: 0,
            workers: 2,
            mode: RunMode::default(),
            packaged: false,
            ipv6: false,
            versions: Versions::default(),
            listen_options: String::new(),
            http_extra: String::new(),
            client_authority: None,
        }
    }
}

impl Builder {
    /// Adds a site; the first is the default server.
    #[must_use]
    pub fn site(mut self, site: NginxSite) -> Self {
        self.sites.push(site);
        self
    }

    /// Adds sites.
    #[must_use]
    pub fn sites(mut self, sites: impl IntoIterator<Item = NginxSite>) -> Self {
        self.sites.extend(sites);
        self
    }

    /// Listens on `[::1]` too.
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// Sets `ssl_protocols`.
    #[must_use]
    pub fn tls(mut self, versions: Versions) -> Self {
        self.versions = versions;
        self
    }

    /// Demands a client certificate from this authority: handshakes go through, requests without one get a 400.
    #[must_use]
    pub fn require_client_certificate(mut self, authority_pem: &str) -> Self {
        self.client_authority = Some(authority_pem.to_owned());
        self
    }

    /// Sets how it runs.
    #[must_use]
    pub fn mode(mut self, mode: RunMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets `worker_processes`; two if not called.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Adds words to the shared `listen`, such as `proxy_protocol`.
    #[must_use]
    pub fn listen_options(mut self, options: &str) -> Self {
        self.listen_options = format!(" {options}");
        self
    }

    /// Adds a line to the `http` block, before the sites.
    #[must_use]
    pub fn http_extra(mut self, line: &str) -> Self {
        self.http_extra.push_str(line);
        self.http_extra.push('\n');
        self
    }

    /// Starts it and waits until all workers are there.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(self) -> Nginx {
        self.try_start().unwrap_or_else(|error| panic!("nginx does not start: {error}"))
    }

    /// Starts it, or tells what nginx said. A port that somebody else took meanwhile is changed for another.
    pub fn try_start(mut self) -> Result<Nginx, String> {
        if binary().is_none() {
            return Err("there is no nginx here (Debian: apt-get install nginx-light)".to_owned());
        }
        let mut words = String::new();
        for _ in 0..5 {
            self.port = free_port();
            match Nginx::launch(self.clone()) {
                Err(error) if error.contains("Address already in use") => words = error,
                other => return other,
            }
        }
        Err(words)
    }

    pub(super) fn text(&self, prefix: &Path) -> String {
        let at = |name: &str| prefix.join(name).display().to_string();
        let error_log = match self.mode {
            RunMode::ForegroundStderr => "stderr".to_owned(),
            RunMode::Daemon | RunMode::Foreground => at("error.log"),
        };
        let mut text = String::new();
        let mut line = |words: &str| {
            text.push_str(words);
            text.push('\n');
        };
        if nix::unistd::geteuid().is_root() {
            line(&format!("user {};", worker_user()));
        }
        line(&format!("worker_processes {};", self.workers));
        line(&format!("pid {};", at("nginx.pid")));
        line(&format!("error_log {error_log} notice;"));
        line("events { worker_connections 256; }");
        line("http {");
        line("access_log off;");
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            line(&format!("{kind}_temp_path {};", at(&format!("{kind}_temp"))));
        }
        line("server_names_hash_max_size 65536;");
        line("server_names_hash_bucket_size 256;");
        line(match self.versions {
            Versions::Both => "ssl_protocols TLSv1.2 TLSv1.3;",
            Versions::Tls12 => "ssl_protocols TLSv1.2;",
            Versions::Tls13 => "ssl_protocols TLSv1.3;",
        });
        if self.client_authority.is_some() {
            line(&format!("ssl_verify_client on; ssl_client_certificate {};", at("clients.pem")));
        }
        line(&self.http_extra);
        for site in &self.sites {
            line(&self.block(site));
        }
        line("}");
        text
    }

    fn block(&self, site: &NginxSite) -> String {
        let mut text = String::from("server {\n");
        let mut listen = site.listen.clone();
        if listen.is_empty() {
            listen.push(format!("127.0.0.1:{} ssl{}", self.port, self.listen_options));
            if self.ipv6 {
                listen.push(format!("[::1]:{} ssl{}", self.port, self.listen_options));
            }
        }
        for address in listen {
            let _ = writeln!(text, "    listen {address};");
        }
        let _ = writeln!(text, "    server_name {};", site.server_names.join(" "));
        let _ = writeln!(text, "    ssl_certificate {};", site.certificate.display());
        let _ = writeln!(text, "    ssl_certificate_key {};", site.key.display());
        let first = site.server_names.first().map_or("", String::as_str);
        let _ = write!(text, "    {}\n    location / {{ return 200 \"{first}\\n\"; }}\n}}", site.extra);
        text
    }

    /// Files the configuration refers to.
    pub(super) fn write_files(&self, prefix: &Path) -> io::Result<()> {
        match &self.client_authority {
            Some(pem) => fs::write(prefix.join("clients.pem"), pem),
            None => Ok(()),
        }
    }
}
