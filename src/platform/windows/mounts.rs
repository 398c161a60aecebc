//! Volumes that are mounted in folders.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

/// Follows no mounts: Windows tells of none, and those that come later are noticed by the next sweep.
pub struct Mounts;

impl Mounts {
    /// Tells of no mount point.
    ///
    /// # Errors
    /// None.
    pub fn follow(_: impl FnMut(HashSet<PathBuf>, Vec<PathBuf>) + Send + 'static) -> io::Result<Self> {
        Ok(Self)
    }
}
