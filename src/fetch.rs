//! Downloads a certificate's files from where the portal's links lead, and puts them in place whole.
//!
//! ```text
//! download ─▶ judge ─▶ place
//! bounded     whole?    temporary files beside, then renames, the full chain last
//! ```
//!
//! Nothing on disk is touched before the whole set has been downloaded and found to be the portal's certificate.
//! The layout is that of the vendor's own client: `{into}/{name}/privateKey.key` and its neighbours.

mod admit;
mod download;
mod judge;
mod names;
mod place;
mod remote;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::apart::Apart;
use crate::certificate::{self, Hosts, Key, Leaf};
use crate::files;
use crate::portal;
use crate::problem::{Problem, printable};
use judge::Set;
pub use names::folders;
use remote::Downloads;
pub use remote::{Desk, Task};

/// The portal's end of a certificate and the certificate's own may differ by so much and mean the same.
const SAME_END: SignedDuration = SignedDuration::from_hours(24);

/// Which files are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Key, leaf, chain and full chain, for nginx and its like.
    Pem,
    /// One file with a password, for IIS and its like.
    Pfx,
    /// Both.
    All,
}

/// A file of the vendor's layout, in the order in which they are put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    Pfx,
    Key,
    Leaf,
    Intermediates,
    FullChain,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The certificate's own folder.
    pub folder: PathBuf,
    /// The file that a server is to name: the full chain, or the PFX.
    pub certificate: PathBuf,
    /// What it holds.
    pub leaf: Leaf,
    /// Whether the files on disk are others now than before.
    pub changed: bool,
}

/// What a host has of a certificate of the portal's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// A file of the set is not there.
    Lacks,
    /// An older one, one of other hosts, or a set that is not whole.
    Older,
    /// It: the same hosts, and to a day the same end.
    Same,
    /// One of the same hosts that ends later than the portal knows.
    Newer,
}

impl Here {
    /// Whether what the portal has is better.
    pub fn is_wanting(self) -> bool {
        matches!(self, Self::Lacks | Self::Older)
    }
}

/// Fetches certificates. Its HTTP clients know no credentials.
pub struct Fetcher {
    downloads: Downloads,
    owner: Option<(u32, u32)>,
}

impl Fetcher {
    /// `endpoint` is the portal's, whose links are followed; `timeout` is for one file, redirects and all; `owner`
    /// (user and group) gets folders and files.
    pub fn new(endpoint: &str, timeout: Duration, owner: Option<(u32, u32)>) -> Self {
        Self { downloads: Downloads::new(endpoint, timeout), owner }
    }

    /// Downloads in the second process, if there is one.
    pub fn apart(mut self, apart: Option<&Apart>) -> Self {
        self.downloads.apart = apart.cloned();
        self
    }

    /// Lets go of the connections.
    pub fn rest(&self) {
        self.downloads.rest();
    }

    /// Downloads the whole set, checks it, and puts it in place below `into`.
    ///
    /// # Errors
    /// What is wrong; what was there before is untouched, unless the disk fails between two renames.
    pub async fn fetch(
        &self,
        certificate: &portal::Certificate,
        into: &Path,
        format: Format,
        now: Timestamp,
    ) -> Result<Fetched, Problem> {
        let folder = folder(into, &certificate.name)?;
        let mut got = Vec::new();
        for (file, link) in links(certificate, format)? {
            got.push((file, self.downloads.get(link, file.what(), &certificate.name).await?));
        }
        let set = Set { certificate: certificate.clone(), got };
        let owner = self.owner;
        // Opening a PFX is work, and a disk may be slow: neither is to hold up the loop.
        let work = move || {
            let (leaf, files) = set.judge(now)?;
            let changed = place::place(&folder, &files, owner)?;
            let certificate = folder.join(format.last().name());
            Ok(Fetched { folder, certificate, leaf, changed })
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
            let message = format!("fetching {} broke off", printable(&certificate.name, 120));
            Err(Problem::new("fetch_broken", message, "look at the log, and report it"))
        })
    }
}

/// Where a certificate of this name has its files.
///
/// # Errors
/// A name that no certificate has: it might lead elsewhere.
pub fn folder(into: &Path, name: &str) -> Result<PathBuf, Problem> {
    names::folder(name).map(|folder| into.join(folder))
}

/// Whether the portal has what the format needs.
pub fn has_links(certificate: &portal::Certificate, format: Format) -> bool {
    links(certificate, format).is_ok()
}

/// What this host has of it.
pub fn here(into: &Path, certificate: &portal::Certificate, format: Format) -> Here {
    let Ok(folder) = folder(into, &certificate.name) else { return Here::Lacks };
    if format.files().iter().any(|file| !folder.join(file.name()).is_file()) {
        return Here::Lacks;
    }
    let found = match format {
        Format::Pem => pem_here(&folder),
        Format::Pfx => pfx_here(&folder, certificate),
        Format::All => {
            let (pem, pfx) = (pem_here(&folder), pfx_here(&folder, certificate));
            pem.filter(|pem| pfx.is_some_and(|pfx| pfx == *pem))
        }
    };
    let Some(leaf) = found.filter(|leaf| leaf.hosts == Hosts::from_portal_name(&certificate.name)) else {
        return Here::Older;
    };
    match certificate.expires() {
        Some(end) if is_same_end(end, leaf.not_after) => Here::Same,
        Some(end) if end > leaf.not_after => Here::Older,
        Some(_) => Here::Newer,
        None => Here::Same,
    }
}

