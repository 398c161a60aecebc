//! A small web server of the tests' own plays the storage account; everything else is real.

mod disk;
mod formats;
mod refusals;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use certhook_test_support::ca::{Authority, Order, Pair};
use jiff::tz::TimeZone;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::portal::{Certificate, Links};

/// In the query of every link, as a signature is.
const SIGNATURE: &str = "sig=S3CRETsignature";
const PASSWORD: &str = "pass, word";
const FOLDER: &str = "contoso-com-san-www";
const HOSTS: [&str; 2] = ["contoso.com", "www.contoso.com"];

/// What is answered for a path, word for word; `None` never answers.
type Answers = BTreeMap<&'static str, Option<Vec<u8>>>;

/// A web server that closes after each answer.
struct Shelf {
    address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Shelf {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answers, asked): (Arc<Mutex<Answers>>, Arc<Mutex<Vec<String>>>) = Default::default();
        let shelf = Self { address, answers: Arc::clone(&answers), asked: Arc::clone(&asked) };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    head.push(byte);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let path = head.split([' ', '?']).nth(1).unwrap_or_default().to_owned();
                asked.lock().unwrap().push(head);
                let answer = answers.lock().unwrap().get(path.as_str()).cloned();
                match answer.unwrap_or_else(|| Some(status("404 Not Found", b"<?xml?><Error/>"))) {
                    Some(answer) => {
                        let _ = stream.write_all(&answer).await;
                        let _ = stream.shutdown().await;
                    }
                    None => std::mem::forget(stream),
                }
            }
        });
        shelf
    }

    fn put(&self, path: &'static str, answer: impl Into<Option<Vec<u8>>>) {
        self.answers.lock().unwrap().insert(path, answer.into());
    }

    fn link(&self, path: &str) -> String {
        format!("http://{}{path}?{SIGNATURE}", self.address)
    }
}

fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    status("200 OK", body.as_ref())
}

fn status(line: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {line}\r\ncontent-length: {}\r\nset-cookie: a=b\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn redirect(location: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\ncontent-length: 0\r\nset-cookie: a=b\r\nlocation: {location}\r\n\r\n")
        .into_bytes()
}

/// A certificate of the portal's, its files on a shelf, and a folder for them.
struct World {
    ca: Authority,
    pair: Pair,
    shelf: Shelf,
    certificate: Certificate,
    root: tempfile::TempDir,
    patience: Duration,
    /// The portal's.
    endpoint: &'static str,
}

impl World {
    async fn new() -> Self {
        let ca = Authority::new();
        let pair = ca.issue(Order { hosts: &HOSTS, ..Order::default() });
        let shelf = Shelf::open().await;
        let link = |path| Some(shelf.link(path));
        let certificate = Certificate {
            id: 158,
            name: "contoso.com, www.contoso.com".into(),
            issue_date: String::new(),
            expiry_date: Some(TimeZone::UTC.to_datetime(pair.not_after)),
            remote_create_date: None,
            target: String::new(),
            renewal: String::new(),
            links: Links {
                pfx: link("/pfx"),
                private_key: link("/key"),
                leaf: link("/leaf"),
                intermediates: link("/chain"),
                full_chain: link("/full"),
                pem: None,
            },
            pfx_password: Some(SecretString::from(PASSWORD)),
        };
        let (root, patience) = (tempfile::tempdir().unwrap(), Duration::from_secs(30));
        let endpoint = "http://127.0.0.1";
        let world = Self { ca, pair, shelf, certificate, root, patience, endpoint };
        world.stock(&world.pair);
        world
    }

    /// Lays a pair's PEM files on the shelf.
    fn stock(&self, pair: &Pair) {
        self.shelf.put("/key", ok(&pair.key_pem));
        self.shelf.put("/leaf", ok(&pair.leaf_pem));
        self.shelf.put("/chain", ok(&pair.chain_pem));
        self.shelf.put("/full", ok(&pair.fullchain_pem));
    }

    fn home(&self) -> PathBuf {
        self.root.path().join("into")
    }

    fn path(&self, file: &str) -> PathBuf {
        self.home().join(FOLDER).join(file)
    }

    async fn fetch(&self, format: Format) -> Result<Fetched, Problem> {
        let fetcher = Fetcher::new(self.endpoint, self.patience, None);
        fetcher.fetch(&self.certificate, &self.home(), format, Timestamp::now()).await
    }

    /// Puts an older set of the same certificate in place.
    fn age(&self) {
        let old = self.ca.issue(Order { hosts: &HOSTS, valid: soon(), ..Order::default() });
        std::fs::create_dir_all(self.home().join(FOLDER)).unwrap();
        for (file, text) in [
            ("certificate.pfx", "old".to_owned()),
            ("privateKey.key", old.key_pem),
            ("primaryCertificate.crt", old.leaf_pem),
            ("caBundle.crt", old.chain_pem),
            ("fullChainCertificate.crt", old.fullchain_pem),
        ] {
            std::fs::write(self.path(file), text).unwrap();
        }
    }

    /// Everything below `into`: content, inode and write time.
    fn snapshot(&self) -> BTreeMap<PathBuf, (Vec<u8>, u64, SystemTime)> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(self.home().join(FOLDER)).into_iter().flatten().flatten() {
            let metadata = entry.metadata().unwrap();
            // Where a folder is locked by a file in it.
            if entry.file_name() == ".certhook-lock" {
                continue;
            }
            let content = std::fs::read(entry.path()).unwrap_or_default();
            let inode = crate::platform::inode(&entry.path(), &metadata);
            let mark = (content, inode, metadata.modified().unwrap());
            found.insert(entry.path(), mark);
        }
        found
    }
}

