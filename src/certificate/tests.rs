use std::process::Command;

use certhook_test_support::ca::{self, Authority, KeyForm, KeyType as Make, Order, Pair};

use super::*;

mod keys;
mod pfx;

fn look(certificate: &str, key: &str) -> Result<Bundle, Fault> {
    inspect(certificate.as_bytes(), Key::Pem(key.as_bytes()), Timestamp::now())
}

fn whole(pair: &Pair) -> Bundle {
    look(&pair.fullchain_pem, &pair.key_pem).expect("a whole set")
}

fn code(outcome: Result<Bundle, Fault>) -> &'static str {
    outcome.map_or_else(|fault| fault.code(), |_| "whole")
}

fn crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

fn of_kind(authority: &Authority, key: Make) -> Pair {
    authority.issue(Order { key, ..Order::default() })
}

/// A self-signed certificate and its key in one text, as the authority of the tests cannot make it.
fn openssl_req(new_key: &[&str], subject: &str, names: Option<&str>) -> String {
    let extension = names.map(|names| format!("subjectAltName={names}"));
    let output = Command::new("openssl")
        .args(["req", "-x509", "-noenc", "-keyout", "-", "-days", "9", "-subj", subject])
        .args(new_key)
        .args(extension.iter().flat_map(|extension| ["-addext", extension]))
        .output()
        .expect("the openssl command");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("PEM")
}

const P256: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];

#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn every_kind_and_form_of_key_is_whole() {
    use {KeyForm::*, Make::*};
    let table: [(Make, KeyType, &[KeyForm<'_>]); 4] = [
        (EcdsaP256, KeyType::Ecdsa, &[Pkcs8, Traditional, EcWithParameters]),
        (EcdsaP384, KeyType::Ecdsa, &[Pkcs8, Traditional, EcWithParameters]),
        (Rsa2048, KeyType::Rsa, &[Pkcs8, Traditional]),
        (Ed25519, KeyType::Other, &[Pkcs8]),
    ];
    let authority = Authority::new();
    for (kind, key_type, forms) in table {
        let (pair, other) = (of_kind(&authority, kind), of_kind(&authority, kind));
        for form in forms {
            let key = pair.key_as(*form);
            let bundle = look(&pair.fullchain_pem, &key).unwrap();
            assert_eq!(bundle.leaf.fingerprint.to_string(), pair.fingerprint, "{kind:?}");
            assert_eq!((bundle.leaf.key_type, bundle.intermediates), (key_type, 1), "{kind:?} {form:?}");
            assert_eq!(bundle.doubts, [], "{kind:?} {form:?}");
            assert_eq!(bundle, look(&crlf(&pair.fullchain_pem), &crlf(&key)).unwrap(), "{kind:?} {form:?}");
            assert_eq!(look(&other.fullchain_pem, &key), Err(Fault::KeyMismatch), "{kind:?} {form:?}");
        }
    }
}

#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn keys_that_cannot_be_compared_are_a_doubt() {
    let authority = Authority::new();
    let (ec, rsa) = (of_kind(&authority, Make::EcdsaP256), of_kind(&authority, Make::Rsa2048));
    let old_form = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
                    -----END RSA PRIVATE KEY-----\n";
    let cases = [
        (ec.fullchain_pem.clone(), ec.key_as(KeyForm::Encrypted("secret"))),
        (rsa.fullchain_pem.clone(), rsa.key_as(KeyForm::Encrypted("secret"))),
        (rsa.fullchain_pem, old_form.to_owned()),
        keys::of_new_key(&["-newkey", "ed448"]),
    ];
    for (certificate, key) in cases {
        let doubts = look(&certificate, &key).unwrap().doubts;
        assert!(matches!(doubts[..], [Doubt::KeyUnchecked(_)]), "{doubts:?} {key}");
    }
    let elsewhere = inspect(ec.fullchain_pem.as_bytes(), Key::Elsewhere, Timestamp::now()).unwrap();
    assert!(matches!(elsewhere.doubts[..], [Doubt::KeyUnchecked(_)]));
}

#[test]
fn what_stands_around_the_blocks_is_of_no_account() {
    let pair = Authority::new().issue(Order::default());
    let Pair { fullchain_pem: chain, key_pem: key, .. } = &pair;
    let with_text =
        format!("subject=CN = contoso.com\n\n{}\nissuer=…\n{}\n\n", pair.leaf_pem, pair.chain_pem);
    let cases = [
        (with_text, format!("Bag Attributes\n    localKeyID: 01\n{key}after\n")),
        (chain.trim_end().to_owned(), key.trim_end().to_owned()),
        (format!("{key}{chain}"), format!("{chain}{key}")),
        (format!("{chain}{key}"), format!("{key}{chain}")),
        (chain.replace("CATE-----\n", "CATE----- \n"), key.replace("KEY-----\n", "KEY----- \n")),
    ];
    for (certificate, key) in &cases {
        assert_eq!(look(certificate, key).as_ref(), Ok(&whole(&pair)), "{certificate}{key}");
    }
}

