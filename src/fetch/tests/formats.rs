//! PFX and PEM, and what is made where the portal has no link.

use std::process::{Command, Stdio};

use super::*;

/// A PFX of the pair's key and chain, as old and new systems write it.
fn made(pair: &Pair, password: &str, more: &[&str]) -> Vec<u8> {
    use std::io::Write;
    let mut child = Command::new("openssl")
        .args(["pkcs12", "-export", "-passout", &format!("pass:{password}")])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!("{}{}", pair.key_pem, pair.fullchain_pem);
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{more:?}");
    output.stdout
}

const TRIPLE_DES: [&str; 6] = ["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"];

#[tokio::test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
async fn a_pfx_is_opened_and_judged_as_it_came() {
    let world = World::new().await;
    for more in [&[][..], &TRIPLE_DES, &["-keypbe", "AES-128-CBC", "-certpbe", "NONE"]] {
        let pfx = made(&world.pair, PASSWORD, more);
        world.shelf.put("/pfx", ok(&pfx));
        let fetched = world.fetch(Format::Pfx).await.unwrap_or_else(|problem| panic!("{more:?} {problem}"));
        assert_eq!(fetched.certificate, world.path("certificate.pfx"));
        assert_eq!(fetched.leaf.fingerprint.to_string(), world.pair.fingerprint);
        assert_eq!(std::fs::read(world.path("certificate.pfx")).unwrap(), pfx);
        assert_eq!(here(&world.home(), &world.certificate, Format::Pfx), Here::Same, "{more:?}");
        assert_eq!(here(&world.home(), &world.certificate, Format::All), Here::Lacks);
    }
    assert_eq!(world.snapshot().len(), 1);
}

#[tokio::test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
async fn a_pfx_must_be_whole_and_the_portal_s() {
    let mut world = World::new().await;
    let order = Order { hosts: &HOSTS, ..Order::default() };
    let (other, early) = (
        world.ca.issue(Order { hosts: &["other.test"], ..order }),
        world.ca.issue(Order { valid: soon(), ..order }),
    );
    let good = made(&world.pair, PASSWORD, &[]);
    let bare = Pair { fullchain_pem: world.pair.leaf_pem.clone(), ..world.pair.clone() };
    let trailing = [&good[..], b"more"].concat();
    for (what, pfx, code) in [
        ("another password", made(&world.pair, "other", &[]), "bad_pfx"),
        ("without its seal", made(&world.pair, PASSWORD, &["-nomac"]), "bad_pfx"),
        ("without a key", made(&world.pair, PASSWORD, &["-nokeys"]), "bad_pfx"),
        ("cut", good[..good.len() - 1].to_vec(), "bad_pfx"),
        ("with more behind it", trailing, "bad_pfx"),
        ("empty", Vec::new(), "bad_pfx"),
        ("PEM", world.pair.fullchain_pem.clone().into_bytes(), "bad_pfx"),
        ("a page", b"<html>".to_vec(), "html"),
        ("without its chain", made(&bare, PASSWORD, &[]), "not_proved"),
        ("another's", made(&other, PASSWORD, &[]), "other_certificate"),
        ("another end", made(&early, PASSWORD, &[]), "other_certificate"),
        ("of the past", made(&world.ca.expired(&HOSTS), PASSWORD, &[]), "expired"),
    ] {
        world.age();
        let before = world.snapshot();
        world.shelf.put("/pfx", ok(pfx));
        for format in [Format::Pfx, Format::All] {
            let problem = world.fetch(format).await.expect_err(what);
            assert_eq!(problem.code, code, "{what}: {problem:?}");
            assert!(!format!("{problem:?}").contains(PASSWORD), "{problem:?}");
            assert_eq!(world.snapshot(), before, "{what}");
        }
    }
    // Both, and each of another issue.
    let twin = world.ca.issue(order);
    world.shelf.put("/pfx", ok(made(&twin, PASSWORD, &[])));
    assert_eq!(world.fetch(Format::All).await.unwrap_err().code, "other_certificate");
    // A portal that says no password means the empty one.
    world.certificate.pfx_password = None;
    world.shelf.put("/pfx", ok(made(&world.pair, "", &[])));
    assert!(world.fetch(Format::Pfx).await.is_ok());
}

#[tokio::test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
async fn all_is_everything_in_the_vendor_s_order() {
    let world = World::new().await;
    world.shelf.put("/pfx", ok(world.pair.pfx(PASSWORD)));
    let fetched = world.fetch(Format::All).await.unwrap();
    assert_eq!(fetched.certificate, world.path("fullChainCertificate.crt"));
    assert_eq!(world.snapshot().len(), 5);
    assert_eq!(here(&world.home(), &world.certificate, Format::All), Here::Same);
    let names: Vec<_> = Format::All.files().iter().map(|file| file.name()).collect();
    assert_eq!(
        names,
        [
            "certificate.pfx",
            "privateKey.key",
            "primaryCertificate.crt",
            "caBundle.crt",
            "fullChainCertificate.crt"
        ]
    );
    // The PFX alone is of another issue.
    let twin = world.ca.issue(Order { hosts: &HOSTS, ..Order::default() });
    std::fs::write(world.path("certificate.pfx"), twin.pfx(PASSWORD)).unwrap();
    assert_eq!(here(&world.home(), &world.certificate, Format::All), Here::Older);
}

#[tokio::test]
async fn what_has_no_link_is_made_of_what_has() {
    let mut world = World::new().await;
    let all = world.certificate.links.clone();
    for (what, links) in [
        ("the full chain", Links { full_chain: None, ..all.clone() }),
        ("the leaf", Links { leaf: None, ..all.clone() }),
        ("the chain", Links { intermediates: None, ..all.clone() }),
        ("both", Links { leaf: None, intermediates: None, ..all }),
    ] {
        world.certificate.links = links;
        world.fetch(Format::Pem).await.unwrap_or_else(|problem| panic!("{what}: {problem}"));
        let pair = &world.pair;
        for (file, text) in [
            ("fullChainCertificate.crt", &pair.fullchain_pem),
            ("primaryCertificate.crt", &pair.leaf_pem),
            ("caBundle.crt", &pair.chain_pem),
        ] {
            assert_eq!(&std::fs::read_to_string(world.path(file)).unwrap(), text, "{what}: {file}");
        }
        std::fs::remove_dir_all(world.home()).unwrap();
    }
    // A leaf that does not end its last line.
    world.certificate.links.full_chain = None;
    world.certificate.links.leaf = Some(world.shelf.link("/leaf"));
    world.certificate.links.intermediates = Some(world.shelf.link("/chain"));
    world.shelf.put("/leaf", ok(world.pair.leaf_pem.trim_end()));
    world.fetch(Format::Pem).await.unwrap();
    let full = std::fs::read_to_string(world.path("fullChainCertificate.crt")).unwrap();
    assert_eq!(full, world.pair.fullchain_pem);
}
