//! A Windows host of a test's own: a TLS server that a command reloads, a portal, certificate files, certhook.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use certhook_test_support::ca::{Authority, Order, Pair};
use certhook_test_support::portal::{Portal, Record};
use certhook_test_support::wire;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use serde_json::Value;

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const NAME: &str = "shop.test";

pub struct Host {
    pub portal: Portal,
    pub server: SocketAddr,
    ca: Authority,
    agent: Option<Child>,
    folder: tempfile::TempDir,
}

impl Host {
    /// A host whose server serves what is on disk; certhook has not seen it yet.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("certhook ").tempdir().unwrap();
        std::fs::create_dir(folder.path().join("ssl")).unwrap();
        let portal = Portal::builder().requests_per_week(50).start().unwrap();
        // The portal knows of the first installation, so that the first start has nothing to tell.
        let installed = Some("2026-01-01T00:00:00".to_owned());
        portal.add_certificate(Record { remote_create_date: installed, ..Record::new(158, NAME) });
        let ca = Authority::new();
        let unborn = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut host = Self { portal, server: unborn, ca, agent: None, folder };
        let pair = host.issue();
        std::fs::write(host.certificate(), &pair.fullchain_pem).unwrap();
        std::fs::write(host.key(), &pair.key_pem).unwrap();
        host.server = serve(host.certificate(), host.key(), host.path("reload.flag"));
        host.configure();
        host
    }

    fn configure(&self) {
        // With a space in its path, as many are on Windows.
        let reload = self.path("reload it.cmd");
        std::fs::write(&reload, "@echo off\r\necho %1>\"%~dp0reload.flag\"\r\n").unwrap();
        let secret = self.path("client_secret");
        std::fs::write(&secret, self.portal.client_secret()).unwrap();
        let text = format!(
            "state_dir = {:?}\n\
             [portal]\nendpoint = {1:?}\nlogin = {1:?}\ntenant_id = {2:?}\nclient_id = {3:?}\n\
             client_secret_file = {secret:?}\nretry = \"50ms\"\n\
             [server.shop]\nkind = \"command\"\nreload = [{reload:?}, \"a b\"]\n\
             [[site]]\nname = {NAME:?}\ncertificate = {4:?}\nkey = {5:?}\nverify = [\"{6}\"]\n",
            self.path("state"),
            self.portal.endpoint(),
            self.portal.tenant(),
            self.portal.client_id(),
            self.certificate(),
            self.key(),
            self.server,
        );
        std::fs::write(self.config(), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("certhook.toml")
    }

    pub fn certificate(&self) -> PathBuf {
        self.path("ssl").join("fullchain.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.path("ssl").join("privkey.pem")
    }

    pub fn issue(&self) -> Pair {
        self.ca.issue(Order { hosts: &[NAME], ..Order::default() })
    }

    /// The leaf on the wire.
    pub fn served(&self) -> String {
        wire::served(&self.server.to_string(), NAME).unwrap().fingerprint
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certhook"));
        command.arg("--config").arg(self.config()).args(arguments).stdin(Stdio::null());
        command
    }

    pub fn certhook(&self, arguments: &[&str]) -> Output {
        started(|| self.command(arguments).output())
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.certhook(arguments);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}\n{}", self.log()))
    }

    pub fn start_agent(&mut self) {
        self.start_agent_with(|_| {});
    }

    pub fn start_agent_with(&mut self, more: impl FnOnce(&mut Command)) {
        let log = File::create(self.path("certhook.log")).unwrap();
        let mut command = self.command(&["--log-level", "trace", "run"]);
        more(&mut command);
        command.stderr(log);
        self.agent = Some(started(|| command.spawn()));
        self.wait_for("the site is current", |status| {
            status["agent"]["running"] == true && status["sites"][0]["state"] == "current"
        });
    }

    /// The agent, to be ended by whoever takes it.
    pub fn take_agent(&mut self) -> Child {
        self.agent.take().unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("certhook.log")).unwrap_or_default()
    }

    /// Waits until the status is as wanted, and returns it.
    #[track_caller]
    pub fn wait_for(&self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.json(&["status", "--json"]);
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < until, "not in time: {what}\n{status:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until this pair is served, recorded and reported.
    #[track_caller]
    pub fn wait_until_done(&self, pair: &Pair) -> Value {
        self.wait_for("served and reported", |status| {
            let told = &status["sites"][0];
            told["state"] == "current"
                && told["served"]["fingerprint"] == pair.fingerprint
                && told["report"]["state"] == "delivered"
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

/// What the server has loaded.
#[derive(Debug, Default)]
struct Loaded(Mutex<Option<Arc<CertifiedKey>>>);

impl Loaded {
    fn load(&self, certificate: &Path, key: &Path) {
        let chain = CertificateDer::pem_file_iter(certificate).unwrap().collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let key = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).unwrap();
        *self.0.lock().unwrap() = Some(Arc::new(key));
    }
}

impl ResolvesServerCert for Loaded {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.lock().unwrap().clone()
    }
}

/// A TLS server that loads its files at the start, and when the flag appears.
fn serve(certificate: PathBuf, key: PathBuf, flag: PathBuf) -> SocketAddr {
    let loaded = Arc::new(Loaded::default());
    loaded.load(&certificate, &key);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_cert_resolver(Arc::clone(&loaded) as _));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(10));
            if std::fs::remove_file(&flag).is_ok() {
                loaded.load(&certificate, &key);
            }
        }
    });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let mut connection = ServerConnection::new(config).unwrap();
                let mut stream = stream;
                // Whoever asks may leave as soon as it has seen the leaf.
                let _ = connection.complete_io(&mut stream);
                let mut tls = rustls::Stream::new(&mut connection, &mut stream);
                let _ = tls.write_all(b"");
                let _ = tls.read(&mut [0; 1]);
            });
        }
    });
    address
}

/// Does what a program that renews does with a file that the agent watches, and again while the agent has the file open
/// to read: Windows opens no file to write meanwhile, and wine renames over none.
pub fn retried<T>(mut write: impl FnMut() -> io::Result<T>) -> T {
    const ERROR_ACCESS_DENIED: i32 = 5;
    const ERROR_SHARING_VIOLATION: i32 = 32;
    let until = Instant::now() + PATIENCE;
    loop {
        match write() {
            Err(error)
                if matches!(error.raw_os_error(), Some(ERROR_ACCESS_DENIED | ERROR_SHARING_VIOLATION))
                    && Instant::now() < until => {}
            outcome => return outcome.unwrap(),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a program. Under load wine cannot, now and then: it says "internal error" and can the next time.
pub fn started<T>(mut start: impl FnMut() -> io::Result<T>) -> T {
    const ERROR_INTERNAL_ERROR: i32 = 1359;
    for _ in 0..5 {
        match start() {
            Err(error) if error.raw_os_error() == Some(ERROR_INTERNAL_ERROR) => {}
            outcome => return outcome.unwrap(),
        }
    }
    start().unwrap()
}
