//! BER to DER: programs that write a PFX as a stream use indefinite lengths and strings in pieces (X.690, 8.1.3.6 and
//! 8.7.3), and leave sets unsorted. A DER reader refuses all of it.

use x509_parser::asn1_rs::{Any, FromDer};
use zeroize::Zeroizing;

use super::material::der;

/// A PFX has about ten levels; each costs stack and one copy of what is below it.
const MAX_DEPTH: usize = 24;

const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, constructed; primitive without the bit.
const CONTEXT_0: u8 = 0xa0;
const CONSTRUCTED: u8 = 0x20;

/// Why bytes are not BER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// More bytes are needed.
    Truncated,
    /// No bytes that follow would make them BER.
    Malformed,
}

/// Returns the DER of the first element, and what follows the element.
pub(super) fn to_der(bytes: &[u8]) -> Result<(Zeroizing<Vec<u8>>, &[u8]), Broken> {
    element(Input { bytes, is_file: true }, MAX_DEPTH)
}

/// Bytes that are left. Where they end at the end of the file, more may follow.
#[derive(Clone, Copy)]
struct Input<'b> {
    bytes: &'b [u8],
    is_file: bool,
}

impl<'b> Input<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], Broken> {
        let end = if self.is_file { Broken::Truncated } else { Broken::Malformed };
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(end)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Broken> {
        self.take(1).map(|byte| byte[0])
    }

    /// `None`: indefinite.
    fn length(&mut self) -> Result<Option<usize>, Broken> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(Some(usize::from(first)));
        }
        let count = usize::from(first & 0x7f);
        if count > size_of::<u32>() {
            return Err(Broken::Malformed);
        }
        let value = self.take(count)?.iter().fold(0, |value, byte| value << 8 | usize::from(*byte));
        Ok((count > 0).then_some(value))
    }
}

fn element(mut input: Input<'_>, depth: usize) -> Result<(Zeroizing<Vec<u8>>, &[u8]), Broken> {
    let tag = input.byte()?;
    // A PFX has no tags above 30.
    if depth == 0 || tag & 0x1f == 0x1f {
        return Err(Broken::Malformed);
    }
    let length = input.length()?;
    if tag & CONSTRUCTED == 0 {
        let content = input.take(length.ok_or(Broken::Malformed)?)?;
        return Ok((der(tag, &[content]), input.bytes));
    }
    let (children, rest) = match length {
        Some(length) => {
            let content = input.take(length)?;
            (children(Input { bytes: content, is_file: false }, false, depth)?.0, input.bytes)
        }
        None => children(input, true, depth)?,
    };
    Ok((joined(tag, children)?, rest))
}

type Elements = Vec<Zeroizing<Vec<u8>>>;

/// The elements up to two zeros, or to the end.
fn children(mut input: Input<'_>, is_indefinite: bool, depth: usize) -> Result<(Elements, &[u8]), Broken> {
    let mut found = Vec::new();
    loop {
        match input.bytes {
            [0, 0, rest @ ..] if is_indefinite => return Ok((found, rest)),
            [] if !is_indefinite => return Ok((found, input.bytes)),
            _ => {}
        }
        let (child, rest) = element(input, depth - 1)?;
        found.push(child);
        input.bytes = rest;
    }
}

/// The children, which are DER, in one constructed element or, of a string, in a primitive one.
fn joined(tag: u8, mut children: Elements) -> Result<Zeroizing<Vec<u8>>, Broken> {
    if tag == OCTET_STRING | CONSTRUCTED {
        return string(OCTET_STRING, &children);
    }
    match tag {
        SET => children.sort_by(|one, other| one.as_slice().cmp(other)),
        // EncryptedContentInfo: its `[0]` is a string with an implicit tag.
        SEQUENCE if is_encrypted_content(&children) => children[2] = string_in(&children[2])?,
        _ => {}
    }
    let parts: Vec<&[u8]> = children.iter().map(|child| child.as_slice()).collect();
    Ok(der(tag, &parts))
}

fn is_encrypted_content(children: &[Zeroizing<Vec<u8>>]) -> bool {
    let tags: Vec<u8> = children.iter().map(|child| child[0]).collect();
    tags == [OBJECT_ID, SEQUENCE, CONTEXT_0]
}

