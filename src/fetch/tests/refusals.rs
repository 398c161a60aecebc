//! What is not whole, or not the portal's, never comes near the old files.

use certhook_test_support::ca::{KeyForm, KeyType, self_signed};

use super::*;

/// Fetches in vain; the old files stay as they were.
async fn refused(world: &World, what: &str, code: &str) -> Problem {
    world.age();
    let before = world.snapshot();
    let problem = world.fetch(Format::Pem).await.expect_err(what);
    assert_eq!(problem.code, code, "{what}: {problem:?}");
    assert_eq!(world.snapshot(), before, "{what}");
    let said = format!("{problem:?}");
    for secret in ["S3CRET", "BEGIN", PASSWORD] {
        assert!(!said.contains(secret), "{what}: {said}");
    }
    assert!(!problem.remedy.is_empty() && problem.message.contains("contoso.com"), "{what}: {said}");
    problem
}

#[tokio::test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
async fn what_is_downloaded_must_be_whole() {
    let mut world = World::new().await;
    let pair = &world.pair.clone();
    let html = b"\xef\xbb\xbf \r\n<!DOCTYPE html><p>Sign in".to_vec();
    let (key, full) = (pair.key_pem.as_bytes(), pair.fullchain_pem.as_bytes());
    let half = |text: &[u8]| text[..text.len() / 2].to_vec();
    let mut flipped = full.to_vec();
    flipped[200] = b'!';
    let broken_off = |text: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len() + 9);
        [head.as_bytes(), text].concat()
    };
    let unsized_large = |head: &str| [head.as_bytes(), &vec![b'a'; (1 << 20) + 1]].concat();
    let encrypted = pair.key_as(KeyForm::Encrypted("x"));
    let cases: Vec<(&str, &'static str, Option<Vec<u8>>, &str)> = vec![
        ("a page for the full chain", "/full", Some(ok(&html)), "html"),
        ("a page for the key", "/key", Some(ok(&html)), "html"),
        ("a page for the chain", "/chain", Some(ok(&html)), "html"),
        ("a storage account's error", "/key", Some(ok("<?xml version=\"1.0\"?><Error/>")), "html"),
        ("an empty key", "/key", Some(ok("")), "empty"),
        ("an empty full chain", "/full", Some(ok("\n")), "empty"),
        ("an empty leaf", "/leaf", Some(ok("")), "empty"),
        ("half a key", "/key", Some(ok(half(key))), "truncated"),
        ("half a full chain", "/full", Some(ok(&full[..full.len() - 40])), "truncated"),
        ("a full chain without its chain", "/full", Some(ok(&pair.leaf_pem)), "not_proved"),
        ("a byte changed", "/full", Some(ok(flipped)), "malformed"),
        ("words for a key", "/key", Some(ok("not found")), "no_key"),
        ("words for a full chain", "/full", Some(ok("not found")), "no_certificate"),
        ("a key that needs a password", "/key", Some(ok(encrypted)), "not_proved"),
        ("broken off", "/full", Some(broken_off(full)), "download_unreachable"),
        ("no answer at all", "/full", None, "download_unreachable"),
        ("no http", "/full", Some(b"SSH-2.0-OpenSSH\r\n".to_vec()), "download_unreachable"),
        ("too large", "/full", Some(ok(vec![b'a'; (1 << 20) + 1])), "download_too_large"),
        (
            "too large, as it says",
            "/full",
            Some(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec()),
            "download_too_large",
        ),
        (
            "too large without saying so",
            "/full",
            Some(unsized_large("HTTP/1.1 200 OK\r\n\r\n")),
            "download_too_large",
        ),
        (
            "too large in chunks",
            "/full",
            Some(unsized_large("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n200000\r\n")),
            "download_too_large",
        ),
        ("gone", "/leaf", Some(status("404 Not Found", b"")), "download_refused"),
        ("an expired link", "/key", Some(status("403 Forbidden", full)), "download_refused"),
        ("a part", "/full", Some(status("206 Partial Content", full)), "download_refused"),
        ("nothing", "/full", Some(status("204 No Content", b"")), "download_refused"),
        ("out of order", "/full", Some(status("500 Oops", full)), "download_refused"),
        ("not changed", "/full", Some(status("304 Not Modified", b"")), "download_refused"),
    ];
    for (what, path, answer, code) in cases {
        world.stock(pair);
        world.patience = Duration::from_secs(if answer.is_none() { 1 } else { 30 });
        world.shelf.put(path, answer);
        let problem = refused(&world, what, code).await;
        assert!(problem.message.contains("from 127.0.0.1:"), "{what}: {problem:?}");
    }
    world.stock(pair);
    world.patience = Duration::from_secs(30);
    assert!(world.fetch(Format::Pem).await.unwrap().changed, "the world itself is sound");
}

