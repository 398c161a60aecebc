//! What a proved certificate replaced is kept for a while, and removed then: if certhook imported it, and nobody uses
//! it or its key.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::failure::Failure;
use super::install::Tools;
use super::store::Mark;
use crate::certificate::{Fingerprint, Thumbprint};
use crate::problem::Problem;

/// What became of replaced certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retired {
    /// They are gone.
    pub removed: Vec<Thumbprint>,
    /// Others use them or their keys: they stay for good, which is told once.
    pub left: Vec<Thumbprint>,
}

impl Tools {
    /// After the wire has shown the leaf: what it replaced is kept for `after`, and removed then if nobody uses it;
    /// `ftp` are the certificates of IIS's FTP.
    ///
    /// # Errors
    /// Why nothing, or not all, was removed.
    pub fn retire(
        &mut self,
        proved: &Fingerprint,
        ftp: &BTreeSet<Thumbprint>,
        after: Duration,
        now: Timestamp,
    ) -> Result<Retired, Problem> {
        let mut retired = Retired::default();
        let kept = self.kept()?;
        let Some(new) = kept.iter().find(|kept| kept.leaf.fingerprint == *proved) else {
            return Ok(retired);
        };
        let old: Vec<_> = kept
            .iter()
            .filter(|kept| kept.is_earlier_than(&new.leaf))
            .filter(|kept| matches!(kept.mark, Some(Mark::Replaced | Mark::Proved(_))))
            .collect();
        if old.is_empty() {
            return Ok(retired);
        }
        let failed = |failure: Failure| failure.problem("a replaced certificate cannot be retired");
        let records = self.records.list().map_err(failed)?;
        for one in old {
            let (store, hash) = (one.store, one.hash);
            if records.iter().any(|record| record.hash == Some(hash)) {
                // Somebody went back to it.
                self.store.mark(store, hash, Mark::Imported).map_err(failed)?;
            } else if let Some(Mark::Proved(at)) = one.mark {
                if !Duration::try_from(now.duration_since(at)).is_ok_and(|age| age >= after) {
                    continue;
                }
                if ftp.contains(&hash) || kept.iter().any(|other| one.is_used_by(other)) {
                    self.store.mark(store, hash, Mark::Left).map_err(failed)?;
                    retired.left.push(hash);
                } else {
                    self.store.remove(store, hash).map_err(failed)?;
                    retired.removed.push(hash);
                }
            } else {
                self.store.mark(store, hash, Mark::Proved(now)).map_err(failed)?;
            }
        }
        Ok(retired)
    }
}
