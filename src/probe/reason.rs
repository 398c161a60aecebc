//! Why a listener showed no certificate, in terms of TLS, and what to do.

use rustls::{AlertDescription, CertificateError, CipherSuite, Error, InvalidMessage, NamedGroup};

use super::client::provider;
use super::groups::OWN_GROUPS;
use super::handshake::Failure;
use crate::agent::Unseen;
use crate::config::{Address, Endpoint};
use crate::problem::{NOT_ON_THIS_HOST, Problem, printable};

const NO_ANSWER: &str = "see that the server runs and listens there, and that nothing keeps this host out";
const NO_TLS: &str = "see that it speaks TLS there, for this name";
const NO_CERTIFICATE: &str = "see that a server takes this name there and has a certificate; the server's error log says what it refused";

/// The endpoint does not answer.
pub(super) fn unreachable(endpoint: &Endpoint, why: &str) -> Unseen {
    let message = format!("{endpoint} does not answer: {}", printable(why, 200));
    Unseen::Unreachable(Problem::new("unreachable", message, NO_ANSWER))
}

/// The host has no socket of this family.
pub(super) fn no_ipv6(endpoint: &Endpoint) -> Unseen {
    let message = format!("{endpoint}: IPv6 is switched off on this host, so the address is not asked");
    let remedy = "nothing, where it is meant to be off; else switch it on with sysctl net.ipv6.conf.all.disable_ipv6=0";
    Unseen::NotHere(Problem::new(NOT_ON_THIS_HOST, message, remedy))
}

/// The endpoint answers, and shows no certificate. `wanted` are the suite and the group that it names in TLS 1.3.
pub(super) fn refused(
    endpoint: &Endpoint,
    host: &str,
    failure: &Failure,
    wanted: Option<(u16, u16)>,
) -> Unseen {
    let (why, remedy) = match failure {
        Failure::Alert(_) if wanted.is_some_and(|wanted| !speaks(wanted)) => {
            let (suite, group) = wanted.unwrap_or_default();
            (cannot_speak(suite, group), with_openssl(endpoint, host))
        }
        Failure::Alert(AlertDescription::UnrecognisedName) => {
            ("it refuses this name (TLS alert unrecognized_name)".to_owned(), NO_CERTIFICATE.to_owned())
        }
        Failure::Alert(alert) => {
            let words =
                format!("it refuses every version, cipher suite and group (TLS alert {})", name(*alert));
            (words, NO_CERTIFICATE.to_owned())
        }
        Failure::Other(Error::InvalidCertificate(CertificateError::BadSignature)) => (
            "it shows a certificate and signs with another key".to_owned(),
            "write certificate and key of one pair, and reload the server".to_owned(),
        ),
        Failure::Other(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            ("its answer is not TLS".to_owned(), NO_TLS.to_owned())
        }
        Failure::Other(error) => (error.to_string(), NO_TLS.to_owned()),
        Failure::Connect(error) | Failure::BrokenOff(error) => (error.to_string(), NO_TLS.to_owned()),
    };
    no_handshake(endpoint, host, &why, &remedy)
}

/// The bytes that it showed are no certificate.
pub(super) fn unreadable(endpoint: &Endpoint, host: &str, why: &str) -> Unseen {
    no_handshake(endpoint, host, why, "see which file the server shows for this name")
}

fn no_handshake(endpoint: &Endpoint, host: &str, why: &str, remedy: &str) -> Unseen {
    let host = printable(host, 100);
    let message = format!("{endpoint} shows no certificate for {host}: {}", printable(why, 300));
    Unseen::Refused(Problem::new("no_handshake", message, remedy))
}

/// Whether this build can shake hands in TLS 1.3 with this suite and in this group.
fn speaks((suite, group): (u16, u16)) -> bool {
    provider(None).cipher_suites.iter().any(|known| u16::from(known.suite()) == suite) && has_group(group)
}

/// The groups of this build.
fn groups() -> impl Iterator<Item = u16> {
    provider(None).kx_groups.into_iter().chain(OWN_GROUPS).map(|known| u16::from(known.name()))
}

fn has_group(group: u16) -> bool {
    groups().any(|known| known == group)
}

fn cannot_speak(suite: u16, group: u16) -> String {
    if has_group(group) {
        let suite = CipherSuite::from(suite);
        let name = suite.as_str().map_or_else(|| format!("{suite:?}"), |name| name.replace("TLS13_", "TLS_"));
        return format!(
            "the listener offers only TLS 1.3 with the cipher suite {name}, which this build cannot speak"
        );
    }
    let asked: Vec<_> = groups().map(group_name).collect();
    format!(
        "the listener offers only TLS 1.3 with groups that this build cannot speak, {} first (asked with: {})",
        group_name(group),
        asked.join(", ")
    )
}

/// IANA's name.
fn group_name(group: u16) -> String {
    match NamedGroup::from(group) {
        NamedGroup::X25519 => "x25519".into(),
        NamedGroup::X448 => "x448".into(),
        NamedGroup::FFDHE2048 => "ffdhe2048".into(),
        NamedGroup::FFDHE3072 => "ffdhe3072".into(),
        NamedGroup::FFDHE4096 => "ffdhe4096".into(),
        NamedGroup::FFDHE6144 => "ffdhe6144".into(),
        NamedGroup::FFDHE8192 => "ffdhe8192".into(),
        _ => match group {
            31 => "brainpoolP256r1tls13".into(),
            32 => "brainpoolP384r1tls13".into(),
            33 => "brainpoolP512r1tls13".into(),
            group => NamedGroup::from(group).as_str().map_or_else(|| format!("{group:#06x}"), str::to_owned),
        },
    }
}

/// IANA's name of an alert, from the name in code.
fn name(alert: AlertDescription) -> String {
    let Some(code) = alert.as_str() else { return u8::from(alert).to_string() };
    let mut name = String::new();
    for (index, letter) in code.char_indices() {
        if letter.is_uppercase() && index > 0 {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// A command that shows the certificate where this build cannot.
fn with_openssl(endpoint: &Endpoint, host: &str) -> String {
    let place = match &endpoint.address {
        Address::Tcp(address) => format!("-connect {address}"),
        Address::Unix(path) => format!("-unix {}", path.display()),
    };
    let name = if super::is_name(host) { format!(" -servername {host}") } else { String::new() };
    format!(
        "let the listener offer X25519 and AES-GCM as well (nginx: ssl_ecdh_curve, ssl_conf_command Ciphersuites), or look with: openssl s_client {place}{name} </dev/null"
    )
}
