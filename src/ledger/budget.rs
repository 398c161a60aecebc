//! The portal's scarce requests: noted before they are sent, counted over seven days.

use jiff::{SignedDuration, Timestamp};
use rusqlite::Transaction;

use super::{Ledger, LedgerError, Report, milliseconds};

/// The portal counts over this time.
const WINDOW: SignedDuration = SignedDuration::from_hours(7 * 24);
/// At most so many of a week's requests belong to reports alone.
const RESERVE: u32 = 10;

/// The part of an allowance that is for reports alone: ten of fifty, and a fifth of a smaller one.
fn reserve(allowance: u32) -> u32 {
    RESERVE.min(allowance / 5)
}

/// What a request is for.
#[derive(Debug, Clone, Copy)]
pub enum Purpose<'a> {
    /// Looking around: may not spend the last requests.
    Look,
    /// Sending this report: counts as one more attempt at it.
    Report(&'a Report),
}

/// The portal's certificates, id and name, and when they were asked for.
pub type PortalList = (Timestamp, Vec<(i64, String)>);

/// How much of the week's allowance this host has spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Requests in the last seven days.
    pub used: u32,
    /// When the oldest of them no longer counts.
    pub next_free_at: Option<Timestamp>,
}

/// Why a request may not be sent.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The allowance is spent until then.
    #[error("the week's requests are spent until {0}")]
    Spent(Timestamp),
    /// The ledger could not note it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Ledger {
    /// Notes one request, if `allowance` a week permits it.
    ///
    /// # Errors
    /// [`Refusal`]: the request must not be sent.
    pub fn spend(&self, purpose: Purpose<'_>, allowance: u32, now: Timestamp) -> Result<(), Refusal> {
        let limit = match purpose {
            Purpose::Report(_) => allowance,
            Purpose::Look => allowance - reserve(allowance),
        };
        let refused = self.write(|transaction| {
            // What is beyond the window, or in a future that a wrong clock once showed, counts no more.
            let (oldest, newest) =
                (milliseconds(now.saturating_sub(WINDOW).unwrap_or(now)), milliseconds(now));
            transaction
                .execute("DELETE FROM request WHERE at <= ?1 OR at > ?2 + 604800000", (oldest, newest))?;
            let usage = usage(transaction)?;
            if usage.used >= limit {
                return Ok(Some(usage.next_free_at.unwrap_or(now)));
            }
            let what = match purpose {
                Purpose::Look => "look",
                Purpose::Report(report) => {
                    transaction
                        .execute("UPDATE report SET attempts = attempts + 1 WHERE id = ?1", [report.id])?;
                    "report"
                }
            };
            transaction.execute("INSERT INTO request (at, what) VALUES (?1, ?2)", (newest, what))?;
            Ok(None)
        })?;
        refused.map_or(Ok(()), |until| Err(Refusal::Spent(until)))
    }

    /// What was spent in the last seven days.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn usage(&self, now: Timestamp) -> Result<Usage, LedgerError> {
        let since = milliseconds(now.saturating_sub(WINDOW).unwrap_or(now));
        let connection = self.lock();
        let row =
            connection.query_row("SELECT count(*), min(at) FROM request WHERE at > ?1", [since], read)?;
        Ok(row)
    }

    /// The portal's certificates of the last list.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn portal_list(&self) -> Result<Option<PortalList>, LedgerError> {
        let connection = self.lock();
        let mut asked = connection.prepare_cached("SELECT listed_at FROM portal_list")?;
        let Some(listed_at) = asked.query_map([], |row| super::timestamp(row, 0))?.next().transpose()? else {
            return Ok(None);
        };
        let mut query = connection.prepare_cached("SELECT id, name FROM portal_certificate ORDER BY id")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Some((listed_at, rows.collect::<Result<_, _>>()?)))
    }

    /// Keeps the portal's certificates, in place of those of the last list.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn keep_portal_list(
        &self,
        certificates: &[(i64, String)],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM portal_certificate", [])?;
            let mut insert = transaction
                .prepare_cached("INSERT OR REPLACE INTO portal_certificate (id, name) VALUES (?1, ?2)")?;
            for certificate in certificates {
                insert.execute((certificate.0, &certificate.1))?;
            }
            transaction.execute(
                "INSERT OR REPLACE INTO portal_list (only_row, listed_at) VALUES (1, ?1)",
                [milliseconds(now)],
            )?;
            Ok(())
        })
    }
}

fn usage(transaction: &Transaction<'_>) -> rusqlite::Result<Usage> {
    transaction.query_row("SELECT count(*), min(at) FROM request", [], read)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Usage> {
    let oldest: Option<i64> = row.get(1)?;
    let oldest = oldest.and_then(|at| Timestamp::from_millisecond(at).ok());
    Ok(Usage { used: row.get(0)?, next_free_at: oldest.and_then(|at| at.checked_add(WINDOW).ok()) })
}