/// The mode of a file or folder. Where there is none what is `wanted`, or, where others may read what they should
/// not, all.
fn mode(path: &Path, wanted: u32) -> u32 {
    #[cfg(unix)]
    let found = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path).unwrap()) & 0o7777;
    #[cfg(windows)]
    let found = match crate::platform::readable_by_others(path).unwrap() {
        Some(_) if wanted & 0o007 == 0 => 0o7777,
        _ => wanted,
    };
    let _ = wanted;
    found
}

/// Valid now, and not for long.
fn soon() -> certhook_test_support::ca::Validity {
    let (from, to) = (SignedDuration::from_hours(-24 * 80), SignedDuration::from_hours(24 * 10));
    certhook_test_support::ca::Validity { from, to }
}

#[tokio::test]
async fn a_set_is_put_in_place_as_the_vendor_s_client_does() {
    let world = World::new().await;
    let fetched = world.fetch(Format::Pem).await.unwrap();
    assert_eq!(fetched.folder, world.home().join(FOLDER));
    assert_eq!(fetched.certificate, world.path("fullChainCertificate.crt"));
    assert_eq!(fetched.leaf.fingerprint.to_string(), world.pair.fingerprint);
    assert!(fetched.changed);
    assert_eq!((mode(&world.home(), 0o700), mode(&fetched.folder, 0o700)), (0o700, 0o700));
    let pair = &world.pair;
    let expected = [
        ("caBundle.crt", &pair.chain_pem, 0o644),
        ("fullChainCertificate.crt", &pair.fullchain_pem, 0o644),
        ("primaryCertificate.crt", &pair.leaf_pem, 0o644),
        ("privateKey.key", &pair.key_pem, 0o600),
    ];
    for (file, text, bits) in expected {
        assert_eq!(&std::fs::read_to_string(world.path(file)).unwrap(), text, "{file}");
        assert_eq!(mode(&world.path(file), bits), bits, "{file}");
    }
    let before = world.snapshot();
    assert_eq!(before.len(), 4, "{before:?}");
    // Again: nothing on disk is touched, and no reload is provoked.
    assert!(!world.fetch(Format::Pem).await.unwrap().changed);
    assert_eq!(world.snapshot(), before);
}

#[tokio::test]
async fn redirects_are_followed_without_credentials() {
    let world = World::new().await;
    let link = |path: &str| world.shelf.link(path);
    world.shelf.put("/full", redirect("/1"));
    for (from, to) in [("/1", "/2"), ("/2", "/3"), ("/3", "/4")] {
        world.shelf.put(from, redirect(&link(to)));
    }
    world.shelf.put("/4", redirect("end?other=1"));
    world.shelf.put("/end", ok(&world.pair.fullchain_pem));
    assert!(world.fetch(Format::Pem).await.unwrap().changed);
    let asked = world.shelf.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 4 + 5, "{asked:?}");
    for head in &asked {
        let head = head.to_ascii_lowercase();
        for word in ["authorization", "cookie", "referer", "bearer"] {
            assert!(!head.contains(word), "{head}");
        }
    }
    // One more is one too many.
    world.shelf.put("/4", redirect("/5"));
    world.shelf.put("/5", redirect("/end"));
    let problem = world.fetch(Format::Pem).await.unwrap_err();
    assert_eq!(problem.code, "bad_redirect", "{problem:?}");
}

