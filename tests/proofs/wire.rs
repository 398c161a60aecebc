//! The probe against a real nginx: every kind of listener, and servers that a narrow client would not see.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use certhook::agent::{Sighting, Unseen};
use certhook::certificate::{Leaf, Roots};
use certhook::config::{Ask, Endpoint};
use certhook::probe;
use certhook_test_support::ca::{Authority, KeyType, Order, Pair};
use certhook_test_support::nginx::{Nginx, NginxSite, free_port};
use certhook_test_support::writers::Writer;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use crate::host::{Extra, Host};

const PATIENCE: Duration = Duration::from_secs(10);

/// Certificates as files that nginx reads.
struct Shelf {
    folder: TempDir,
    ecdsa: Pair,
    rsa: Pair,
    ca: Authority,
}

impl Shelf {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("certhook-").tempdir().unwrap();
        let ca = Authority::new();
        let [ecdsa, rsa] =
            [KeyType::EcdsaP256, KeyType::Rsa2048].map(|key| ca.issue(Order { key, ..Order::default() }));
        let shelf = Self { folder, ecdsa, rsa, ca };
        for (name, pair) in [("ecdsa", &shelf.ecdsa), ("rsa", &shelf.rsa)] {
            shelf.write(name, &format!("{}{}", pair.fullchain_pem, pair.key_pem));
        }
        for (name, text) in [
            ("p521", include_str!("wire/p521.pem")),
            ("pss", include_str!("wire/pss.pem")),
            ("ed448", include_str!("wire/ed448.pem")),
            ("dh", include_str!("wire/dh.pem")),
            ("root", shelf.ca.root_pem()),
        ] {
            shelf.write(name, text);
        }
        shelf
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn leaf(&self, name: &str) -> Arc<Leaf> {
        let der = CertificateDer::from_pem_file(self.path(name)).unwrap();
        Leaf::from_der(&der).unwrap().into()
    }

    /// A server of its own, with the certificates called so.
    fn server(&self, listen: &str, certificates: &[&str], lines: &str) -> NginxSite {
        let path = self.path(certificates[0]);
        let mut site = NginxSite::new(&["contoso.com"], &path, &path);
        for more in &certificates[1..] {
            let path = self.path(more);
            site = site.extra(&format!("ssl_certificate {0}; ssl_certificate_key {0};", path.display()));
        }
        site.listen = vec![listen.to_owned()];
        site.extra(lines)
    }
}

async fn shown(endpoint: &str, host: &str, disk: &Arc<Leaf>) -> Sighting {
    let endpoint = Endpoint::parse(endpoint).unwrap();
    let ask = Ask { endpoint, hosts: vec![host.to_owned()] };
    probe::sightings(None, vec![ask], disk, PATIENCE).await.sightings.remove(0)
}

