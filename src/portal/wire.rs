//! What goes over the wire to the portal and back, as it is documented and as it really comes.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::same_name;

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

/// What certhook reads of a CertificateResponse. Unknown fields are ignored; all but id and name may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The portal's number.
    pub id: i64,
    /// The portal's name, as it spells it.
    pub name: String,
    /// The certificate's end, UTC.
    #[serde(default, deserialize_with = "date")]
    pub expiry_date: Option<DateTime>,
    /// When it was reported installed; `None` until then.
    #[serde(default, deserialize_with = "date")]
    pub remote_create_date: Option<DateTime>,
}

impl Certificate {
    /// When it ends; the portal's dates are UTC, without saying so.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expiry_date?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
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
    each(answer, |certificate| found.push(certificate)).map_err(|_| Unusable::shape(answer))?;
    Ok(found)
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
    Some(raw.get()).filter(|text| text.starts_with('{')).and_then(|text| serde_json::from_str(text).ok())
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

/// The login's numbers come as strings, and sometimes as numbers.
pub(super) fn number_or_string<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = <&RawValue>::deserialize(deserializer)?.get();
    let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    digits.trim().parse().map_err(|_| D::Error::custom("not a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: Report<'_> =
        Report { id: 158, name: "contoso.com,www.contoso.com", remote_create_date: "2021-01-30T01:04:32" };

    #[test]
    fn a_report_is_the_documented_json() {
        let json = serde_json::to_string(&REPORT).unwrap();
        assert_eq!(
            json,
            r#"{"id":158,"name":"contoso.com,www.contoso.com","remoteCreateDate":"2021-01-30T01:04:32"}"#
        );
    }

    #[test]
    fn echoes_come_as_an_object_or_an_array() {
        let echo = r#"{"id":158,"name":"contoso.com, www.contoso.com","remoteCreateDate":"2021-01-30T01:04:32.0000000","x":[1]}"#;
        assert!(echoes(echo.as_bytes(), &REPORT).is_ok());
        assert!(echoes(format!("[{echo}]").as_bytes(), &REPORT).is_ok());
    }

    #[test]
    fn other_answers_are_no_echo() {
        for answer in [
            "",
            "<html>",
            "[]",
            "{}",
            "null",
            "158",
            r#"[158,"contoso.com,www.contoso.com",null,"2021-01-30T01:04:32"]"#,
            r#"[[158,"contoso.com,www.contoso.com",null,"2021-01-30T01:04:32"]]"#,
            r#"[{"id":158}] []"#,
            r#"{"id":159,"name":"contoso.com,www.contoso.com","remoteCreateDate":"2021-01-30T01:04:32"}"#,
            r#"{"id":158,"name":"contoso.com","remoteCreateDate":"2021-01-30T01:04:32"}"#,
            r#"{"id":158,"name":"contoso.com,www.contoso.com","remoteCreateDate":"2021-01-30T01:04:33"}"#,
            r#"{"id":158,"name":"contoso.com,www.contoso.com","remoteCreateDate":""}"#,
            r#"{"id":158,"name":"contoso.com,www.contoso.com"}"#,
        ] {
            assert!(echoes(answer.as_bytes(), &REPORT).is_err(), "{answer}");
        }
    }

    #[test]
    fn one_odd_entry_does_not_spoil_the_list() {
        let answer = r#"[{"id":1,"name":"a","remoteCreateDate":null,"expiryDate":"2021-04-30T01:04:32.1430019"},{"id":"x"},{"id":2,"name":"b"}]"#;
        let found = list(answer.as_bytes()).unwrap();
        assert_eq!(found.iter().map(|certificate| certificate.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(found[0].expiry_date, Some("2021-04-30T01:04:32.1430019".parse().unwrap()));
        assert_eq!(found[0].remote_create_date, None);
    }

    #[test]
    fn waits_are_seconds_or_dates_and_bounded() {
        let now = "2015-10-21T07:27:00Z".parse().unwrap();
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999999", now), Some(LONGEST_WAIT));
        assert_eq!(retry_after("soon", now), None);
    }
}
