//! Writing in any order and any way, for tests that go through them all.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::disk::{PRIVATE, PUBLIC, next_free, point, put, replace};
use super::{Layout, Written};
use crate::ca::Pair;

/// Which file comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Key, then certificate.
    #[default]
    KeyFirst,
    /// Certificate, then key.
    CertificateFirst,
}

/// How one file takes another's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum How {
    /// Cut to nothing and written.
    #[default]
    InPlace,
    /// A temporary file, renamed.
    Rename,
    /// A new file under a new name, and a link to it renamed over the old.
    Links,
}

/// A way of writing that no tool need have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Which file comes first.
    pub order: Order,
    /// How a file takes the other's place.
    pub how: How,
    /// Time between the two files.
    pub gap: Duration,
    /// Leave the key's file alone: the pair was issued for the key that is there.
    pub keep_key: bool,
}

/// Writes key and certificate in this style, folders included.
pub fn write_pair(layout: &Layout, pair: &Pair, style: Style) -> Written {
    write_pair_stepwise(layout, pair, style, &mut || std::thread::sleep(style.gap))
}

/// Does so too, but calls `pause` between the two files instead of sleeping.
pub fn write_pair_stepwise(layout: &Layout, pair: &Pair, style: Style, pause: &mut dyn FnMut()) -> Written {
    let key = || write(&layout.key, &pair.key_pem, PRIVATE, style.how);
    let certificate = || write(&layout.certificate, &pair.fullchain_pem, PUBLIC, style.how);
    Written::by(layout, || {
        fs::create_dir_all(&layout.folder)?;
        match style.order {
            _ if style.keep_key => return certificate(),
            Order::KeyFirst => key()?,
            Order::CertificateFirst => certificate()?,
        }
        pause();
        match style.order {
            Order::KeyFirst => certificate(),
            Order::CertificateFirst => key(),
        }
    })
}

fn write(path: &Path, data: &str, mode: u32, how: How) -> io::Result<()> {
    match how {
        How::InPlace => put(path, data, mode),
        How::Rename => replace(path, data, mode, None),
        How::Links => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let version = |number: u64| path.with_file_name(format!("{number}-{name}"));
            let new = version(next_free(version));
            put(&new, data, mode)?;
            point(path, new.file_name().unwrap_or_default())
        }
    }
}
