//! Whatever stands where a certificate should be, whatever it is called, and whoever answers a handshake: the
//! agent lives, the other sites are served, the trouble has a name, and nothing raw reaches a terminal or a log.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use certhook_test_support::ca::{Order, Pair};
use certhook_test_support::portal::{Record, What};
use certhook_test_support::writers::Writer;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use crate::host::{Extra, Host};
use crate::network::peak;
use crate::way::{Mode, TlsServer, Way};

/// Escape sequences, a bell, line ends, a C1 control, a character that reorders text.
const EVIL: &str = "a\u{1b}[31mb\u{1b}]0;owned\u{7}c\r\n\td\u{9b}31m\u{202e}e";
/// In kB: what the agent may take at its peak. At rest it has about a third of it.
const MOST_MEMORY: u64 = 128 << 10;

/// A site beside those that nginx has.
struct Victim {
    certificate: PathBuf,
    key: PathBuf,
    verify: String,
    name: Option<String>,
}

impl Victim {
    fn at(certificate: PathBuf, key: PathBuf, verify: String) -> Self {
        Self { certificate, key, verify, name: None }
    }
}

fn impatient() -> Extra {
    Extra {
        watch: "settle = \"100ms\"\npoll = \"1s\"".into(),
        server: "verify_timeout = \"1s\"".into(),
        ..Extra::default()
    }
}

/// Adds the sites to the configuration.
fn add(host: &Host, victims: &[Victim], more: &str) {
    let mut text = host.config_text();
    for Victim { certificate, key, verify, name } in victims {
        let (certificate, key) = (toml(certificate.to_str().unwrap()), toml(key.to_str().unwrap()));
        write!(text, "[[site]]\ncertificate = {certificate}\nkey = {key}\nverify = [{verify:?}]\n{more}\n")
            .unwrap();
        if let Some(name) = name {
            writeln!(text, "name = {}", toml(name)).unwrap();
        }
    }
    std::fs::write(host.config_path(), text).unwrap();
}

/// A string of JSON is one of TOML.
fn toml(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// The codes of the problems of all sites but the first, which must have none.
fn problems(status: &Value) -> Vec<Option<String>> {
    let sites = status["sites"].as_array().unwrap();
    assert_eq!(sites[0]["problem"], Value::Null, "{status}");
    sites[1..].iter().map(|site| site["problem"]["code"].as_str().map(str::to_owned)).collect()
}

/// No character that a terminal obeys; a line end in output is certhook's own.
fn assert_tame(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    let wild = |c: char| {
        c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if let Some(line) = text.lines().find(|line| line.contains(wild)) {
        panic!("{what}: {line:?}");
    }
    assert!(
        !text.lines().any(|line| line.starts_with("owned") || line.starts_with('d')),
        "{what}: a line was forged"
    );
}

/// What people see of the host, by every verb.
fn assert_shown_tamely(host: &Host) {
    for verb in [
        &["status"][..],
        &["history"],
        &["check"],
        &["verify"],
        &["sync", "--wait", "1ms"],
        &["verify", EVIL],
    ] {
        let Output { stdout, stderr, status } = host.certhook(verb);
        assert_tame(&format!("{verb:?}"), &stdout);
        assert_tame(&format!("{verb:?} in errors"), &stderr);
        assert!(status.code().is_some(), "{verb:?}: {status}");
    }
    assert_tame("the log", host.log().as_bytes());
}

/// What can stand where a file should be, with the problem of a certificate there and of a key.
const THINGS: [(&str, &str, &str); 13] = [
    ("fifo", "not_a_file", "not_a_file"),
    ("zero", "not_a_file", "not_a_file"),
    ("folder", "not_a_file", "not_a_file"),
    ("socket", "io", "io"),
    ("loop", "io", "io"),
    ("sparse", "too_large", "too_large"),
    ("proc", "no_certificate", "no_key"),
    ("garbage", "no_certificate", "no_key"),
    ("thousands", "too_large", "too_large"),
    ("many", "malformed", "no_key"),
    ("deep", "malformed", "no_key"),
    ("begin", "truncated", "truncated"),
    ("zeros", "no_certificate", "no_key"),
];

fn put(thing: &str, path: &Path, pair: &Pair) {
    use std::os::unix::fs::symlink;
    let block =
        |der: &[u8]| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64(der));
    match thing {
        "fifo" => nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        "zero" => symlink("/dev/zero", path).unwrap(),
        "folder" => std::fs::create_dir(path).unwrap(),
        // The file stays when its listener is dropped.
        "socket" => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        "loop" => symlink(path, path).unwrap(),
        "sparse" => std::fs::File::create(path).unwrap().set_len(2 << 30).unwrap(),
        "proc" => symlink("/proc/self/maps", path).unwrap(),
        "garbage" => {
            let mut seed = 1_u32;
            let bytes = std::iter::repeat_with(|| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                seed.to_be_bytes()[0]
            });
            std::fs::write(path, bytes.take(100_000).collect::<Vec<_>>()).unwrap();
        }
        "thousands" => std::fs::write(path, pair.leaf_pem.repeat(10_000)).unwrap(),
        "many" => std::fs::write(path, block(&[0x30, 0]).repeat(10_000)).unwrap(),
        "deep" => std::fs::write(path, block(&[0x30, 0x80].repeat(100_000))).unwrap(),
        "begin" => std::fs::write(path, "-----BEGIN CERTIFICATE-----\n".repeat(10_000)).unwrap(),
        "zeros" => std::fs::write(path, vec![0; 100_000]).unwrap(),
        other => panic!("{other}"),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits =
            three.iter().chain([&0, &0]).take(3).fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            out.push(if digit > three.len() { '=' } else { char::from(DIGITS[value as usize]) });
        }
    }
    out
}

