//! A certificate authority of the tests' own: a root, an intermediate, and leaves of every kind a site may have.
//!
//! ```
//! use certhook_test_support::ca::{Authority, KeyType, Order};
//!
//! let authority = Authority::new();
//! let old = authority.issue(Order { hosts: &["contoso.com", "www.contoso.com"], ..Order::default() });
//! let new = authority.issue(Order { hosts: &["contoso.com"], reuse_key: Some(&old), ..Order::default() });
//! assert_eq!(old.key_pem, new.key_pem);
//! assert_ne!(old.fingerprint, new.fingerprint);
//! ```

mod ber;
mod forms;
mod keys;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};

pub use ber::{Ber, pfx_in_ber};
pub use forms::KeyForm;
pub use keys::KeyType;

/// When a certificate is valid, as distances from now; negative is in the past.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// Distance to `notBefore`.
    pub from: SignedDuration,
    /// Distance to `notAfter`.
    pub to: SignedDuration,
}

impl Validity {
    /// From an hour ago, for ninety days: what a fresh certificate looks like.
    pub const FRESH: Self =
        Self { from: SignedDuration::from_hours(-1), to: SignedDuration::from_hours(90 * 24) };
    /// Ran out an hour ago.
    pub const EXPIRED: Self =
        Self { from: SignedDuration::from_hours(-90 * 24), to: SignedDuration::from_hours(-1) };
    /// Begins in an hour.
    pub const NOT_YET: Self =
        Self { from: SignedDuration::from_hours(1), to: SignedDuration::from_hours(90 * 24) };
}

impl Validity {
    /// Certificates know whole seconds only.
    fn dates(self) -> (Timestamp, Timestamp) {
        let now = Timestamp::from_second(Timestamp::now().as_second()).expect("now is a second");
        (now + self.from, now + self.to)
    }
}

impl Default for Validity {
    fn default() -> Self {
        Self::FRESH
    }
}

/// What to issue; `..Order::default()` is a fresh P-256 certificate for `contoso.com`.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Host names, or IP addresses; the first is the common name too.
    pub hosts: &'a [&'a str],
    /// The kind of key to make; of no account with `reuse_key`.
    pub key: KeyType,
    /// When the certificate is valid.
    pub valid: Validity,
    /// Keep this pair's key instead of making one (`certbot --reuse-key`).
    pub reuse_key: Option<&'a Pair>,
}

impl Default for Order<'_> {
    fn default() -> Self {
        Self { hosts: &["contoso.com"], key: KeyType::default(), valid: Validity::default(), reuse_key: None }
    }
}

/// A certificate with its chain and key. All PEM texts end in a line feed; keys are PKCS#8.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The leaf alone.
    pub leaf_pem: String,
    /// The intermediate; empty when self-signed.
    pub chain_pem: String,
    /// The leaf, then the intermediate.
    pub fullchain_pem: String,
    /// The private key, PKCS#8; see [`Pair::key_as`] for other forms.
    pub key_pem: String,
    /// The leaf in DER.
    pub leaf_der: Vec<u8>,
    /// SHA-256 of `leaf_der`, in lower-case hexadecimal.
    pub fingerprint: String,
    /// The names asked for, in their order.
    pub hosts: Vec<String>,
    /// Serial number, in lower-case hexadecimal.
    pub serial: String,
    /// First second of validity.
    pub not_before: Timestamp,
    /// Last second of validity.
    pub not_after: Timestamp,
}

/// Without the texts: a failed assertion should be readable.
impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("hosts", &self.hosts)
            .field("fingerprint", &self.fingerprint)
            .field("serial", &self.serial)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// A root and an intermediate, both P-256; leaves come from the intermediate.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
    root_der: Vec<u8>,
    intermediate_pem: String,
}

impl Authority {
    /// Makes the two certificates; takes about a millisecond.
    pub fn new() -> Self {
        Self::with_intermediate(AUTHORITY_VALIDITY)
    }

    /// As [`Authority::new`], with an intermediate that is valid at another time.
    pub fn with_intermediate(valid: Validity) -> Self {
        let serial = next_serial();
        let root_key = keys::generate(KeyType::EcdsaP256);
        let root_params = authority_params(&format!("certhook test root {serial:x}"), serial);
        let root = root_params.self_signed(&root_key).expect("a root");
        let root_issuer = Issuer::from_params(&root_params, &root_key);

        let serial = next_serial();
        let key = keys::generate(KeyType::EcdsaP256);
        let mut params = authority_params(&format!("certhook test intermediate {serial:x}"), serial);
        params.use_authority_key_identifier_extension = true;
        set_serial_and_dates(&mut params, serial, valid.dates());
        let intermediate = params.signed_by(&key, &root_issuer).expect("an intermediate");
        Self {
            root_pem: lines(&root.pem()),
            root_der: root.der().to_vec(),
            intermediate_pem: lines(&intermediate.pem()),
            issuer: Issuer::new(params, key),
        }
    }

