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
    /// The site's key.
    pub site: String,
    /// `adopted`, `whole`, `reloaded`, `served`, `reported`, `report_failed`, `report_held`, `problem`, `well`.
    pub event: String,
    /// The leaf it is about.
    pub fingerprint: Option<String>,
    /// More words.
    pub detail: Option<String>,
}

impl Entry {
    /// An event of a site.
    pub fn new(at: Timestamp, site: &str, event: &str) -> Self {
        Self { at, site: site.to_owned(), event: event.to_owned(), fingerprint: None, detail: None }
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

    /// The history, oldest first; of one site or of all.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn history(&self, site: Option<&str>) -> Result<Vec<Entry>, LedgerError> {
        self.read(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT at, site, event, fingerprint, detail FROM history
                 WHERE ?1 IS NULL OR site = ?1 ORDER BY at, id",
            )?;
            let rows = query.query_map([site], |row| {
                Ok(Entry {
                    at: timestamp(row, 0)?,
                    site: row.get(1)?,
                    event: row.get(2)?,
                    fingerprint: row.get(3)?,
                    detail: row.get(4)?,
                })
            })?;
            rows.collect()
        })
    }
}

pub(super) fn append(transaction: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO history (at, site, event, fingerprint, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    insert.execute((milliseconds(entry.at), &entry.site, &entry.event, &entry.fingerprint, &entry.detail))?;
    Ok(())
}
