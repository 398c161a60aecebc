//! What happened, in order, for people.

use jiff::Timestamp;
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerError, milliseconds, timestamp};
use crate::certificate::Fingerprint;

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What the site was called then.
    pub site: String,
    /// The site's key: its certificate's path.
    pub certificate: String,
    /// `adopted`, `whole`, `touched`, `reloaded`, `served`, `reported`, `report_failed`, `report_held`, `problem`,
    /// `well`; of renewals `renewal_scheduled`, `renewal_refused`, `renewed`, `renewed_elsewhere`, `fetched`,
    /// `renewal_failed`.
    pub event: String,
    /// The leaf it is about.
    pub fingerprint: Option<String>,
    /// More words.
    pub detail: Option<String>,
}

impl Entry {
    /// An event of the site of this key; what it is called the ledger knows.
    pub fn new(at: Timestamp, key: &str, event: &str) -> Self {
        let key = key.to_owned();
        Self {
            at,
            site: key.clone(),
            certificate: key,
            event: event.to_owned(),
            fingerprint: None,
            detail: None,
        }
    }

    /// With the leaf it is about.
    #[must_use]
    pub fn about(mut self, leaf: &Fingerprint) -> Self {
        self.fingerprint = Some(leaf.to_string());
        self
    }

    /// With more words.
    #[must_use]
    pub fn saying(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl Ledger {
    /// Appends one line.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn note(&self, entry: &Entry) -> Result<(), LedgerError> {
        self.write(|transaction| append(transaction, entry))
    }

    /// The history, oldest first; of all sites, or of those of this name or key.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn history(&self, site: Option<&str>) -> Result<Vec<Entry>, LedgerError> {
        self.read(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT at, name, site, event, fingerprint, detail FROM history
                 WHERE ?1 IS NULL OR site = ?1 OR name = ?1 ORDER BY at, id",
            )?;
            let rows = query.query_map([site], |row| {
                Ok(Entry {
                    at: timestamp(row, 0)?,
                    site: row.get(1)?,
                    certificate: row.get(2)?,
                    event: row.get(3)?,
                    fingerprint: row.get(4)?,
                    detail: row.get(5)?,
                })
            })?;
            rows.collect()
        })
    }
}

pub(super) fn append(transaction: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO history (at, site, name, event, fingerprint, detail)
         VALUES (?1, ?2, coalesce((SELECT name FROM site WHERE site = ?2), ?2), ?3, ?4, ?5)",
    )?;
    let Entry { at, certificate, event, fingerprint, detail, .. } = entry;
    insert.execute((milliseconds(*at), certificate, event, fingerprint, detail))?;
    Ok(())
}
