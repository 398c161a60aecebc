//! Removes what is too old, or too much, a few rows at a time.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction};

use super::{Ledger, LedgerError, milliseconds};

/// The history's rows that are kept, however young they are.
pub const MAX_HISTORY_ROWS: u32 = 100_000;
/// Rows that one step removes from a table: other writers wait only for these.
const STEP_ROWS: u32 = 500;

impl Ledger {
    /// Removes at most a few hundred rows that are older than `keep`, or more than [`MAX_HISTORY_ROWS`]; returns whether
    /// more may be left. Of the history the newest row always stays; of reports, each that is still to be sent, of a
    /// certificate that is still valid, or of one that a site serves.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing is removed then.
    pub fn prune(&self, keep: Duration, now: Timestamp) -> Result<bool, LedgerError> {
        self.prune_to(keep, MAX_HISTORY_ROWS, now)
    }

    pub(super) fn prune_to(&self, keep: Duration, rows: u32, now: Timestamp) -> Result<bool, LedgerError> {
        let now = milliseconds(now);
        let before = now.saturating_sub(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
        // Mostly there is nothing to remove, and then nothing is written.
        if !self.read(|connection| is_due(connection, rows, before, now))? {
            return Ok(false);
        }
        self.write(|transaction| {
            let history = prune_history(transaction, rows, before)?;
            let reports = transaction.execute(
                &format!("DELETE FROM report WHERE id IN ({OLD_REPORTS} LIMIT {STEP_ROWS})"),
                (before, now),
            )?;
            Ok(history.max(reports) >= STEP_ROWS as usize)
        })
    }
}

const OLD_ROWS: &str = "SELECT id FROM history WHERE at < ?1 AND id < (SELECT max(id) FROM history)";
/// A report of a certificate that may be served again is what keeps it from being told twice.
const OLD_REPORTS: &str = "SELECT id FROM report
    WHERE state IN ('delivered', 'known', 'superseded') AND coalesce(ended_at, created_at) < ?1 AND not_after < ?2
      AND NOT EXISTS (SELECT 1 FROM site WHERE site.leaf = report.fingerprint)";

fn is_due(connection: &Connection, rows: u32, before: i64, now: i64) -> rusqlite::Result<bool> {
    Ok(excess(connection, rows)? > 0
        || connection.prepare(OLD_ROWS)?.exists([before])?
        || connection.prepare(OLD_REPORTS)?.exists([before, now])?)
}

fn excess(connection: &Connection, rows: u32) -> rusqlite::Result<u32> {
    let count: u32 = connection.query_row("SELECT count(*) FROM history", [], |row| row.get(0))?;
    Ok(count.saturating_sub(rows.max(1)))
}

/// Removes one step's rows, counted; returns how many.
fn prune_history(transaction: &Transaction<'_>, rows: u32, before: i64) -> rusqlite::Result<usize> {
    let excess = excess(transaction, rows)?.min(STEP_ROWS);
    // Ids are given in the order of writing; times are not, where a clock was set.
    let (chosen, parameter) = match excess {
        0 => (format!("{OLD_ROWS} ORDER BY at LIMIT {STEP_ROWS}"), before),
        excess => ("SELECT id FROM history ORDER BY id LIMIT ?1".to_owned(), excess.into()),
    };
    transaction.execute(
        &format!(
            "INSERT INTO history_pruned (event, count, last)
             SELECT event, count(*), max(id) FROM history WHERE id IN ({chosen}) GROUP BY event
             ON CONFLICT (event) DO UPDATE SET count = count + excluded.count, last = max(last, excluded.last)"
        ),
        [parameter],
    )?;
    transaction.execute(&format!("DELETE FROM history WHERE id IN ({chosen})"), [parameter])
}
