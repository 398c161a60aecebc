use std::io;
use std::sync::Mutex;
use std::time::Instant;

use certhook_test_support::ca::{Authority, KeyType as Make, Order, Pair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::certificate::Roots;

mod chains;
mod listeners;
mod older;

/// Long enough for a busy machine; a test that waits for it to pass takes a shorter one.
const PATIENCE: Duration = Duration::from_secs(20);

/// For each name, or for any where it is `None`, the certificates in the server's order of preference.
#[derive(Debug, Default)]
struct Shop {
    shelf: Vec<(Option<&'static str>, Arc<CertifiedKey>)>,
    asked: Mutex<Vec<Option<String>>>,
}

impl Shop {
    fn of(pairs: &[(Option<&'static str>, &Pair)]) -> Self {
        let shelf = pairs.iter().map(|(name, pair)| (*name, certified(pair, pair))).collect();
        Self { shelf, asked: Mutex::default() }
    }

    fn selling(pairs: &[&Pair]) -> Self {
        Self::of(&pairs.iter().map(|pair| (None, *pair)).collect::<Vec<_>>())
    }
}

impl ResolvesServerCert for Shop {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.asked.lock().unwrap().push(hello.server_name().map(str::to_owned));
        let fits = |(name, key): &&(Option<&str>, Arc<CertifiedKey>)| {
            (name.is_none() || *name == hello.server_name())
                && key.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        self.shelf.iter().find(fits).map(|(_, key)| Arc::clone(key))
    }
}

/// The certificates of one pair with the key of another, or the same.
fn certified(chain: &Pair, key: &Pair) -> Arc<CertifiedKey> {
    let ders = CertificateDer::pem_slice_iter(chain.fullchain_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(key.key_pem.as_bytes()).unwrap();
    let key = ring::sign::any_supported_type(&key).unwrap();
    Arc::new(CertifiedKey::new(ders.collect::<Result<_, _>>().unwrap(), key))
}

type Versions = &'static [&'static SupportedProtocolVersion];
const BOTH: Versions = &[&TLS12, &TLS13];
const EACH: [Versions; 2] = [&[&TLS12], &[&TLS13]];

async fn serve(shop: &Arc<Shop>, versions: Versions) -> Endpoint {
    serve_to(shop, versions, Arc::new(NoClientAuth)).await
}

async fn serve_to(shop: &Arc<Shop>, versions: Versions, clients: Arc<dyn ClientCertVerifier>) -> Endpoint {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::clone(shop) as Arc<dyn ResolvesServerCert>);
    tls("127.0.0.1:0", config).await.unwrap()
}

async fn tls(address: &str, config: ServerConfig) -> io::Result<Endpoint> {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    listen(address, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            // Whether the handshake completes is the test's question.
            let _ = acceptor.accept(stream).await;
        }
    })
    .await
}

/// Serves until the test's runtime ends.
async fn listen<F>(address: &str, answer: impl Fn(TcpStream) -> F + Send + 'static) -> io::Result<Endpoint>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(address).await?;
    let endpoint = Endpoint::parse(&listener.local_addr()?.to_string()).expect("an address is an endpoint");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    Ok(endpoint)
}

fn leaf(pair: &Pair) -> Arc<Leaf> {
    Leaf::from_der(&pair.leaf_der).unwrap().into()
}

fn of_kind(authority: &Authority, key: Make) -> Pair {
    authority.issue(Order { key, ..Order::default() })
}

/// Only the leaf.
async fn shown(endpoint: &Endpoint, host: &str, disk: &Pair) -> Result<Arc<Leaf>, Unseen> {
    ask(endpoint, host, &leaf(disk), PATIENCE).await.map(|(leaf, _)| leaf)
}

async fn code(endpoint: &Endpoint, pair: &Pair, patience: Duration) -> (&'static str, Problem) {
    match ask(endpoint, "contoso.com", &leaf(pair), patience).await {
        Ok((leaf, _)) => panic!("{leaf:?}"),
        Err(Unseen::Unreachable(problem)) => ("unreachable", problem),
        Err(Unseen::Refused(problem)) => ("refused", problem),
        Err(Unseen::NotHere(problem)) => ("not here", problem),
    }
}

#[tokio::test]
async fn every_kind_of_certificate_is_seen_in_both_versions() {
    let authority = Authority::new();
    for kind in [Make::EcdsaP256, Make::EcdsaP384, Make::Rsa2048, Make::Ed25519] {
        let pair = of_kind(&authority, kind);
        let older = of_kind(&authority, Make::EcdsaP256);
        let shop = Arc::new(Shop::selling(&[&pair]));
        for versions in EACH {
            let endpoint = serve(&shop, versions).await;
            for on_disk in [&pair, &older] {
                let seen = shown(&endpoint, "contoso.com", on_disk).await;
                assert_eq!(seen, Ok(leaf(&pair)), "{kind:?} {versions:?}");
            }
        }
    }
}

#[tokio::test]
async fn expired_and_foreign_certificates_are_seen_too() {
    let authority = Authority::new();
    let (expired, other) = (authority.expired(&["contoso.com"]), authority.issue(Order::default()));
    let endpoint = serve(&Arc::new(Shop::selling(&[&expired])), BOTH).await;
    let seen = shown(&endpoint, "fabrikam.com", &other).await;
    assert_eq!(seen, Ok(leaf(&expired)), "whether it is right is for others to say");
}

#[tokio::test]
async fn a_server_that_wants_a_clients_certificate_shows_its_own_first() {
    let authority = Authority::new();
    let pair = authority.issue(Order::default());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.root_der())).unwrap();
    let provider = Arc::new(ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    for versions in EACH {
        let endpoint = serve_to(&Arc::new(Shop::selling(&[&pair])), versions, clients.clone()).await;
        let seen = shown(&endpoint, "contoso.com", &pair).await;
        assert_eq!(seen, Ok(leaf(&pair)), "{versions:?}");
    }
}

