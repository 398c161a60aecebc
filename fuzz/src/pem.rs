//! Files that should hold certificates and keys.

use std::fmt::Write as _;

use super::shown::assert_shown;
use certhook::certificate::{Bundle, Doubt, Fault, Fingerprint, Hosts, Key, Leaf, inspect};
use jiff::{SignedDuration, Timestamp};

/// When the files are looked at: a day within the dates of the certificates that the corpus began with.
const NOW: i64 = 1_800_000_000;

/// Bytes that begin as DER does are a row of DER values: certificates and a key. Any others are the file of the
/// certificate and, after a NUL, that of the key.
pub fn pem(data: &[u8]) {
    let der = data.first() == Some(&0x30);
    let (certificate, key) = if der { files(data) } else { split(data) };
    let now = Timestamp::from_second(NOW).expect("a date within the calendar");
    if der {
        from_der(data);
    }
    let with_key = inspect(&certificate, Key::Pem(&key), now);
    judge(&with_key, now);
    let without = inspect(&certificate, Key::Elsewhere, now);
    judge(&without, now);
    match (with_key, without) {
        (Ok(with_key), Ok(without)) => {
            assert_eq!(with_key.leaf, without.leaf);
            assert_eq!(with_key.intermediates, without.intermediates);
            // A key that cannot be checked is a part of the set.
            assert_eq!(with_key.set == without.set, with_key.unchecked_key.is_none());
            assert!(without.doubts.iter().any(|doubt| matches!(doubt, Doubt::KeyUnchecked(_))));
        }
        (Ok(_), Err(fault)) => panic!("only the key makes it whole: {fault}"),
        _ => {}
    }
    // One file for both, as haproxy has it: whole or not, it is read.
    let both = [&certificate[..], b"\n", &key[..]].concat();
    judge(&inspect(&both, Key::Pem(&both), now), now);
    // A writer that was interrupted: never whole with another leaf.
    let half = &certificate[..certificate.len() / 2];
    judge(&inspect(half, Key::Pem(&key), now), now);
    names(data);
}

fn from_der(data: &[u8]) {
    match Leaf::from_der(data) {
        Ok(leaf) => {
            assert_eq!(leaf.fingerprint, Fingerprint::of(data));
            assert!(leaf.hosts.iter().all(|host| !host.is_empty()));
        }
        Err(fault) => assert!(matches!(fault, Fault::Malformed(..)), "{fault:?}"),
    }
}

fn judge(outcome: &Result<Bundle, Fault>, now: Timestamp) {
    match outcome {
        Ok(bundle) => {
            assert!(bundle.leaf.not_before <= now && now <= bundle.leaf.not_after, "{bundle:?}");
            assert!(bundle.intermediates < 64, "{bundle:?}");
            let alone = bundle.intermediates == 0 && bundle.unchecked_key.is_none();
            assert!(!alone || bundle.set == bundle.leaf.fingerprint, "{bundle:?}");
            for doubt in &bundle.doubts {
                assert_shown(&doubt.to_string(), 200);
            }
            // The portal's name for it, unless a name holds what stands between names.
            let hosts = bundle.leaf.hosts.to_string();
            if bundle.leaf.hosts.iter().all(|host| !host.contains(',')) {
                assert_eq!(bundle.leaf.hosts, Hosts::from_portal_name(&hosts), "{hosts:?}");
            }
        }
        Err(fault) => {
            assert_shown(&fault.to_string(), 200);
            assert_shown(fault.remedy(), 200);
            assert_shown(fault.code(), 40);
            if let Fault::NotYetValid(from) = fault {
                assert!(from.duration_since(now) > SignedDuration::ZERO, "{fault}");
            }
        }
    }
}

fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let hosts = Hosts::from_portal_name(&text);
    assert!(hosts.iter().all(|host| !host.is_empty() && !host.contains(',')), "{hosts:?}");
    assert_eq!(hosts, Hosts::from_portal_name(&text.to_ascii_uppercase()));
    assert_eq!(hosts, Hosts::from_portal_name(&hosts.to_string()));
}

fn split(data: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    (data[..at].to_vec(), data.get(at + 1..).unwrap_or_default().to_vec())
}

/// The DER values as PEM: mutated bytes stay good base64. A key is what begins with a number.
fn files(mut data: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut certificate, mut key) = (String::new(), String::new());
    while !data.is_empty() {
        let (value, rest) = data.split_at(value_end(data));
        let head = value.iter().take_while(|byte| **byte != 0x02).count();
        let label = match value.get(head..head + 3) {
            Some([2, 1, 0]) if head <= 4 => "PRIVATE KEY",
            Some([2, 1, 1]) if head <= 4 => "EC PRIVATE KEY",
            _ => "CERTIFICATE",
        };
        let file = if label == "CERTIFICATE" { &mut certificate } else { &mut key };
        block(file, label, value);
        data = rest;
    }
    (certificate.into_bytes(), key.into_bytes())
}

/// Where the first DER value ends, by its own length as far as there are bytes.
fn value_end(data: &[u8]) -> usize {
    let wanted = match data {
        [_, length @ 0..=0x7f, ..] => 2 + usize::from(*length),
        [_, 0x81, length, ..] => 3 + usize::from(*length),
        [_, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => data.len(),
    };
    wanted.min(data.len())
}

fn block(out: &mut String, label: &str, der: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let _ = writeln!(out, "-----BEGIN {label}-----");
    for line in der.chunks(48) {
        for three in line.chunks(3) {
            let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
            let bits = at(0) << 16 | at(1) << 8 | at(2);
            for digit in 0..4 {
                let value = bits >> (18 - 6 * digit) & 63;
                out.push(if digit > three.len() { '=' } else { char::from(DIGITS[value as usize]) });
            }
        }
        out.push('\n');
    }
    let _ = writeln!(out, "-----END {label}-----");
}
