//! What is shipped says all there is, and says it as it is.

mod keys;
mod pages;

use std::path::{Path, PathBuf};

/// The whole repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
