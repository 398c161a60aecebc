//! The forms of PEM files: certhook's word on each is that of a real nginx, and of OpenSSL's own commands.

#[path = "forms/changes.rs"]
mod changes;
#[path = "forms/table.rs"]
mod table;
#[path = "forms/tools.rs"]
mod tools;

use std::path::Path;
use std::process::Command;

use certhook::certificate::{Fault, Key, inspect};
use certhook::config::KeyAt;
use certhook::inspect::Place;
use certhook_test_support::ca::{Authority, KeyType, Order};
use certhook_test_support::nginx::{Nginx, NginxSite};
use certhook_test_support::wire;
use jiff::Timestamp;

use crate::host::PATIENCE;
use table::{other_forms, table};
use tools::pem;

const PASSWORD: &str = "secret";
const BOM: &str = "\u{feff}";

/// nginx's own words on the pairs of these rows, in one configuration, or nothing.
fn nginx_refuses(nginx: &Nginx, folder: &Path, rows: &[usize]) -> Option<String> {
    let server = |row: &usize| {
        let path = folder.join(row.to_string());
        let path = path.display();
        format!(
            "server {{ server_name row{row}; ssl_certificate {path}.crt; ssl_certificate_key {path}.key; }}\n"
        )
    };
    let servers: String = rows.iter().map(server).collect();
    let text = format!(
        "pid test.pid; error_log stderr; events {{}} http {{ ssl_password_file {password};\n\
         server_names_hash_max_size 8192; server_names_hash_bucket_size 256; {servers} }}",
        password = folder.join("password").display()
    );
    let config = folder.join("test.conf");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(nginx.binary());
    let output = command.args(["-t", "-q", "-p"]).arg(folder).arg("-c").arg(&config).output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn openssl_takes(args: &[&str], path: &Path) -> bool {
    let output = Command::new("openssl").args(args).args(["-noout", "-in"]).arg(path).output().unwrap();
    output.status.success()
}

/// nginx puts a certificate and a key of different types into slots of their own, and every handshake fails.
const LOADED_AND_NEVER_SERVED: [&str; 1] = ["key: RSA for an EC leaf"];

/// `openssl x509` reads one certificate, where nginx reads to the end of the file; `openssl pkey` tries every layout,
/// whatever the label.
const ONLY_THE_COMMAND_TAKES: [&str; 9] = [
    "leaf: BEGIN once more at the end",
    "leaf: an empty block before",
    "leaf: an empty block after",
    "leaf: a broken block before",
    "leaf: a broken block after",
    "key: PKCS#8 labelled RSA",
    "key: SEC1 labelled PKCS#8",
    "key: encrypted labelled clear",
    "key: PKCS#1 labelled PKCS#8",
];

#[test]
fn a_pem_file_is_whole_when_nginx_loads_it() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let path = |row: usize, end: &str| folder.path().join(format!("{row}.{end}"));
    std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
    let rows = table(&authority);
    for (at, row) in rows.iter().enumerate() {
        std::fs::write(path(at, "crt"), &row.certificate).unwrap();
        std::fs::write(path(at, "key"), &row.key).unwrap();
    }
    let plain = NginxSite::new(&["plain.test"], path(0, "crt"), path(0, "key"));
    let mut nginx = Nginx::builder().site(plain).start();
    let now = Timestamp::now();
    let own: Vec<_> = rows.iter().map(|row| inspect(&row.certificate, Key::Pem(&row.key), now)).collect();
    let (whole, refused): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(|at| own[*at].is_ok());
    assert!(whole.len() >= 100 && refused.len() >= 100, "{} and {}", whole.len(), refused.len());
    let mut differences = Vec::new();
    // All at once; each by itself only to find out which of them it is.
    let alone = if nginx_refuses(&nginx, folder.path(), &whole).is_some() { &whole[..] } else { &[] };
    for at in alone.iter().chain(&refused) {
        let refusal = nginx_refuses(&nginx, folder.path(), &[*at]);
        let name = rows[*at].name.as_str();
        let is_never_served = refusal.is_none() && LOADED_AND_NEVER_SERVED.contains(&name);
        if own[*at].is_ok() != refusal.is_none() && !is_never_served {
            differences.push(format!("{name}: certhook {:?}, nginx {refusal:?}", own[*at]));
        }
    }
    for (at, row) in rows.iter().enumerate() {
        let by_openssl = match row.name.split_once(": ").unwrap().0 {
            "leaf" => openssl_takes(&["x509", "-inform", "PEM"], &path(at, "crt")),
            // Whether the key is the certificate's the command does not know.
            part if part.ends_with("key") && own[at] != Err(Fault::KeyMismatch) => {
                openssl_takes(&["pkey", "-inform", "PEM", "-passin", "pass:secret"], &path(at, "key"))
            }
            _ => continue,
        };
        if own[at].is_ok() != by_openssl && !ONLY_THE_COMMAND_TAKES.contains(&row.name.as_str()) {
            differences.push(format!("{}: certhook {:?}, openssl {by_openssl}", row.name, own[at]));
        }
    }
    assert!(differences.is_empty(), "{} of {}:\n{}", differences.len(), rows.len(), differences.join("\n"));
    let name = |at: usize| format!("row{at}.test");
    let password = format!("ssl_password_file {};", folder.path().join("password").display());
    let site =
        |at: &usize| NginxSite::new(&[&name(*at)], path(*at, "crt"), path(*at, "key")).extra(&password);
    nginx.set_sites(whole.iter().map(site).collect());
    nginx.hup();
    nginx.wait_for_reloads(1, PATIENCE).unwrap();
    nginx.wait_idle();
    for at in whole {
        let (bundle, row) = (own[at].as_ref().unwrap(), &rows[at].name);
        let served = wire::served(&nginx.endpoint(), &name(at)).unwrap();
        assert_eq!(served.fingerprint, bundle.leaf.fingerprint.to_string(), "{row}");
        assert_eq!(served.chain_len, 1 + bundle.intermediates as usize, "{row}");
    }
}

