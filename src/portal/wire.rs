//! What goes over the wire to the portal and back, as it is documented and as it really comes.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use secrecy::{ExposeSecret, SecretString};
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::same_name;

/// More certificates than this are no honest answer: each has some three hundred bytes as it is documented.
const MOST_CERTIFICATES: usize = 20_000;
/// The longest wait that an answer may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 86_400);

/// A report's JSON: these three and no more.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report<'a> {
    pub(super) id: i64,
    pub(super) name: &'a str,
    pub(super) remote_create_date: &'a str,
}

/// A renewal's JSON where certificates are kept in a Key Vault.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Renewal<'a> {
    pub(super) key_vault_access_token: &'a str,
}

/// What certhook reads of a CertificateResponse. Unknown fields are ignored; all but id and name may be missing,
/// null, empty or of another type.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Certificate {
    /// The portal's number.
    pub id: i64,
    /// The portal's name, as it spells it.
    pub name: String,
    /// The certificate's beginning, as the portal spells it.
    pub issue_date: String,
    /// The certificate's end, UTC.
    pub expiry_date: Option<DateTime>,
    /// When it was reported installed; `None` until then.
    pub remote_create_date: Option<DateTime>,
    /// What kind of certificate it is, such as `Azure DNS`.
    pub target: String,
    /// `Automatic` or `Manual`.
    pub renewal: String,
    /// Where its files can be had.
    pub links: Links,
    /// What opens the PFX.
    #[serde(serialize_with = "expose")]
    pub pfx_password: Option<SecretString>,
}

/// Where a certificate's files can be had; `None` where there is nothing to download. A link may hold a
/// signature that lets anybody download what it leads to: it is not to be shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// Key, leaf and chain in one, with a password.
    pub pfx: Option<String>,
    /// The key.
    pub private_key: Option<String>,
    /// The leaf (`certificateUri`).
    pub leaf: Option<String>,
    /// The chain.
    pub intermediates: Option<String>,
    /// Leaf and chain.
    pub full_chain: Option<String>,
    /// `pemUri`.
    pub pem: Option<String>,
}

/// Which there are, and not where they lead.
impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pfx, private_key, leaf, intermediates, full_chain, pem } = self;
        let mut set = f.debug_set();
        for (name, link) in [
            ("pfx", pfx),
            ("private_key", private_key),
            ("leaf", leaf),
            ("intermediates", intermediates),
            ("full_chain", full_chain),
            ("pem", pem),
        ] {
            set.entries(link.is_some().then_some(name));
        }
        set.finish()
    }
}

/// For certhook's other process, whose messages are wiped.
fn expose<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|secret| secret.expose_secret()).serialize(serializer)
}

impl Certificate {
    /// When it ends; the portal's dates are UTC, without saying so. An end beyond the calendar is none, as a
    /// certificate's own.
    pub fn expires(&self) -> Option<Timestamp> {
        let zoned = self.expiry_date?.to_zoned(jiff::tz::TimeZone::UTC);
        Some(zoned.map_or(Timestamp::MAX, |zoned| zoned.timestamp()))
    }
}

/// A 2xx answer that is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// The login's.
    #[error("the login service's answer holds no token")]
    NoToken,
    /// Not JSON, or of another shape; begins with this.
    #[error("the portal's answer is not the documented JSON: {0}")]
    Shape(String),
    /// More than [`MOST_CERTIFICATES`].
    #[error("the portal's answer holds more than {MOST_CERTIFICATES} certificates")]
    TooMany,
    /// Something else than what was reported.
    #[error("the portal's answer does not echo the certificate: {0}")]
    OtherEcho(String),
}

impl Unusable {
    fn shape(answer: &[u8]) -> Self {
        Self::Shape(String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned())
    }
}

/// The list; an entry that cannot be read does not spoil the others.
pub(super) fn list(answer: &[u8]) -> Result<Vec<Certificate>, Unusable> {
    let mut found = Vec::new();
    let mut beyond = false;
    let take = |certificate| match found.len() < MOST_CERTIFICATES {
        true => found.push(certificate),
        false => beyond = true,
    };
    each(answer, take).map_err(|_| Unusable::shape(answer))?;
    if beyond { Err(Unusable::TooMany) } else { Ok(found) }
}

