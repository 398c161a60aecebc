//! The reader against rustls's, where the two are meant to agree, and its own rules. That it agrees with OpenSSL a real
//! nginx shows (`tests/proofs/forms.rs`).

use rustls::pki_types::pem::{PemObject, SectionKind};

use super::*;

fn plain(label: &str, text: &str) -> String {
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

fn read(file: &[u8]) -> Result<Vec<Vec<u8>>, Broken> {
    Reader::new(file).map(|block| block.map(|block| block.der.to_vec())).collect()
}

#[test]
fn plain_blocks_are_those_that_rustls_finds() {
    let table = [
        plain("CERTIFICATE", "QUJD"),
        plain("PRIVATE KEY", "QUJDRA=="),
        plain("RSA PRIVATE KEY", "QUJDREU="),
        plain("CERTIFICATE", "QUJDRB=="),
        plain("CERTIFICATE", " QU\tJD \r\nREVG"),
        format!("text\n{}text\n{}", plain("CERTIFICATE", "QUJD"), plain("EC PRIVATE KEY", "REVG")),
        plain("CERTIFICATE", "QUJD").replace('\n', "\r\n"),
        plain("CERTIFICATE", "QUJD").replace("-----\n", "----- \n"),
    ];
    for text in table {
        let by_rustls: Vec<Vec<u8>> =
            <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()).map(|block| block.unwrap().1).collect();
        assert_eq!(read(text.as_bytes()).unwrap(), by_rustls, "{text:?}");
    }
}

#[test]
fn broken_blocks_say_how() {
    let good = plain("CERTIFICATE", "QUJD");
    let table = [
        (plain("CERTIFICATE", "QU=D"), Broken::Base64),
        (plain("CERTIFICATE", "QUJDREU"), Broken::Base64),
        (plain("CERTIFICATE", "Q==="), Broken::Base64),
        (plain("CERTIFICATE", "QU*D"), Broken::Base64),
        (plain("CERTIFICATE", ""), Broken::Base64),
        (good.replace("END CERT", "END CRT"), Broken::Structure),
        (good.replace("-----END", "\n\n-----END"), Broken::Structure),
        (good.trim_end().trim_end_matches('-').to_owned(), Broken::NoEnd),
        (good.replace("-----END CERTIFICATE-----\n", ""), Broken::NoEnd),
        (good.replace("QUJD", "\0"), Broken::NoEnd),
    ];
    for (text, broken) in table {
        assert_eq!(read(text.as_bytes()).unwrap_err(), broken, "{text:?}");
    }
}

#[test]
fn a_begun_begin_line_is_seen_at_the_end_only() {
    let begun = |text: &str| Reader::is_begun(text.as_bytes());
    for text in ["-", "x\n-----BEG", "x\n-----BEGIN CERTIFICATE----", "\u{feff}-----"] {
        assert!(begun(text), "{text:?}");
    }
    for text in ["", "x", "-----BEG\n", "-----BEGIN X-----", "x-", "-----END X-----"] {
        assert!(!begun(text), "{text:?}");
    }
}
