//! The type of a key, and its public part where the key's file has it: what can be compared with a leaf without knowing
//! the algorithm.

use x509_parser::asn1_rs::{Any, FromDer, Tag, oid};
use x509_parser::prelude::X509Certificate;
use zeroize::Zeroizing;

use super::material::der;
use super::pem::{ClearKey, KeyBlock, KeyForm};

/// The type of a key: an algorithm, and the curve of an EC key where it has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    /// The object identifier's content.
    algorithm: Vec<u8>,
    curve: Option<Vec<u8>>,
}

const RSA: &[u8] = &oid!(raw 1.2.840.113549.1.1.1);
const EC: &[u8] = &oid!(raw 1.2.840.10045.2.1);
const PSS: &[u8] = &oid!(raw 1.2.840.113549.1.1.10);
const DSA: &[u8] = &oid!(raw 1.2.840.10040.4.1);

impl Kind {
    pub(super) fn of_leaf(leaf: &X509Certificate<'_>) -> Self {
        let algorithm = &leaf.public_key().algorithm;
        let curve = algorithm.parameters.as_ref().filter(|any| any.tag() == Tag::Oid);
        Self {
            algorithm: algorithm.algorithm.as_bytes().to_vec(),
            curve: curve.map(|curve| curve.data.to_vec()),
        }
    }

    /// `None` where the file does not tell.
    pub(super) fn of_key(key: &KeyBlock) -> Option<Self> {
        match key {
            KeyBlock::Clear(ClearKey { form: KeyForm::Pkcs8, der }) => {
                let [_, algorithm, ..] = elements(der)?[..] else { return None };
                let of_algorithm = elements(algorithm)?;
                let (name, parameters) = of_algorithm.split_first()?;
                let curve = parameters.first().filter(|curve| curve[0] == 0x06);
                Some(Self {
                    algorithm: content(name)?.to_vec(),
                    curve: curve.and_then(|curve| content(curve)).map(<[u8]>::to_vec),
                })
            }
            KeyBlock::Clear(ClearKey { form: KeyForm::Sec1, der }) => {
                let named = tagged(der, 0xa0).filter(|curve| curve.first() == Some(&0x06));
                Some(Self { algorithm: EC.to_vec(), curve: named.and_then(content).map(<[u8]>::to_vec) })
            }
            KeyBlock::Clear(ClearKey { form, .. }) | KeyBlock::Encrypted(Some(form)) => Self::of_form(*form),
            KeyBlock::Encrypted(None) => None,
        }
    }

    /// `None` for PKCS#8, which holds keys of any type.
    pub(super) fn of_form(form: KeyForm) -> Option<Self> {
        let algorithm = match form {
            KeyForm::Pkcs1 => RSA,
            KeyForm::Sec1 => EC,
            KeyForm::Dsa => DSA,
            KeyForm::Pkcs8 => return None,
        };
        Some(Self { algorithm: algorithm.to_vec(), curve: None })
    }

    /// Whether the two can never be of one pair. RSA and RSA-PSS differ too, since OpenSSL keeps them in slots of their own;
    /// Windows has one type for both.
    pub(super) fn differs_from(&self, other: &Self) -> bool {
        let family = |kind: &Self| match kind.algorithm.as_slice() {
            PSS if cfg!(windows) => RSA.to_vec(),
            other => other.to_vec(),
        };
        family(self) != family(other)
            || matches!((&self.curve, &other.curve), (Some(one), Some(another)) if one != another)
    }
}

/// Whether `public` is the subjectPublicKey of a certificate of this key; `None` where the key's file does not say it: it
/// has the numbers of an RSA key, and mostly the point of an EC key.
pub(super) fn is_public_part(key: &ClearKey, public: &[u8]) -> Option<bool> {
    let own = public_part(key)?;
    Some(*own == *public || point(&own).is_some_and(|own| point(public) == Some(own)))
}

fn public_part(key: &ClearKey) -> Option<Zeroizing<Vec<u8>>> {
    match key.form {
        KeyForm::Pkcs1 => rsa_numbers(&key.der),
        KeyForm::Sec1 => ec_point(&key.der),
        KeyForm::Dsa => None,
        KeyForm::Pkcs8 => {
            let [_, algorithm, inner, ..] = elements(&key.der)?[..] else { return None };
            let inner = content(inner)?;
            match content(elements(algorithm)?.first()?)? {
                EC => ec_point(inner),
                RSA | PSS => rsa_numbers(inner),
                _ => None,
            }
        }
    }
}

/// A point's x and whether its y is odd, of a compressed point and of a whole one (SEC 1, 2.3.3).
fn point(bytes: &[u8]) -> Option<(&[u8], bool)> {
    match bytes {
        [sign @ (2 | 3), x @ ..] => Some((x, *sign == 3)),
        [4 | 6 | 7, both @ ..] => {
            let (x, y) = both.split_at(both.len() / 2);
            Some((x, y.last()? % 2 == 1))
        }
        _ => None,
    }
}

fn rsa_numbers(pkcs1: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let [_, modulus, exponent, ..] = elements(pkcs1)?[..] else { return None };
    Some(der(0x30, &[modulus, exponent]))
}

fn ec_point(sec1: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // The first byte of a bit string counts unused bits.
    let bits = content(tagged(sec1, 0xa1)?)?;
    bits.split_first().filter(|(unused, _)| **unused == 0).map(|(_, point)| Zeroizing::new(point.to_vec()))
}

/// The content of the element that has this tag.
fn tagged(sequence: &[u8], tag: u8) -> Option<&[u8]> {
    elements(sequence)?.into_iter().find(|element| element[0] == tag).and_then(content)
}

fn content(element: &[u8]) -> Option<&[u8]> {
    Any::from_der(element).ok().map(|(_, any)| any.data)
}

fn elements(sequence: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut found, mut rest) = (Vec::new(), content(sequence)?);
    while !rest.is_empty() {
        let (after, _) = Any::from_der(rest).ok()?;
        found.push(&rest[..rest.len() - after.len()]);
        rest = after;
    }
    Some(found)
}