#[test]
fn what_is_no_certificate_has_a_name_and_hurts_nobody() {
    let mut host = Host::with(&[Writer::RenamePerFile], impatient());
    let folder = host.path().join("things");
    std::fs::create_dir(&folder).unwrap();
    let (mut victims, mut wanted) = (Vec::new(), Vec::new());
    for (thing, of_certificate, of_key) in THINGS {
        for (part, code) in [("certificate", of_certificate), ("key", of_key)] {
            let file = |other: &str| folder.join(format!("{thing}-{part}-{other}"));
            let (certificate, key) = (file("c"), file("k"));
            std::fs::write(&certificate, &host.sites[0].pair.fullchain_pem).unwrap();
            std::fs::write(&key, &host.sites[0].pair.key_pem).unwrap();
            let spoilt = if part == "key" { &key } else { &certificate };
            std::fs::remove_file(spoilt).unwrap();
            put(thing, spoilt, &host.sites[0].pair);
            victims.push(Victim::at(certificate, key, host.nginx.endpoint()));
            wanted.push((format!("{thing} for a {part}"), code));
        }
    }
    add(&host, &victims, "report = false");
    host.start_agent();
    let status = host.wait_for("all named", |status| problems(status).iter().all(Option::is_some));
    for (code, (what, wanted)) in problems(&status).iter().zip(&wanted) {
        assert_eq!(code.as_deref(), Some(*wanted), "{what}");
    }
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    assert_shown_tamely(&host);
    let memory = peak(&host);
    assert!(memory < MOST_MEMORY, "{memory} kB");
    // What comes to stand there is seen.
    let pair = &host.sites[0].pair;
    for Victim { certificate, key, .. } in &victims {
        for (path, text) in [(certificate, &pair.fullchain_pem), (key, &pair.key_pem)] {
            let fresh = path.with_extension("new");
            std::fs::write(&fresh, text).unwrap();
            if path.is_dir() {
                std::fs::remove_dir(path).unwrap();
            }
            std::fs::rename(&fresh, path).unwrap();
        }
    }
    host.wait_for("all well", |status| {
        status["sites"].as_array().unwrap().iter().all(|site| site["state"] == "current")
    });
    host.stop_agent();
}