#[test]
fn the_line_that_is_told_converts_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let authority = Authority::new();
    for kind in [KeyType::EcdsaP256, KeyType::Rsa2048] {
        let pair = authority.issue(Order { key: kind, ..Order::default() });
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("it's a folder");
        std::fs::create_dir(&folder).unwrap();
        let (cert, key) = (folder.join("cert"), folder.join("key"));
        let place = Place { certificate: cert.clone(), key: KeyAt::File(key.clone()) };
        let look = || certhook::inspect::inspect(&place, Timestamp::now()).map_err(|found| found.problem);
        for (name, part, bytes, said) in other_forms(&pair) {
            std::fs::write(&cert, &pair.fullchain_pem).unwrap();
            std::fs::write(&key, &pair.key_pem).unwrap();
            let path = folder.join(part);
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            let problem = look().unwrap_err();
            let code = if part == "key" { "no_key" } else { "no_certificate" };
            assert!(problem.code == code && problem.message.contains(said), "{name}: {problem}");
            let line =
                problem.remedy.strip_prefix("convert it: ").unwrap_or_else(|| panic!("{name}: {problem}"));
            let output = Command::new("sh").args(["-c", line]).output().unwrap();
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(look().unwrap().bundle.leaf.fingerprint.to_string(), pair.fingerprint, "{name}");
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640, "{name}");
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "{name}: nothing is left");
        }
        // A PFX holds both: what is made of it stands beside it.
        std::fs::write(&cert, pair.pfx(PASSWORD)).unwrap();
        let problem = look().unwrap_err();
        assert!(problem.message.contains("a PFX"), "{problem}");
        let line =
            format!("{} -passin pass:{PASSWORD}", problem.remedy.strip_prefix("convert it: ").unwrap());
        assert!(Command::new("sh").args(["-c", &line]).output().unwrap().status.success(), "{line}");
        let made = std::fs::read(folder.join("cert.pem")).unwrap();
        assert!(inspect(&made, Key::Pem(&made), Timestamp::now()).is_ok());
        // What no line converts.
        let request = "-----BEGIN CERTIFICATE REQUEST-----\nQUJD\n-----END CERTIFICATE REQUEST-----\n";
        for (path, text, said) in [
            (&cert, "<!doctype html>", "a web page"),
            (&cert, request, "a certificate request"),
            (&key, &pem(&["pkey", "-pubout"], &pair.key_pem), "a public key"),
        ] {
            std::fs::write(&cert, &pair.fullchain_pem).unwrap();
            std::fs::write(path, text).unwrap();
            let problem = look().unwrap_err();
            assert!(
                problem.message.contains(said) && !problem.remedy.starts_with("convert it:"),
                "{problem}"
            );
        }
    }
}
