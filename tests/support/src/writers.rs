//! The ways a certificate reaches a disk, step by step as the tools and people do it.
//!
//! ```
//! use std::time::Duration;
//! use certhook_test_support::{ca::{Authority, Order}, writers::Writer};
//!
//! let (authority, root) = (Authority::new(), tempfile::tempdir().unwrap());
//! let layout = Writer::Certbot.layout(root.path(), "contoso.com");
//! Writer::Certbot.install(&layout, &authority.issue(Order::default()));
//! let written = Writer::Certbot.renew(&layout, &authority.issue(Order::default()), Duration::from_millis(1));
//! assert!(written.started < written.finished);
//! ```

mod disk;
mod people;
mod style;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::ca::Pair;

pub use style::{How, Order, Style, write_pair, write_pair_stepwise};
pub use tools::{PFX_PASSWORD, vendor_folder};

/// A way of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Writer {
    /// The portal vendor's: pfx, key, leaf, bundle and full chain, in place.
    VendorClient,
    /// certbot: new files in `archive/`, then each link in `live/` is unlinked and made anew.
    Certbot,
    /// `acme.sh --install-cert`: `cat > file` for leaf, authority, key, full chain.
    AcmeSh,
    /// dehydrated: new files, then `ln -sf` (a rename, with GNU's), key first.
    Dehydrated,
    /// lego: certificate, issuer, key and a JSON file, in place; all sites in one folder.
    Lego,
    /// certmagic and Caddy, and consul-template much alike: a temporary file and a rename a file, key first.
    RenamePerFile,
    /// spiffe-helper: certificate, key, bundle, in place.
    SpiffeHelper,
    /// certwarden's client: key, then certificate, in place.
    Certwarden,
    /// kubelet: a new folder, then one rename of the `..data` link.
    Kubernetes,
    /// `cp -p`: in place, key first, and then a write time of hours ago.
    CopyKeepingTimes,
    /// `rsync -t`: a temporary file that gets a write time of hours ago, and a rename; certificate first.
    Rsync,
    /// `tar -x`: each file is unlinked and made anew, then gets a write time of hours ago.
    Tar,
    /// scp over a slow line: in place, 1 kB at a time, certificate first.
    SlowCopy,
    /// A key, then a copy of the full chain that is at first cut exactly after the leaf.
    CutAfterLeaf,
    /// `mv NAME NAME.old; mv NAME.new NAME`: for a moment there is no folder.
    ReplacedFolder,
    /// The site's folder is a link, which is renamed over to another place.
    MovedLink,
}

impl Writer {
    /// Every way there is.
    pub const ALL: [Self; 16] = [
        Self::VendorClient,
        Self::Certbot,
        Self::AcmeSh,
        Self::Dehydrated,
        Self::Lego,
        Self::RenamePerFile,
        Self::SpiffeHelper,
        Self::Certwarden,
        Self::Kubernetes,
        Self::CopyKeepingTimes,
        Self::Rsync,
        Self::Tar,
        Self::SlowCopy,
        Self::CutAfterLeaf,
        Self::ReplacedFolder,
        Self::MovedLink,
    ];

    /// Where this writer puts the files of `site` below `root`. `site` is a host name, or several with commas.
    pub fn layout(self, root: &Path, site: &str) -> Layout {
        match self {
            Self::VendorClient => tools::vendor_layout(root, site),
            Self::Certbot => tools::certbot_layout(root, site),
            Self::AcmeSh => tools::acme_sh_layout(root, site),
            Self::Dehydrated => tools::dehydrated_layout(root, site),
            Self::Lego => tools::lego_layout(root, site),
            Self::SpiffeHelper => tools::spiffe_helper_layout(root, site),
            Self::Certwarden => tools::certwarden_layout(root, site),
            Self::Kubernetes => tools::kubernetes_layout(root, site),
            Self::RenamePerFile
            | Self::CopyKeepingTimes
            | Self::Rsync
            | Self::Tar
            | Self::SlowCopy
            | Self::CutAfterLeaf
            | Self::ReplacedFolder
            | Self::MovedLink => Layout::plain(root, site),
        }
    }