#[test]
fn names_of_any_kind_are_shown_tamely() {
    let mut host = Host::with(&[Writer::RenamePerFile], impatient());
    let folder = host.path().join("names");
    let long = "n".repeat(255);
    let up = format!("x/{}y", "../x/".repeat(50));
    let deep = "d/".repeat(2100);
    let names = [
        EVIL,
        "new\nline",
        "\u{1b}[2J",
        "\u{202e}gpj.mep",
        " ",
        "-rf",
        "%s%n",
        long.as_str(),
        up.as_str(),
        deep.as_str(),
    ];
    let other = host.ca.issue(Order { hosts: &["other.test"], ..Order::default() });
    let mut victims = Vec::new();
    for (index, name) in names.iter().enumerate() {
        // Missing, not a certificate, of another site, served.
        for (kind, pair) in [None, None, Some(&other), Some(&host.sites[0].pair)].into_iter().enumerate() {
            let folder = folder.join(format!("{index}{kind}")).join(name);
            let certificate = folder.join("c.pem");
            let key = folder.join("k.pem");
            // A path can be too long to be made.
            if kind > 0 && std::fs::create_dir_all(&folder).is_ok() {
                std::fs::write(&certificate, pair.map_or("garbage", |pair| &pair.fullchain_pem)).unwrap();
                std::fs::write(&key, pair.map_or("garbage", |pair| &pair.key_pem)).unwrap();
            }
            let mut victim = Victim::at(certificate, key, host.nginx.endpoint());
            victim.name = (kind == 2).then(|| format!("{index} {name}"));
            victims.push(victim);
        }
    }
    add(&host, &victims, "");
    assert_shown_tamely(&host);
    host.start_agent();
    let status = host.wait_for("all known", |status| {
        let sites = status["sites"].as_array().unwrap();
        sites.iter().all(|site| site["state"] == "current" || !site["problem"].is_null())
    });
    let well = status["sites"].as_array().unwrap().iter().filter(|site| site["state"] == "current").count();
    assert_eq!(well, 1 + names.len() - 1, "a path of any name is a path, unless it is too long: {status}");
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    assert_shown_tamely(&host);
    host.stop_agent();
}

#[test]
fn a_configuration_of_any_words_is_shown_tamely() {
    let host = Host::new(&[Writer::RenamePerFile]);
    let plain = |text: &Path| format!("{text:?}");
    let folder = host.path().join(EVIL);
    std::fs::create_dir(&folder).unwrap();
    let secret = folder.join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let text = host.config_text();
    let edited = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} in {text}");
        text.replacen(from, to, 1)
    };
    let path = |below: &str| toml(folder.join(below).to_str().unwrap());
    let secret_line = plain(&host.path().join("client_secret"));
    for text in [
        // Readable by others; not there.
        edited(&secret_line, &toml(secret.to_str().unwrap())),
        edited(&secret_line, &path("none")),
        edited(&plain(&host.state_dir()), &path("state")),
        edited(&plain(&host.state_dir()), &path("secret")),
        edited(&plain(&host.nginx.pid_file()), &path("pid")),
        edited("[server.nginx]", &format!("[server.{}]", toml(EVIL))),
        edited("kind = \"nginx\"\n", &format!("kind = \"nginx\"\nbinary = {}\n", path("nginx"))),
        edited(
            "kind = \"nginx\"\n",
            &format!("kind = \"nginx\"\nreload = [{}, {}]\n", path("r"), toml(EVIL)),
        ),
        edited("name = \"site0.test\"", &format!("name = {}", toml(EVIL))),
        edited("name = \"site0.test\"", &format!("hosts = [{}]", toml(EVIL))),
        edited("[[site]]", &format!("{} = 1\n[[site]]", toml(EVIL))),
        edited("[[site]]", &format!("server = {}\n[[site]]", toml(EVIL))),
        EVIL.to_owned(),
    ] {
        std::fs::write(host.config_path(), text).unwrap();
        assert_shown_tamely(&host);
    }
}

