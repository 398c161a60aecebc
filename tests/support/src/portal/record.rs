//! The portal's certificates and the shape they are answered in.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::ca::KeyType;

/// The target of certificates that are kept in a Key Vault: there is nothing to download of them.
const KEY_VAULT: &str = "Azure Key Vault";

/// Link fields of a CertificateResponse; empty when there is nothing to download.
const LINKS: [&str; 8] = [
    "pemUri",
    "pfxUri",
    "crtUri",
    "cerUri",
    "privateKeyUri",
    "certificateUri",
    "intermediateCertificateUri",
    "fullChainCertificateUri",
];

/// The other fields, in the documented order.
const FIELDS: [&str; 7] = ["id", "name", "issueDate", "expiryDate", "remoteCreateDate", "target", "renewal"];

/// One certificate as the portal knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The portal's number for it.
    pub id: i64,
    /// Its name, spelled as the portal spells it.
    pub name: String,
    /// When it was issued, UTC.
    pub issue_date: DateTime,
    /// When it expires, UTC.
    pub expiry_date: DateTime,
    /// When it was installed, word for word as it was reported; `None` is "not installed yet".
    pub remote_create_date: Option<String>,
    /// What kind of certificate it is, such as `Azure DNS`.
    pub target: String,
    /// `Automatic` or `Manual`.
    pub renewal: String,
    /// Fields that are answered instead of, or besides, those above: links, `null`s, novelties.
    pub overlay: Map<String, Value>,
    /// Fields that are not answered at all.
    pub leave_out: Vec<String>,
    /// The kind of key when the portal issues it and has files to download; `None` when there are none.
    pub issued: Option<KeyType>,
    /// The hosts that the issued certificate is for; those of the name when `None`.
    pub hosts: Option<Vec<String>>,
    /// Whether a renewal can be scheduled but nothing comes of it.
    pub fails_to_renew: bool,
}

/// How the portal says that a certificate is not installed: both are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NotInstalled {
    /// `"remoteCreateDate": ""`
    #[default]
    Empty,
    /// `"remoteCreateDate": null`
    Null,
}

/// The documentation's example: 158, `contoso.com`, issued now for ninety days, not installed.
impl Default for Record {
    fn default() -> Self {
        let now = utc(Timestamp::now());
        Self {
            id: 158,
            name: "contoso.com".to_owned(),
            issue_date: now,
            expiry_date: now.saturating_add(SignedDuration::from_hours(90 * 24)),
            remote_create_date: None,
            target: "Azure DNS".to_owned(),
            renewal: "Automatic".to_owned(),
            overlay: Map::new(),
            leave_out: Vec::new(),
            issued: None,
            hosts: None,
            fails_to_renew: false,
        }
    }
}

impl Record {
    /// A certificate of this id and name, the rest as in the default.
    pub fn new(id: i64, name: impl Into<String>) -> Self {
        Self { id, name: name.into(), ..Self::default() }
    }

    /// The same certificate with another expiry date.
    pub fn expires(mut self, expiry_date: DateTime) -> Self {
        self.expiry_date = expiry_date;
        self
    }

    /// The same certificate with one field answered differently.
    pub fn answers(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.overlay.insert(field.to_owned(), value.into());
        self
    }

    /// The same certificate, issued by the portal within its dates, with files to download. Its dates become
    /// those of the pair, which know whole seconds only.
    pub fn issued(self) -> Self {
        self.issued_with(KeyType::default())
    }

    /// The same with a key of this kind.
    pub fn issued_with(mut self, key: KeyType) -> Self {
        self.issued = Some(key);
        self
    }

    /// The same certificate issued for these hosts, whatever its name is.
    pub fn for_hosts(mut self, hosts: &[&str]) -> Self {
        self.hosts = Some(hosts.iter().map(ToString::to_string).collect());
        self
    }

    /// The same certificate in a Key Vault: it is scheduled with a second token, and cannot be downloaded.
    pub fn key_vault(mut self) -> Self {
        KEY_VAULT.clone_into(&mut self.target);
        self
    }

