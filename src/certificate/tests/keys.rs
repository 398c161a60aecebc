//! Keys against certificates by their types and their public parts.

use super::*;

/// A self-signed certificate and its key, of a kind that the authority of the tests cannot make.
pub(super) fn of_new_key(kind: &[&str]) -> (String, String) {
    let both = openssl_req(kind, "/CN=contoso.com", None);
    (both.clone(), both)
}

const P521: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp521r1"];
const PSS: [&str; 4] = ["-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"];

/// The library that checks keys does not know them; their files have the public part.
#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn keys_of_other_kinds_are_compared_by_their_public_part() {
    let kinds: [&[&str]; 5] = [
        &P521,
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"],
        &PSS,
        &["-newkey", "rsa:1024"],
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-pkeyopt", "ec_param_enc:explicit"],
    ];
    for kind in kinds {
        let ((certificate, key), (other, _)) = (of_new_key(kind), of_new_key(kind));
        assert_eq!(look(&certificate, &key).unwrap().doubts, [], "{kind:?}");
        assert_eq!(look(&other, &key), Err(Fault::KeyMismatch), "{kind:?}");
    }
}

#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn a_key_of_another_type_never_belongs_to_a_certificate() {
    let authority = Authority::new();
    let (p256, rsa) = (of_kind(&authority, Make::EcdsaP256), of_kind(&authority, Make::Rsa2048));
    let old = |pair: &Pair, label: &str| {
        // Nothing of it can be read but the label.
        let lines = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA";
        let key =
            format!("-----BEGIN {label} PRIVATE KEY-----\n{lines}\n-----END {label} PRIVATE KEY-----\n");
        (pair.leaf_pem.clone(), key)
    };
    let encrypted = |pair: &Pair| (pair.leaf_pem.clone(), pair.key_as(KeyForm::Encrypted("secret")));
    let mut sets = vec![
        ("P-256", (p256.leaf_pem.clone(), p256.key_pem.clone())),
        ("P-256", (p256.leaf_pem.clone(), p256.key_as(KeyForm::Traditional))),
        ("RSA", (rsa.leaf_pem.clone(), rsa.key_pem.clone())),
        ("RSA", (rsa.leaf_pem.clone(), rsa.key_as(KeyForm::Traditional))),
        ("RSA", old(&rsa, "RSA")),
        ("RSA", of_new_key(&["-newkey", "rsa:1024"])),
        ("P-521", of_new_key(&P521)),
        ("P-384", of_new_key(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"])),
        ("RSA-PSS", of_new_key(&PSS)),
        ("Ed25519", of_new_key(&["-newkey", "ed25519"])),
        ("Ed448", of_new_key(&["-newkey", "ed448"])),
    ];
    sets.push(("EC of any curve", old(&p256, "EC")));
    for (of_certificate, (certificate, _)) in &sets {
        for (of_key, (_, key)) in &sets {
            let differ = match (*of_certificate, *of_key) {
                (one, "EC of any curve") | ("EC of any curve", one)
                    if one == "P-256" || one == "EC of any curve" =>
                {
                    false
                }
                (one, "EC of any curve") => !one.starts_with("P-"),
                ("EC of any curve", another) => another != "P-256",
                (one, another) => one != another,
            };
            assert_eq!(
                types_differ(certificate.as_bytes(), key.as_bytes()),
                Ok(differ),
                "{of_certificate}, {of_key}"
            );
            if differ {
                assert_eq!(look(certificate, key), Err(Fault::KeyMismatch), "{of_certificate}, {of_key}");
            }
        }
        // Encrypted as PKCS#8 it may be of any type.
        for (_, key) in [encrypted(&p256), encrypted(&rsa)] {
            assert_eq!(types_differ(certificate.as_bytes(), key.as_bytes()), Ok(false));
        }
    }
}

/// The library that checks keys writes whole points only.
#[test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
fn a_compressed_point_is_compared_with_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    std::fs::write(&path, openssl_req(&P256, "/CN=contoso.com", None)).unwrap();
    let [whole, compressed] =
        ["uncompressed", "compressed"].map(|form| openssl(&["ec", "-conv_form", form, "-in"]));
    std::fs::write(&path, &compressed).unwrap();
    let certificate = openssl(&["req", "-x509", "-subj", "/CN=contoso.com", "-key"]);
    assert_eq!(
        Leaf::from_der(&pem::certificates(certificate.as_bytes()).unwrap()[0]).unwrap().key_type,
        KeyType::Ecdsa
    );
    for key in [&whole, &compressed] {
        assert_eq!(look(&certificate, key).map(|found| found.doubts), Ok(Vec::new()));
    }
}
