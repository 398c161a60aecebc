//! Certificates and keys in every form: changed texts, other labels, other orders.

use std::process::Command;

use certhook_test_support::ca::{Authority, KeyForm, KeyType, Order, Pair};

use super::changes::changed;
use super::tools::{lines, openssh, openssl, openssl_base64, pem, pkcs7, utf16};
use super::{BOM, PASSWORD};

/// A certificate file and a key file.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

pub(super) fn table(authority: &Authority) -> Vec<Row> {
    let order = |key| Order { hosts: &["form.test"], key, ..Order::default() };
    let (ec, rsa, ed) = (
        authority.issue(order(KeyType::EcdsaP256)),
        authority.issue(order(KeyType::Rsa2048)),
        authority.issue(order(KeyType::Ed25519)),
    );
    let mut rows = Vec::new();
    let mut add = |name: String, certificate: &[u8], key: &[u8]| {
        rows.push(Row { name, certificate: certificate.to_vec(), key: key.to_vec() });
    };
    // The leaf and the intermediate, each changed.
    for (name, bytes) in changed(&ec.leaf_pem) {
        let mut both = bytes.clone();
        both.extend_from_slice(ec.chain_pem.as_bytes());
        add(format!("leaf: {name}"), &bytes, ec.key_pem.as_bytes());
        add(format!("leaf, then chain: {name}"), &both, ec.key_pem.as_bytes());
    }
    for (name, bytes) in changed(&ec.chain_pem) {
        let both = [ec.leaf_pem.as_bytes(), &bytes].concat();
        add(format!("chain: {name}"), &both, ec.key_pem.as_bytes());
    }
    // Each form of key, changed.
    let encrypted_rsa = pem(&["rsa", "-aes128", "-traditional", "-passout", "pass:secret"], &rsa.key_pem);
    let keys: [(&str, &Pair, String, bool); 7] = [
        ("PKCS#8", &ec, ec.key_pem.clone(), true),
        ("EC", &ec, ec.key_as(KeyForm::Traditional), false),
        ("RSA", &rsa, rsa.key_as(KeyForm::Traditional), false),
        ("Ed25519", &ed, ed.key_pem.clone(), false),
        ("encrypted PKCS#8", &rsa, rsa.key_as(KeyForm::Encrypted(PASSWORD)), false),
        ("encrypted RSA", &rsa, encrypted_rsa.clone(), true),
        ("EC parameters", &ec, ec.key_as(KeyForm::EcWithParameters), true),
    ];
    for (form, pair, key, in_every_way) in keys {
        let ways = changed(&key);
        // A process of nginx's for each that is refused: the others have the first ways, which are the likely ones.
        let count = if in_every_way { ways.len() } else { 24 };
        for (name, bytes) in ways.into_iter().take(count) {
            add(format!("{form} key: {name}"), pair.fullchain_pem.as_bytes(), &bytes);
        }
    }
    // Labels and trust settings.
    let x509 = |text: &str| text.replace(" CERTIFICATE-", " X509 CERTIFICATE-");
    let trusted = |text: &str, more: &[&str]| pem(&[&["x509", "-trustout"], more].concat(), text);
    let relabelled = |text: &str, label: &str| text.replace(" CERTIFICATE-", &format!(" {label}-"));
    let plain_trust = trusted(&ec.leaf_pem, &[]);
    let full_trust = trusted(
        &ec.leaf_pem,
        &["-addtrust", "serverAuth", "-addreject", "emailProtection", "-setalias", "x"],
    );
    let chain_trust = trusted(&ec.chain_pem, &["-addtrust", "serverAuth"]);
    let with_tail = |tail: &[u8]| {
        let der = openssl(&["x509", "-outform", "DER"], &ec.leaf_pem);
        let mut der = [&der[..], tail].concat();
        let body = openssl_base64(&std::mem::take(&mut der));
        format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
    };
    let Pair { leaf_pem: leaf, chain_pem: chain, key_pem: key, .. } = &ec;
    let root = authority.root_pem();
    let csr = String::from_utf8({
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, key).unwrap();
        let output =
            Command::new("openssl").args(["req", "-new", "-subj", "/CN=x", "-key"]).arg(&path).output();
        output.unwrap().stdout
    })
    .unwrap();
    let pkcs7 = pkcs7(&format!("{leaf}{chain}"));
    let certificates: Vec<(&str, String)> = vec![
        ("X509 CERTIFICATE", x509(leaf)),
        ("X509 CERTIFICATE, and the chain", x509(&format!("{leaf}{chain}"))),
        ("X509 CERTIFICATE, byte order mark", format!("{BOM}{}", x509(leaf))),
        ("TRUSTED CERTIFICATE", plain_trust),
        ("TRUSTED CERTIFICATE with trust", full_trust.clone()),
        ("TRUSTED CERTIFICATE with trust, then the chain", format!("{full_trust}{chain}")),
        ("CERTIFICATE with trust", relabelled(&full_trust, "CERTIFICATE").replace("TRUSTED ", "")),
        ("CERTIFICATE, then a TRUSTED CERTIFICATE", format!("{leaf}{chain_trust}")),
        (
            "CERTIFICATE, then a CERTIFICATE with trust",
            format!("{leaf}{}", chain_trust.replace("TRUSTED ", "")),
        ),
        ("NULL after the certificate", with_tail(&[5, 0])),
        ("an empty sequence after the certificate", with_tail(&[0x30, 0])),
        ("zeros after the certificate", with_tail(&[0; 9])),
        ("an integer in a sequence after the certificate", with_tail(&[0x30, 3, 2, 1, 0])),
        ("an alias, then trust after the certificate", with_tail(&[0x30, 5, 0x0c, 1, b'x', 0x30, 0])),
        ("a key id after the certificate", with_tail(&[0x30, 3, 4, 1, b'x'])),
        ("a sequence and more after the certificate", with_tail(&[0x30, 0, 1, 2, 3])),
        ("text between", format!("subject\n{leaf}\nissuer\n{chain}\nend\n")),
        ("blank line, then byte order mark, between", format!("{leaf}\n{BOM}{chain}")),
        ("byte order marks between", format!("{BOM}{leaf}{BOM}{chain}{BOM}{root}")),
        ("no newline between", format!("{}{chain}", leaf.trim_end())),
        ("the key first", format!("{key}{leaf}{chain}")),
        ("the key between", format!("{leaf}{key}{chain}")),
        ("the key last", format!("{leaf}{chain}{key}")),
        (
            "DH parameters last",
            format!(
                "{leaf}{chain}-----BEGIN DH PARAMETERS-----\nMAYCAQ8CAQI=\n-----END DH PARAMETERS-----\n"
            ),
        ),
        ("an encrypted key first", format!("{encrypted_rsa}{leaf}{chain}")),
        ("a request first", format!("{csr}{leaf}{chain}")),
        ("a request alone", csr),
        ("PKCS7 in PEM", pkcs7.clone()),
        ("PKCS7 labelled CERTIFICATE", pkcs7.replace("PKCS7", "CERTIFICATE")),
        ("of a directory", "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n".to_owned()),
        ("CERTIFICATE-", relabelled(leaf, "CERTIFICATE-")),
        ("the chain first", format!("{chain}{leaf}")),
    ];
    for (name, text) in certificates {
        add(format!("certificate: {name}"), text.as_bytes(), key.as_bytes());
    }
    let der = openssl(&["x509", "-outform", "DER"], leaf);
    add("certificate: DER".into(), &der, key.as_bytes());
    let other = authority.issue(order(KeyType::EcdsaP256)).key_pem;
    let (sec1, pkcs1) = (ec.key_as(KeyForm::Traditional), rsa.key_as(KeyForm::Traditional));
    let encrypted = ec.key_as(KeyForm::Encrypted(PASSWORD));
    let as_label = |text: &str, label: &str| {
        let old = text.lines().next().unwrap().trim_matches('-').strip_prefix("BEGIN ").unwrap();
        text.replace(&format!(" {old}-"), &format!(" {label}-"))
    };
    let of_ec: Vec<(&str, String)> = vec![
        ("another key", other.clone()),
        ("two keys, ours first", format!("{key}{other}")),
        ("two keys, ours last", format!("{other}{key}")),
        ("ours, then an encrypted one", format!("{key}{encrypted_rsa}")),
        ("an encrypted one, then another", format!("{encrypted}{other}")),
        ("certificate first", format!("{leaf}{chain}{key}")),
        ("certificate last", format!("{key}{leaf}{chain}")),
        (
            "parameters alone",
            "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n".to_owned(),
        ),
        ("public key alone", pem(&["pkey", "-pubout"], key)),
        ("public key first", format!("{}{key}", pem(&["pkey", "-pubout"], key))),
        ("PKCS#8 labelled EC", as_label(key, "EC PRIVATE KEY")),
        ("PKCS#8 labelled RSA", as_label(key, "RSA PRIVATE KEY")),
        ("PKCS#8 labelled ANY", as_label(key, "ANY PRIVATE KEY")),
        ("SEC1 labelled PKCS#8", as_label(&sec1, "PRIVATE KEY")),
        ("encrypted labelled clear", as_label(&encrypted, "PRIVATE KEY")),
        ("clear labelled encrypted", as_label(key, "ENCRYPTED PRIVATE KEY")),
        ("an OpenSSH key", openssh(key)),
        ("an OpenSSH key first", format!("{}{key}", openssh(key))),
        ("the certificate alone", leaf.clone()),
        (
            "an unknown key first",
            format!("-----BEGIN X PRIVATE KEY-----\nQUJD\n-----END X PRIVATE KEY-----\n{key}"),
        ),
        ("broken DER first", format!("-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----\n{key}")),
    ];
    for (name, text) in of_ec {
        add(format!("key: {name}"), ec.fullchain_pem.as_bytes(), text.as_bytes());
    }
    add(
        "key: PKCS#1 labelled EC".into(),
        rsa.fullchain_pem.as_bytes(),
        as_label(&pkcs1, "EC PRIVATE KEY").as_bytes(),
    );
    add(
        "key: PKCS#1 labelled PKCS#8".into(),
        rsa.fullchain_pem.as_bytes(),
        as_label(&pkcs1, "PRIVATE KEY").as_bytes(),
    );
    add(
        "key: PKCS#8 labelled RSA, of RSA".into(),
        rsa.fullchain_pem.as_bytes(),
        as_label(&rsa.key_pem, "RSA PRIVATE KEY").as_bytes(),
    );
    add("key: DER".into(), ec.fullchain_pem.as_bytes(), &openssl(&["pkey", "-outform", "DER"], key));
    add("key: RSA for an EC leaf".into(), ec.fullchain_pem.as_bytes(), rsa.key_pem.as_bytes());
    rows
}

