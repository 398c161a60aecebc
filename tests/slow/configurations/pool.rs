//! The certificates of the configurations, made once.

use std::process::Command;
use std::sync::OnceLock;

use certhook_test_support::ca::{self, Authority, KeyType, Order};

pub const PASSWORD: &str = "a pass; phrase";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    P256,
    Rsa,
    P384,
    P521,
    Ed25519,
    Ed448,
    RsaPss,
    MlDsa,
}

/// One certificate with its key.
pub struct Leaf {
    pub kind: Kind,
    pub certificate: String,
    pub chain: String,
    pub key: String,
    /// The same key under [`PASSWORD`].
    pub encrypted: Option<String>,
    pub fingerprint: String,
    /// What replaces it on disk: a certificate of the same names, and its key.
    pub newer: (String, String),
}

/// Returns all leaves: each is for `cN.own.test`, `*.wN.own.test` and names of the configurations.
pub fn pool() -> &'static [Leaf] {
    static POOL: OnceLock<Vec<Leaf>> = OnceLock::new();
    POOL.get_or_init(|| {
        let authority = Authority::new();
        let counts = [
            (Kind::P256, 16),
            (Kind::Rsa, 10),
            (Kind::P384, 3),
            (Kind::P521, 3),
            (Kind::Ed25519, 2),
            (Kind::Ed448, 1),
            (Kind::RsaPss, 1),
            (Kind::MlDsa, 2),
        ];
        let kinds = counts.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count));
        kinds.enumerate().filter_map(|(index, kind)| leaf(&authority, index, kind)).collect()
    })
}

fn leaf(authority: &Authority, index: usize, kind: Kind) -> Option<Leaf> {
    let hosts = [format!("c{index}.own.test"), format!("*.w{index}.own.test"), "a.test".to_owned()];
    let hosts = hosts.each_ref().map(String::as_str);
    let make = || match kind {
        Kind::P256 => Some(issued(authority, &hosts, KeyType::EcdsaP256)),
        Kind::P384 => Some(issued(authority, &hosts, KeyType::EcdsaP384)),
        Kind::Rsa => Some(issued(authority, &hosts, KeyType::Rsa2048)),
        Kind::Ed25519 => Some(issued(authority, &hosts, KeyType::Ed25519)),
        Kind::P521 => self_signed(&hosts, &["ec", "-pkeyopt", "ec_paramgen_curve:P-521"]),
        Kind::Ed448 => self_signed(&hosts, &["ed448"]),
        Kind::RsaPss => self_signed(&hosts, &["rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"]),
        // OpenSSL has it since 3.5.
        Kind::MlDsa => self_signed(&hosts, &["ML-DSA-65"]),
    };
    let ((certificate, chain, key), (newer, _, newer_key)) = (make()?, make()?);
    let encrypted = matches!(kind, Kind::P256 | Kind::Rsa).then(|| encrypted(&key));
    let fingerprint = certificate_fingerprint(&certificate);
    Some(Leaf { kind, certificate, chain, key, encrypted, fingerprint, newer: (newer, newer_key) })
}

fn issued(authority: &Authority, hosts: &[&str], key: KeyType) -> (String, String, String) {
    let pair = authority.issue(Order { hosts, key, ..Order::default() });
    (pair.leaf_pem, pair.chain_pem, pair.key_pem)
}

/// Returns nothing where this OpenSSL has no such key.
fn self_signed(hosts: &[&str], key: &[&str]) -> Option<(String, String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let names: Vec<String> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
    let names = format!("subjectAltName={}", names.join(","));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=own", "-addext", &names, "-newkey"]);
    command.args(key).arg("-keyout").arg(path("key")).arg("-out").arg(path("crt"));
    command.output().unwrap().status.success().then(|| {
        let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
        (read("crt"), String::new(), read("key"))
    })
}

fn encrypted(key: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, key).unwrap();
    let mut command = Command::new("openssl");
    command.args(["pkey", "-aes128", "-passout", &format!("pass:{PASSWORD}"), "-in"]).arg(&path);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn certificate_fingerprint(pem: &str) -> String {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    ca::fingerprint(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
}

/// Returns the certificate as OpenSSL's own `TRUSTED CERTIFICATE`, with trust data behind it.
pub fn trusted(index: usize) -> String {
    static MADE: OnceLock<Vec<OnceLock<String>>> = OnceLock::new();
    let made = MADE.get_or_init(|| pool().iter().map(|_| OnceLock::new()).collect());
    made[index]
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("crt");
            std::fs::write(&path, &pool()[index].certificate).unwrap();
            let mut command = Command::new("openssl");
            command.args(["x509", "-trustout", "-addtrust", "serverAuth", "-in"]).arg(&path);
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        })
        .clone()
}