#[test]
fn folders_are_called_by_the_vendor_s_rule() {
    let long = |hosts: usize| format!("{}.com", "a".repeat(hosts));
    for (name, expected) in [
        ("contoso.com", Some("contoso-com")),
        ("a_b.Contoso.com", Some("a_b-Contoso-com")),
        ("*.contoso.com", Some("wcard-contoso-com")),
        ("contoso.com,www.contoso.com", Some("contoso-com-san-www")),
        ("contoso.com , www.contoso.com", Some("contoso-com-san-www")),
        ("contoso.com, *.contoso.com", Some("contoso-com-san-wcard")),
        ("*.contoso.com,contoso.com", Some("wcard-contoso-com-san")),
        ("contoso.com,shop.contoso.com,www.contoso.com", Some("contoso-com-san")),
        ("xn--bcher-kva.example", Some("xn--bcher-kva-example")),
        (&long(96), Some(&*format!("{}-com", "a".repeat(96)))),
        (&long(97), None),
        (&long(300), None),
        ("", None),
        (" ", None),
        (",", None),
        (",contoso.com", None),
        (".", None),
        ("..", None),
        ("...", None),
        ("*.", None),
        ("*.*.contoso.com", None),
        ("-rf.contoso.com", None),
        (".hidden.com", None),
        ("../../etc/cron.d/x", None),
        ("/etc/cron.d/x", None),
        ("a/../../b", None),
        ("*.../etc", None),
        ("contoso.com,/etc", None),
        ("a\\b", None),
        ("..\\..\\windows", None),
        ("c:evil", None),
        ("con\0toso.com", None),
        ("contoso.com\n", None),
        ("contoso\u{1b}[2J.com", None),
        ("con toso.com", None),
        ("bücher.example", None),
        ("ｃｏｎｔｏｓｏ．ｃｏｍ", None),
        ("a\u{202e}moc.com", None),
    ] {
        let found = names::folder(name);
        assert_eq!(found.as_deref().ok(), expected, "{name:?}");
        let Ok(folder) = found else {
            assert_eq!(found.unwrap_err().code, "bad_name", "{name:?}");
            continue;
        };
        assert_eq!(Path::new("/into").join(&folder).components().count(), 3, "{folder:?}");
    }
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_writes_nothing() {
    let mut world = World::new().await;
    for name in ["../../etc/cron.d/x", "..", "a\0b", "a\\b", "", &"a".repeat(300)] {
        world.certificate.name = name.to_owned();
        assert_eq!(world.fetch(Format::Pem).await.unwrap_err().code, "bad_name", "{name:?}");
        assert_eq!(here(&world.home(), &world.certificate, Format::Pem), Here::Lacks);
    }
    assert!(world.shelf.asked.lock().unwrap().is_empty(), "nothing is asked for in vain");
    assert_eq!(std::fs::read_dir(world.root.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn one_folder_is_for_one_certificate() {
    let world = World::new().await;
    let of = |id: i64, name: &str| Certificate { id, name: name.into(), ..world.certificate.clone() };
    let all = [
        of(3, "contoso.com,b.contoso.com"),
        of(2, "CONTOSO.com,a.contoso.com"),
        of(1, "../x"),
        of(4, "fabrikam.com"),
        of(5, "contoso.com,c.contoso.com"),
    ];
    let found: Vec<_> =
        folders(&all).into_iter().map(|folder| folder.map_err(|problem| problem.code)).collect();
    let wrong = |code: &str| Err(code.to_owned());
    assert_eq!(
        found,
        [
            wrong("same_folder"),
            Ok("CONTOSO-com-san".to_owned()),
            wrong("bad_name"),
            Ok("fabrikam-com".to_owned()),
            wrong("same_folder"),
        ]
    );
}