#[tokio::test]
async fn what_is_downloaded_must_be_the_portal_s() {
    let mut world = World::new().await;
    let order = Order { hosts: &HOSTS, ..Order::default() };
    let twin = world.ca.issue(order);
    let stranger = Authority::new().issue(Order { hosts: &["other.test"], ..order });
    let fewer = world.ca.issue(Order { hosts: &HOSTS[..1], ..order });
    let early = world.ca.issue(Order { valid: soon(), ..order });
    let (expired, later) = (world.ca.expired(&HOSTS), world.ca.not_yet_valid(&HOSTS));
    let alone = self_signed(order);
    let odd = world.ca.issue(Order { key: KeyType::Rsa2048, ..order });
    for (what, pair, code) in [
        ("another's certificate", &stranger, "other_certificate"),
        ("one of fewer hosts", &fewer, "other_certificate"),
        ("one that ends otherwise", &early, "other_certificate"),
        ("one of the past", &expired, "expired"),
        ("one of the future", &later, "not_yet_valid"),
    ] {
        world.stock(pair);
        refused(&world, what, code).await;
    }
    for (what, path, text, code) in [
        ("another's key", "/key", &twin.key_pem, "key_mismatch"),
        ("a key of another kind", "/key", &odd.key_pem, "key_mismatch"),
        ("a full chain of another issue", "/full", &twin.fullchain_pem, "key_mismatch"),
        ("a leaf of another issue", "/leaf", &twin.leaf_pem, "other_certificate"),
        ("a chain for a leaf", "/leaf", &world.pair.chain_pem, "other_certificate"),
        ("a leaf with its chain", "/leaf", &world.pair.fullchain_pem, "not_proved"),
        ("another authority's chain", "/chain", &stranger.chain_pem, "not_proved"),
    ] {
        world.stock(&world.pair);
        world.shelf.put(path, ok(text));
        refused(&world, what, code).await;
    }
    // Of one key there may be two issues.
    let reissued = world.ca.issue(Order { reuse_key: Some(&world.pair), ..order });
    world.stock(&world.pair);
    world.shelf.put("/leaf", ok(&reissued.leaf_pem));
    refused(&world, "a leaf of another issue with this key", "other_certificate").await;
    // Nothing is to be known of the end where the portal says nothing.
    world.stock(&early);
    world.certificate.expiry_date = None;
    assert!(world.fetch(Format::Pem).await.is_ok());
    // One that vouches for itself is whole; its chain is empty, which no file of the layout can be.
    world.stock(&alone);
    refused(&world, "a self-signed one", "empty").await;
}

#[tokio::test]
async fn links_lead_where_they_may_only() {
    let mut world = World::new().await;
    let port = world.shelf.address.port();
    let good = world.certificate.links.full_chain.clone();
    for (link, code) in [
        ("http://files.example.net/full?sig=S3CRET".to_owned(), "bad_link"),
        (format!("http://user:S3CRET@127.0.0.1:{port}/full"), "bad_link"),
        (format!("http://S3CRET@127.0.0.1:{port}/full"), "bad_link"),
        ("file:///etc/shadow".to_owned(), "bad_link"),
        ("/full?sig=S3CRET".to_owned(), "bad_link"),
        ("S3CRET".to_owned(), "bad_link"),
        ("https://".to_owned(), "bad_link"),
        // Nobody speaks TLS there.
        (format!("https://127.0.0.1:{port}/full?sig=S3CRET"), "download_unreachable"),
    ] {
        world.certificate.links.full_chain = Some(link.clone());
        refused(&world, &link, code).await;
    }
    world.certificate.links.full_chain = good;
    for location in [
        "https://files.example.net/full?sig=S3CRET",
        "http://files.example.net/full?sig=S3CRET",
        "//files.example.net/full",
        "file:///etc/shadow",
        "ftp://127.0.0.1/full",
        &format!("http://user:S3CRET@127.0.0.1:{port}/full"),
        "http://0.0.0.0/full",
        "/full",
        "http://[::1",
    ] {
        world.shelf.put("/full", redirect(location));
        refused(&world, location, "bad_redirect").await;
    }
    world.shelf.put("/full", status("302 Found", b"nowhere"));
    refused(&world, "no location", "bad_redirect").await;
    let asked = world.shelf.asked.lock().unwrap().join("");
    assert!(!asked.contains("user:") && !asked.to_lowercase().contains("authorization"), "{asked}");
}

#[tokio::test]
async fn without_links_nothing_is_asked_for() {
    let mut world = World::new().await;
    let all = world.certificate.links.clone();
    for (what, links) in [
        ("no key", Links { private_key: None, ..all.clone() }),
        ("no chain", Links { full_chain: None, intermediates: None, ..all.clone() }),
        ("no leaf", Links { full_chain: None, leaf: None, ..all.clone() }),
        ("none", Links::default()),
    ] {
        world.certificate.links = links;
        assert!(!has_links(&world.certificate, Format::Pem), "{what}");
        refused(&world, what, "nothing_to_download").await;
    }
    world.certificate.links = Links { pfx: None, ..all };
    assert!(has_links(&world.certificate, Format::Pem) && !has_links(&world.certificate, Format::All));
    assert!(!has_links(&world.certificate, Format::Pfx));
    assert!(world.shelf.asked.lock().unwrap().is_empty());
}

/// Otherwise whoever writes the portal's links has certhook ask this host's own services.
#[tokio::test]
async fn links_of_a_portal_elsewhere_never_reach_this_host() {
    let mut world = World::new().await;
    world.fetch(Format::Pem).await.unwrap();
    let before = world.shelf.asked.lock().unwrap().len();
    let port = world.shelf.address.port();
    for endpoint in ["https://portal.example", "https://10.0.0.5", "https://127.0.0.1:8443"] {
        world.endpoint = endpoint;
        for host in ["127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]"] {
            world.certificate.links.private_key = Some(format!("http://{host}:{port}/key"));
            refused(&world, &format!("{endpoint} {host}"), "bad_link").await;
        }
    }
    let asked = world.shelf.asked.lock().unwrap();
    assert_eq!(asked.len(), before, "{asked:?}");
}
