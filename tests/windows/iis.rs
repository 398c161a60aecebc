//! The main job with IIS: the program itself, the machine's certificate store, and what stands for HTTP.sys: a library
//! that keeps its records in a file (`fakes/httpapi.c`), and a TLS server that serves what these say.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use certhook::certificate::Thumbprint;
use certhook_test_support::ca::{Authority, KeyType, Order, Pair};
use certhook_test_support::portal::{Portal, Record};
use certhook_test_support::{wine, wire};
use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use serde_json::Value;

use crate::host::{NAME, PATIENCE, retried, started};
use crate::main_job::{as_the_portal_wants, write_time};

const PASSWORD: &str = "two words";
/// All but the certificate, as the library writes it: store, four numbers, a list of issuers, flags.
const REST: &str = "WebHosting\t65537\t60\t5000\tOur issuers\tCA\t2147483771";
const OF_IIS: &str = "4dc3e181-e14b-4a21-b022-59fc669b0914";

struct Iis {
    portal: Portal,
    server: SocketAddr,
    keys: Arc<Keys>,
    ca: Authority,
    agent: Option<Child>,
    folder: tempfile::TempDir,
}

impl Iis {
    /// A host whose one binding by a host has a certificate that certhook has not seen yet.
    fn new() -> Option<Self> {
        if wine::version().is_none() || !Path::new(r"C:\fakes\httpapi.dll").exists() {
            println!("SKIPPED iis: it is played under wine, with what packaging/windows/prefix.sh makes");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("certhook ").tempdir().unwrap();
        std::fs::create_dir(folder.path().join("ssl")).unwrap();
        let portal = Portal::builder().requests_per_week(50).start().unwrap();
        // The portal knows of the first installation, so that the first start has nothing to tell.
        let installed = Some("2026-01-01T00:00:00".to_owned());
        portal.add_certificate(Record { remote_create_date: installed, ..Record::new(158, NAME) });
        let keys = Arc::new(Keys { records: folder.path().join("records"), loaded: Mutex::default() });
        let server = serve(Arc::clone(&keys));
        let iis = Self { portal, server, keys, ca: Authority::new(), agent: None, folder };
        let first = iis.issue();
        iis.write_pfx(&first, false);
        iis.write_records(&first);
        iis.configure();
        Some(iis)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pfx(&self) -> PathBuf {
        self.path("ssl").join("certificate.pfx")
    }

    fn place(&self) -> String {
        format!("{NAME}:{}", self.server.port())
    }

    fn write_records(&self, of: &Pair) {
        let hash = Thumbprint::of(&of.leaf_der);
        let ours = format!("sni\t{}\t{hash}\t{OF_IIS}\t{REST}\n", self.place());
        std::fs::write(&self.keys.records, ours + &another()).unwrap();
    }

    fn configure(&self) {
        let secret = self.path("client_secret");
        std::fs::write(&secret, self.portal.client_secret()).unwrap();
        let password = self.path("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let host_config = self.path("applicationHost.config");
        let information = format!("*:{}:{NAME}", self.server.port());
        let xml = format!(
            "<configuration><system.applicationHost><sites><site name=\"My Shop\" id=\"1\"><bindings>\n\
             <binding protocol=\"https\" bindingInformation=\"{information}\" sslFlags=\"1\" />\n\
             </bindings></site></sites></system.applicationHost></configuration>\n"
        );
        std::fs::write(&host_config, xml).unwrap();
        let text = format!(
            "state_dir = {:?}\n\
             [portal]\nendpoint = {1:?}\nlogin = {1:?}\ntenant_id = {2:?}\nclient_id = {3:?}\n\
             client_secret_file = {secret:?}\nretry = \"50ms\"\n\
             [server.iis]\nkind = \"iis\"\nstore = \"WebHosting\"\nconfig = {host_config:?}\n\
             [[site]]\nname = {NAME:?}\npfx = {4:?}\npfx_password_file = {password:?}\n\
             bindings = [\"My Shop/{information}\"]\n",
            self.path("state"),
            self.portal.endpoint(),
            self.portal.tenant(),
            self.portal.client_id(),
            self.pfx(),
        );
        std::fs::write(self.path("certhook.toml"), text).unwrap();
    }

    /// RSA: wine's store takes nothing else.
    fn issue(&self) -> Pair {
        let pair = self.ca.issue(Order { hosts: &[NAME], key: KeyType::Rsa2048, ..Order::default() });
        self.keys.add(&pair);
        pair
    }

    fn write_pfx(&self, pair: &Pair, aes: bool) {
        let new = self.pfx().with_extension("new");
        std::fs::write(&new, seal(pair, aes)).unwrap();
        retried(|| std::fs::rename(&new, self.pfx()));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certhook"));
        command.arg("--config").arg(self.path("certhook.toml")).args(arguments).stdin(Stdio::null());
        command.env("CERTHOOK_FAKE_RECORDS", &self.keys.records);
        // A release build does not know it.
        command.env("CERTHOOK_KEYS_UNPROVED", "1");
        command
    }

    fn certhook(&self, arguments: &[&str]) -> Output {
        started(|| self.command(arguments).output())
    }

    fn start_agent(&mut self) {
        let log = File::create(self.path("certhook.log")).unwrap();
        let mut command = self.command(&["--log-level", "trace", "run"]);
        command.stderr(log);
        self.agent = Some(started(|| command.spawn()));
        self.wait_for("the site is current", |status| {
            status["agent"]["running"] == true && status["sites"][0]["state"] == "current"
        });
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("certhook.log")).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let output = self.certhook(&["status", "--json"]);
            let status: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{error}: {output:?}\n{}", self.log()));
            if wanted(&status) {
                return;
            }
            assert!(Instant::now() < until, "not in time: {what}\n{status:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until this pair is served, recorded and reported, and looks at what was changed for that.
    #[track_caller]
    fn wait_until_done(&self, pair: &Pair, reports: usize) {
        self.wait_for("served and reported", |status| {
            let told = &status["sites"][0];
            told["state"] == "current"
                && told["served"]["fingerprint"] == pair.fingerprint
                && told["report"]["state"] == "delivered"
        });
        let served = wire::served(&self.server.to_string(), NAME).unwrap();
        assert_eq!(served.fingerprint, pair.fingerprint);
        let hash = Thumbprint::of(&pair.leaf_der);
        let records = std::fs::read_to_string(&self.keys.records).unwrap();
        let expected = format!("sni\t{}\t{hash}\t{OF_IIS}\t{REST}\n", self.place());
        assert_eq!(records, expected + &another(), "all but the hash is kept");
        let key = format!(r"HKLM\SOFTWARE\Microsoft\SystemCertificates\WebHosting\Certificates\{hash}");
        assert!(Command::new("reg").args(["query", &key]).output().unwrap().status.success(), "{key}");
        let told = self.portal.reports();
        assert_eq!(told.len(), reports, "{told:?}");
        let last = told.last().unwrap();
        let expected = as_the_portal_wants(write_time(&self.pfx()));
        assert_eq!((last.id, &last.remote_create_date), (158, &expected));
    }
}

impl Drop for Iis {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

/// A record that is nobody's business.
fn another() -> String {
    format!(
        "ip\t192.0.2.1:443\t{}\t00000000-0000-0000-0000-0000000000ff\tMY\t0\t0\t0\t-\t-\t0\n",
        "AB".repeat(20)
    )
}

fn seal(pair: &Pair, aes: bool) -> Vec<u8> {
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
    let ders = CertificateDer::pem_slice_iter(pair.fullchain_pem.as_bytes());
    let certificates = ders.map(|der| Certificate::from_der(&der.unwrap()).unwrap());
    let mut all = KeyStore::new();
    let key = PrivateKey::from_der(key.secret_der()).unwrap();
    let id = Thumbprint::of(&pair.leaf_der).0.to_vec();
    all.add_entry(NAME, KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(id, key, certificates)));
    let (how, mac) = match aes {
        true => (EncryptionAlgorithm::PbeWithHmacSha256AndAes256, MacAlgorithm::HmacSha256),
        false => (EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc, MacAlgorithm::HmacSha1),
    };
    all.writer(PASSWORD).encryption_algorithm(how).mac_algorithm(mac).write().unwrap()
}

/// What the server could serve, and the records that say what it does.
#[derive(Debug)]
struct Keys {
    records: PathBuf,
    loaded: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl Keys {
    fn add(&self, pair: &Pair) {
        let chain = CertificateDer::pem_slice_iter(pair.fullchain_pem.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(chain.collect::<Result<_, _>>().unwrap(), key, &provider).unwrap();
        let hash = Thumbprint::of(&pair.leaf_der).to_string();
        self.loaded.lock().unwrap().insert(hash, Arc::new(key));
    }
}

impl ResolvesServerCert for Keys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let records = std::fs::read_to_string(&self.records).ok()?;
        let wanted = format!("sni\t{}:", hello.server_name()?);
        let record = records.lines().find(|line| line.starts_with(&wanted))?;
        self.loaded.lock().unwrap().get(record.split('\t').nth(2)?).cloned()
    }
}

fn serve(keys: Arc<Keys>) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_cert_resolver(keys));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let mut connection = ServerConnection::new(config).unwrap();
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

#[test]
fn a_renewed_pfx_is_imported_bound_served_and_reported() {
    let Some(mut iis) = Iis::new() else { return };
    iis.start_agent();
    assert_eq!(iis.portal.reports().len(), 0);
    // As older programs seal it, and as newer ones do.
    for (count, aes) in [(1, false), (2, true)] {
        let pair = iis.issue();
        iis.write_pfx(&pair, aes);
        iis.wait_until_done(&pair, count);
    }
    let synced = iis.certhook(&["sync"]);
    assert!(synced.status.success(), "{synced:?}");
    let verified = iis.certhook(&["verify"]);
    assert!(verified.status.success(), "{verified:?}");
    assert_eq!(iis.portal.reports().len(), 2, "nothing is told twice");
    let written = std::fs::read_to_string(iis.path("records.log")).unwrap();
    let update = format!("update sni {}\n", iis.place());
    assert_eq!(written, update.repeat(2), "nothing was deleted, and nothing else was changed");
    wine::cannot_prove("it has no keys of the machine: that the imported one signs was not asked");
}

#[test]
fn what_iis_binds_is_discovered() {
    let Some(iis) = Iis::new() else { return };
    let config = std::fs::read_to_string(iis.path("certhook.toml")).unwrap();
    let config = config.replace("kind = \"iis\"\n", "kind = \"iis\"\ndiscover = true\n");
    std::fs::write(iis.path("certhook.toml"), config).unwrap();
    let found = iis.certhook(&["discover"]);
    let said = String::from_utf8_lossy(&found.stdout);
    assert!(said.contains("My Shop"), "{found:?}");
}

#[test]
fn a_change_that_fails_leaves_the_old_certificate_served_and_is_tried_again() {
    let Some(mut iis) = Iis::new() else { return };
    iis.start_agent();
    std::fs::write(iis.path("records.fail"), "1 1312").unwrap();
    let pair = iis.issue();
    iis.write_pfx(&pair, false);
    let until = Instant::now() + PATIENCE;
    while !iis.log().contains("key_unusable") {
        assert!(Instant::now() < until, "{}", iis.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(iis.log().contains("error 1312"), "{}", iis.log());
    let synced = iis.certhook(&["sync"]);
    assert!(synced.status.success(), "{synced:?}\n{}", iis.log());
    iis.wait_until_done(&pair, 1);
}

/// Where IIS has it, and where it is looked for without a configuration.
const HOST_CONFIG: &str = r"C:\windows\system32\inetsrv\config\applicationHost.config";

#[test]
fn without_a_configuration_iis_itself_is_asked() {
    let Some(iis) = Iis::new() else { return };
    // The first is adopted as it is served; the second comes into the store.
    assert!(iis.certhook(&["sync"]).status.success());
    iis.write_pfx(&iis.issue(), false);
    let synced = iis.certhook(&["sync"]);
    assert!(synced.status.success(), "{synced:?}");
    // As the zip has it: nothing is configured yet.
    std::fs::write(iis.path("certhook.toml"), include_str!("../../packaging/windows/zip/certhook.toml"))
        .unwrap();
    let only = iis.certhook(&["check", "--config-only"]);
    assert_eq!(only.status.code(), Some(1), "{only:?}");
    let none = iis.certhook(&["discover"]);
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(
        !none.status.success() && said.contains("iis: ") && said.contains("applicationHost.config"),
        "{said}"
    );
    let folder = Path::new(HOST_CONFIG).parent().unwrap();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::copy(iis.path("applicationHost.config"), HOST_CONFIG).unwrap();
    let (found, verified) = (iis.certhook(&["discover"]), iis.certhook(&["verify"]));
    std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    assert!(
        found.status.success() && String::from_utf8_lossy(&found.stdout).contains("My Shop/*:"),
        "{found:?}"
    );
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "{verified:?}");
    assert!(said.contains(&wire::served(&iis.server.to_string(), NAME).unwrap().fingerprint[..12]), "{said}");
}

#[test]
fn two_sites_of_the_same_names_are_told_of_and_leave_the_record_alone() {
    let Some(iis) = Iis::new() else { return };
    let second = iis.path("ssl").join("second.pfx");
    std::fs::write(&second, seal(&iis.issue(), false)).unwrap();
    let config = std::fs::read_to_string(iis.path("certhook.toml")).unwrap();
    let rest = format!(
        "[[site]]\nname = \"second\"\npfx = {second:?}\npfx_password_file = {:?}\n\
         bindings = [\"My Shop/*:1:{NAME}\"]\n",
        iis.path("password")
    );
    std::fs::write(iis.path("certhook.toml"), config + &rest).unwrap();
    let before = std::fs::read_to_string(&iis.keys.records).unwrap();
    let check = iis.certhook(&["check"]);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(said.contains("[same_names]") && said.contains("second"), "{said}");
    let synced = iis.certhook(&["sync"]);
    assert!(!synced.status.success(), "{synced:?}");
    let history = String::from_utf8_lossy(&iis.certhook(&["status", "--json"]).stdout).into_owned();
    assert_eq!(std::fs::read_to_string(&iis.keys.records).unwrap(), before, "{history}");
}

#[test]
fn check_tells_by_what_command_a_secret_becomes_private() {
    let Some(iis) = Iis::new() else { return };
    assert!(iis.certhook(&["sync"]).status.success());
    let check = iis.certhook(&["check"]);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(!said.contains("chmod"), "{said}");
    for file in ["client_secret", "password"] {
        let command = format!("icacls \"{}\" /inheritance:r /grant:r ", iis.path(file).display());
        assert!(said.contains(&command), "{file}: {said}");
    }
    assert!(said.contains(&format!("the folder {} is", iis.path("state").display())), "{said}");
    wine::cannot_prove(
        "its files have the access lists of Unix: what check says of a real list was not asked",
    );
}
