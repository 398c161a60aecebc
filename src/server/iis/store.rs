//! The local machine's certificate stores, and what was replaced in them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::certificate::{Fault, Fingerprint, Leaf, Thumbprint};

/// The stores of the local machine whose certificates are looked at: IIS's two, and that of remote desktops, which use
/// keys of the others too.
pub const STORES: [&str; 3] = ["My", "WebHosting", "Remote Desktop"];
/// Those that bindings take certificates from.
const OF_IIS: [&str; 2] = ["My", "WebHosting"];

/// The stores of the local machine. What is imported goes into the one that is configured.
pub trait Store {
    /// Imports a sealed set's leaf, with a key that is kept for the machine. One that is there already with a key that
    /// can be used is no failure. Whether the certificate was not there at all.
    ///
    /// # Errors
    /// Windows's, as of the others.
    fn import(&mut self, sealed: &Sealed) -> Result<bool, Failure>;

    /// Has an authority's certificate (DER) in `CA`.
    ///
    /// # Errors
    /// Windows's.
    fn add_authority(&mut self, der: &[u8]) -> Result<(), Failure>;

    /// Proves that a certificate's key can be used, by a signature and without asking anybody.
    ///
    /// # Errors
    /// Windows's.
    fn prove(&mut self, hash: Thumbprint) -> Result<(), Failure>;

    /// Every certificate that has a key, in each of [`STORES`].
    ///
    /// # Errors
    /// Windows's.
    fn list(&mut self) -> Result<Vec<Kept>, Failure>;

    /// Notes at a certificate what it is to certhook, as a property of its own (`CERT_FIRST_USER_PROP_ID` and above):
    /// it outlives certhook and goes with the certificate.
    ///
    /// # Errors
    /// Windows's.
    fn mark(&mut self, store: &str, hash: Thumbprint, mark: Mark) -> Result<(), Failure>;

    /// Removes a certificate, and its key where no other uses it.
    ///
    /// # Errors
    /// Windows's.
    fn remove(&mut self, store: &str, hash: Thumbprint) -> Result<(), Failure>;
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

/// A certificate of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What Windows calls it by.
    pub hash: Thumbprint,
    /// The certificate.
    pub leaf: Leaf,
    /// One of [`STORES`].
    pub store: &'static str,
    /// Where its private key is: equal where it is the same one.
    pub key: String,
    /// What certhook noted.
    pub mark: Option<Mark>,
}

impl Kept {
    /// Of its DER bytes.
    ///
    /// # Errors
    /// That they are no certificate.
    pub fn of_der(der: &[u8], store: &'static str, key: String, mark: Option<Mark>) -> Result<Self, Fault> {
        Ok(Self { hash: Thumbprint::of(der), leaf: Leaf::from_der(der)?, store, key, mark })
    }

    /// Whether it is of the same names, and not newer.
    pub fn is_earlier_than(&self, leaf: &Leaf) -> bool {
        self.leaf.fingerprint != leaf.fingerprint
            && self.leaf.hosts == leaf.hosts
            && self.leaf.not_before <= leaf.not_before
    }

    /// Whether another entry of the stores stops working without this one, or without its key.
    pub fn is_used_by(&self, other: &Self) -> bool {
        match self.hash == other.hash {
            true => self.store != other.store,
            false => self.key == other.key,
        }
    }

    /// Whether `leaf` may take its place unasked: certhook imported it or saw it served (`recorded`), or it is by the
    /// same issuer. Of the same names alone there may be several, as one of an internal authority for those inside.
    fn is_succeeded_by(&self, leaf: &Leaf, recorded: Option<Fingerprint>) -> bool {
        self.mark.is_some() || recorded == Some(self.leaf.fingerprint) || self.leaf.issuer == leaf.issuer
    }
}

/// The certificates of the same names that came before one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Earlier {
    /// Those whose place it takes wherever they are shown.
    pub previous: BTreeSet<Thumbprint>,
    /// Those of another issuer.
    pub doubtful: BTreeSet<Thumbprint>,
}

impl Earlier {
    /// Of all that is kept; `recorded` is the leaf that certhook last saw served for the site.
    pub fn than(leaf: &Leaf, kept: &[Kept], recorded: Option<Fingerprint>) -> Self {
        let earlier = kept.iter().filter(|kept| OF_IIS.contains(&kept.store) && kept.is_earlier_than(leaf));
        let (previous, doubtful): (Vec<&Kept>, Vec<&Kept>) =
            earlier.partition(|kept| kept.is_succeeded_by(leaf, recorded));
        let hashes = |all: Vec<&Kept>| all.iter().map(|kept| kept.hash).collect::<BTreeSet<_>>();
        let (previous, mut doubtful) = (hashes(previous), hashes(doubtful));
        // Of two copies one may have no note.
        doubtful.retain(|hash| !previous.contains(hash));
        Self { previous, doubtful }
    }
}

/// What a certificate is to certhook. Without any it is somebody else's: certhook did not import it, and does not
/// remove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Certhook imported it.
    Imported,
    /// And replaced it: its bindings have another one, which is not proved yet.
    Replaced,
    /// The other one was first proved then: from there on its time runs.
    Proved(Timestamp),
    /// Its time was over, and somebody used it: it stays, and that was told.
    Left,
}

const IMPORTED: &str = "imported by certhook";
const REPLACED: &str = "replaced";
const LEFT: &str = "left";

/// The property's text.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(IMPORTED)?;
        match self {
            Self::Imported => Ok(()),
            Self::Replaced => write!(f, ", {REPLACED}"),
            Self::Proved(at) => write!(f, ", {REPLACED} {at}"),
            Self::Left => write!(f, ", {LEFT}"),
        }
    }
}

impl FromStr for Mark {
    type Err = ();

    /// Whatever else stands there says nothing.
    fn from_str(text: &str) -> Result<Self, ()> {
        let rest = text.strip_prefix(IMPORTED).ok_or(())?;
        let Some(fate) = rest.strip_prefix(", ") else {
            return if rest.is_empty() { Ok(Self::Imported) } else { Err(()) };
        };
        match fate.strip_prefix(REPLACED) {
            Some("") => Ok(Self::Replaced),
            Some(at) => at.trim().parse().map(Self::Proved).map_err(drop),
            None if fate == LEFT => Ok(Self::Left),
            None => Err(()),
        }
    }
}