    /// Writes the first certificate, folders included.
    pub fn install(self, layout: &Layout, pair: &Pair) -> Written {
        self.renew_stepwise(layout, pair, &mut || ())
    }

    /// Writes the next certificate, with `gap` after every step that can be seen but the last.
    pub fn renew(self, layout: &Layout, pair: &Pair, gap: Duration) -> Written {
        self.renew_stepwise(layout, pair, &mut || std::thread::sleep(gap))
    }

    /// Writes the next certificate and calls `pause` instead of sleeping: what lies on the disk can be looked at
    /// in between.
    pub fn renew_stepwise(self, layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> Written {
        let write = match self {
            Self::VendorClient => tools::vendor_client,
            Self::Certbot => tools::certbot,
            Self::AcmeSh => tools::acme_sh,
            Self::Dehydrated => tools::dehydrated,
            Self::Lego => tools::lego,
            Self::RenamePerFile => tools::rename_per_file,
            Self::SpiffeHelper => tools::spiffe_helper,
            Self::Certwarden => tools::certwarden,
            Self::Kubernetes => tools::kubernetes,
            Self::CopyKeepingTimes => people::copy_keeping_times,
            Self::Rsync => people::rsync,
            Self::Tar => people::tar,
            Self::SlowCopy => people::slow_copy,
            Self::CutAfterLeaf => people::cut_after_leaf,
            Self::ReplacedFolder => people::replaced_folder,
            Self::MovedLink => people::moved_link,
        };
        Written::by(layout, || write(layout, pair, pause))
    }
}

/// The paths of one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What all sites share.
    pub root: PathBuf,
    /// As given.
    pub site: String,
    /// The folder that `certificate` and `key` lie in.
    pub folder: PathBuf,
    /// The leaf and its chain: the path the server's configuration names.
    pub certificate: PathBuf,
    /// The private key: the path the server's configuration names.
    pub key: PathBuf,
    /// The leaf alone, where the writer writes one.
    pub leaf: Option<PathBuf>,
    /// The chain alone, where the writer writes one.
    pub chain: Option<PathBuf>,
    /// Everything as PKCS#12 with [`PFX_PASSWORD`], where the writer writes one.
    pub pfx: Option<PathBuf>,
}

impl Layout {
    /// `ROOT/SITE/fullchain.pem` and `privkey.pem`.
    pub fn plain(root: &Path, site: &str) -> Self {
        let name = file_name(site);
        Self::of(root, site, root.join(name), "fullchain.pem", "privkey.pem")
    }

    fn of(root: &Path, site: &str, folder: PathBuf, certificate: &str, key: &str) -> Self {
        Self {
            root: root.to_owned(),
            site: site.to_owned(),
            certificate: folder.join(certificate),
            key: folder.join(key),
            folder,
            leaf: None,
            chain: None,
            pfx: None,
        }
    }

    /// The site as the name of a file: its first host, with `_` for `*`.
    fn name(&self) -> String {
        file_name(&self.site)
    }
}

fn file_name(site: &str) -> String {
    let first = site.split(',').next().unwrap_or(site);
    first.trim().replace('*', "_")
}

/// What a writer did.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Write time of the file that holds the leaf (`certificate`, links followed).
    pub leaf_file_mtime: SystemTime,
    /// Just before the first step.
    pub started: Instant,
    /// Just after the last step.
    pub finished: Instant,
}

impl Written {
    fn by(layout: &Layout, write: impl FnOnce() -> std::io::Result<()>) -> Self {
        let started = Instant::now();
        write().unwrap_or_else(|error| panic!("{}: {error}", layout.folder.display()));
        let finished = Instant::now();
        let leaf_file_mtime = fs::metadata(&layout.certificate).and_then(|file| file.modified());
        Self { leaf_file_mtime: leaf_file_mtime.expect("a certificate on disk"), started, finished }
    }
}