    /// The same certificate, renewed by hand only.
    pub fn manual(mut self) -> Self {
        "Manual".clone_into(&mut self.renewal);
        self
    }

    /// The same certificate, whose renewals fail: they can be scheduled, and nothing changes.
    pub fn fails_to_renew(mut self) -> Self {
        self.fails_to_renew = true;
        self
    }

    pub(super) fn is_key_vault(&self) -> bool {
        self.target == KEY_VAULT
    }

    /// What the certificate is for. A name that no certificate can have gets a harmless one.
    pub(super) fn certificate_hosts(&self) -> Vec<String> {
        if let Some(hosts) = &self.hosts {
            return hosts.clone();
        }
        let harmless = |host: &str| if host.is_ascii() { host } else { "hostile.test" }.to_owned();
        self.name.split(',').map(|host| harmless(host.trim())).collect()
    }

    /// A certificate from the fields of a CertificateResponse; those that are missing as in the default.
    /// The simulator's own are `downloads`, `failsToRenew` (`true` or `false`) and `hosts` (a list).
    pub(super) fn from_fields(fields: &Map<String, Value>) -> Result<Self, String> {
        let mut record = Self::default();
        for (field, value) in fields {
            let text = || value.as_str().ok_or_else(|| format!("'{field}' must be a string."));
            let flag = || value.as_bool().ok_or_else(|| format!("'{field}' must be true or false."));
            let date = || text()?.parse().map_err(|error| format!("'{field}': {error}."));
            match field.as_str() {
                "id" => record.id = value.as_i64().ok_or("'id' must be an integer.")?,
                "name" => record.name = text()?.to_owned(),
                "issueDate" => record.issue_date = date()?,
                "expiryDate" => record.expiry_date = date()?,
                "remoteCreateDate" => {
                    let date = value.as_str().filter(|date| !date.is_empty());
                    record.remote_create_date = date.map(str::to_owned);
                }
                "target" => record.target = text()?.to_owned(),
                "renewal" => record.renewal = text()?.to_owned(),
                "downloads" => record.issued = flag()?.then(KeyType::default),
                "failsToRenew" => record.fails_to_renew = flag()?,
                "hosts" => {
                    let hosts = serde_json::from_value(value.clone());
                    record.hosts = Some(hosts.map_err(|error| format!("'hosts': {error}."))?);
                }
                _ => {
                    record.overlay.insert(field.clone(), value.clone());
                }
            }
        }
        Ok(record)
    }

    /// The documented CertificateResponse object, without links.
    #[cfg(test)]
    pub(super) fn response(&self, not_installed: NotInstalled) -> Fields {
        self.response_with(not_installed, None)
    }

    /// The documented CertificateResponse object, with links when there are any.
    pub(super) fn response_with(&self, not_installed: NotInstalled, links: Option<Fields>) -> Fields {
        let installed = match (&self.remote_create_date, not_installed) {
            (Some(date), _) => Value::from(date.as_str()),
            (None, NotInstalled::Empty) => Value::from(""),
            (None, NotInstalled::Null) => Value::Null,
        };
        let known: [Value; 7] = [
            self.id.into(),
            self.name.as_str().into(),
            seven_digits(self.issue_date).into(),
            seven_digits(self.expiry_date).into(),
            installed,
            self.target.as_str().into(),
            self.renewal.as_str().into(),
        ];
        let nothing = LINKS.map(|link| (link, Value::from("")));
        let mut fields: Vec<(String, Value)> = FIELDS
            .into_iter()
            .zip(known)
            .chain(nothing)
            .map(|(field, value)| (field.to_owned(), value))
            .collect();
        let overlay = self.overlay.clone().into_iter();
        for (field, value) in links.map_or_else(Vec::new, |links| links.0).into_iter().chain(overlay) {
            match fields.iter_mut().find(|(known, _)| *known == field) {
                Some((_, known)) => *known = value,
                None => fields.push((field, value)),
            }
        }
        fields.retain(|(field, _)| !self.leave_out.contains(field));
        Fields(fields)
    }
}

