//! A web host of a test's own: nginx, a portal, certificate files, certhook, all below one folder.

#![allow(dead_code, reason = "two test programs share it, and each uses a part")]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use certhook_test_support::ca::{Authority, Order, Pair};
use certhook_test_support::nginx::{Nginx, NginxSite};
use certhook_test_support::portal::{Builder, Portal, Record};
use certhook_test_support::wire;
use certhook_test_support::writers::{Layout, Writer};
use serde_json::Value;

/// For anything that must come to pass: so long that only a fault reaches it, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One site of a host.
pub struct Site {
    pub name: String,
    pub id: i64,
    pub layout: Layout,
    pub writer: Writer,
    pub pair: Pair,
}

/// The host.
pub struct Host {
    pub ca: Authority,
    pub portal: Portal,
    pub nginx: Nginx,
    pub sites: Vec<Site>,
    agent: Option<Child>,
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
    log_level: &'static str,
    extra: Extra,
}

/// Lines for the configuration beyond the usual ones.
#[derive(Default, Clone)]
pub struct Extra {
    pub top: String,
    pub portal: String,
    pub watch: String,
    pub server: String,
    pub site: String,
    /// Sites have no name of the portal's in the configuration.
    pub nameless: bool,
    /// The portal's allowance, if not fifty a week.
    pub portal_allows: Option<usize>,
    /// There is no portal in the configuration.
    pub no_portal: bool,
    /// nginx's configuration tells which sites there are; certhook's names none.
    pub discovered: bool,
    /// How the portal is made, if not as usual.
    pub portal_built: Option<fn(Builder) -> Builder>,
    /// Sites do not say where to ask.
    pub no_verify: bool,
    /// Lines of nginx's `http` block. What stands in `sites-enabled` beside it is included always.
    pub http: String,
}

impl Extra {
    /// For sites that are renewed again and again: `[limits]` switched off.
    pub fn unlimited() -> Self {
        Self { top: "[limits]\nchanges_free = 0\nreports_per_day = 0\nshare = 0".into(), ..Self::default() }
    }
}

impl Host {
    /// As [`Host::new`], for sites that are renewed again and again.
    pub fn unlimited(writers: &[Writer]) -> Self {
        Self::with(writers, Extra::unlimited())
    }

    /// A host with one site for each of `writers`, served, not yet seen by certhook.
    pub fn new(writers: &[Writer]) -> Self {
        Self::with(writers, Extra::default())
    }

    /// As [`Host::new`], with more in the configuration.
    pub fn with(writers: &[Writer], extra: Extra) -> Self {
        let folder = tempfile::Builder::new().prefix("certhook-").tempdir().unwrap();
        open_for_all(folder.path());
        let ca = Authority::new();
        let root = folder.path().join("ssl");
        std::fs::create_dir(&root).unwrap();
        open_for_all(&root);
        let portal = Portal::builder().requests_per_week(extra.portal_allows.unwrap_or(50));
        let portal = extra.portal_built.unwrap_or(|builder| builder)(portal).start().unwrap();
        let mut sites = Vec::new();
        for (index, writer) in writers.iter().enumerate() {
            let name = format!("site{index}.test");
            let pair = ca.issue(Order { hosts: &[name.as_str()], ..Order::default() });
            let layout = writer.layout(&root.join(format!("{index}")), &name);
            writer.install(&layout, &pair);
            let id = 158 + i64::try_from(index).unwrap();
            // The portal knows of the first installation, so that the first start has nothing to tell.
            let installed = Some("2026-01-01T00:00:00".to_owned());
            portal.add_certificate(Record { remote_create_date: installed, ..Record::new(id, &name) });
            sites.push(Site { name, id, layout, writer: *writer, pair });
        }
        let served = sites.iter().map(|site| {
            NginxSite::new(&[site.name.as_str()], site.layout.certificate.clone(), site.layout.key.clone())
        });
        let http = format!("{}\ninclude sites-enabled/*;", extra.http);
        let nginx = Nginx::builder().sites(served).http_extra(&http).start();
        let (environment, wrapper) = (Vec::new(), Vec::new());
        let log_level = "trace";
        let host =
            Self { ca, portal, nginx, sites, agent: None, folder, environment, wrapper, log_level, extra };
        host.configure();
        host
    }

