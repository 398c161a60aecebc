//! Who issued a certificate.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use x509_parser::prelude::X509Certificate;

/// Who issued a certificate, as far as that stays over its renewals: the organisations (O) of the issuer's name, or all
/// of the name where it has none. An authority's intermediates come and go (R10, R11); an internal one is another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer(Arc<str>);

impl Issuer {
    pub(super) fn of(x509: &X509Certificate<'_>) -> Self {
        let name = x509.issuer();
        let organisations: Vec<&str> =
            name.iter_organization().filter_map(|part| Some(part.as_str().ok()?.trim())).collect();
        let said = organisations.join(", ");
        Self(if said.is_empty() { name.to_string() } else { format!("O={said}") }.into())
    }
}

#[cfg(test)]
impl From<&str> for Issuer {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

#[cfg(test)]
impl Issuer {
    pub(crate) fn is_same_text(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
