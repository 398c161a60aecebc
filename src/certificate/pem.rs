//! The certificates and the key of a PEM file: what nginx, through OpenSSL's `PEM_read_bio_X509_AUX` and
//! `PEM_read_bio_PrivateKey`, takes from the same bytes.

mod reader;

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};
use zeroize::Zeroizing;

use super::fault::{Doubt, Fault, Part};
use super::form::Form;
use super::kind::Kind;
pub(super) use reader::Reader;
use reader::{Block, Broken};

/// What a key file holds.
pub(super) enum KeyBlock {
    /// A key in the clear.
    Clear(ClearKey),
    /// A key that needs a password; its form where the label tells it.
    Encrypted(Option<KeyForm>),
}

/// How the bytes of a key are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyForm {
    /// With its algorithm (RFC 5958).
    Pkcs8,
    /// RSA (RFC 8017).
    Pkcs1,
    /// EC (RFC 5915).
    Sec1,
    /// DSA, as OpenSSL has it.
    Dsa,
}

/// The bytes of a key, which are wiped when it is dropped.
pub(super) struct ClearKey {
    pub(super) form: KeyForm,
    pub(super) der: Zeroizing<Vec<u8>>,
}

impl ClearKey {
    /// The key as a library takes it; it is not copied.
    pub(super) fn as_der(&self) -> PrivateKeyDer<'_> {
        let der = self.der.as_slice();
        match self.form {
            KeyForm::Pkcs1 => PrivatePkcs1KeyDer::from(der).into(),
            KeyForm::Sec1 => PrivateSec1KeyDer::from(der).into(),
            KeyForm::Pkcs8 | KeyForm::Dsa => PrivatePkcs8KeyDer::from(der).into(),
        }
    }
}

/// Every certificate of the file, in its order; at least one.
pub(super) fn certificates(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    certificates_with_doubt(file).map(|(found, _)| found)
}

/// The same, and whether bytes follow one of them: OpenSSL does not mind, and they may be what a writer in place has not
/// overwritten yet.
pub(super) fn certificates_with_doubt(
    file: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, Option<Doubt>), Fault> {
    const PART: Part = Part::Certificate;
    not_empty(file, PART)?;
    let (mut found, mut doubt) = (Vec::new(), None);
    for block in Reader::new(file) {
        let block = block.map_err(|broken| fault(broken, PART))?;
        match block.label {
            b"CERTIFICATE" | b"X509 CERTIFICATE" => {}
            // Only the leaf is read with trust settings.
            b"TRUSTED CERTIFICATE" if found.is_empty() => {}
            _ => continue,
        }
        if !block.headers.is_empty() {
            return Err(Fault::Malformed(
                PART,
                "a blank line or a header stands inside a certificate".into(),
            ));
        }
        let der = certificate(&block.der, found.is_empty())?;
        if !found.is_empty() && der.len() < block.der.len() {
            doubt = doubt.or(Some(Doubt::TrailingBytes { at: found.len() + 1 }));
        }
        found.push(der);
    }
    if Reader::is_begun(file) {
        return Err(Fault::Truncated(PART));
    }
    if found.is_empty() { Err(none(file, PART)) } else { Ok((found, doubt)) }
}

/// The first private key of the file that can be read. What follows it is not read, as OpenSSL does not read it.
pub(super) fn private_key(file: &[u8]) -> Result<KeyBlock, Fault> {
    not_empty(file, Part::Key)?;
    let mut reader = Reader::new(file);
    let mut last = None;
    while !reader.is_at_end() {
        match reader.next().map(|block| block.map_err(|broken| fault(broken, Part::Key)).and_then(key)) {
            Some(Ok(Some(key))) => return Ok(key),
            // OpenSSL goes on after what it cannot read.
            Some(Err(fault)) => last = Some(fault),
            Some(Ok(None)) | None => {}
        }
    }
    if Reader::is_begun(file) {
        return Err(Fault::Truncated(Part::Key));
    }
    Err(last.unwrap_or_else(|| none(file, Part::Key)))
}

/// The key in a block; `None` in a block of another kind.
fn key(block: Block<'_>) -> Result<Option<KeyBlock>, Fault> {
    let broken = |words: &str| Err(Fault::Malformed(Part::Key, words.to_owned()));
    let labelled = match block.label {
        b"PRIVATE KEY" | b"ENCRYPTED PRIVATE KEY" => KeyForm::Pkcs8,
        b"RSA PRIVATE KEY" => KeyForm::Pkcs1,
        b"EC PRIVATE KEY" => KeyForm::Sec1,
        b"DSA PRIVATE KEY" => KeyForm::Dsa,
        _ => return Ok(None),
    };
    if is_encrypted(&block.headers) {
        return Ok(Some(KeyBlock::Encrypted((labelled != KeyForm::Pkcs8).then_some(labelled))));
    }
    if !block.headers.is_empty() {
        return broken("a blank line or a header stands inside the key");
    }
    let form = match Layout::of(&block.der) {
        Some(Layout::Encrypted) if block.label == b"ENCRYPTED PRIVATE KEY" => {
            return Ok(Some(KeyBlock::Encrypted(None)));
        }
        Some(Layout::Key(form)) if form == labelled || form == KeyForm::Pkcs8 => form,
        _ => return broken("its content is not what its label says"),
    };
    let key = KeyBlock::Clear(ClearKey { form, der: block.der });
    match (Kind::of_key(&key), Kind::of_form(labelled)) {
        (Some(kind), Some(labelled)) if kind.differs_from(&labelled) => {
            broken("its content is not what its label says")
        }
        _ => Ok(Some(key)),
    }
}