#[test]
fn a_configuration_of_any_path_is_shown_tamely() {
    let host = Host::new(&[Writer::RenamePerFile]);
    let config = host.path().join(format!("{EVIL}.toml"));
    for text in [None, Some("x = 1".to_owned()), Some(host.config_text() + "x = 1\n")] {
        if let Some(text) = text {
            std::fs::write(&config, text).unwrap();
        }
        for verb in ["check", "status", "sync", "run"] {
            let output = Command::new(env!("CARGO_BIN_EXE_certhook"))
                .arg("--config")
                .arg(&config)
                .arg(verb)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(2), "{verb}: {output:?}");
            assert_tame(verb, &output.stdout);
            assert_tame(verb, &output.stderr);
        }
    }
}

/// The beginning of an answer in TLS 1.2, up to a certificate of 16 MB.
fn sixteen_megabytes() -> Vec<u8> {
    let mut hello = vec![2, 0, 0, 38, 3, 3];
    hello.extend([7; 32]);
    // No session, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, no compression.
    hello.extend([0, 0xc0, 0x2b, 0]);
    let mut out = vec![22, 3, 3, 0, u8::try_from(hello.len()).unwrap()];
    out.extend(hello);
    out.extend([22, 3, 3, 0, 10, 11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc, 0xff, 0xff, 0xf9]);
    out
}

/// A record of TLS with as much as goes into one.
fn full_record(kind: u8) -> Vec<u8> {
    let mut record = vec![kind, 3, 3, 0x40, 0];
    record.extend([0; 0x4000]);
    record
}

fn nobody() -> SocketAddr {
    "127.0.0.1:9".parse().unwrap()
}

#[test]
fn hostile_peers_bind_neither_time_nor_memory() {
    let mut host = Host::with(&[Writer::RenamePerFile], impatient());
    let pair = host.ca.issue(Order { hosts: &["victim.test"], ..Order::default() });
    let leaf = CertificateDer::from(pair.leaf_der.clone());
    let showing = |count| Mode::Tls(TlsServer::showing(std::iter::repeat_n(leaf.clone(), count), &pair));
    let (huge, full) = (sixteen_megabytes().leak(), full_record(22).leak());
    let modes = [
        Mode::Silent,
        Mode::Deaf,
        Mode::Close,
        Mode::Reset,
        Mode::Drip,
        Mode::Says(b"\x00\x1b[31m garbage \xff\r\n"),
        Mode::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Mode::Repeats(b"", b"\x00"),
        // Records of a handshake: full ones; of a certificate; of hello requests; empty ones.
        Mode::Repeats(b"", full),
        Mode::Repeats(huge, full),
        Mode::Repeats(b"", b"\x16\x03\x03\x00\x04\x00\x00\x00\x00"),
        Mode::Repeats(b"", b"\x16\x03\x03\x00\x00"),
        // Changes of the cipher, warnings, and data before there is a key.
        Mode::Repeats(b"", b"\x14\x03\x03\x00\x01\x01"),
        Mode::Repeats(b"", b"\x15\x03\x03\x00\x02\x01\x5a"),
        Mode::Repeats(b"", b"\x17\x03\x03\x00\x01\x00"),
        showing(10_000),
    ];
    let certificate = host.path().join("victim.pem");
    let (mut victims, mut ways) = (Vec::new(), Vec::new());
    for (index, mode) in modes.iter().enumerate() {
        let key = host.path().join(format!("victim{index}.key"));
        let certificate = certificate.with_extension(format!("{index}.pem"));
        std::fs::write(&certificate, &pair.fullchain_pem).unwrap();
        std::fs::write(&key, &pair.key_pem).unwrap();
        // Only the one of slow bytes has something to pass on.
        let target =
            if matches!(mode, Mode::Drip) { host.nginx.endpoint().parse().unwrap() } else { nobody() };
        let way = Way::to(target);
        way.set(mode.clone());
        victims.push(Victim::at(certificate, key, way.address().to_string()));
        ways.push(way);
    }
    add(&host, &victims, "report = false");
    host.start_agent();
    let status = host.wait_for("all named", |status| problems(status).iter().all(Option::is_some));
    for (code, mode) in problems(&status).iter().zip(&modes) {
        assert!(matches!(code.as_deref(), Some("unreachable" | "no_handshake")), "{mode:?}: {code:?}");
    }
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    assert_shown_tamely(&host);
    let memory = peak(&host);
    assert!(memory < MOST_MEMORY, "{memory} kB");
    // They show the leaf at last, sixty times: that is no chain, and nothing else is wrong.
    ways.iter().for_each(|way| way.set(showing(60)));
    let synced = host.certhook(&["sync"]);
    assert_eq!(synced.status.code(), Some(1), "{synced:?}");
    let incomplete = |code: &Option<String>| code.as_deref() == Some("incomplete_chain");
    host.wait_for("the leaf seen", |status| problems(status).iter().all(incomplete));
    host.stop_agent();
}

