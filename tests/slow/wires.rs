//! What the probe can see: kinds of keys, versions of TLS, groups, cipher suites and signatures, on a real nginx, and on
//! `openssl s_server` where this machine's nginx is too old. A kind that the machine cannot make is left out and named.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use certhook::agent::Unseen;
use certhook::certificate::Leaf;
use certhook::config::{Ask, Endpoint};
use certhook::probe;
use tempfile::TempDir;

use crate::host::PATIENCE;
use crate::machine::{has_for, say, skip, wait_until};

const PROOF: &str = "what the probe can see";

/// Lets this machine's OpenSSL do what is too weak for it by default.
const WEAK: &str = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMinProtocol = TLSv1\nCipherString = DEFAULT:@SECLEVEL=0\n";

/// Keys, by what `openssl req -newkey` calls them.
const KEYS: [(&str, &[&str]); 11] = [
    ("RSA-1024", &["rsa:1024"]),
    ("RSA-2048", &["rsa:2048"]),
    ("RSA-4096", &["rsa:4096"]),
    ("RSA-PSS", &["rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"]),
    ("P-256", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ("P-384", &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    ("P-521", &["ec", "-pkeyopt", "ec_paramgen_curve:P-521"]),
    ("secp256k1", &["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"]),
    ("brainpoolP256r1", &["ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"]),
    ("Ed25519", &["ed25519"]),
    ("Ed448", &["ed448"]),
];

/// A listener: its key, its version of TLS, further lines of nginx's configuration, and in which words it is unproved.
struct Row {
    key: &'static str,
    version: &'static str,
    lines: &'static str,
    unproved: Option<&'static str>,
}

const fn row(key: &'static str, version: &'static str, lines: &'static str) -> Row {
    Row { key, version, lines, unproved: None }
}

const fn unproved(key: &'static str, lines: &'static str, words: &'static str) -> Row {
    Row { key, version: "TLSv1.3", lines, unproved: Some(words) }
}

const OTHER_SUITE: &str = "the cipher suite TLS_AES_128_CCM_SHA256, which this build cannot speak";

const ROWS: &[Row] = &[
    // Each key in each version. Before TLS 1.2 there is RSA and ECDSA alone, and in 1.3 no secp256k1 and, with this
    // machine's OpenSSL, no brainpool.
    row("RSA-1024", "TLSv1.3", ""),
    row("RSA-2048", "TLSv1.3", ""),
    row("RSA-4096", "TLSv1.3", ""),
    row("RSA-PSS", "TLSv1.3", ""),
    row("P-256", "TLSv1.3", ""),
    row("P-384", "TLSv1.3", ""),
    row("P-521", "TLSv1.3", ""),
    row("Ed25519", "TLSv1.3", ""),
    row("Ed448", "TLSv1.3", ""),
    row("RSA-1024", "TLSv1.2", ""),
    row("RSA-2048", "TLSv1.2", ""),
    row("RSA-4096", "TLSv1.2", ""),
    row("RSA-PSS", "TLSv1.2", ""),
    row("P-256", "TLSv1.2", ""),
    row("P-384", "TLSv1.2", ""),
    row("P-521", "TLSv1.2", ""),
    row("secp256k1", "TLSv1.2", ""),
    row("brainpoolP256r1", "TLSv1.2", ""),
    row("Ed25519", "TLSv1.2", ""),
    row("Ed448", "TLSv1.2", ""),
    row("RSA-1024", "TLSv1.1", ""),
    row("RSA-2048", "TLSv1.1", ""),
    row("P-256", "TLSv1.1", ""),
    row("P-521", "TLSv1.1", ""),
    row("brainpoolP256r1", "TLSv1.1", ""),
    row("RSA-2048", "TLSv1", ""),
    row("P-256", "TLSv1", ""),
    row("secp256k1", "TLSv1", ""),
    // Each group alone.
    row("P-256", "TLSv1.3", "ssl_ecdh_curve X25519;"),
    row("P-256", "TLSv1.3", "ssl_ecdh_curve prime256v1;"),
    row("P-256", "TLSv1.3", "ssl_ecdh_curve secp384r1;"),
    row("P-256", "TLSv1.3", "ssl_ecdh_curve secp521r1;"),
    row("RSA-2048", "TLSv1.3", "ssl_ecdh_curve secp521r1;"),
    row("P-521", "TLSv1.3", "ssl_ecdh_curve secp521r1;"),
    unproved("P-256", "ssl_ecdh_curve X448;", "x448 first (asked with: "),
    unproved("RSA-2048", "ssl_ecdh_curve ffdhe2048;", "ffdhe2048 first (asked with: "),
    row("RSA-2048", "TLSv1.2", "ssl_ecdh_curve X25519;"),
    row("RSA-2048", "TLSv1.2", "ssl_ecdh_curve secp384r1;"),
    row("RSA-2048", "TLSv1.2", "ssl_ecdh_curve secp521r1;"),
    row("RSA-2048", "TLSv1.2", "ssl_ecdh_curve X448;"),
    row("RSA-2048", "TLSv1.2", "ssl_ecdh_curve brainpoolP384r1;"),
    row("RSA-2048", "TLSv1.2", "ssl_ecdh_curve secp256k1;"),
    row("RSA-2048", "TLSv1.2", "ssl_ecdh_curve secp224r1;"),
    // Suites.
    unproved("P-256", "ssl_conf_command Ciphersuites TLS_AES_128_CCM_SHA256;", OTHER_SUITE),
    row("P-256", "TLSv1.3", "ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;"),
    row("RSA-2048", "TLSv1.2", "ssl_ciphers AES128-SHA:@SECLEVEL=0;"),
    row("RSA-2048", "TLSv1.2", "ssl_ciphers AES256-GCM-SHA384:@SECLEVEL=0;"),
    row("RSA-2048", "TLSv1.2", "ssl_ciphers AES128-CCM8:@SECLEVEL=0;"),
    row("RSA-2048", "TLSv1.2", "ssl_ciphers CAMELLIA256-SHA256:@SECLEVEL=0;"),
    row("RSA-2048", "TLSv1.2", "ssl_ciphers ECDHE-RSA-CAMELLIA128-SHA256:@SECLEVEL=0;"),
    row("RSA-2048", "TLSv1.2", "ssl_ciphers ARIA128-GCM-SHA256:@SECLEVEL=0;"),
    row("RSA-2048", "TLSv1.2", "ssl_ciphers NULL-SHA256:@SECLEVEL=0;"),
    row("RSA-2048", "TLSv1.2", "ssl_ciphers DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0; ssl_dhparam DH;"),
    row("RSA-2048", "TLSv1.2", "ssl_ciphers DHE-RSA-AES256-CCM8:@SECLEVEL=0; ssl_dhparam DH;"),
    row("RSA-2048", "TLSv1", "ssl_ciphers AES128-SHA:@SECLEVEL=0;"),
    row("RSA-2048", "TLSv1", "ssl_ciphers DHE-RSA-AES128-SHA:@SECLEVEL=0; ssl_dhparam DH;"),
    row("P-256", "TLSv1.2", "ssl_ciphers ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0;"),
    row("P-256", "TLSv1.2", "ssl_ciphers ECDHE-ECDSA-ARIA256-GCM-SHA384:@SECLEVEL=0;"),
    row("P-256", "TLSv1.2", "ssl_ciphers ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0;"),
    // Signatures.
    row("RSA-2048", "TLSv1.2", "ssl_conf_command SignatureAlgorithms RSA+SHA1;"),
    row("P-256", "TLSv1.2", "ssl_conf_command SignatureAlgorithms ECDSA+SHA1;"),
    row("RSA-2048", "TLSv1.2", "ssl_conf_command SignatureAlgorithms RSA+SHA224;"),
    row("RSA-2048", "TLSv1.3", "ssl_conf_command SignatureAlgorithms RSA-PSS+SHA512;"),
];

/// A folder with the keys and a running nginx.
struct Listeners {
    folder: TempDir,
    children: Vec<Child>,
}

impl Listeners {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("certhook-wires-").tempdir().unwrap();
        // Its workers come with another user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("openssl.cnf"), WEAK).unwrap();
        Self { folder, children: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a certificate that signs itself; whether this program can.
    fn make(&self, openssl: &str, name: &str, kind: &[&str]) -> bool {
        let output = Command::new(openssl)
            .args(["req", "-x509", "-nodes", "-subj", "/CN=a.test", "-addext", "subjectAltName=DNS:a.test"])
            .args(["-config", "/dev/null", "-days", "30", "-newkey"])
            .args(kind)
            .arg("-keyout")
            .arg(self.path(&format!("{name}.key")))
            .arg("-out")
            .arg(self.path(&format!("{name}.crt")))
            .output()
            .unwrap();
        output.status.success()
    }

    fn leaf(&self, name: &str) -> Arc<Leaf> {
        Arc::new(Leaf::from_pem(&fs::read(self.path(&format!("{name}.crt"))).unwrap()).unwrap())
    }

    fn start_nginx(&mut self) {
        let group = Command::new("openssl")
            .args(["genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out"])
            .arg(self.path("DH"))
            .output();
        assert!(group.unwrap().status.success());
        let root = self.folder.path().display();
        let mut text = format!(
            "pid {root}/pid;\nerror_log {root}/error.log info;\nworker_processes 1;\ndaemon off;\nevents {{}}\nhttp {{\naccess_log off;\n"
        );
        for (index, Row { key, version, lines, .. }) in ROWS.iter().enumerate() {
            let lines = lines.replace("DH;", &format!("{root}/DH;"));
            // A curve of a certificate has to be among the groups.
            let curve = match *key {
                "secp256k1" | "brainpoolP256r1" => format!("ssl_ecdh_curve {key}:prime256v1;"),
                _ => String::new(),
            };
            writeln!(
                text,
                "server {{ listen unix:{root}/{index}.sock ssl; server_name a.test; ssl_protocols {version};\n\
                 ssl_certificate {key}.crt; ssl_certificate_key {key}.key; {curve} {lines} }}"
            )
            .unwrap();
        }
        text.push_str("}\n");
        fs::write(self.path("nginx.conf"), text).unwrap();
        let child = Command::new("nginx")
            .args(["-e".as_ref(), self.path("error.log").as_os_str(), "-c".as_ref()])
            .arg(self.path("nginx.conf"))
            .env("OPENSSL_CONF", self.path("openssl.cnf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.children.push(child.unwrap());
        let last = format!("{}.sock", ROWS.len() - 1);
        self.wait_for(&last, 0);
    }

    fn start_s_server(&mut self, openssl: &str, name: &str, options: &[&str]) -> PathBuf {
        let socket = self.path(&format!("{}.s_server", self.children.len()));
        let child = Command::new(openssl)
            .args(["s_server", "-www", "-unix"])
            // It takes no long path.
            .arg(socket.file_name().unwrap())
            .current_dir(self.folder.path())
            .args(["-cert".as_ref(), self.path(&format!("{name}.crt")).as_os_str()])
            .args(["-key".as_ref(), self.path(&format!("{name}.key")).as_os_str()])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.children.push(child.unwrap());
        let last = self.children.len() - 1;
        self.wait_for(socket.file_name().unwrap().to_str().unwrap(), last);
        socket
    }

    fn wait_for(&mut self, socket: &str, child: usize) {
        let (path, log) = (self.path(socket), self.path("error.log"));
        let child = &mut self.children[child];
        wait_until("a listener", || {
            let log = || fs::read_to_string(&log).unwrap_or_default();
            assert!(child.try_wait().unwrap().is_none(), "it ended: {}", log());
            std::os::unix::net::UnixStream::connect(&path).is_ok()
        });
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for child in &mut self.children {
            // nginx ends its workers then.
            let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let _ = child.wait();
        }
    }
}

/// What the probe says of a socket, for a leaf on disk: `None` for shown, else why not.
async fn look(socket: &Path, disk: &Arc<Leaf>, wanted: &Arc<Leaf>) -> Option<String> {
    let endpoint = Endpoint::parse(&format!("unix:{}", socket.display())).unwrap();
    let asks = [Ask { endpoint, hosts: vec!["a.test".into()] }];
    match probe::look(&asks, disk, PATIENCE).await.remove(0).sighting.outcome {
        Ok(leaf) if leaf == *wanted => None,
        Ok(leaf) => Some(format!("another leaf: {leaf:?}")),
        Err(Unseen::Refused(problem) | Unseen::Unreachable(problem) | Unseen::NotHere(problem)) => {
            assert_eq!(problem.code, "no_handshake", "{problem}");
            let words = problem.message.split_once(" for a.test: ").map(|(_, words)| words.to_owned());
            Some(words.unwrap_or(problem.message))
        }
    }
}

/// The row of a table for people, and what of it is wrong.
fn judge(name: &str, seen: Option<&str>, wanted: Option<&str>, wrong: &mut Vec<String>) {
    let line = match seen {
        None => format!("| {name} | shown |"),
        Some(words) => format!("| {name} | unproved: {words} |"),
    };
    let is_right = match (seen, wanted) {
        (None, None) => true,
        (Some(seen), Some(wanted)) => seen.contains(wanted),
        _ => false,
    };
    say(&line);
    if !is_right {
        wrong.push(line);
    }
}

#[tokio::test]
async fn each_kind_of_listener_is_seen_or_named() {
    if !has_for(PROOF, "nginx") || !has_for(PROOF, "openssl") {
        return;
    }
    let mut listeners = Listeners::new();
    for (name, kind) in KEYS {
        assert!(listeners.make("openssl", name, kind), "{name}");
    }
    listeners.start_nginx();
    let mut wrong = Vec::new();
    for (index, row) in ROWS.iter().enumerate() {
        let (socket, leaf) = (listeners.path(&format!("{index}.sock")), listeners.leaf(row.key));
        // Also by a site that moves from or to another kind of key.
        for disk in [row.key, "RSA-4096", "P-384", "Ed25519"] {
            let seen = look(&socket, &listeners.leaf(disk), &leaf).await;
            let name = format!("{} {} {} (on disk: {disk})", row.key, row.version, row.lines);
            judge(&name, seen.as_deref(), row.unproved, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// nginx here may be older than these. `CERTHOOK_TEST_OPENSSL` names an OpenSSL of 3.5 or later.
#[tokio::test]
async fn each_kind_of_the_newest_openssl_is_seen_or_named() {
    let openssl = std::env::var("CERTHOOK_TEST_OPENSSL").unwrap_or_else(|_| "openssl".into());
    let mut listeners = Listeners::new();
    if !listeners.make(&openssl, "ML-DSA", &["ML-DSA-65"]) {
        return skip("ML-DSA and ML-KEM", "this needs OpenSSL 3.5: name one with CERTHOOK_TEST_OPENSSL");
    }
    assert!(listeners.make(&openssl, "P-256", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]));
    let brainpool = &["ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"];
    assert!(listeners.make(&openssl, "brainpool", brainpool));
    let rows: [(&str, &[&str], Option<&str>); 4] = [
        ("ML-DSA", &["-tls1_3"], None),
        ("brainpool", &["-tls1_3"], None),
        ("P-256", &["-tls1_3", "-groups", "X25519MLKEM768"], None),
        ("P-256", &["-tls1_3", "-groups", "MLKEM768"], Some("MLKEM768 first (asked with: ")),
    ];
    let mut wrong = Vec::new();
    for (key, options, wanted) in rows {
        let socket = listeners.start_s_server(&openssl, key, options);
        let leaf = listeners.leaf(key);
        let seen = look(&socket, &leaf, &leaf).await;
        judge(&format!("{key} {options:?}"), seen.as_deref(), wanted, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