#[test]
fn what_keeps_a_set_from_being_whole() {
    let authority = Authority::new();
    let pair = of_kind(&authority, Make::EcdsaP256);
    let rsa = of_kind(&authority, Make::Rsa2048);
    let (chain, key) = (pair.fullchain_pem.as_str(), pair.key_pem.as_str());
    let block = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let (bad_base64, no_der, cut_der) = (block("!!!!"), block("AAAA"), block(&middle(&pair.leaf_pem)));
    let no_key_der = key.replace(&middle(key), "AAAA");
    let bad_begin = chain.replacen("CERTIFICATE-----", "CERTIFICATE----", 1);
    let table = [
        ("", key, "empty"),
        (chain, "", "empty"),
        (" \r\n\t\n", key, "empty"),
        (chain, "\n", "empty"),
        ("text\n", key, "no_certificate"),
        (key, key, "no_certificate"),
        (chain, "text\n", "no_key"),
        (chain, chain, "no_key"),
        (&bad_base64, key, "malformed"),
        (&no_der, key, "malformed"),
        (&cut_der, key, "malformed"),
        // The block is text to OpenSSL, and the intermediate is the leaf.
        (&bad_begin, key, "key_mismatch"),
        (chain, &rsa.key_pem, "key_mismatch"),
        (&rsa.fullchain_pem, key, "key_mismatch"),
        (chain, &no_key_der, "malformed"),
    ];
    for (certificate, key, wanted) in table {
        assert_eq!(code(look(certificate, key)), wanted, "{certificate}{key}");
    }
}

/// The second line of a PEM text: a part of its DER.
fn middle(pem: &str) -> String {
    pem.lines().nth(1).unwrap().to_owned()
}

#[test]
fn a_leaf_is_whole_within_its_dates_only() {
    let authority = Authority::new();
    let pair = authority.issue(Order::default());
    let second = jiff::SignedDuration::from_secs(1);
    let at = |now| {
        inspect(pair.fullchain_pem.as_bytes(), Key::Pem(pair.key_pem.as_bytes()), now).map(|found| found.leaf)
    };
    assert_eq!(at(pair.not_before - second), Err(Fault::NotYetValid(pair.not_before)));
    assert_eq!(at(pair.not_after + second), Err(Fault::Expired(pair.not_after)));
    for now in [pair.not_before, pair.not_after] {
        let leaf = at(now).unwrap();
        assert_eq!((leaf.not_before, leaf.not_after), (pair.not_before, pair.not_after));
    }
    for (pair, wanted) in
        [(authority.expired(&["a.com"]), "expired"), (authority.not_yet_valid(&["a.com"]), "not_yet_valid")]
    {
        assert_eq!(code(look(&pair.fullchain_pem, &pair.key_pem)), wanted);
        assert_eq!(Leaf::from_der(&pair.leaf_der).unwrap().not_after, pair.not_after, "seen on a wire");
        let other = authority.issue(Order::default());
        assert_eq!(code(look(&pair.fullchain_pem, &other.key_pem)), "key_mismatch", "told before its dates");
    }
}

/// A slow writer's file may be seen at any length.
#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn a_prefix_is_never_taken_for_the_whole() {
    let authority = Authority::new();
    for kind in [Make::EcdsaP256, Make::Rsa2048] {
        let pair = of_kind(&authority, kind);
        let with_root = format!("{}{}", pair.fullchain_pem, authority.root_pem());
        for text in [pair.fullchain_pem.clone(), crlf(&pair.fullchain_pem), with_root] {
            let complete = look(&text, &pair.key_pem).unwrap();
            for cut in 0..text.len() {
                match look(&text[..cut], &pair.key_pem) {
                    Ok(found) if found == complete => assert_eq!(text[cut..].trim(), "", "cut at {cut}"),
                    Ok(found) => {
                        assert!(found.intermediates < complete.intermediates && found.set != complete.set);
                        assert_eq!(found.intermediates == 0, found.doubts == [Doubt::LeafOnly], "{cut}");
                    }
                    Err(fault) => {
                        assert!(matches!(fault, Fault::Empty(_) | Fault::Truncated(_)), "{cut}: {fault:?}");
                    }
                }
            }
        }
        let encrypted = pair.key_as(KeyForm::Encrypted("secret"));
        for key in [pair.key_pem.clone(), crlf(&pair.key_pem), pair.key_as(KeyForm::Traditional), encrypted] {
            for cut in 0..key.trim_end().len() {
                let found = look(&pair.fullchain_pem, &key[..cut]);
                let passing = matches!(found, Err(Fault::Empty(Part::Key) | Fault::Truncated(Part::Key)));
                assert!(passing, "{kind:?} cut at {cut}: {found:?}");
            }
        }
    }
}

