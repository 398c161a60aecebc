//! Every kind of listener, and how it is asked.

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::Barrier;

use super::*;

/// The usual server, without a listener.
fn acceptor(shop: &Arc<Shop>) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(shop) as Arc<dyn ResolvesServerCert>);
    TlsAcceptor::from(Arc::new(config))
}

/// A server that takes one header before each handshake, and what it was.
async fn serve_proxied(shop: &Arc<Shop>, heard: Arc<Mutex<Vec<String>>>) -> Endpoint {
    let acceptor = acceptor(shop);
    let endpoint = listen("127.0.0.1:0", move |stream| {
        let (acceptor, heard) = (acceptor.clone(), Arc::clone(&heard));
        async move {
            let ends = (stream.peer_addr().unwrap(), stream.local_addr().unwrap());
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            if stream.read_line(&mut line).await.is_err() || !line.starts_with("PROXY ") {
                return;
            }
            let (from, to) = ends;
            let wanted = format!("PROXY TCP4 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port());
            heard.lock().unwrap().push(if line == wanted { "right".to_owned() } else { line });
            let _ = acceptor.accept(stream).await;
        }
    });
    Endpoint { proxy_protocol: true, ..endpoint.await.unwrap() }
}

#[cfg(unix)]
fn serve_locally(path: &std::path::Path, shop: &Arc<Shop>, header: Option<&'static str>) {
    use crate::platform;

    let listener = platform::listen(path).unwrap();
    let acceptor = acceptor(shop);
    tokio::spawn(async move {
        while let Ok(stream) = platform::accept(&listener).await {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            if let Some(header) = header
                && (stream.read_line(&mut line).await.is_err() || line != header)
            {
                continue;
            }
            let _ = acceptor.accept(stream).await;
        }
    });
}

#[tokio::test]
async fn the_header_of_the_proxy_protocol_comes_first() {
    let pair = Authority::new().issue(Order::default());
    let shop = Arc::new(Shop::selling(&[&pair]));
    let heard = Arc::new(Mutex::default());
    let endpoint = serve_proxied(&shop, Arc::clone(&heard)).await;
    assert_eq!(shown(&endpoint, "contoso.com", &pair).await, Ok(leaf(&pair)));
    assert_eq!(*heard.lock().unwrap(), ["right"]);
    let without = Endpoint { proxy_protocol: false, ..endpoint };
    assert_eq!(code(&without, &pair, PATIENCE).await.0, "unreachable");
}

#[test]
fn headers() {
    let ends = |from: &str, to: &str| Some((from.parse().unwrap(), to.parse().unwrap()));
    let table = [
        (ends("127.0.0.1:1", "127.0.0.2:443"), "PROXY TCP4 127.0.0.1 127.0.0.2 1 443\r\n"),
        (ends("[::1]:65535", "[fe80::1]:443"), "PROXY TCP6 ::1 fe80::1 65535 443\r\n"),
        (ends("127.0.0.1:1", "[::1]:443"), "PROXY UNKNOWN\r\n"),
        (None, "PROXY UNKNOWN\r\n"),
    ];
    for (ends, wanted) in table {
        assert_eq!(connect::header(ends), wanted);
    }
}

#[cfg(unix)] // sockets with a path
#[tokio::test]
async fn a_socket_in_the_file_system_is_dialled() {
    use crate::config::Address;

    let folder = tempfile::tempdir().unwrap();
    let pair = Authority::new().issue(Order::default());
    let shop = Arc::new(Shop::selling(&[&pair]));
    for (name, header) in [("plain", None), ("proxied", Some("PROXY UNKNOWN\r\n"))] {
        let path = folder.path().join(name);
        serve_locally(&path, &shop, header);
        let endpoint = Endpoint { address: Address::Unix(path), proxy_protocol: header.is_some() };
        assert_eq!(shown(&endpoint, "contoso.com", &pair).await, Ok(leaf(&pair)), "{name}");
    }
    for name in ["nobody", &"long".repeat(50)] {
        let endpoint = Endpoint { address: Address::Unix(folder.path().join(name)), proxy_protocol: false };
        assert_eq!(code(&endpoint, &pair, PATIENCE).await.0, "unreachable", "{name}");
    }
}

/// Each answers only when all were called, and the first one last.
#[tokio::test]
async fn listeners_are_asked_at_once_and_told_in_their_order() {
    let authority = Authority::new();
    let pairs: Vec<Pair> = (0..AT_ONCE).map(|_| authority.issue(Order::default())).collect();
    let barrier = Arc::new(Barrier::new(AT_ONCE));
    let turn = Arc::new(Mutex::new(AT_ONCE));
    let mut asks = Vec::new();
    for (index, pair) in pairs.iter().enumerate() {
        let acceptor = acceptor(&Arc::new(Shop::selling(&[pair])));
        let (barrier, turn) = (Arc::clone(&barrier), Arc::clone(&turn));
        let endpoint = listen("127.0.0.1:0", move |stream| {
            let (acceptor, barrier, turn) = (acceptor.clone(), Arc::clone(&barrier), Arc::clone(&turn));
            async move {
                barrier.wait().await;
                while *turn.lock().unwrap() != index + 1 {
                    tokio::task::yield_now().await;
                }
                let _ = acceptor.accept(stream).await;
                *turn.lock().unwrap() = index;
            }
        });
        asks.push(Ask { endpoint: endpoint.await.unwrap(), hosts: vec!["contoso.com".into()] });
    }
    let found = sightings(None, asks.clone(), &leaf(&pairs[0]), PATIENCE).await.sightings;
    let wanted: Vec<Sighting> = asks
        .iter()
        .zip(&pairs)
        .map(|(ask, pair)| Sighting {
            endpoint: ask.endpoint.to_string(),
            host: "contoso.com".into(),
            outcome: Ok(leaf(pair)),
        })
        .collect();
    assert_eq!(found, wanted);
}

/// The handshake is the dearest that the probe does.
#[tokio::test]
async fn the_right_kind_costs_one_handshake() {
    let authority = Authority::new();
    let [ecdsa, rsa] = [Make::EcdsaP256, Make::Rsa2048].map(|kind| of_kind(&authority, kind));
    let older = of_kind(&authority, Make::Rsa2048);
    // The server's order, what is on disk, how many handshakes.
    let table: [(&[&Pair], &Pair, usize); 5] = [
        (&[&ecdsa], &ecdsa, 1),
        (&[&ecdsa, &rsa], &rsa, 1),
        (&[&ecdsa, &rsa], &ecdsa, 1),
        (&[&ecdsa, &older], &rsa, 1),
        // Two refusals: of the usual and of the wider client.
        (&[&ecdsa], &rsa, 3),
    ];
    for versions in EACH {
        for (index, (shelf, disk, wanted)) in table.into_iter().enumerate() {
            let shop = Arc::new(Shop::selling(shelf));
            let endpoint = serve(&shop, versions).await;
            shown(&endpoint, "contoso.com", disk).await.unwrap();
            let asked = shop.asked.lock().unwrap().len();
            // A server of TLS 1.3 alone does not come to look for a certificate of the older client.
            let unheard = usize::from(wanted == 3 && versions == EACH[1]);
            assert_eq!(asked, wanted - unheard, "row {index}, {versions:?}");
        }
    }
}

/// Clients are made once: nothing of one handshake may show in another.
#[tokio::test]
async fn no_handshake_knows_of_another() {
    let authority = Authority::new();
    let [old, new] = [(); 2].map(|()| authority.issue(Order::default()));
    for versions in EACH {
        let shop = Arc::new(Shop::selling(&[&old]));
        let endpoint = serve(&shop, versions).await;
        for _ in 0..3 {
            assert_eq!(shown(&endpoint, "contoso.com", &new).await, Ok(leaf(&old)));
        }
        assert_eq!(shop.asked.lock().unwrap().len(), 3, "a resumed session shows no certificate");
    }
}