/// A file in another form: its name, which file of the set it is, its bytes, and what is said of it.
pub(super) type Other = (&'static str, &'static str, Vec<u8>, &'static str);

pub(super) fn other_forms(pair: &Pair) -> Vec<Other> {
    let (leaf, key) = (pair.leaf_pem.as_str(), pair.key_pem.as_str());
    let pkcs7 = pkcs7(&pair.fullchain_pem);
    let pkcs7_der = openssl(&["pkcs7", "-outform", "DER"], &pkcs7);
    vec![
        ("DER", "cert", openssl(&["x509", "-outform", "DER"], leaf), "in DER"),
        ("PKCS#7", "cert", pkcs7.clone().into(), "PKCS#7"),
        ("PKCS#7 labelled CERTIFICATE", "cert", pkcs7.replace("PKCS7", "CERTIFICATE").into(), "PKCS#7"),
        ("PKCS#7 in DER", "cert", pkcs7_der, "PKCS#7 in DER"),
        ("UTF-16", "cert", utf16(&pair.fullchain_pem), "UTF-16"),
        ("CR alone", "cert", pair.fullchain_pem.replace('\n', "\r").into(), "carriage returns"),
        ("indented", "cert", lines(&pair.fullchain_pem, |_, line| format!("  {line}")).into(), "blanks"),
        (
            "byte order mark after text",
            "cert",
            format!("text\n{BOM}{}", pair.leaf_pem).into(),
            "byte order mark",
        ),
        ("DER key", "key", openssl(&["pkey", "-outform", "DER"], key), "a key in DER"),
        ("old DER key", "key", openssl(&["pkey", "-traditional", "-outform", "DER"], key), "a key in DER"),
        ("UTF-16 key", "key", utf16(key), "UTF-16"),
        ("OpenSSH key", "key", openssh(key).into(), "OpenSSH"),
    ]
}