/// What is listened on, with which certificates and lines; what is on disk, and what is shown then.
struct Case(&'static str, &'static [&'static str], &'static str, &'static str, Option<&'static str>);

const TLS12: &str = "ssl_protocols TLSv1.2;";
const OLD_SUITE: &str = "ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES128-SHA;";
const CLIENTS: &str = "ssl_verify_client on; ssl_client_certificate ROOT;";
const CASES: &[Case] = &[
    Case("PORT ssl", &["ecdsa"], "", "ecdsa", Some("ecdsa")),
    Case("PORT ssl", &["rsa"], "", "rsa", Some("rsa")),
    // Listeners.
    Case("unix:FOLDER/plain ssl", &["ecdsa"], "", "ecdsa", Some("ecdsa")),
    Case("unix:FOLDER/proxied ssl proxy_protocol", &["rsa"], "", "rsa", Some("rsa")),
    Case("PORT ssl proxy_protocol", &["ecdsa"], "", "ecdsa", Some("ecdsa")),
    // Several certificates, in each order.
    Case("PORT ssl", &["ecdsa", "rsa"], "", "ecdsa", Some("ecdsa")),
    Case("PORT ssl", &["ecdsa", "rsa"], "", "rsa", Some("rsa")),
    Case("PORT ssl", &["rsa", "ecdsa"], TLS12, "ecdsa", Some("ecdsa")),
    Case("PORT ssl", &["rsa", "ecdsa"], TLS12, "rsa", Some("rsa")),
    Case("PORT ssl", &["rsa", "ecdsa"], "ssl_protocols TLSv1.3;", "rsa", Some("rsa")),
    // The server has none of the kind on disk.
    Case("PORT ssl", &["rsa"], "", "ecdsa", Some("rsa")),
    Case("PORT ssl", &["ecdsa"], TLS12, "rsa", Some("ecdsa")),
    // It wants to know the client.
    Case("PORT ssl", &["ecdsa"], CLIENTS, "ecdsa", Some("ecdsa")),
    Case(
        "PORT ssl",
        &["rsa", "ecdsa"],
        "ssl_protocols TLSv1.2; ssl_verify_client on; ssl_client_certificate ROOT;",
        "rsa",
        Some("rsa"),
    ),
    // Groups.
    Case("PORT ssl", &["ecdsa"], "ssl_ecdh_curve X25519;", "ecdsa", Some("ecdsa")),
    Case("PORT ssl", &["rsa"], "ssl_ecdh_curve secp384r1;", "rsa", Some("rsa")),
    Case("PORT ssl", &["rsa"], "ssl_ecdh_curve secp521r1;", "rsa", Some("rsa")),
    Case(
        "PORT ssl",
        &["ecdsa"],
        "ssl_ecdh_curve secp521r1:prime256v1; ssl_protocols TLSv1.2;",
        "ecdsa",
        Some("ecdsa"),
    ),
    Case("PORT ssl", &["rsa"], "ssl_ecdh_curve secp521r1; ssl_protocols TLSv1.3;", "rsa", Some("rsa")),
    // Suites.
    Case("PORT ssl", &["ecdsa"], OLD_SUITE, "ecdsa", Some("ecdsa")),
    Case("PORT ssl", &["rsa"], OLD_SUITE, "rsa", Some("rsa")),
    Case(
        "PORT ssl",
        &["rsa"],
        "ssl_protocols TLSv1.2; ssl_ciphers DHE-RSA-AES128-GCM-SHA256; ssl_dhparam DH;",
        "rsa",
        Some("rsa"),
    ),
    // No signature is made with these: the leaf is seen without a proof of its key.
    Case("PORT ssl", &["rsa"], "ssl_protocols TLSv1.2; ssl_ciphers AES256-SHA;", "rsa", Some("rsa")),
    // Only the sibling can be had by a client without old suites.
    Case(
        "PORT ssl",
        &["ecdsa", "rsa"],
        "ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-SHA;",
        "rsa",
        Some("rsa"),
    ),
    // Keys that cannot be judged here.
    Case("PORT ssl", &["p521"], "", "p521", Some("p521")),
    Case("PORT ssl", &["p521"], TLS12, "p521", Some("p521")),
    Case("PORT ssl", &["rsa", "p521"], TLS12, "p521", Some("p521")),
    Case("PORT ssl", &["pss"], "", "pss", Some("pss")),
    Case("PORT ssl", &["pss"], TLS12, "pss", Some("pss")),
    Case("PORT ssl", &["ed448"], "", "ed448", Some("ed448")),
    Case("PORT ssl", &["ed448"], TLS12, "ed448", Some("ed448")),
    // Names.
    Case("PORT ssl", &["ecdsa"], "ssl_reject_handshake on;", "ecdsa", None),
];

fn fill(text: &str, shelf: &Shelf, port: &str) -> String {
    let at = |name: &str| shelf.path(name).display().to_string();
    let folder = shelf.folder.path().display().to_string();
    let text = text.replace("PORT", port).replace("FOLDER", &folder);
    text.replace("ROOT", &at("root")).replace("DH;", &format!("{};", at("dh")))
}

#[tokio::test]
async fn every_server_shows_its_leaf() {
    let shelf = Shelf::new();
    let mut endpoints = Vec::new();
    let mut builder = Nginx::builder();
    for Case(listen, certificates, lines, ..) in CASES {
        let listen = fill(listen, &shelf, &format!("127.0.0.1:{}", free_port()));
        builder = builder.site(shelf.server(&listen, certificates, &fill(lines, &shelf, "")));
        endpoints.push(listen.replace(" ssl", ""));
    }
    let _nginx = builder.start();
    for (Case(listen, certificates, lines, disk, wanted), endpoint) in CASES.iter().zip(&endpoints) {
        let told = shown(endpoint, "contoso.com", &shelf.leaf(disk)).await;
        let case = format!("{listen} {certificates:?} {lines} {disk}");
        match wanted {
            Some(wanted) => assert_eq!(told.outcome, Ok(shelf.leaf(wanted)), "{case}"),
            None => assert!(matches!(told.outcome, Err(Unseen::Refused(_))), "{case}: {told:?}"),
        }
    }
}

#[tokio::test]
async fn the_server_without_a_name_is_the_default_one() {
    let shelf = Shelf::new();
    let port = format!("127.0.0.1:{}", free_port());
    let listen = format!("{port} ssl proxy_protocol");
    let mut second = shelf.server(&listen, &["rsa"], "");
    second.server_names = vec!["fabrikam.com".into()];
    let _nginx = Nginx::builder().site(shelf.server(&listen, &["ecdsa"], "")).site(second).start();
    let endpoint = format!("{port} proxy_protocol");
    for (host, wanted) in
        [("", "ecdsa"), ("127.0.0.1", "ecdsa"), ("contoso.com", "ecdsa"), ("fabrikam.com", "rsa")]
    {
        let told = shown(&endpoint, host, &shelf.leaf("rsa")).await;
        assert_eq!(told.outcome, Ok(shelf.leaf(wanted)), "{host:?}");
    }
    // Without the header nginx hangs up.
    let told = shown(&port, "contoso.com", &shelf.leaf("ecdsa")).await;
    assert!(matches!(told.outcome, Err(Unseen::Unreachable(_))), "{told:?}");
}

#[tokio::test]
async fn what_is_sent_with_the_leaf_is_told() {
    let shelf = Shelf::new();
    shelf.write("alone", &format!("{}{}", shelf.ecdsa.leaf_pem, shelf.ecdsa.key_pem));
    let ports = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let server = |port: usize, name| shelf.server(&format!("{} ssl", ports[port]), &[name], "");
    let _nginx = Nginx::builder().site(server(0, "ecdsa")).site(server(1, "alone")).start();
    let asks = ports.map(|port| Ask { endpoint: Endpoint::parse(&port).unwrap(), hosts: Vec::new() });
    let found = probe::look(&asks, &shelf.leaf("ecdsa"), PATIENCE).await;
    let roots = Roots::new([shelf.ca.root_der().to_vec()]);
    let complete = |roots: &Roots| -> Vec<Option<bool>> {
        found
            .iter()
            .map(|shown| shown.chain.as_ref().unwrap().judge(roots, jiff::Timestamp::now()).is_complete())
            .collect()
    };
    assert_eq!(complete(&roots), [Some(true), Some(false)]);
    assert_eq!(complete(&Roots::default()), [None, Some(false)]);
}

/// `certhook verify` for a person and for a program.
#[test]
fn verify_is_a_table_of_listeners_and_kinds() {
    let mut host = Host::with(&[Writer::Lego, Writer::Lego], Extra::default());
    let root = host.path().join("root.pem");
    std::fs::write(&root, host.ca.root_pem()).unwrap();
    trust(&mut host, &root);
    let (verdicts, code) = host.json(&["verify", "--json"]);
    assert_eq!(code, 0);
    let told = &verdicts[0]["wire"][0];
    assert_eq!((&told["key_type"], &told["chain_complete"]), (&"ecdsa".into(), &true.into()), "{told}");
    assert!((88..=90).contains(&told["days_left"].as_i64().unwrap()), "{told}");
    assert_eq!(verdicts[0]["on_disk"]["key_type"], "ecdsa");
    host.renew(1, Duration::ZERO);
    let text = String::from_utf8(host.certhook(&["verify"]).stdout).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let head =
        ["SITE", "HOST", "ENDPOINT", "KEY", "ON", "DISK", "ON", "THE", "WIRE", "EXPIRES", "DAYS", "CHAIN"];
    assert_eq!(rows[0], head, "{text}");
    let (well, stale) = (&rows[1], &rows[2]);
    assert_eq!((well.len(), well[3], well[4] == well[5], well[8]), (9, "ECDSA", true, "yes"), "{text}");
    assert_eq!((stale[0], stale[4], stale[5] == stale[6], stale[9]), ("!", "ECDSA", false, "yes"), "{text}");
    trust(&mut host, Path::new("/dev/null"));
    let (verdicts, _) = host.json(&["verify", "--json"]);
    assert!(verdicts[0]["wire"][0]["chain_complete"].is_null(), "{verdicts}");
}

/// The only roots of the commands that follow.
fn trust(host: &mut Host, roots: &Path) {
    let nowhere = host.path().join("nowhere").display().to_string();
    host.set_env("SSL_CERT_FILE", roots.to_str().unwrap());
    host.set_env("SSL_CERT_DIR", &nowhere);
}