    /// Writes the configuration anew.
    pub fn configure(&self) {
        std::fs::write(self.config_path(), self.config_text()).unwrap();
        let secret = self.folder.path().join("client_secret");
        std::fs::write(&secret, self.portal.client_secret()).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// From here on a shell's script reloads the server.
    pub fn use_command_server(&self, script: &str, more: &str) {
        let text = self.config_text();
        let (begin, rest) = text.split_once("[server.nginx]").unwrap();
        let sites = &rest[rest.find("[[site]]").unwrap()..];
        let server = format!(
            "[server.haproxy]\nkind = \"command\"\nreload = [\"/bin/sh\", \"-c\", {script:?}]\n{more}\n"
        );
        std::fs::write(self.config_path(), format!("{begin}{server}{sites}")).unwrap();
    }

    /// The configuration's text.
    pub fn config_text(&self) -> String {
        let Extra { top, portal, watch, server, site: more, nameless, no_portal, no_verify, .. } =
            &self.extra;
        let server = server.replace("STATE", &self.state_dir().display().to_string());
        let portal = portal.replace("ROOT", &self.path().display().to_string());
        let mut text = format!("state_dir = {:?}\n{top}\n", self.state_dir());
        if !no_portal {
            write!(
                text,
                "[portal]\nendpoint = {0:?}\nlogin = {0:?}\ntenant_id = {1:?}\nclient_id = {2:?}\n\
                 client_secret_file = {3:?}\nretry = \"50ms\"\n{portal}\n",
                self.portal.endpoint(),
                self.portal.tenant(),
                self.portal.client_id(),
                self.folder.path().join("client_secret"),
            )
            .unwrap();
        }
        write!(text, "[watch]\n{watch}\n").unwrap();
        write!(text, "[server.nginx]\nkind = \"nginx\"\npid_file = {:?}\n{server}\n", self.nginx.pid_file())
            .unwrap();
        if !self.nginx.is_installed() {
            // A title names no program to be executed.
            writeln!(text, "binary = {:?}", self.nginx.binary()).unwrap();
        }
        if self.extra.discovered {
            text.push_str("discover = true\n");
            return text;
        }
        for site in &self.sites {
            write!(
                text,
                "[[site]]\ncertificate = {:?}\nkey = {:?}\n{more}\n",
                site.layout.certificate, site.layout.key,
            )
            .unwrap();
            if !no_verify {
                writeln!(text, "verify = [{:?}]", self.nginx.endpoint()).unwrap();
            }
            if !nameless {
                writeln!(text, "name = {:?}", site.name).unwrap();
            }
        }
        text
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes, or with `None` removes, one of the files that nginx's configuration includes.
    pub fn set_vhost(&self, name: &str, text: Option<&str>) {
        let folder = self.nginx.prefix().join("sites-enabled");
        std::fs::create_dir_all(&folder).unwrap();
        match text {
            Some(text) => std::fs::write(folder.join(name), text).unwrap(),
            None => std::fs::remove_file(folder.join(name)).unwrap(),
        }
    }

    /// One more site: its files and its record at the portal, in no configuration yet.
    pub fn add_site(&mut self, writer: Writer) -> usize {
        let index = self.sites.len();
        let name = format!("site{index}.test");
        let pair = self.ca.issue(Order { hosts: &[name.as_str()], ..Order::default() });
        let layout = writer.layout(&self.folder.path().join(format!("ssl/{index}")), &name);
        writer.install(&layout, &pair);
        let id = 158 + i64::try_from(index).unwrap();
        self.portal.add_certificate(Record::new(id, &name));
        self.sites.push(Site { name, id, layout, writer, pair });
        index
    }

    /// A certificate that the portal issues, ended `left` from now, in the layout of the portal's own client below
    /// `rcl`, and in nginx's configuration, which is not loaded yet.
    pub fn add_portals_own(&self, id: i64, name: &str, left: jiff::SignedDuration) -> PathBuf {
        let end = (jiff::Timestamp::now() + left).to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let installed = Some("2026-01-01T00:00:00".to_owned());
        let record = Record { remote_create_date: installed, ..Record::new(id, name) };
        self.portal.add_certificate(record.expires(end).issued());
        let pair = self.portal.issued(id).unwrap();
        let folder = self.path().join("rcl").join(name.replace('.', "-"));
        std::fs::create_dir_all(&folder).unwrap();
        for (file, text) in [
            ("privateKey.key", &pair.key_pem),
            ("primaryCertificate.crt", &pair.leaf_pem),
            ("caBundle.crt", &pair.chain_pem),
            ("fullChainCertificate.crt", &pair.fullchain_pem),
        ] {
            std::fs::write(folder.join(file), text).unwrap();
        }
        let block = format!(
            "server {{ listen {} ssl; server_name {name}; ssl_certificate {:?}; ssl_certificate_key {:?}; }}\n",
            self.nginx.endpoint(),
            folder.join("fullChainCertificate.crt"),
            folder.join("privateKey.key"),
        );
        self.set_vhost(name, Some(&block));
        folder
    }

    /// The `server` block of a site.
    pub fn block(&self, site: usize) -> String {
        let Site { name, layout, .. } = &self.sites[site];
        format!(
            "server {{\n    listen {} ssl;\n    server_name {name};\n    ssl_certificate {:?};\n    \
             ssl_certificate_key {:?};\n}}\n",
            self.nginx.endpoint(),
            layout.certificate,
            layout.key
        )
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("certhook.toml")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("certhook.log")
    }

    /// The agent's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// An environment variable for every certhook from here on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub fn clear_env(&mut self) {
        self.environment.clear();
    }

    /// How much agents log from here on; all of it, if nothing is said.
    pub fn set_log_level(&mut self, level: &'static str) {
        self.log_level = level;
    }

    /// A program that runs every certhook from here on, with its arguments; it must become that certhook
    /// (`exec`), so that the process is the same. None to end it.
    pub fn set_wrapper(&mut self, program: &[&str]) {
        self.wrapper = program.iter().map(ToString::to_string).collect();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self.wrapper.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_certhook")]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.arg("--config").arg(self.config_path()).args(arguments);
        command
    }

    /// Runs a command to its end.
    pub fn certhook(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command and parses what it prints; its exit code beside it.
    pub fn json(&self, arguments: &[&str]) -> (Value, i32) {
        let output = self.certhook(arguments);
        let value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}\n{}", self.log()));
        (value, output.status.code().unwrap_or(-1))
    }

    /// Starts a command whose log goes where the agent's does.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        self.command(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// Starts the agent, without waiting for anything.
    pub fn start_agent(&mut self) {
        assert!(self.agent.is_none(), "an agent runs");
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = self
            .command(&["--log-level", self.log_level, "run"])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.agent = Some(child);
    }

    /// Starts the agent and waits until it knows every site and is at rest.
    pub fn start_agent_and_settle(&mut self) {
        self.start_agent();
        self.wait_for("all sites current", |status| states(status).iter().all(|state| state == "current"));
    }

    pub fn agent_pid(&self) -> u32 {
        self.agent.as_ref().expect("no agent runs").id()
    }

    /// The agent's other process, which speaks to the network.
    pub fn network_pid(&self) -> u32 {
        let agent = self.agent_pid();
        let children = std::fs::read_to_string(format!("/proc/{agent}/task/{agent}/children")).unwrap();
        let is_it = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with(b"certhook\0network\0")
        };
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_it).expect("a second process")
    }

    /// As `kill -9`.
    pub fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            agent.wait().unwrap();
        }
    }

    /// Asks the agent to end, and waits for it.
    pub fn stop_agent(&mut self) {
        let mut agent = self.agent.take().expect("no agent runs");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(agent.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = agent.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Waits until the agent has ended by itself.
    pub fn wait_for_agents_end(&mut self) -> ExitStatus {
        let mut agent = self.agent.take().expect("no agent runs");
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = agent.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the agent does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The running agent's status; `None` where none answers.
    pub fn agent_status(&self) -> Option<Value> {
        let mut stream = UnixStream::connect(self.state_dir().join("control.sock")).ok()?;
        // A loop that hangs accepts nothing, and the system does in its place.
        stream.set_read_timeout(Some(PATIENCE / 2)).ok()?;
        stream.write_all(b"\"status\"\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Waits until the agent's status is as wanted, and returns it.
    pub fn wait_for(&self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        let mut last = None;
        loop {
            if let Some(status) = self.agent_status() {
                if wanted(&status) {
                    return status;
                }
                last = Some(status);
            }
            assert!(
                Instant::now() < until,
                "not in time: {what}\n{last:#?}\n{}\n{}",
                self.log(),
                self.nginx.log_text()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A new certificate for a site, not written yet.
    pub fn issue(&self, site: usize) -> Pair {
        let name = self.sites[site].name.as_str();
        self.ca.issue(Order { hosts: &[name], ..Order::default() })
    }

    /// Renews a site as its writer does; the write time of the file that holds the leaf.
    pub fn renew(&mut self, site: usize, gap: Duration) -> SystemTime {
        let pair = self.issue(site);
        let site = &mut self.sites[site];
        let written = site.writer.renew(&site.layout, &pair, gap);
        site.pair = pair;
        written.leaf_file_mtime
    }

    /// Waits until the site's certificate is served and recorded and its report, if any, is delivered.
    pub fn wait_until_done(&self, site: usize) {
        let fingerprint = &self.sites[site].pair.fingerprint;
        self.wait_for(&format!("site {site} served and reported"), |status| {
            let told = &status["sites"][site];
            told["state"] == "current"
                && told["served"]["fingerprint"] == *fingerprint
                && told["report"]["state"] == "delivered"
        });
    }

    /// Waits until the site's certificate is served and recorded, reported or not.
    pub fn wait_until_served(&self, site: usize) {
        let fingerprint = &self.sites[site].pair.fingerprint;
        self.wait_for(&format!("site {site} served"), |status| {
            let told = &status["sites"][site];
            told["state"] == "current" && told["served"]["fingerprint"] == *fingerprint
        });
    }

    /// Waits for anything else.
    pub fn wait_until(&self, what: &str, mut reached: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !reached() {
            assert!(Instant::now() < until, "not in time: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The leaf that nginx serves for a site.
    pub fn served(&self, site: usize) -> String {
        wire::served(&self.nginx.endpoint(), &self.sites[site].name).unwrap().fingerprint
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill_agent();
    }
}

/// The codes of all problems that a status tells of.
pub fn codes(status: &Value) -> Vec<String> {
    let sites = ["sites", "servers"].iter().flat_map(|list| status[list].as_array().expect("a list"));
    let all =
        sites.map(|one| &one["problem"]).chain([&status["watch"]["problem"], &status["ledger_problem"]]);
    all.filter_map(|problem| problem["code"].as_str()).map(str::to_owned).collect()
}

/// The states of all sites.
pub fn states(status: &Value) -> Vec<String> {
    let sites = status["sites"].as_array().expect("sites");
    sites.iter().map(|site| site["state"].as_str().expect("state").to_owned()).collect()
}

/// nginx's workers read as another user.
fn open_for_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A write time as the portal wants it, by way of another program than the one under test.
pub fn as_the_portal_wants(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let output = Command::new("date")
        .args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%S"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
