//! What nginx serves, read from its own configuration: the certificates, and where each is asked for.
//!
//! ```text
//! lexer ─▶ reader ─▶ levels ─▶ listeners ─▶ pairs
//! words    includes  servers   who answers   certificates and asks
//! ```
//!
//! nginx is not run, and nothing is written: `nginx -T` needs rights that certhook has no use for, and truncates
//! logs. What nginx would refuse becomes a problem with nginx's own file and line; the rest is read all the same.

mod bindings;
mod glob;
mod levels;
mod lexer;
mod listen;
mod listeners;
mod names;
mod opened;
mod pairs;
mod reader;
mod regex;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::{Ask, Bound, KeyAt};
use crate::problem::{Problem, printable};

/// How an nginx was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its `-c`, absolute.
    pub config: PathBuf,
    /// Its `-p`: logs and the pid file are relative to it.
    pub prefix: PathBuf,
    /// Its `-g`.
    pub globals: Option<String>,
}

/// What a server's configuration says: nginx's, or IIS's with its files and bindings alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// One for each certificate file that a TLS listener shows, in order of first appearance.
    pub pairs: Vec<Pair>,
    /// The bindings of IIS. Their certificates are in no files, so there are no pairs.
    pub bindings: Vec<Bound>,
    /// What is named and cannot be a site, or not all of it can be asked for.
    pub left_out: Vec<LeftOut>,
    /// The configuration's files, and those that it names and that are not there.
    pub files: Vec<PathBuf>,
    /// Where `include` looks for files by a pattern.
    pub folders: Vec<PathBuf>,
    /// The files that nginx opens when it loads the configuration, those of `include` among them.
    pub opened: Vec<Opened>,
    /// Of the main level, `-g` first. Empty where only nginx's built-in default counts.
    pub error_logs: Vec<Log>,
    /// The `pid` directive.
    pub pid_file: Option<PathBuf>,
    /// The first thing that is wrong with it.
    pub problem: Option<Problem>,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// `ssl_certificate`.
    pub certificate: PathBuf,
    /// `ssl_certificate_key`.
    pub key: KeyAt,
    /// Where and by which names; one for each listener.
    pub asks: Vec<Ask>,
    /// Every `ssl_certificate` that names it.
    pub places: Vec<Place>,
}

/// A line of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

/// Something that certhook cannot look after.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeftOut {
    /// Where it stands.
    pub place: Place,
    /// The certificate or the listener.
    pub what: String,
    /// Why.
    pub why: String,
}

/// Where errors are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Log {
    /// A file.
    File(PathBuf),
    /// `stderr`
    Stderr,
    /// `syslog:…`
    Syslog,
    /// Such as `memory:…`.
    Other(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", printable(&self.file.display().to_string(), 500), self.line)
    }
}

/// Reads the configuration of `instance`. Blocks for as long as its files take; whatever they hold, it ends.
pub fn nginx(instance: &Instance) -> Found {
    let levels = reader::read(instance);
    pairs::found(levels)
}

pub use bindings::sites_of_iis;
pub use opened::Opened;

/// Every path that an absolute pattern of `*` matches, in order, and the folders that were listed for it. One that
/// may not be listed has no match.
pub fn matching(pattern: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let mut globber = glob::Globber::default();
    let found = match globber.find(&pattern.display().to_string()) {
        Ok(found) => found.to_vec(),
        Err(error) => {
            tracing::warn!(pattern = %printable(&pattern.display().to_string(), 500), %error, "a pattern has no match");
            Vec::new()
        }
    };
    (found, globber.folders)
}

#[cfg(test)]
mod tests;