#[tokio::test]
async fn an_address_may_be_of_ipv6() {
    let pair = Authority::new().issue(Order::default());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shop::selling(&[&pair])));
    // Containers often have no IPv6 at all.
    let Ok(endpoint) = tls("[::1]:0", config).await else { return };
    assert!(endpoint.to_string().starts_with("[::1]:"));
    assert_eq!(shown(&endpoint, "contoso.com", &pair).await, Ok(leaf(&pair)));
}

#[tokio::test]
async fn each_name_is_asked_for() {
    let authority = Authority::new();
    let [first, second, default] =
        ["a.com", "b.com", "c.com"].map(|host| authority.issue(Order { hosts: &[host], ..Order::default() }));
    let hosts = &["a.com", "B.com", "*.wild.com", "127.0.0.1", "*.both.com", "both.com"];
    let disk = authority.issue(Order { hosts, ..Order::default() });
    let shop = || Arc::new(Shop::of(&[(Some("a.com"), &first), (Some("b.com"), &second), (None, &default)]));
    // They are asked at once.
    let shops = [shop(), shop()];
    let ask = |endpoint| Ask { endpoint, hosts: Vec::new() };
    let asks = [serve(&shops[0], BOTH).await, serve(&shops[1], EACH[0]).await].map(ask);
    let wanted = [
        ("a.com", Some("a.com"), &first),
        ("b.com", Some("b.com"), &second),
        ("certhook-probe.wild.com", Some("certhook-probe.wild.com"), &default),
        ("127.0.0.1", None, &default),
        ("both.com", Some("both.com"), &default),
    ];
    let Answer { sightings: found, chain } = sightings(None, asks.to_vec(), &leaf(&disk), PATIENCE).await;
    assert_eq!((found.len(), chain), (10, None), "no listener shows the leaf on disk");
    for (index, sighting) in found.into_iter().enumerate() {
        let (host, name, pair) = &wanted[index % 5];
        let endpoint = asks[index / 5].endpoint.to_string();
        assert_eq!(sighting, Sighting { endpoint, host: (*host).to_owned(), outcome: Ok(leaf(pair)) });
        assert_eq!(shops[index / 5].asked.lock().unwrap()[index % 5].as_deref(), *name);
    }
}

#[test]
fn names_that_are_asked_for() {
    let table: [(&str, &[&str]); 6] = [
        ("", &[""]),
        ("a.com", &["a.com"]),
        ("*.a.com", &["certhook-probe.a.com"]),
        ("*.a.com,a.com", &["a.com"]),
        ("a.com,*.b.com,*.a.com", &["a.com", "certhook-probe.b.com"]),
        ("a.com,www.a.com", &["a.com", "www.a.com"]),
    ];
    for (hosts, wanted) in table {
        assert_eq!(names(&Hosts::from_portal_name(hosts)), wanted, "{hosts}");
    }
}

#[tokio::test]
async fn a_name_that_cannot_be_asked_for_is_left_out() {
    let pair = Authority::new().issue(Order::default());
    let shop = Arc::new(Shop::selling(&[&pair]));
    let endpoint = serve(&shop, BOTH).await;
    for host in ["", "::1", "me@contoso.com", "a b", "x\u{1b}[31m", "bü.de"] {
        assert_eq!(shown(&endpoint, host, &pair).await, Ok(leaf(&pair)), "{host:?}");
        assert_eq!(shop.asked.lock().unwrap().pop(), Some(None), "{host:?}");
    }
}