/// The leaf of a PEM file, whole or not, expired or not.
pub fn leaf_at(path: &Path) -> Option<Leaf> {
    let content = files::read(path).ok()?;
    Leaf::from_pem(&content.bytes).ok()
}

/// Whether two ends mean one certificate.
pub fn is_same_end(a: Timestamp, b: Timestamp) -> bool {
    a.duration_since(b).abs() <= SAME_END
}

fn pem_here(folder: &Path) -> Option<Leaf> {
    let leaf = leaf_at(&folder.join(File::FullChain.name()))?;
    let read = |file: File| files::read(&folder.join(file.name())).ok();
    let (key, full_chain) = (read(File::Key)?, read(File::FullChain)?);
    // Its dates are asked for later: an expired set may be whole.
    let bundle = certificate::inspect(&full_chain.bytes, Key::Pem(&key.bytes), leaf.not_after).ok()?;
    let neighbour = leaf_at(&folder.join(File::Leaf.name()))?;
    (*bundle.leaf == leaf && neighbour == leaf).then_some(leaf)
}

fn pfx_here(folder: &Path, certificate: &portal::Certificate) -> Option<Leaf> {
    let content = files::read(&folder.join(File::Pfx.name())).ok()?;
    let opened = certificate::pfx::open(&content.bytes, password(certificate)).ok()?;
    let leaf = Leaf::from_pem(&opened.full_chain).ok()?;
    certificate::inspect(&opened.full_chain, Key::Pem(&opened.key), leaf.not_after).ok()?;
    Some(leaf)
}

fn password(certificate: &portal::Certificate) -> &str {
    certificate.pfx_password.as_ref().map_or("", |password| password.expose_secret())
}

/// What is to be downloaded. Leaf and chain can be had out of the full chain, and it out of them.
fn links(certificate: &portal::Certificate, format: Format) -> Result<Vec<(File, &str)>, Problem> {
    let of = &certificate.links;
    let link = |file: File| match file {
        File::Pfx => of.pfx.as_deref(),
        File::Key => of.private_key.as_deref(),
        File::Leaf => of.leaf.as_deref(),
        File::Intermediates => of.intermediates.as_deref(),
        File::FullChain => of.full_chain.as_deref(),
    };
    let has = |file: File| link(file).is_some();
    let lacks_pfx = format.has_pfx() && !has(File::Pfx);
    let chain = has(File::FullChain) || has(File::Leaf) && has(File::Intermediates);
    let lacks_pem = format.has_pem() && !(has(File::Key) && chain);
    if !lacks_pfx && !lacks_pem {
        return Ok(format.files().iter().filter_map(|file| Some((*file, link(*file)?))).collect());
    }
    let what = if lacks_pfx { "a PFX" } else { "key and certificate as PEM" };
    let message = format!("the portal has no link to {what} for {}", printable(&certificate.name, 120));
    Err(Problem::new(
        "nothing_to_download",
        message,
        "see at the portal whether it is issued and where it is kept; another --format may have it",
    ))
}

/// What this system's servers take.
impl Default for Format {
    fn default() -> Self {
        match std::env::consts::OS {
            "windows" => Self::Pfx,
            _ => Self::Pem,
        }
    }
}

impl Format {
    fn has_pfx(self) -> bool {
        self != Self::Pem
    }

    fn has_pem(self) -> bool {
        self != Self::Pfx
    }

    /// The files of a set, as they are put in place.
    fn files(self) -> &'static [File] {
        const ALL: [File; 5] = [File::Pfx, File::Key, File::Leaf, File::Intermediates, File::FullChain];
        match self {
            Self::Pem => &ALL[1..],
            Self::Pfx => &ALL[..1],
            Self::All => &ALL,
        }
    }

    fn last(self) -> File {
        if self.has_pem() { File::FullChain } else { File::Pfx }
    }
}

impl File {
    /// As the vendor's client calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Pfx => "certificate.pfx",
            Self::Key => "privateKey.key",
            Self::Leaf => "primaryCertificate.crt",
            Self::Intermediates => "caBundle.crt",
            Self::FullChain => "fullChainCertificate.crt",
        }
    }

    /// As people call it.
    fn what(self) -> &'static str {
        match self {
            Self::Pfx => "the PFX",
            Self::Key => "the private key",
            Self::Leaf => "the certificate",
            Self::Intermediates => "the chain",
            Self::FullChain => "the full chain",
        }
    }

    /// Whether it holds a key.
    fn is_private(self) -> bool {
        matches!(self, Self::Pfx | Self::Key)
    }
}

/// A file's content; wiped when dropped.
type Bytes = Zeroizing<Vec<u8>>;

#[cfg(test)]
mod tests;
