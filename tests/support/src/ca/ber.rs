//! A PFX as programs write it that stream it: indefinite lengths, and strings in pieces.

use ring::{digest, hmac};

/// How much of a PFX is written in BER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ber {
    /// What is around the sealed content.
    Outside,
    /// The sealed content too, but for what is encrypted.
    Everywhere,
}

/// `pfx`, which must be DER with a seal of HMAC-SHA256, in BER with strings in pieces of at most `piece` bytes. The seal
/// is made anew, since it is over the encoding.
///
/// # Panics
/// When it is another file.
pub fn pfx_in_ber(pfx: &[u8], password: &str, ber: Ber, piece: usize) -> Vec<u8> {
    let [version, content, mac] = children(pfx)[..] else { panic!("no sealed PFX") };
    let (kind, sealed) = data(content).expect("a content that is sealed by a password");
    if ber == Ber::Outside {
        return in_ber(pfx, piece);
    }
    let safes: Vec<u8> = children(sealed).into_iter().flat_map(|safe| safe_in_ber(safe, piece)).collect();
    let sealed = indefinite(0x30, &safes);
    let [digest, salt, iterations] = children(mac)[..] else { panic!("a seal with its iterations") };
    let algorithm = children(digest)[0];
    let value = mac_of(&sealed, password, salt, iterations);
    let mac = element(0x30, &[&element(0x30, &[algorithm, &element(0x04, &[&value])]), salt, iterations]);
    let content = element(0x30, &[kind, &element(0xa0, &[&element(0x04, &[&sealed])])]);
    in_ber(&element(0x30, &[version, &content, &mac]), piece)
}

fn safe_in_ber(safe: &[u8], piece: usize) -> Vec<u8> {
    let Some((kind, bags)) = data(safe) else { return in_ber(safe, piece) };
    let bags = in_ber(bags, piece);
    in_ber(&element(0x30, &[kind, &element(0xa0, &[&element(0x04, &[&bags])])]), piece)
}

/// Kind and bytes of a ContentInfo of type data.
fn data(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let [kind, content] = children(content)[..] else { return None };
    let is_data = kind.ends_with(b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01");
    is_data.then(|| (kind, split(children(content)[0]).1))
}

/// The value of the same DER, in BER.
fn in_ber(der: &[u8], piece: usize) -> Vec<u8> {
    let (tag, content, _) = split(der);
    match tag {
        // An implicit `[0]` is the string of EncryptedContentInfo.
        0x04 | 0x80 => {
            let pieces: Vec<u8> = content.chunks(piece).flat_map(|piece| element(0x04, &[piece])).collect();
            indefinite(if tag == 0x04 { 0x24 } else { 0xa0 }, &pieces)
        }
        _ if tag & 0x20 == 0 => der.to_vec(),
        _ => {
            let inside: Vec<u8> = children(der).into_iter().flat_map(|child| in_ber(child, piece)).collect();
            indefinite(tag, &inside)
        }
    }
}

fn indefinite(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, 0x80], content, &[0, 0]].concat()
}

fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len();
    let head = match length {
        0..0x80 => vec![tag, length as u8],
        _ => [&[tag, 0x84][..], &(length as u32).to_be_bytes()].concat(),
    };
    [head, content].concat()
}

/// Tag, content and what follows.
fn split(der: &[u8]) -> (u8, &[u8], &[u8]) {
    let (head, length) = match der[1] {
        short @ 0..0x80 => (2, usize::from(short)),
        long => {
            let count = usize::from(long & 0x7f);
            (2 + count, der[2..2 + count].iter().fold(0, |value, byte| value << 8 | usize::from(*byte)))
        }
    };
    let (content, rest) = der[head..].split_at(length);
    (der[0], content, rest)
}

fn children(der: &[u8]) -> Vec<&[u8]> {
    let (mut found, mut inside) = (Vec::new(), split(der).1);
    while !inside.is_empty() {
        let rest = split(inside).2;
        found.push(&inside[..inside.len() - rest.len()]);
        inside = rest;
    }
    found
}

/// RFC 7292, appendix B, for one round of SHA-256.
fn mac_of(content: &[u8], password: &str, salt: &[u8], iterations: &[u8]) -> Vec<u8> {
    let iterations = split(iterations).1.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
    let name: Vec<u8> = password.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect();
    let filled = |bytes: &[u8]| -> Vec<u8> {
        bytes.iter().copied().cycle().take(bytes.len().next_multiple_of(64)).collect()
    };
    let mut key = [vec![3; 64], filled(split(salt).1), filled(&name)].concat();
    for _ in 0..iterations {
        key = digest::digest(&digest::SHA256, &key).as_ref().to_vec();
    }
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), content).as_ref().to_vec()
}