/// A certificate without other names, whose common name is `name`; with its key.
fn with_common_name(host: &Host, name: &str) -> (String, String) {
    let (key, config) = (host.path().join("evil.key"), host.path().join("evil.cnf"));
    std::fs::write(&config, "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\n").unwrap();
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-utf8"])
        .args(["-days", "30", "-subj", &format!("/CN={name}"), "-config"])
        .arg(config)
        .arg("-keyout")
        .arg(&key)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), std::fs::read_to_string(key).unwrap())
}

#[test]
fn certificates_of_any_names_are_shown_tamely() {
    let mut host = Host::with(&[Writer::RenamePerFile], Extra { nameless: true, ..impatient() });
    // In ASCII, as alternative names have it.
    let ascii = EVIL.replace(|c: char| !c.is_ascii(), "");
    let hosts = [ascii.as_str(), "\u{1b}c", "a,b", "x\n! forged: line"];
    let order = || Order { hosts: &hosts, ..Order::default() };
    let (on_disk, on_wire) = (host.ca.issue(order()), host.ca.issue(order()));
    let way = Way::to(nobody());
    way.set(Mode::Tls(TlsServer::new(&on_wire)));
    let common = with_common_name(&host, EVIL);
    let files = [(on_disk.fullchain_pem.clone(), on_disk.key_pem.clone()), common];
    let mut victims = Vec::new();
    for (index, (certificate, key)) in files.iter().enumerate() {
        let paths = (host.path().join(format!("{index}.pem")), host.path().join(format!("{index}.key")));
        std::fs::write(&paths.0, certificate).unwrap();
        std::fs::write(&paths.1, key).unwrap();
        victims.push(Victim::at(paths.0, paths.1, way.address().to_string()));
    }
    host.portal.add_certificate(Record::new(7, EVIL));
    add(&host, &victims, "");
    host.start_agent();
    let status = host.wait_for("both named", |status| problems(status).iter().all(Option::is_some));
    assert_eq!(problems(&status), [Some("stale".to_owned()), Some("not_served".to_owned())]);
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    assert_shown_tamely(&host);
    // Served at last, and of a name that the portal does not know: its words are shown too.
    way.set(Mode::Tls(TlsServer::new(&on_disk)));
    host.certhook(&["sync", "--wait", "10s"]);
    host.wait_for("the first is served", |status| status["sites"][1]["state"] == "current");
    assert_shown_tamely(&host);
    assert!(host.portal.journal().iter().all(|entry| entry.what != What::Other));
    host.stop_agent();
}
