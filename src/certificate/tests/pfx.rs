//! PFX files as old and new programs write them.

use std::io::Write;
use std::process::{Command, Stdio};

use certhook_test_support::ca::{Ber, pfx_in_ber};

use super::*;
use crate::certificate::pfx::{in_der, inspect_pfx, open};

const PASSWORD: &str = "1 \"pass\" & 7 words";

fn sealed(text: &str, password: &str, more: &[&str]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(["pkcs12", "-export", "-passout", &format!("pass:{password}")])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{more:?}");
    output.stdout
}

fn text(pair: &Pair) -> String {
    format!("{}{}", pair.key_pem, pair.fullchain_pem)
}

fn look_into(bytes: &[u8], password: &str) -> Result<Bundle, Fault> {
    inspect_pfx(bytes, password, Timestamp::now())
}

#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn a_pfx_is_the_same_set_as_its_pem_files_however_it_is_sealed() {
    let authority = Authority::new();
    let triple_des = ["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"];
    for kind in [Make::Rsa2048, Make::EcdsaP256, Make::EcdsaP384] {
        let pair = of_kind(&authority, kind);
        let expected = whole(&pair);
        let ways: [&[&str]; 4] =
            [&[], &triple_des, &["-legacy"], &["-keypbe", "AES-128-CBC", "-certpbe", "NONE"]];
        for more in ways {
            let pfx = sealed(&text(&pair), PASSWORD, more);
            assert_eq!(look_into(&pfx, PASSWORD).unwrap(), expected, "{kind:?} {more:?}");
            let opened = open(&pfx, PASSWORD).unwrap();
            let material = Material::of_pem(&opened.full_chain, &opened.key).unwrap();
            assert_eq!((material.set, material.thumbprint), (expected.set, Thumbprint::of(&pair.leaf_der)));
            assert!(!format!("{material:?}").contains(" key:"), "a key is never shown");
        }
        assert_eq!(look_into(&sealed(&text(&pair), "", &[]), "").unwrap(), expected);
    }
}

/// What OpenSSL's command says: whether the PFX opens.
fn openssl_opens(bytes: &[u8], password: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pfx");
    std::fs::write(&path, bytes).unwrap();
    let mut command = Command::new("openssl");
    command.args(["pkcs12", "-noout", "-passin", &format!("pass:{password}"), "-in"]).arg(&path);
    command.output().unwrap().status.success()
}

#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn a_pfx_in_ber_is_the_same_set() {
    let authority = Authority::new();
    for kind in [Make::Rsa2048, Make::EcdsaP256] {
        let pair = of_kind(&authority, kind);
        let expected = whole(&pair);
        let triple_des = ["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES"];
        let ways: [&[&str]; 3] = [&[], &triple_des, &["-keypbe", "AES-128-CBC", "-certpbe", "NONE"]];
        for (more, password) in ways.into_iter().flat_map(|more| [(more, PASSWORD), (more, "")]) {
            let der = sealed(&text(&pair), password, more);
            for (ber, piece) in [(Ber::Outside, 1000), (Ber::Everywhere, 1000), (Ber::Everywhere, 7)] {
                let pfx = pfx_in_ber(&der, password, ber, piece);
                assert_ne!(pfx, der);
                assert!(openssl_opens(&pfx, password), "{kind:?} {more:?} {ber:?} {piece}");
                let found = look_into(&pfx, password);
                assert_eq!(found.as_ref(), Ok(&expected), "{kind:?} {more:?} {ber:?} {piece}");
                assert!(!openssl_opens(&pfx, "another"));
                assert_eq!(look_into(&pfx, "another"), Err(Fault::WrongPassword));
            }
        }
    }
}

#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn a_pfx_in_ber_that_is_cut_or_changed_is_never_whole() {
    let pair = of_kind(&Authority::new(), Make::EcdsaP256);
    for ber in [Ber::Outside, Ber::Everywhere] {
        let good = pfx_in_ber(&sealed(&text(&pair), PASSWORD, &[]), PASSWORD, ber, 100);
        for end in 1..good.len() {
            assert_eq!(look_into(&good[..end], PASSWORD), Err(Fault::Truncated(Part::Pfx)), "{end}");
        }
        assert_eq!(super::code(look_into(&[&good[..], b"\0"].concat(), PASSWORD)), "malformed");
        for at in (0..good.len()).step_by(good.len() / 150) {
            let mut changed = good.clone();
            changed[at] ^= 0x01;
            // Nothing that the seal is over may have another meaning; a bit around it may be of no account.
            if let Ok(found) = look_into(&changed, PASSWORD) {
                assert_eq!(found, whole(&pair), "{at}");
            }
        }
        // The seal is over the content: that of another PFX with the same password does not fit.
        let other = pfx_in_ber(&sealed(&text(&pair), PASSWORD, &[]), PASSWORD, ber, 100);
        let seal = |pfx: &[u8]| pfx.len() - 200;
        let mixed = [&good[..seal(&good)], &other[seal(&other)..]].concat();
        assert!(look_into(&mixed, PASSWORD).is_err());
    }
}