/// What the elements of a DER key say of it.
#[derive(PartialEq, Eq)]
enum Layout {
    Key(KeyForm),
    Encrypted,
}

impl Layout {
    fn of(der: &[u8]) -> Option<Self> {
        let (_, outer) = Any::from_der(der).ok().filter(|(_, outer)| outer.tag() == Tag::Sequence)?;
        let (mut tags, mut rest) = (Vec::new(), outer.data);
        while !rest.is_empty() {
            let (after, element) = Any::from_der(rest).ok()?;
            tags.push(element.tag());
            rest = after;
        }
        match tags[..] {
            [Tag::Integer, Tag::Sequence, Tag::OctetString, ..] => Some(Self::Key(KeyForm::Pkcs8)),
            [Tag::Integer, Tag::OctetString, ..] => Some(Self::Key(KeyForm::Sec1)),
            [Tag::Sequence, Tag::OctetString] => Some(Self::Encrypted),
            _ if tags.len() >= 9 && tags[..9].iter().all(|tag| *tag == Tag::Integer) => {
                Some(Self::Key(KeyForm::Pkcs1))
            }
            _ if tags == [Tag::Integer; 6] => Some(Self::Key(KeyForm::Dsa)),
            _ => None,
        }
    }
}

/// `Proc-Type: 4,ENCRYPTED` (RFC 1421).
fn is_encrypted(headers: &[u8]) -> bool {
    let rest = headers.strip_prefix(b"Proc-Type:").map(<[u8]>::trim_ascii_start);
    let rest = rest.and_then(|rest| rest.strip_prefix(b"4,")).map(<[u8]>::trim_ascii_start);
    let rest = rest.and_then(|rest| rest.strip_prefix(b"ENCRYPTED"));
    rest.and_then(<[u8]>::first).is_some_and(u8::is_ascii_whitespace)
}

fn not_empty(file: &[u8], part: Part) -> Result<(), Fault> {
    let text = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    if text.iter().all(u8::is_ascii_whitespace) { Err(Fault::Empty(part)) } else { Ok(()) }
}

fn fault(broken: Broken, part: Part) -> Fault {
    match broken {
        Broken::NoEnd => Fault::Truncated(part),
        Broken::Structure => {
            Fault::Malformed(part, "the END line of a block is missing, or a line of it is misplaced".into())
        }
        Broken::Base64 => Fault::Malformed(part, "the base64 of a block is broken".into()),
    }
}

fn none(file: &[u8], part: Part) -> Fault {
    Form::of(file, part).map_or(Fault::NotPem(part), |form| Fault::Unreadable(part, form))
}

/// The certificate alone, as OpenSSL takes it from a block: trust settings (`openssl x509 -trustout`) may follow the
/// first certificate of a file, and any bytes the others.
fn certificate(block: &[u8], is_first: bool) -> Result<CertificateDer<'static>, Fault> {
    let broken = |words: &str| Fault::Malformed(Part::Certificate, words.to_owned());
    let Ok((rest, _)) = Any::from_der(block) else {
        return Err(broken("a block is not an X.509 certificate"));
    };
    if is_first && !rest.is_empty() && !is_trust(rest) {
        return Err(broken("bytes follow a certificate"));
    }
    let der = &block[..block.len() - rest.len()];
    if Form::of(der, Part::Certificate) == Some(Form::Pkcs7Der) {
        return Err(Fault::Unreadable(Part::Certificate, Form::Pkcs7));
    }
    Ok(CertificateDer::from(der.to_vec()))
}

/// Whether the bytes begin with an `X509_CERT_AUX`: a sequence of trusted uses, rejected uses `[0]`, alias, key id and
/// others `[1]`, all optional.
fn is_trust(bytes: &[u8]) -> bool {
    let Ok((_, outer)) = Any::from_der(bytes) else { return false };
    let mut rest = outer.data;
    let order = |any: &Any<'_>| match (any.class() == Class::ContextSpecific, any.tag()) {
        (false, Tag::Sequence) => Some(0),
        (true, Tag(0)) => Some(1),
        (false, Tag::Utf8String) => Some(2),
        (false, Tag::OctetString) => Some(3),
        (true, Tag(1)) => Some(4),
        _ => None,
    };
    let mut next = 0;
    while !rest.is_empty() {
        let Ok((after, any)) = Any::from_der(rest) else { return false };
        match order(&any) {
            Some(place) if place >= next => next = place + 1,
            _ => return false,
        }
        rest = after;
    }
    outer.tag() == Tag::Sequence
}

#[cfg(test)]
mod tests;