/// An object's fields in the order they are written.
#[derive(Clone, Debug)]
pub(super) struct Fields(pub(super) Vec<(String, Value)>);

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (field, value) in &self.0 {
            map.serialize_entry(field, value)?;
        }
        map.end()
    }
}

/// Whether the documentation has such a field in a CertificateResponse.
pub(super) fn is_documented(field: &str) -> bool {
    FIELDS.contains(&field) || LINKS.contains(&field) || field == "pfxpwd"
}

/// A point in time as the portal writes it: UTC, and without saying so.
pub(super) fn utc(at: Timestamp) -> DateTime {
    at.to_zoned(TimeZone::UTC).datetime()
}

/// The point in time that the portal means, without its fraction of a second.
pub(super) fn from_utc(date: DateTime) -> Timestamp {
    let at = date.to_zoned(TimeZone::UTC).expect("a date that UTC has").timestamp();
    Timestamp::from_second(at.as_second()).expect("a second")
}

fn seven_digits(date: DateTime) -> String {
    date.strftime("%Y-%m-%dT%H:%M:%S%.7f").to_string()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn sample() -> Record {
        Record {
            issue_date: date(2021, 1, 30).at(1, 4, 32, 143_000_900),
            expiry_date: date(2021, 4, 30).at(1, 4, 32, 0),
            ..Record::default()
        }
    }

    #[test]
    fn a_response_has_the_documented_shape() {
        let response = serde_json::to_string(&sample().response(NotInstalled::Empty)).unwrap();
        assert_eq!(
            response,
            concat!(
                r#"{"id":158,"name":"contoso.com","issueDate":"2021-01-30T01:04:32.1430009","#,
                r#""expiryDate":"2021-04-30T01:04:32.0000000","remoteCreateDate":"","#,
                r#""target":"Azure DNS","renewal":"Automatic","pemUri":"","pfxUri":"","crtUri":"","#,
                r#""cerUri":"","privateKeyUri":"","certificateUri":"","#,
                r#""intermediateCertificateUri":"","fullChainCertificateUri":""}"#
            )
        );
    }

    #[test]
    fn not_installed_has_two_spellings() {
        let said = |record: &Record, how| serde_json::to_value(record.response(how)).unwrap();
        assert_eq!(said(&sample(), NotInstalled::Empty)["remoteCreateDate"], "");
        assert_eq!(said(&sample(), NotInstalled::Null)["remoteCreateDate"], Value::Null);
        let date = "2021-01-30T01:04:32".to_owned();
        let installed = Record { remote_create_date: Some(date.clone()), ..sample() };
        assert_eq!(said(&installed, NotInstalled::Null)["remoteCreateDate"], date);
    }

    #[test]
    fn fields_can_be_overlaid_and_left_out() {
        let record = Record { leave_out: vec!["target".to_owned()], ..sample() }
            .answers("pemUri", "http://storage/pem")
            .answers("expiryDate", Value::Null)
            .answers("novelty", 7);
        let response = serde_json::to_value(record.response(NotInstalled::Empty)).unwrap();
        assert_eq!(response["pemUri"], "http://storage/pem");
        assert_eq!(response.get("expiryDate"), Some(&Value::Null));
        assert_eq!(response["novelty"], 7);
        assert_eq!(response.get("target"), None);
    }

    #[test]
    fn a_record_can_be_read_back() {
        let response = serde_json::to_value(sample().response(NotInstalled::Empty)).unwrap();
        let read = Record::from_fields(response.as_object().unwrap()).unwrap();
        assert_eq!((read.id, read.issue_date), (158, sample().issue_date));
        let wrong = serde_json::json!({"id": "158"});
        assert!(Record::from_fields(wrong.as_object().unwrap()).unwrap_err().contains("'id'"));
    }
}
