//! The seal of a PFX: an HMAC whose key comes from the password (RFC 7292, appendices A and B).

use ring::{digest, hmac};
use x509_parser::asn1_rs::{Any, FromDer, oid};
use zeroize::Zeroizing;

use super::{children, octets, odd};
use crate::certificate::fault::Fault;

/// As p12-keystore has it: more would keep a core busy for seconds.
const MAX_ITERATIONS: u32 = 1_000_000;
/// The purpose of the derived key, an authentication code.
const PURPOSE: u8 = 3;

/// Verifies `mac`, a MacData in DER, over the bytes of `content`.
///
/// # Errors
/// [`Fault::WrongPassword`], or that the method is unknown.
pub(super) fn verify(mac: &[u8], password: &str, content: &[u8]) -> Result<(), Fault> {
    let unknown = || odd("it is sealed by a method that certhook does not know");
    let fields = children(mac)?;
    let [digest, salt, iterations @ ..] = &fields[..] else { return Err(unknown()) };
    let [algorithm, expected] = children(digest)?[..] else { return Err(unknown()) };
    let name = children(algorithm)?.first().and_then(|name| Any::from_der(name).ok()).ok_or_else(unknown)?.1;
    let algorithm = match name.data {
        name if name == oid!(raw 1.3.14.3.2.26) => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        name if name == oid!(raw 2.16.840.1.101.3.4.2.1) => hmac::HMAC_SHA256,
        name if name == oid!(raw 2.16.840.1.101.3.4.2.2) => hmac::HMAC_SHA384,
        name if name == oid!(raw 2.16.840.1.101.3.4.2.3) => hmac::HMAC_SHA512,
        _ => return Err(unknown()),
    };
    let iterations = match iterations {
        [] => 1,
        [number, ..] => {
            Any::from_der(number).ok().and_then(|(_, number)| number.as_u32().ok()).ok_or_else(unknown)?
        }
    };
    if iterations > MAX_ITERATIONS {
        return Err(unknown());
    }
    let key = derive(algorithm.digest_algorithm(), password, octets(salt)?, iterations);
    let key = hmac::Key::new(algorithm, &key);
    hmac::verify(&key, content, octets(expected)?).map_err(|_| Fault::WrongPassword)
}

/// The key is as long as the digest: one round of appendix B.2 makes all of it.
fn derive(
    algorithm: &'static digest::Algorithm,
    password: &str,
    salt: &[u8],
    iterations: u32,
) -> Zeroizing<Vec<u8>> {
    let block = algorithm.block_len();
    let filled = |bytes: &[u8]| -> Zeroizing<Vec<u8>> {
        let length = bytes.len().next_multiple_of(block);
        Zeroizing::new(bytes.iter().copied().cycle().take(length).collect())
    };
    let name: Zeroizing<Vec<u8>> =
        Zeroizing::new(password.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect());
    let mut context = digest::Context::new(algorithm);
    for part in [&vec![PURPOSE; block], &*filled(salt), &*filled(&name)] {
        context.update(part);
    }
    let mut key = context.finish();
    for _ in 1..iterations {
        key = digest::digest(algorithm, key.as_ref());
    }
    Zeroizing::new(key.as_ref().to_vec())
}
