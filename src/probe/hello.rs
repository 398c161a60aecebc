//! The probe's own ClientHello: it offers every cipher suite, group and signature scheme that has a number.
//!
//! Up to TLS 1.2 a server shows its certificate in clear, before a key is agreed on. So nothing that is offered needs
//! to be implemented here.

use std::sync::LazyLock;

use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, SignatureScheme};

use crate::certificate::KeyType;

/// A ClientHello message, and the random bytes in it, which the server signs.
pub(super) struct Hello {
    pub(super) record: Vec<u8>,
    pub(super) random: [u8; 32],
}

impl Hello {
    /// Offers TLS 1.2 and older. `only` is the only kind of certificate that is asked for.
    pub(super) fn legacy(host: &str, only: Option<KeyType>) -> Self {
        let fits = |suite: &&Suite| only.is_none_or(|only| suite.kinds.contains(&only));
        let suites: Vec<u16> = SUITES.iter().filter(fits).map(|suite| suite.id).collect();
        // Without finite-field groups a server may use any of its own (RFC 7919, section 4).
        let groups = GROUPS.iter().copied().filter(|group| !(0x0100..0x0200).contains(group));
        let extensions = [
            (EC_POINT_FORMATS, vec![3, 0, 1, 2]),
            (SUPPORTED_GROUPS, list(groups)),
            (SIGNATURE_ALGORITHMS, list(schemes(only).map(u16::from))),
            // Some servers refuse a client without secure renegotiation or the extended master secret.
            (RENEGOTIATION_INFO, vec![0]),
            (EXTENDED_MASTER_SECRET, Vec::new()),
        ];
        Self::new(host, &suites, &extensions)
    }

    /// Offers TLS 1.3 without a key in any group, so that the server answers in clear which one it wants
    /// (RFC 8446, section 4.2.8).
    pub(super) fn without_key(host: &str) -> Self {
        let extensions = [
            (SUPPORTED_GROUPS, list(GROUPS.iter().copied())),
            (SIGNATURE_ALGORITHMS, list(schemes(None).map(u16::from))),
            (SUPPORTED_VERSIONS, vec![2, 3, 4]),
            (KEY_SHARE, vec![0, 0]),
        ];
        Self::new(host, &[0x1301, 0x1302, 0x1303, 0x1304, 0x1305], &extensions)
    }

    fn new(host: &str, suites: &[u16], extensions: &[(u16, Vec<u8>)]) -> Self {
        let mut random = [0; 32];
        // Without random bytes an old signature could be shown again; the certificate is the same.
        let _ = SystemRandom::new().fill(&mut random);
        let mut all = Vec::new();
        if let Ok(ServerName::DnsName(name)) = ServerName::try_from(host) {
            let entry = [&[0][..], &counted(name.as_ref().as_bytes())].concat();
            push(&mut all, SERVER_NAME, &counted(&entry));
        }
        for (id, body) in extensions {
            push(&mut all, *id, body);
        }
        let mut body = vec![3, 3];
        body.extend(random);
        // No session, and no compression.
        body.push(0);
        body.extend(list(suites.iter().copied()));
        body.extend([1, 0]);
        body.extend(counted(&all));
        let mut message = vec![1, 0];
        message.extend(counted(&body));
        let record = [&[22, 3, 1][..], &counted(&message)].concat();
        Self { record, random }
    }
}

const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const EC_POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;
const EXTENDED_MASTER_SECRET: u16 = 23;
const SUPPORTED_VERSIONS: u16 = 43;
pub(super) const KEY_SHARE: u16 = 51;
const RENEGOTIATION_INFO: u16 = 0xff01;

