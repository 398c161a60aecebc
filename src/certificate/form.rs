//! Other forms of certificates and keys, which OpenSSL's PEM reader refuses, and how to convert them.

use x509_parser::asn1_rs::{Any, FromBer, Tag, oid};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::fault::Part;
use super::pem::Reader;

/// What a file holds in place of PEM blocks that the server can load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A certificate in DER.
    CertificateDer,
    /// A key in DER.
    KeyDer,
    /// PKCS#7 in PEM.
    Pkcs7,
    /// PKCS#7 in DER.
    Pkcs7Der,
    /// PKCS#12.
    Pfx,
    /// Text in UTF-16.
    Utf16,
    /// A web page.
    Html,
    /// A key in OpenSSH's own form.
    OpenSshKey,
    /// The same of Ed25519, which `ssh-keygen` (9.2) does not convert.
    OpenSshEd25519,
    /// A certificate request.
    Request,
    /// The public part of a key.
    PublicKey,
    /// Lines that end in carriage returns alone.
    CarriageReturns,
    /// Blanks, or a byte order mark that OpenSSL does not skip, before each BEGIN line.
    Shifted,
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CertificateDer => "a certificate in DER",
            Self::KeyDer => "a key in DER",
            Self::Pkcs7 => "PKCS#7",
            Self::Pkcs7Der => "PKCS#7 in DER",
            Self::Pfx => "a PFX (PKCS#12)",
            Self::Utf16 => "text in UTF-16",
            Self::Html => "a web page",
            Self::OpenSshKey | Self::OpenSshEd25519 => "a key in OpenSSH's own form",
            Self::Request => "a certificate request",
            Self::PublicKey => "a public key",
            Self::CarriageReturns => "lines that end in carriage returns alone",
            Self::Shifted => "blanks or a byte order mark before each BEGIN line",
        })
    }
}