/// `rsync --inplace` and `dd conv=notrunc` leave the old file's end behind the new one's beginning.
#[test]
fn old_and_new_mixed_is_neither() {
    let authority = Authority::new();
    let old = authority.issue(Order::default());
    let new = authority.issue(Order { reuse_key: Some(&old), ..Order::default() });
    let (old_set, new_set) = (whole(&old), whole(&new));
    for cut in 0..old.fullchain_pem.len().min(new.fullchain_pem.len()) {
        let mixed = format!("{}{}", &new.fullchain_pem[..cut], &old.fullchain_pem[cut..]);
        if let Ok(found) = look(&mixed, &new.key_pem) {
            let known = found == old_set || found == new_set;
            assert!(known || !found.doubts.is_empty(), "cut at {cut}: {found:?}");
        }
    }
}

/// The end of an old block may stand behind a new certificate that is shorter.
#[test]
fn bytes_after_a_certificate_of_the_chain_are_a_doubt() {
    use base64::Engine;
    let pair = Authority::new().issue(Order::default());
    let block = |der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    let chain = pem::certificates(pair.chain_pem.as_bytes()).unwrap();
    let longer = block(&[chain[0].as_ref(), b"end"].concat());
    let found = look(&format!("{}{longer}", pair.leaf_pem), &pair.key_pem).unwrap();
    assert_eq!((found.set, found.doubts), (whole(&pair).set, vec![Doubt::TrailingBytes { at: 2 }]));
    let leaf = block(&[pair.leaf_der.as_slice(), b"end"].concat());
    assert_eq!(code(look(&format!("{leaf}{}", pair.chain_pem), &pair.key_pem)), "malformed");
}

#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn chains_that_link_up_and_chains_that_do_not() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let pair = authority.issue(Order::default());
    let Pair { leaf_pem: leaf, chain_pem: middle, key_pem: key, .. } = &pair;
    let root = authority.root_pem();
    let strange = stranger.intermediate_pem();
    let imposter = openssl_req(&P256, &format!("/CN={}", issuer(&pair)), None);
    let table: [(&[&str], u32, Option<Doubt>); 9] = [
        (&[leaf, middle], 1, None),
        (&[leaf, middle, root], 2, None),
        (&[leaf], 0, Some(Doubt::LeafOnly)),
        (&[leaf, root], 1, Some(Doubt::ChainGap { at: 1 })),
        (&[leaf, root, middle], 2, Some(Doubt::ChainGap { at: 1 })),
        (&[leaf, middle, middle], 2, Some(Doubt::ChainGap { at: 2 })),
        (&[leaf, middle, strange], 2, Some(Doubt::ChainGap { at: 2 })),
        (&[leaf, strange], 1, Some(Doubt::ChainGap { at: 1 })),
        (&[leaf, &imposter], 1, Some(Doubt::ChainGap { at: 1 })),
    ];
    let mut sets = Vec::new();
    for (index, (parts, intermediates, doubt)) in table.into_iter().enumerate() {
        let found = look(&parts.concat(), key).unwrap();
        assert_eq!(found.leaf.fingerprint.to_string(), pair.fingerprint);
        assert_eq!(
            (found.intermediates, found.doubts),
            (intermediates, Vec::from_iter(doubt)),
            "row {index}"
        );
        assert!(!sets.contains(&found.set), "row {index}: the set tells it from the others");
        sets.push(found.set);
    }
    assert_eq!(look(&format!("{middle}{leaf}"), key), Err(Fault::KeyMismatch), "the leaf must be the first");
    let alone = ca::self_signed(Order::default());
    assert_eq!((whole(&alone).doubts, whole(&alone).intermediates), (vec![], 0));
}

