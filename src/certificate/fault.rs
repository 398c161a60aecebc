//! Why a set is not whole, and what could not be proved of one that seems to be.

use jiff::Timestamp;

use super::form::Form;

/// Which file a fault was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The file that holds leaf and chain.
    Certificate,
    /// The file that holds the private key.
    Key,
    /// The file that holds all three, sealed.
    Pfx,
}

impl Part {
    /// What a writer that stops leaves half of.
    fn unit(self) -> &'static str {
        match self {
            Part::Certificate | Part::Key => "a PEM block",
            Part::Pfx => "its data",
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Part::Certificate => "certificate file",
            Part::Key => "key file",
            Part::Pfx => "PFX",
        })
    }
}

/// Why a set is not whole. While a writer is at work most of these are passing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A file of no bytes: a writer has truncated it and not written yet.
    #[error("the {0} is empty")]
    Empty(Part),
    /// No block of the wanted kind.
    #[error("the {0} holds no PEM block of that kind")]
    NotPem(Part),
    /// No block of the wanted kind, but another form of a certificate or a key.
    #[error("the {0} holds {1}, which the server cannot load from a PEM file")]
    Unreadable(Part, Form),
    /// A block that begins and does not end.
    #[error("the {0} ends in the middle of {unit}", unit = .0.unit())]
    Truncated(Part),
    /// A block whose content cannot be read.
    #[error("the {0} cannot be read: {1}")]
    Malformed(Part, String),
    /// A PFX that another password seals.
    #[error("its password does not open the PFX, or it was damaged")]
    WrongPassword,
    /// Certificate and key are of different pairs.
    #[error("the key does not belong to the certificate")]
    KeyMismatch,
    /// The leaf is past its dates.
    #[error("the certificate expired at {0}")]
    Expired(Timestamp),
    /// The leaf is before its dates.
    #[error("the certificate is not valid before {0}")]
    NotYetValid(Timestamp),
}

impl Fault {
    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Fault::Empty(_) => "empty",
            Fault::NotPem(part) | Fault::Unreadable(part, _) => match part {
                Part::Certificate => "no_certificate",
                Part::Key => "no_key",
                Part::Pfx => "malformed",
            },
            Fault::Truncated(_) => "truncated",
            Fault::Malformed(..) => "malformed",
            Fault::WrongPassword => "wrong_password",
            Fault::KeyMismatch => "key_mismatch",
            Fault::Expired(_) => "expired",
            Fault::NotYetValid(_) => "not_yet_valid",
        }
    }

    /// The part that is at fault, where it is one alone.
    pub fn part(&self) -> Option<Part> {
        match self {
            Fault::Empty(part)
            | Fault::NotPem(part)
            | Fault::Unreadable(part, _)
            | Fault::Truncated(part)
            | Fault::Malformed(part, _) => Some(*part),
            Fault::WrongPassword | Fault::KeyMismatch | Fault::Expired(_) | Fault::NotYetValid(_) => None,
        }
    }

    /// The command line that converts the file `path` into one that the server can load, if there is one.
    pub fn conversion(&self, path: &str) -> Option<String> {
        match self {
            Fault::Unreadable(part, form) => form.command(path, *part),
            _ => None,
        }
    }

    /// What the administrator should do if it stays so.
    pub fn remedy(&self) -> &'static str {
        match self {
            Fault::Empty(_) | Fault::Truncated(_) => {
                "the program that writes it did not finish; run it again and see that the disk is not full"
            }
            Fault::Unreadable(_, form) => form.remedy(),
            Fault::NotPem(Part::Pfx) | Fault::Malformed(Part::Pfx, _) => {
                "put a PFX there that holds one key, its certificate and the chain"
            }
            Fault::NotPem(_) | Fault::Malformed(..) => {
                "put a PEM file there, the server's certificate first and its chain after it"
            }
            Fault::WrongPassword => "see that the file of pfx_password_file holds this PFX's password",
            Fault::KeyMismatch => "install the key and the certificate of the same issue",
            Fault::Expired(_) => "renew the certificate",
            Fault::NotYetValid(_) => {
                "see that the host's clock is right; certhook acts when the date has come"
            }
        }
    }
}

/// What could not be proved of a set that parses. It is acted on after a while of quiet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// The chain does not link up at this certificate of the file (1 is the leaf).
    #[error("certificate {at} of the file was not issued by the one after it")]
    ChainGap {
        /// Counted from 1, the leaf.
        at: usize,
    },
    /// Bytes follow this certificate of the chain in its block.
    #[error("bytes follow certificate {at} of the file in its block")]
    TrailingBytes {
        /// Counted from 1, the leaf.
        at: usize,
    },
    /// A leaf alone that is not self-signed: the chain may still be on its way.
    #[error("the file holds the leaf alone, without its chain")]
    LeafOnly,
    /// The key cannot be compared with the leaf.
    #[error("whether the key belongs to the certificate cannot be checked: {0}")]
    KeyUnchecked(&'static str),
}