impl Form {
    /// The form of a file in which no wanted PEM block was found; `None` where it is unknown.
    pub(super) fn of(file: &[u8], part: Part) -> Option<Self> {
        let text = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let has = |wanted: &[u8]| text.windows(wanted.len()).any(|window| window == wanted);
        match file {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'-', 0, b'-', 0, ..] | [0, b'-', 0, b'-', ..] => {
                return Some(Self::Utf16);
            }
            [0x30, ..] => return Self::of_der(file),
            _ => {}
        }
        let begins = |label: &str| has(format!("-----BEGIN {label}-----").as_bytes());
        if text.trim_ascii_start().starts_with(b"<") {
            Some(Self::Html)
        } else if part == Part::Key && begins("OPENSSH PRIVATE KEY") {
            let is_ed25519 = |der: &[u8]| der.windows(ED25519.len()).any(|window| window == ED25519);
            let mut blocks = Reader::new(file).flatten();
            Some(match blocks.any(|block| is_ed25519(&block.der)) {
                true => Self::OpenSshEd25519,
                false => Self::OpenSshKey,
            })
        } else if part == Part::Key && begins("PUBLIC KEY") {
            Some(Self::PublicKey)
        } else if part == Part::Certificate && (begins("PKCS7") || begins("CMS")) {
            Some(Self::Pkcs7)
        } else if part == Part::Certificate
            && (begins("CERTIFICATE REQUEST") || begins("NEW CERTIFICATE REQUEST"))
        {
            Some(Self::Request)
        } else if has(b"-----BEGIN ") && !file.contains(&b'\n') && file.contains(&b'\r') {
            Some(Self::CarriageReturns)
        } else if file.split(|byte| *byte == b'\n').any(is_shifted) {
            Some(Self::Shifted)
        } else {
            None
        }
    }

    /// By the first elements inside: a request and a certificate differ in the third level only.
    fn of_der(file: &[u8]) -> Option<Self> {
        let (_, outer) = Any::from_ber(file).ok()?;
        if X509Certificate::from_der(file).is_ok() {
            return Some(Self::CertificateDer);
        }
        let (rest, first) = Any::from_ber(outer.data).ok()?;
        let second = Any::from_ber(rest).map(|(_, second)| second.tag()).ok();
        match (first.tag(), second) {
            (Tag::Oid, _) if first.data == oid!(raw 1.2.840.113549.1.7.2) => Some(Self::Pkcs7Der),
            (Tag::Integer, Some(Tag::Sequence)) if first.data == [3] => Some(Self::Pfx),
            (Tag::Integer, _) | (Tag::Sequence, Some(Tag::OctetString)) => Some(Self::KeyDer),
            (Tag::Sequence, Some(Tag::BitString)) => Some(Self::PublicKey),
            (Tag::Sequence, Some(Tag::Sequence)) => Some(Self::Request),
            _ => None,
        }
    }

    /// What to do about it, without the file's name.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Html => "download it anew: what came is a web page, perhaps one that asks to sign in",
            Self::Request => "put the certificate there that the authority issued for the request",
            Self::PublicKey => "put the private key there",
            Self::OpenSshEd25519 => {
                "make a key with `openssl genpkey -algorithm ed25519`, and have the certificate issued for it"
            }
            Self::Utf16 => "save it in UTF-8",
            _ => "convert it to PEM",
        }
    }

    /// The command line that converts the file, whose owner and mode stay.
    pub(super) fn command(self, path: &str, part: Part) -> Option<String> {
        let (file, new) = (quoted(path)?, quoted(&format!("{path}.new"))?);
        let made = match (self, part) {
            (Self::CertificateDer, Part::Certificate) => {
                format!("openssl x509 -inform DER -in {file} -out {new}")
            }
            (Self::KeyDer, Part::Key) => format!("openssl pkey -inform DER -in {file} -out {new}"),
            (Self::Pkcs7, Part::Certificate) => format!("openssl pkcs7 -print_certs -in {file} -out {new}"),
            (Self::Pkcs7Der, Part::Certificate) => {
                format!("openssl pkcs7 -inform DER -print_certs -in {file} -out {new}")
            }
            (Self::OpenSshKey, Part::Key) if !cfg!(windows) => {
                format!("cp {file} {new} && chmod 600 {new} && ssh-keygen -p -m PKCS8 -N '' -f {new}")
            }
            (Self::Utf16, _) if !cfg!(windows) => format!("iconv -f UTF-16 -t UTF-8 {file} > {new}"),
            (Self::CarriageReturns, _) if !cfg!(windows) => format!("tr '\\r' '\\n' < {file} > {new}"),
            (Self::Shifted, _) if !cfg!(windows) => {
                format!("LC_ALL=C sed 's/^[^-]*-----/-----/' {file} > {new}")
            }
            // Not in its place: it holds the other part too.
            (Self::Pfx, _) => {
                let pem = quoted(&format!("{path}.pem"))?;
                return Some(format!("openssl pkcs12 -in {file} -noenc -out {pem}"));
            }
            _ => return None,
        };
        Some(match cfg!(windows) {
            true => format!("{made} && move /Y {new} {file}"),
            false => format!("{made} && cat {new} > {file} && rm {new}"),
        })
    }
}

/// How OpenSSH names the type inside.
const ED25519: &[u8] = b"ssh-ed25519";

fn is_shifted(line: &[u8]) -> bool {
    let at = line.iter().position(|byte| *byte == b'-').unwrap_or(line.len());
    let (before, rest) = line.split_at(at);
    let before = before.strip_prefix(b"\xef\xbb\xbf").unwrap_or(before);
    at > 0 && before.iter().all(u8::is_ascii_whitespace) && rest.starts_with(b"-----BEGIN ")
}

/// As a shell reads it back; `None` where a control character is in it.
fn quoted(path: &str) -> Option<String> {
    if path.chars().any(char::is_control) {
        return None;
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,".contains(c);
    Some(match () {
        () if path.chars().all(is_plain) => path.to_owned(),
        () if cfg!(windows) => format!("\"{path}\""),
        () => format!("'{}'", path.replace('\'', "'\\''")),
    })
}