#[tokio::test]
async fn of_two_certificates_the_one_of_the_kind_on_disk_is_seen() {
    let authority = Authority::new();
    let kinds = [Make::EcdsaP256, Make::Rsa2048, Make::Ed25519];
    let [ecdsa, rsa, ed25519] = kinds.map(|kind| of_kind(&authority, kind));
    let [old_ecdsa, old_rsa, _] = kinds.map(|kind| of_kind(&authority, kind));
    // The server's order, what is on disk, what is seen.
    let table: [(&[&Pair], &Pair, &Pair); 8] = [
        (&[&ecdsa, &rsa], &rsa, &rsa),
        (&[&rsa, &ecdsa], &ecdsa, &ecdsa),
        (&[&ecdsa, &rsa], &ecdsa, &ecdsa),
        (&[&ecdsa, &old_rsa], &rsa, &old_rsa),
        (&[&old_ecdsa, &rsa], &ecdsa, &old_ecdsa),
        (&[&ecdsa], &rsa, &ecdsa),
        (&[&rsa], &ecdsa, &rsa),
        (&[&ecdsa, &ed25519], &ed25519, &ed25519),
    ];
    for versions in EACH {
        for (index, (shelf, disk, wanted)) in table.into_iter().enumerate() {
            let endpoint = serve(&Arc::new(Shop::selling(shelf)), versions).await;
            let seen = shown(&endpoint, "contoso.com", disk).await;
            assert_eq!(seen, Ok(leaf(wanted)), "row {index}, {versions:?}");
        }
    }
}

/// Anybody can show a certificate: who serves it has its key.
#[tokio::test]
async fn a_certificate_without_its_key_is_not_seen() {
    let authority = Authority::new();
    for kind in [Make::EcdsaP256, Make::Rsa2048, Make::Ed25519] {
        let (shown, other) = (of_kind(&authority, kind), of_kind(&authority, kind));
        let shelf = vec![(None, certified(&shown, &other))];
        let shop = Arc::new(Shop { shelf, asked: Mutex::default() });
        for versions in EACH {
            let endpoint = serve(&shop, versions).await;
            assert_eq!(code(&endpoint, &shown, PATIENCE).await.0, "refused", "{kind:?} {versions:?}");
        }
    }
}

#[tokio::test]
async fn who_does_not_speak_tls_refuses_and_who_breaks_off_is_unreachable() {
    let pair = Authority::new().issue(Order::default());
    let answers: [(&[u8], bool); 6] = [
        (b"", false),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", true),
        (b"220 mail.contoso.com ESMTP\r\n", true),
        (b"\x16\x03\x03\xff\xff", true),
        (b"\x15\x03\x03\x00\x02\x02\x28", true),
        (&[0xa5; 4096], true),
    ];
    for (answer, speaks) in answers {
        let endpoint = listen("127.0.0.1:0", move |mut stream| async move {
            // The peer may have had enough before the end.
            let _ = stream.write_all(answer).await;
        });
        let endpoint = endpoint.await.unwrap();
        let (found, problem) = code(&endpoint, &pair, PATIENCE).await;
        let wanted = if speaks { ("refused", "no_handshake") } else { ("unreachable", "unreachable") };
        assert_eq!((found, problem.code.as_str()), wanted, "{answer:?}");
        let words = match answer {
            b"" => "closes the connection before any TLS",
            [0x15, ..] => "refuses every version, cipher suite and group (TLS alert handshake_failure)",
            [b'H' | b'2' | 0xa5, ..] => "its answer is not TLS",
            _ => "",
        };
        assert!(problem.message.contains(words), "{problem:?}");
        let names = problem.message.contains(&endpoint.to_string())
            && (!speaks || problem.message.contains("contoso.com"));
        assert!(names && !problem.message.contains(char::is_control), "{problem:?}");
    }
    let endpoint = serve(&Arc::new(Shop::of(&[(Some("fabrikam.com"), &pair)])), BOTH).await;
    let (found, problem) = code(&endpoint, &pair, PATIENCE).await;
    assert_eq!(found, "refused", "no certificate for that name");
    assert!(problem.remedy.contains("takes this name"), "{problem:?}");
}

#[tokio::test]
async fn who_does_not_answer_is_unreachable_within_patience() {
    let pair = Authority::new().issue(Order::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    let start = Instant::now();
    // The system takes the connection, and nobody ever answers.
    let patience = Duration::from_millis(50);
    let (found, problem) = code(&endpoint, &pair, patience).await;
    assert_eq!((found, problem.code.as_str()), ("unreachable", "unreachable"));
    assert!(problem.message.contains("no answer within 0.05 s"), "{problem}");
    assert!(start.elapsed() >= patience && start.elapsed() < PATIENCE);
    drop(listener);
    let (found, problem) = code(&endpoint, &pair, PATIENCE).await;
    assert_eq!(found, "unreachable", "nobody listens: {problem}");
    assert!(start.elapsed() < PATIENCE, "told at once");
}

#[test]
fn suites_that_are_only_offered_are_made_once() {
    let last = || match client::provider(None).cipher_suites.last() {
        Some(rustls::SupportedCipherSuite::Tls12(suite)) => std::ptr::from_ref(*suite),
        other => panic!("{other:?}"),
    };
    // They live as long as the program: another set for each refusal would add up.
    assert_eq!(last(), last());
}