/// Whether the answer, an object or an array of objects, echoes the report.
pub(super) fn echoes(answer: &[u8], report: &Report<'_>) -> Result<(), Unusable> {
    let mut echoed = false;
    let mut judge = |echo: Certificate| {
        echoed |= echo.id == report.id
            && same_name(&echo.name, report.name)
            && echo.remote_create_date.map(seconds) == report.remote_create_date.parse().ok();
    };
    match answer.trim_ascii_start() {
        [b'[', ..] => each(answer, judge),
        _ => serde_json::from_slice::<&RawValue>(answer)
            .map(|raw| certificate(raw).into_iter().for_each(&mut judge)),
    }
    .map_err(|_| Unusable::shape(answer))?;
    if echoed {
        Ok(())
    } else {
        Err(Unusable::OtherEcho(String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned()))
    }
}

/// Every readable certificate of an array, one after the other: as a tree in memory a hostile answer would have
/// eighty times its size.
fn each(answer: &[u8], take: impl FnMut(Certificate)) -> serde_json::Result<()> {
    struct Elements<F>(F);

    impl<'de, F: FnMut(Certificate)> Visitor<'de> for Elements<F> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
            while let Some(raw) = elements.next_element::<&RawValue>()? {
                certificate(raw).into_iter().for_each(&mut self.0);
            }
            Ok(())
        }
    }

    let mut json = serde_json::Deserializer::from_slice(answer);
    json.deserialize_seq(Elements(take))?;
    json.end()
}

/// An object; an array of the fields' values is none.
fn certificate(raw: &RawValue) -> Option<Certificate> {
    let object = Some(raw.get()).filter(|text| text.starts_with('{'))?;
    serde_json::from_str::<Entry>(object).ok().map(Certificate::from)
}

/// A CertificateResponse as it comes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: i64,
    name: String,
    #[serde(default, deserialize_with = "text")]
    issue_date: Option<String>,
    #[serde(default, deserialize_with = "date")]
    expiry_date: Option<DateTime>,
    #[serde(default, deserialize_with = "date")]
    remote_create_date: Option<DateTime>,
    #[serde(default, deserialize_with = "text")]
    target: Option<String>,
    #[serde(default, deserialize_with = "text")]
    renewal: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pem_uri: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pfx_uri: Option<String>,
    #[serde(default, deserialize_with = "text")]
    private_key_uri: Option<String>,
    #[serde(default, deserialize_with = "text")]
    certificate_uri: Option<String>,
    #[serde(default, deserialize_with = "text")]
    intermediate_certificate_uri: Option<String>,
    #[serde(default, deserialize_with = "text")]
    full_chain_certificate_uri: Option<String>,
    #[serde(default, deserialize_with = "password")]
    pfxpwd: Option<SecretString>,
}

impl From<Entry> for Certificate {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            name: entry.name,
            issue_date: entry.issue_date.unwrap_or_default(),
            expiry_date: entry.expiry_date,
            remote_create_date: entry.remote_create_date,
            target: entry.target.unwrap_or_default(),
            renewal: entry.renewal.unwrap_or_default(),
            links: Links {
                pfx: entry.pfx_uri,
                private_key: entry.private_key_uri,
                leaf: entry.certificate_uri,
                intermediates: entry.intermediate_certificate_uri,
                full_chain: entry.full_chain_certificate_uri,
                pem: entry.pem_uri,
            },
            pfx_password: entry.pfxpwd,
        }
    }
}

/// Seconds or an HTTP date.
pub(super) fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date =
                jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
            Duration::try_from(date.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

fn seconds(date: DateTime) -> DateTime {
    date.with().subsec_nanosecond(0).build().unwrap_or(date)
}

/// A local date-time with up to seven digits of fraction; null, empty and unreadable ones are `None`.
fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime>, D::Error> {
    let raw = Option::<&RawValue>::deserialize(deserializer)?;
    let text = raw.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    Ok(text.and_then(|text| text.trim().trim_end_matches('Z').parse().ok()))
}

/// Text; null, empty and what is none are `None`.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let raw = Option::<&RawValue>::deserialize(deserializer)?;
    let text = raw.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// As it is: white space may be part of it.
fn password<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let raw = Option::<&RawValue>::deserialize(deserializer)?;
    let text = raw.and_then(|raw| serde_json::from_str::<SecretString>(raw.get()).ok());
    Ok(text.filter(|text| !text.expose_secret().is_empty()))
}

/// The login's numbers come as strings, and sometimes as numbers.
pub(super) fn number_or_string<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = <&RawValue>::deserialize(deserializer)?.get();
    let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    digits.trim().parse().map_err(|_| D::Error::custom("not a whole number"))
}

#[cfg(test)]
mod tests;