    /// Issues a leaf; never the same one twice.
    pub fn issue(&self, order: Order<'_>) -> Pair {
        let (from, to) = order.valid.dates();
        self.issue_between(order, from, to)
    }

    /// Issues a leaf that is valid between two points in time, whatever the order says; until [`Timestamp::MAX`] is
    /// until 9999-12-31T23:59:59Z, which means that it has no end (RFC 5280).
    pub fn issue_between(&self, order: Order<'_>, from: Timestamp, to: Timestamp) -> Pair {
        let second = |at: Timestamp| Timestamp::from_second(at.as_second()).expect("a second");
        let blank = Blank::fill(&order, (second(from), second(to)));
        let leaf = blank.params.signed_by(&blank.key, &self.issuer).expect("a leaf");
        blank.into_pair(&order, &leaf, &self.intermediate_pem)
    }

    /// An expired leaf for `hosts`.
    pub fn expired(&self, hosts: &[&str]) -> Pair {
        self.issue(Order { hosts, valid: Validity::EXPIRED, ..Order::default() })
    }

    /// A leaf for `hosts` that is not valid yet.
    pub fn not_yet_valid(&self, hosts: &[&str]) -> Pair {
        self.issue(Order { hosts, valid: Validity::NOT_YET, ..Order::default() })
    }

    /// The root certificate: what a client would trust.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The root certificate in DER.
    pub fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    /// The intermediate certificate: every pair's `chain_pem`.
    pub fn intermediate_pem(&self) -> &str {
        &self.intermediate_pem
    }
}

/// Without the keys.
impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A certificate that signs itself: a leaf without a chain.
pub fn self_signed(order: Order<'_>) -> Pair {
    let blank = Blank::fill(&order, order.valid.dates());
    let leaf = blank.params.self_signed(&blank.key).expect("a self-signed leaf");
    blank.into_pair(&order, &leaf, "")
}

/// SHA-256 in lower-case hexadecimal, as in [`Pair::fingerprint`].
pub fn fingerprint(der: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A leaf before it is signed.
struct Blank {
    params: CertificateParams,
    key: KeyPair,
    serial: u64,
    dates: (Timestamp, Timestamp),
}

impl Blank {
    fn fill(order: &Order<'_>, dates: (Timestamp, Timestamp)) -> Self {
        let mut params = CertificateParams::new(names(order)).expect("host names in ASCII");
        let name = order.hosts.first().copied().unwrap_or("a certificate without names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let serial = next_serial();
        set_serial_and_dates(&mut params, serial, dates);
        let key = match order.reuse_key {
            Some(pair) => KeyPair::from_pem(&pair.key_pem).expect("the key of an earlier pair"),
            None => keys::generate(order.key),
        };
        Self { params, key, serial, dates }
    }

    fn into_pair(self, order: &Order<'_>, leaf: &Certificate, chain_pem: &str) -> Pair {
        let leaf_pem = lines(&leaf.pem());
        Pair {
            fullchain_pem: format!("{leaf_pem}{chain_pem}"),
            leaf_pem,
            chain_pem: chain_pem.to_owned(),
            key_pem: lines(&self.key.serialize_pem()),
            leaf_der: leaf.der().to_vec(),
            fingerprint: fingerprint(leaf.der()),
            hosts: names(order),
            serial: format!("{:x}", self.serial),
            not_before: self.dates.0,
            not_after: self.dates.1,
        }
    }
}

/// As openssl ends its lines, on every system.
fn lines(pem: &str) -> String {
    pem.replace('\r', "")
}

fn names(order: &Order<'_>) -> Vec<String> {
    order.hosts.iter().map(ToString::to_string).collect()
}

/// Serials begin at this process's start time, so that leaves of two test runs differ too.
fn next_serial() -> u64 {
    static NEXT: OnceLock<AtomicU64> = OnceLock::new();
    let start = || AtomicU64::new(Timestamp::now().as_microsecond().unsigned_abs());
    NEXT.get_or_init(start).fetch_add(1, Ordering::Relaxed)
}

/// A year each way.
const AUTHORITY_VALIDITY: Validity =
    Validity { from: SignedDuration::from_hours(-365 * 24), to: SignedDuration::from_hours(365 * 24) };

fn authority_params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_serial_and_dates(&mut params, serial, AUTHORITY_VALIDITY.dates());
    params
}

fn set_serial_and_dates(params: &mut CertificateParams, serial: u64, (from, to): (Timestamp, Timestamp)) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + from.duration_since(Timestamp::UNIX_EPOCH).unsigned_abs();
    params.not_after = match to.as_second() < Timestamp::MAX.as_second() {
        true => epoch + to.duration_since(Timestamp::UNIX_EPOCH).unsigned_abs(),
        false => rcgen::date_time_ymd(9999, 12, 31) + std::time::Duration::from_secs(86_399),
    };
    params.serial_number = Some(SerialNumber::from(serial));
}