/// The pieces of a string, which are strings themselves.
fn string(tag: u8, pieces: &[Zeroizing<Vec<u8>>]) -> Result<Zeroizing<Vec<u8>>, Broken> {
    let contents: Result<Vec<&[u8]>, Broken> = pieces
        .iter()
        .map(|piece| match Any::from_der(piece) {
            Ok(([], any)) if piece[0] == OCTET_STRING => Ok(any.data),
            _ => Err(Broken::Malformed),
        })
        .collect();
    Ok(der(tag, &contents?))
}

fn string_in(element: &[u8]) -> Result<Zeroizing<Vec<u8>>, Broken> {
    let (_, outer) = Any::from_der(element).map_err(|_| Broken::Malformed)?;
    let (mut pieces, mut rest) = (Vec::new(), outer.data);
    while !rest.is_empty() {
        let (after, _) = Any::from_der(rest).map_err(|_| Broken::Malformed)?;
        pieces.push(Zeroizing::new(rest[..rest.len() - after.len()].to_vec()));
        rest = after;
    }
    string(CONTEXT_0 & !CONSTRUCTED, &pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> Result<Vec<u8>, Broken> {
        to_der(bytes).map(|(der, _)| der.to_vec())
    }

    #[test]
    fn ber_becomes_the_der_of_the_same_value() {
        let table: [(&[u8], &[u8]); 9] = [
            (b"\x30\x03\x02\x01\x05", b"\x30\x03\x02\x01\x05"),
            (b"\x30\x80\x02\x01\x05\x00\x00", b"\x30\x03\x02\x01\x05"),
            (b"\x30\x83\x00\x00\x03\x02\x01\x05", b"\x30\x03\x02\x01\x05"),
            (b"\x30\x80\x30\x80\x00\x00\x00\x00", b"\x30\x02\x30\x00"),
            (b"\x24\x80\x04\x01a\x04\x02bc\x00\x00", b"\x04\x03abc"),
            (b"\x24\x80\x24\x03\x04\x01a\x04\x02bc\x00\x00", b"\x04\x03abc"),
            (b"\x31\x80\x04\x01b\x04\x01a\x00\x00", b"\x31\x06\x04\x01a\x04\x01b"),
            (
                b"\x30\x80\x06\x01*\x30\x80\x00\x00\xa0\x80\x04\x01a\x04\x01b\x00\x00\x00\x00",
                b"\x30\x09\x06\x01*\x30\x00\x80\x02ab",
            ),
            // With an explicit tag it stays what it is.
            (b"\x30\x80\x06\x01*\xa0\x80\x04\x01a\x00\x00\x00\x00", b"\x30\x08\x06\x01*\xa0\x03\x04\x01a"),
        ];
        for (ber, expected) in table {
            assert_eq!(hex(ber).as_deref(), Ok(expected), "{ber:?}");
            assert_eq!(hex(expected).as_deref(), Ok(expected), "DER stays as it is");
            for end in 0..ber.len() {
                assert_eq!(hex(&ber[..end]), Err(Broken::Truncated), "{ber:?} cut at {end}");
            }
            let longer = [ber, b"\0more"].concat();
            assert_eq!(to_der(&longer).map(|(_, rest)| rest), Ok(&b"\0more"[..]));
        }
    }

    #[test]
    fn bytes_that_are_no_ber_are_refused() {
        let deep = |levels: usize| [[0x30, 0x80].repeat(levels), vec![0; 2 * levels]].concat();
        assert!(to_der(&deep(MAX_DEPTH)).is_ok());
        let table: [&[u8]; 8] = [
            &deep(MAX_DEPTH + 1),
            &[0x30, 0x80].repeat(500_000),
            b"\x04\x80\x00\x00",
            b"\x1f\x01\x00",
            b"\x30\x85\x00\x00\x00\x00\x00",
            b"\x30\x03\x04\x09\x00",
            b"\x24\x80\x02\x01\x05\x00\x00",
            b"\x30\x80\x06\x01*\x30\x00\xa0\x03\x02\x01\x05\x00\x00",
        ];
        for bytes in table {
            assert_eq!(hex(bytes), Err(Broken::Malformed), "{:?}", &bytes[..bytes.len().min(20)]);
        }
    }
}
