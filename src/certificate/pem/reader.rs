//! Reads PEM as OpenSSL's `PEM_read_bio` does (3.0, `crypto/pem/pem_lib.c`): a server that uses OpenSSL loads exactly the
//! blocks that are found here.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// OpenSSL's line buffer: it reads a longer line in several pieces.
const MAX_PIECE: usize = 254;
/// OpenSSL accepts longer base64 lines only in blocks without headers.
const MAX_LINE_AFTER_HEADERS: usize = 64;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const BOM: &[u8] = b"\xef\xbb\xbf";

/// One PEM block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block<'f> {
    /// The text between `BEGIN` and the dashes.
    pub(crate) label: &'f [u8],
    /// The lines before the first blank line of the block (RFC 1421), as in `Proc-Type: 4,ENCRYPTED`.
    pub(crate) headers: Vec<u8>,
    /// The decoded content.
    pub(crate) der: Zeroizing<Vec<u8>>,
}

/// What is wrong with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The file ends inside the block.
    NoEnd,
    /// The block ends with another label, or a line of it is misplaced.
    Structure,
    /// The content is not base64, or empty.
    Base64,
}

/// An iterator over the blocks of a file. After a broken one it goes on behind the line at which that was noticed, as
/// OpenSSL does for keys; for certificates OpenSSL stops there.
pub(crate) struct Reader<'f> {
    rest: &'f [u8],
}

impl<'f> Reader<'f> {
    pub(crate) fn new(file: &'f [u8]) -> Self {
        Self { rest: file }
    }

    /// Whether the whole file is read. The iterator also ends at a NUL, before the end.
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Whether the last line looks like the start of a BEGIN line that is still being written. To be asked at the end.
    pub(crate) fn is_begun(file: &[u8]) -> bool {
        let last = file.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let last = last.strip_prefix(BOM).unwrap_or(last).trim_ascii_end();
        let begins = last.starts_with(BEGIN) && label(last).is_none();
        !last.is_empty() && (BEGIN.starts_with(last) || begins)
    }

    /// The next piece of a line, and whether the line goes on after it. OpenSSL reads C strings: a NUL ends a piece, and is
    /// the end of the file to it where it is the first byte.
    fn piece(&mut self) -> Option<(&'f [u8], bool)> {
        let window = &self.rest[..self.rest.len().min(MAX_PIECE)];
        let end = window.iter().position(|byte| *byte == b'\n').map_or(window.len(), |at| at + 1);
        let (piece, rest) = self.rest.split_at(end);
        self.rest = rest;
        let piece = piece.split(|byte| *byte == 0).next().unwrap_or_default();
        let goes_on = piece.len() == MAX_PIECE && !piece.ends_with(b"\n");
        (!piece.is_empty()).then_some((piece, goes_on))
    }

    /// The label of the next block.
    fn begin(&mut self) -> Option<&'f [u8]> {
        let (mut line, _) = self.piece()?;
        // OpenSSL skips a byte order mark in the first line and in the line after a block, nowhere else.
        if line.len() > BOM.len() {
            line = line.strip_prefix(BOM).unwrap_or(line);
        }
        loop {
            if let Some(label) = label(trim_end(line)) {
                return Some(label);
            }
            (line, _) = self.piece()?;
        }
    }

    fn block(&mut self, label: &'f [u8]) -> Result<Block<'f>, Broken> {
        // Room for all of it at once, so that growing leaves no copy of a key behind; and for no more, since all of it is
        // wiped for each of ten thousand blocks.
        let content = self.rest.windows(END.len()).position(|bytes| bytes == END).unwrap_or(self.rest.len());
        let mut text = Zeroizing::new(Vec::with_capacity(content + content / MAX_PIECE + MAX_PIECE));
        let mut headers = Vec::new();
        let (mut is_after_headers, mut is_last, mut goes_on) = (false, false, false);
        loop {
            let went_on = goes_on;
            let (piece, partial) = self.piece().ok_or(Broken::NoEnd)?;
            goes_on = partial;
            let line = trim_end(piece);
            if line.is_empty() {
                if !went_on {
                    if is_after_headers {
                        return Err(Broken::Structure);
                    }
                    is_after_headers = true;
                    headers.extend_from_slice(&text);
                    text.clear();
                }
            } else if let Some(rest) = line.strip_prefix(END) {
                if rest.strip_prefix(label) != Some(DASHES) {
                    // At the end of the file the line may still be written.
                    let is_cut = self.rest.is_empty() && !piece.ends_with(b"\n");
                    return Err(if is_cut { Broken::NoEnd } else { Broken::Structure });
                }
                break;
            } else {
                if is_last || is_after_headers && line.len() > MAX_LINE_AFTER_HEADERS {
                    return Err(Broken::Structure);
                }
                is_last = is_after_headers && line.len() < MAX_LINE_AFTER_HEADERS;
                text.extend_from_slice(line);
                text.push(b'\n');
            }
        }
        Ok(Block { label, headers, der: decode(&mut text)? })
    }
}

impl<'f> Iterator for Reader<'f> {
    type Item = Result<Block<'f>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let label = self.begin()?;
        Some(self.block(label))
    }
}

/// OpenSSL compares signed characters: bytes above ASCII end a line like blanks do.
fn trim_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| (b'!'..0x80).contains(byte)).map_or(0, |at| at + 1);
    &line[..end]
}

fn label(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(BEGIN)?.strip_suffix(DASHES)
}

fn decode(text: &mut Vec<u8>) -> Result<Zeroizing<Vec<u8>>, Broken> {
    const OPENSSL: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
            .with_decode_allow_trailing_bits(true),
    );
    text.retain(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    // A dash ends the content; what follows it is not read.
    let text = text.split(|byte| *byte == b'-').next().unwrap_or_default();
    let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let length = OPENSSL.decode_slice(text, &mut der).map_err(|_| Broken::Base64)?;
    der.truncate(length);
    if der.is_empty() { Err(Broken::Base64) } else { Ok(der) }
}