/// Bytes behind their length. Nothing here comes near to 64 KB.
fn counted(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

fn list(numbers: impl Iterator<Item = u16>) -> Vec<u8> {
    counted(&numbers.flat_map(u16::to_be_bytes).collect::<Vec<_>>())
}

fn push(extensions: &mut Vec<u8>, id: u16, body: &[u8]) {
    extensions.extend(id.to_be_bytes());
    extensions.extend(counted(body));
}

/// A cipher suite up to TLS 1.2 that shows a certificate.
struct Suite {
    id: u16,
    kinds: &'static [KeyType],
    /// The server signs its part of the key exchange.
    is_signed: bool,
}

/// How the names of suites begin, which kinds of certificate they show, and whether the server signs.
const FAMILIES: [(&str, &[KeyType], bool); 9] = [
    ("TLS_ECDHE_ECDSA_", &[KeyType::Ecdsa, KeyType::Other], true),
    ("TLS_ECDHE_RSA_", &[KeyType::Rsa], true),
    ("TLS_DHE_RSA_", &[KeyType::Rsa], true),
    ("TLS_DHE_DSS_", &[KeyType::Other], true),
    ("TLS_RSA_", &[KeyType::Rsa], false),
    ("TLS_ECDH_ECDSA_", &[KeyType::Ecdsa], false),
    ("TLS_ECDH_RSA_", &[KeyType::Ecdsa], false),
    ("TLS_DH_", &[KeyType::Other], false),
    ("TLS_GOST", &[KeyType::Other], false),
];

/// Suites with a signature stand first: it proves that the server has the key.
static SUITES: LazyLock<Vec<Suite>> = LazyLock::new(|| {
    let of_family = |id: u16| {
        let suite = CipherSuite::from(id);
        let name = suite.as_str()?;
        let is_odd = ["_anon_", "_PSK_", "_EXPORT", "_draft"].iter().any(|part| name.contains(part));
        let (_, kinds, is_signed) = FAMILIES.iter().find(|(start, ..)| !is_odd && name.starts_with(start))?;
        Some(Suite { id, kinds, is_signed: *is_signed })
    };
    let mut suites: Vec<Suite> = (0..=u16::MAX).filter_map(of_family).collect();
    // GOST R 34.10-2012 (RFC 9189).
    suites.extend((0xc100..=0xc106).map(|id| Suite { id, kinds: &[KeyType::Other], is_signed: false }));
    suites.sort_by_key(|suite| !suite.is_signed);
    suites
});

/// Whether the server signs its part of the key exchange in this suite.
pub(super) fn is_signed(suite: u16) -> bool {
    SUITES.iter().any(|known| known.id == suite && known.is_signed)
}

/// The numbers of IANA's registry, those that servers use first.
static GROUPS: LazyLock<Vec<u16>> = LazyLock::new(|| {
    // X25519, P-256, P-384, P-521, X448, brainpool in TLS 1.2 and in 1.3, secp256k1.
    let mut groups = vec![29, 23, 24, 25, 30, 26, 27, 28, 31, 32, 33, 22];
    // The other curves of RFC 8422, GOST and SM2, the finite fields, ML-KEM, and ML-KEM with a curve.
    for others in [1..=21, 34..=41, 0x0100..=0x0104, 0x0200..=0x0202, 0x11eb..=0x11ee] {
        groups.extend(others);
    }
    groups
});

/// Every signature scheme of a kind. The first ones can be verified; the last ones use SHA-1 and MD5.
pub(super) fn schemes(only: Option<KeyType>) -> impl Iterator<Item = SignatureScheme> {
    const USUAL: [u16; 14] = [
        0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804, 0x0805, 0x0806, 0x0809, 0x080a, 0x080b, 0x0401,
        0x0501, 0x0601,
    ];
    // Brainpool in TLS 1.3, SM2, ML-DSA, SLH-DSA, GOST, DSA, then what is weak.
    let others = [0x081a..=0x081c, 0x0708..=0x070f, 0x0904..=0x0906, 0x0911..=0x091c, 0x0840..=0x0841];
    let weak = [
        0x0402, 0x0502, 0x0602, 0xeeee, 0xefef, 0xeded, 0x0301, 0x0303, 0x0302, 0x0201, 0x0203, 0x0202,
        0x0101,
    ];
    let all = USUAL.into_iter().chain(others.into_iter().flatten()).chain(weak);
    all.filter(move |scheme| only.is_none_or(|only| kind_of(*scheme) == only)).map(SignatureScheme::from)
}

/// The kind of certificate that a signature scheme is of. Before TLS 1.3 its bytes are a hash and RSA, DSA or ECDSA.
fn kind_of(scheme: u16) -> KeyType {
    match scheme {
        0x0804..=0x0806 | 0x0809..=0x080b => KeyType::Rsa,
        0x0708 | 0x081a..=0x081c => KeyType::Ecdsa,
        0x0100..=0x06ff if scheme & 0xff == 1 => KeyType::Rsa,
        0x0100..=0x06ff if scheme & 0xff == 3 => KeyType::Ecdsa,
        _ => KeyType::Other,
    }
}
