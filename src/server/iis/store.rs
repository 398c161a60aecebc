//! The local machine's certificate store, and what was replaced in it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::certificate::{Fault, Leaf, Thumbprint};

/// A store of the local machine.
pub trait Store {
    /// Imports a sealed set: the leaf into the store with a key that is kept for the machine, its chain into `CA`.
    /// One that is there already is no failure.
    ///
    /// # Errors
    /// Windows's, as of the others.
    fn import(&mut self, sealed: &Sealed) -> Result<(), Failure>;

    /// Proves that a certificate's key can be used, by a signature and without asking anybody.
    ///
    /// # Errors
    /// Windows's.
    fn prove(&mut self, hash: Thumbprint) -> Result<(), Failure>;

    /// Every certificate that has a key.
    ///
    /// # Errors
    /// Windows's.
    fn list(&mut self) -> Result<Vec<Kept>, Failure>;

    /// Notes at a certificate what became of it, as a property of its own (`CERT_FIRST_USER_PROP_ID` and above): it
    /// outlives certhook and goes with the certificate. `None` takes the note away.
    ///
    /// # Errors
    /// Windows's.
    fn mark(&mut self, hash: Thumbprint, mark: Option<Mark>) -> Result<(), Failure>;

    /// Removes a certificate and its key.
    ///
    /// # Errors
    /// Windows's.
    fn remove(&mut self, hash: Thumbprint) -> Result<(), Failure>;
}

/// A PFX to be imported at once, and its password.
pub struct Sealed {
    /// The file's bytes.
    pub pfx: Zeroizing<Vec<u8>>,
    /// Made up for this one time.
    pub password: Zeroizing<String>,
    /// The leaf's.
    pub hash: Thumbprint,
}

/// A certificate of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What Windows calls it by.
    pub hash: Thumbprint,
    /// The certificate.
    pub leaf: Leaf,
    /// What certhook noted.
    pub mark: Option<Mark>,
}

impl Kept {
    /// Of its DER bytes.
    ///
    /// # Errors
    /// That they are no certificate.
    pub fn of_der(der: &[u8], mark: Option<Mark>) -> Result<Self, Fault> {
        Ok(Self { hash: Thumbprint::of(der), leaf: Leaf::from_der(der)?, mark })
    }

    /// Whether it is of the same names, and not newer.
    pub fn is_earlier_than(&self, leaf: &Leaf) -> bool {
        self.leaf.fingerprint != leaf.fingerprint
            && self.leaf.hosts == leaf.hosts
            && self.leaf.not_before <= leaf.not_before
    }
}

/// What became of a certificate that certhook took out of the bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Its bindings have another one, which is not proved yet.
    Replaced,
    /// The other one was first proved then: from there on its time runs.
    Proved(Timestamp),
}

const REPLACED: &str = "replaced";

/// The property's text.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replaced => f.write_str(REPLACED),
            Self::Proved(at) => write!(f, "{REPLACED} {at}"),
        }
    }
}

impl FromStr for Mark {
    type Err = ();

    /// Whatever else stands there says nothing.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.strip_prefix(REPLACED).ok_or(())? {
            "" => Ok(Self::Replaced),
            at => at.trim().parse().map(Self::Proved).map_err(drop),
        }
    }
}