/// The imposter has this very name: it is the signature that tells.
fn issuer(pair: &Pair) -> String {
    let leaf = chain::parse(&pair.leaf_der).unwrap();
    let name = leaf.issuer().iter_common_name().next().unwrap().as_str().unwrap();
    let imposter = openssl_req(&P256, &format!("/CN={name}"), None);
    let ders = pem::certificates(imposter.as_bytes()).unwrap();
    assert_eq!(chain::parse(&ders[0]).unwrap().subject(), leaf.issuer());
    name.to_owned()
}

#[test]
fn too_many_certificates_are_refused() {
    let pair = Authority::new().issue(Order::default());
    let of = |count: usize| format!("{}{}", pair.leaf_pem, pair.chain_pem.repeat(count - 1));
    assert_eq!(look(&of(64), &pair.key_pem).unwrap().intermediates, 63);
    assert_eq!(code(look(&of(65), &pair.key_pem)), "malformed");
}

#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn host_names_come_clean_and_in_order() {
    let authority = Authority::new();
    let of = |pair: &Pair| Vec::from_iter(whole(pair).leaf.hosts.iter().map(str::to_owned));
    let ordered: [(&[&str], &[&str]); 3] = [
        (&["www.contoso.com", "contoso.com", "*.a.com"], &["www.contoso.com", "contoso.com", "*.a.com"]),
        (&["Contoso.COM", "contoso.com", "WWW.contoso.com"], &["contoso.com", "www.contoso.com"]),
        (&["127.0.0.1", "::1", "localhost"], &["127.0.0.1", "::1", "localhost"]),
    ];
    for (hosts, wanted) in ordered {
        assert_eq!(of(&authority.issue(Order { hosts, ..Order::default() })), wanted);
    }
    let unusual = [
        ("/CN=Contoso.COM", None, "contoso.com"),
        ("/O=Contoso", None, ""),
        (
            "/CN=x.com",
            Some("DNS:b.com,IP:10.0.0.1,email:me@c.com,DNS:a.com,DNS:B.com"),
            "b.com,10.0.0.1,a.com",
        ),
        ("/CN=x.com", Some("email:me@c.com"), "x.com"),
    ];
    for (subject, names, wanted) in unusual {
        let both = openssl_req(&P256, subject, names);
        let leaf = look(&both, &both).unwrap().leaf;
        assert_eq!((leaf.hosts.to_string().as_str(), leaf.hosts.is_empty()), (wanted, wanted.is_empty()));
    }
}

#[test]
fn a_leaf_of_the_wire_is_the_leaf_on_disk() {
    let pair = Authority::new().issue(Order::default());
    assert_eq!(Leaf::from_der(&pair.leaf_der).unwrap(), *whole(&pair).leaf);
    let longer = [pair.leaf_der.as_slice(), b"\0"].concat();
    for wrong in [&[][..], b"no DER", &longer, &pair.leaf_der[..pair.leaf_der.len() - 1]] {
        assert_eq!(Leaf::from_der(wrong).map_err(|fault| fault.code()), Err("malformed"));
    }
}

#[test]
fn fingerprints_are_sha256_and_come_back_from_their_text() {
    let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let abc = Fingerprint::of(b"abc");
    assert_eq!((abc.to_string().as_str(), format!("{abc:?}").as_str()), (known, known));
    assert_eq!(Fingerprint::of_all([&b"a"[..], b"bc"]), abc);
    assert_eq!(known.parse::<Fingerprint>().unwrap(), abc);
    assert_eq!(known.to_uppercase().parse::<Fingerprint>().unwrap(), abc);
    let signed = known.replacen("ba", "+a", 1);
    let accented = "é".repeat(32);
    for wrong in ["", &known[1..], &format!("{known}0"), &known.replace('b', "g"), &signed, &accented] {
        assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
    }
}

#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn an_issuer_is_its_organisation_or_else_its_whole_name() {
    let issuer = |subject: &str| {
        let pem = openssl_req(&P256, subject, None);
        Leaf::from_der(&pem::certificates(pem.as_bytes()).unwrap()[0]).unwrap().issuer
    };
    let one = issuer("/C=US/O=Let's Encrypt/CN=R10");
    assert_eq!((&one, one.to_string().as_str()), (&issuer("/C=US/O=Let's Encrypt/CN=E5"), "O=Let's Encrypt"));
    let inside = issuer("/DC=test/DC=contoso/CN=R10");
    assert_eq!(inside, issuer("/DC=test/DC=contoso/CN=R10"));
    for other in ["/DC=test/DC=contoso/CN=R11", "/O=Contoso/CN=R10", "/CN=O=Let's Encrypt", "/O= /CN=R10"] {
        assert!(issuer(other) != one && issuer(other) != inside, "{other}");
    }
}
