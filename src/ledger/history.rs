//! What happened, in order, for people.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use rusqlite::{Connection, Transaction};
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
    /// `adopted`, `whole`, `touched`, `reloaded`, `served`, `reported`, `report_failed`, `report_held`, `report_limited`,
    /// `problem`, `well`; of renewals `renewal_scheduled`, `renewal_refused`, `renewed`, `renewed_elsewhere`, `fetched`,
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

/// How often each event was written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The last line that was counted.
    last: i64,
    /// By the event's word.
    pub events: BTreeMap<String, u64>,
}

impl Ledger {
    /// Adds what came since the tally was taken; to an empty one, all, pruned lines included. One of another ledger,
    /// because the file was moved away, begins anew.
    ///
    /// # Errors
    /// [`LedgerError`]; the tally has not changed then.
    pub fn count_events(&self, tally: &mut Tally) -> Result<(), LedgerError> {
        let counted = self.read(|connection| {
            let mut newest = connection.prepare_cached("SELECT coalesce(max(id), 0) FROM history")?;
            let newest: i64 = newest.query_row([], |row| row.get(0))?;
            let mut pruned =
                connection.prepare_cached("SELECT coalesce(max(last), 0) FROM history_pruned")?;
            let pruned: i64 = pruned.query_row([], |row| row.get(0))?;
            // Of lines that were pruned before they were counted only the sum of all is known.
            let is_anew = tally.last == 0 || newest < tally.last || tally.last < pruned;
            let mut counted = if is_anew { pruned_events(connection)? } else { tally.clone() };
            let mut query = connection.prepare_cached(
                "SELECT event, count(*) FROM history WHERE id > ?1 AND id <= ?2 GROUP BY event",
            )?;
            let mut rows = query.query([counted.last, newest])?;
            while let Some(row) = rows.next()? {
                *counted.events.entry(row.get(0)?).or_default() +=
                    u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
            }
            counted.last = newest;
            Ok(counted)
        })?;
        *tally = counted;
        Ok(())
    }

    /// When servers were reloaded for each site after `since`, the oldest first, by the sites' keys; with the moments at
    /// which the site was held off (`true`), for what is replaced before it is proved has no line of its own.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn reloads_since(
        &self,
        since: Timestamp,
    ) -> Result<HashMap<String, Vec<(Timestamp, bool)>>, LedgerError> {
        self.read(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT site, at, event = 'problem' FROM history
                 WHERE at > ?1 AND (event = 'reloaded' OR event = 'problem' AND detail LIKE 'held_off:%')
                 ORDER BY at, id",
            )?;
            let mut rows = query.query([milliseconds(since)])?;
            let mut reloads: HashMap<String, Vec<(Timestamp, bool)>> = HashMap::new();
            while let Some(row) = rows.next()? {
                reloads.entry(row.get(0)?).or_default().push((timestamp(row, 1)?, row.get(2)?));
            }
            Ok(reloads)
        })
    }

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

/// What was pruned, which is part of every count.
fn pruned_events(connection: &Connection) -> rusqlite::Result<Tally> {
    let mut query = connection.prepare_cached("SELECT event, count FROM history_pruned")?;
    let rows = query.query_map([], |row| {
        let count: i64 = row.get(1)?;
        Ok((row.get(0)?, u64::try_from(count).unwrap_or(0)))
    })?;
    Ok(Tally { last: 0, events: rows.collect::<Result<_, _>>()? })
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