#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn another_order_and_more_certificates_than_needed_make_no_difference() {
    let authority = Authority::new();
    let pair = of_kind(&authority, Make::EcdsaP256);
    let all = format!("{}{}{}{}", pair.key_pem, authority.root_pem(), pair.chain_pem, pair.leaf_pem);
    assert_eq!(look_into(&sealed(&all, PASSWORD, &[]), PASSWORD).unwrap(), whole(&pair));
}

#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn what_is_wrong_with_a_pfx_has_its_code() {
    let authority = Authority::new();
    let pair = of_kind(&authority, Make::EcdsaP256);
    let good = sealed(&text(&pair), PASSWORD, &[]);
    let code = |bytes: &[u8], password: &str| super::code(look_into(bytes, password));
    assert_eq!(code(&good, PASSWORD), "whole");
    assert_eq!(code(&good, "another"), "wrong_password");
    assert_eq!(code(&good, ""), "wrong_password");
    assert_eq!(code(&[], PASSWORD), "empty");
    assert_eq!(code(b"\r\n", PASSWORD), "empty");
    assert_eq!(code(pair.fullchain_pem.as_bytes(), PASSWORD), "malformed");
    assert_eq!(code(&[0; 4096], PASSWORD), "malformed", "room that is made and not yet filled");
    assert_eq!(code(&[&good[..], b"x"].concat(), PASSWORD), "malformed");
    assert_eq!(code(&sealed(&text(&pair), PASSWORD, &["-nomac"]), PASSWORD), "malformed");
    assert_eq!(code(&sealed(&text(&pair), PASSWORD, &["-nokeys"]), PASSWORD), "malformed");
    let expired = authority.expired(&["contoso.com"]);
    assert_eq!(code(&sealed(&text(&expired), PASSWORD, &[]), PASSWORD), "expired");
    let told = look_into(&good, "another").unwrap_err();
    let words = format!("{told} {} {told:?}", told.remedy());
    assert!(words.contains("pfx_password_file") && !words.contains("another"), "{words}");
}

#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn a_pfx_that_is_cut_anywhere_is_never_whole() {
    let pair = of_kind(&Authority::new(), Make::EcdsaP256);
    for more in [&[][..], &["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"]] {
        let good = sealed(&text(&pair), PASSWORD, more);
        for end in 1..good.len() {
            assert_eq!(look_into(&good[..end], PASSWORD), Err(Fault::Truncated(Part::Pfx)), "{end}");
        }
        // Room was made at once, and only so much of it is filled.
        for end in (1..good.len()).step_by(good.len() / 40) {
            let mut begun = good.clone();
            begun[end..].fill(0);
            assert!(look_into(&begun, PASSWORD).is_err(), "{end}");
        }
    }
}

#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn a_key_of_any_form_is_made_pkcs_8() {
    use KeyForm::{EcWithParameters, Pkcs8, Traditional};
    let authority = Authority::new();
    for (kind, forms) in [
        (Make::Rsa2048, &[Pkcs8, Traditional][..]),
        (Make::EcdsaP256, &[Pkcs8, Traditional, EcWithParameters]),
        (Make::EcdsaP384, &[Pkcs8, Traditional]),
    ] {
        let pair = of_kind(&authority, kind);
        for form in forms {
            let key = pair.key_as(*form);
            let material = Material::of_pem(pair.fullchain_pem.as_bytes(), key.as_bytes()).unwrap();
            let pem =
                base64::engine::Engine::encode(&base64::engine::general_purpose::STANDARD, &material.key);
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
            assert_eq!(look(&pair.fullchain_pem, &pem).unwrap(), whole(&pair), "{kind:?} {form:?}");
            assert_eq!(material.certificates.len(), 2);
        }
    }
    let pair = of_kind(&authority, Make::EcdsaP256);
    let sealed = pair.key_as(KeyForm::Encrypted(PASSWORD));
    assert_eq!(
        Material::of_pem(pair.fullchain_pem.as_bytes(), sealed.as_bytes()).unwrap_err().code(),
        "malformed"
    );
}

#[test]
fn a_thumbprint_is_what_windows_shows() {
    let of = Thumbprint::of(b"abc");
    assert_eq!(of.to_string(), "A9993E364706816ABA3E25717850C26C9CD0D89D");
    assert_eq!("a9993e364706816aba3e25717850c26c9cd0d89d".parse::<Thumbprint>().unwrap(), of);
    for bad in
        ["", "A9", "G9993E364706816ABA3E25717850C26C9CD0D89D", "é9993E364706816ABA3E25717850C26C9CD0D89"]
    {
        assert!(bad.parse::<Thumbprint>().is_err(), "{bad}");
    }
}

/// `pk12util` of NSS 3.87 wrote it, in BER. Its 600,000 iterations are OpenSSL's to make.
#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn a_pfx_of_nss_is_made_der() {
    let pfx = include_bytes!("../../../tests/support/keys/nss.p12");
    assert_eq!(pfx[..2], [0x30, 0x80]);
    let der = in_der(pfx, "secret").unwrap();
    assert!(der[..2] == [0x30, 0x82] && openssl_opens(&der, "secret"));
    assert_eq!(in_der(pfx, "another"), Err(Fault::WrongPassword));
}
