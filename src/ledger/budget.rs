//! The portal's scarce requests: noted before they are sent, counted over seven days.

use jiff::{SignedDuration, Timestamp};
use rusqlite::OptionalExtension;

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
    /// Scheduling renewals: as looking around.
    Renew,
    /// Asking for the record that a report is about.
    Record,
    /// Sending this report: counts as one more attempt at it.
    Report(&'a Report),
}

/// A request that was noted.
#[derive(Debug)]
pub struct Spent(i64);

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
    pub fn spend(&self, purpose: Purpose<'_>, allowance: u32, now: Timestamp) -> Result<Spent, Refusal> {
        let limit = match purpose {
            Purpose::Record | Purpose::Report(_) => allowance,
            Purpose::Look | Purpose::Renew => allowance - reserve(allowance),
        };
        let outcome = self.write(|transaction| {
            let (oldest, newest) = counted(now);
            transaction.execute("DELETE FROM request WHERE at <= ?1 OR at > ?2", (oldest, newest))?;
            let used: u32 = transaction.query_row("SELECT count(*) FROM request", [], |row| row.get(0))?;
            if let Some(beyond) = used.checked_sub(limit) {
                // So many of the oldest have to be forgotten, and one more.
                let place = "SELECT at FROM request ORDER BY at LIMIT 1 OFFSET ?1";
                let freed = transaction.query_row(place, [beyond], |row| super::timestamp(row, 0));
                return Ok(Err(freed.optional()?.map_or(now, window_after)));
            }
            let what = match purpose {
                Purpose::Look => "look",
                Purpose::Renew => "renew",
                Purpose::Record => "record",
                Purpose::Report(report) => {
                    transaction
                        .execute("UPDATE report SET attempts = attempts + 1 WHERE id = ?1", [report.id])?;
                    "report"
                }
            };
            transaction
                .execute("INSERT INTO request (at, what) VALUES (?1, ?2)", (milliseconds(now), what))?;
            Ok(Ok(Spent(transaction.last_insert_rowid())))
        })?;
        outcome.map_err(Refusal::Spent)
    }

    /// Takes back a request that never left this host.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn refund(&self, spent: Spent) -> Result<(), LedgerError> {
        self.write(|transaction| transaction.execute("DELETE FROM request WHERE rowid = ?1", [spent.0]))?;
        Ok(())
    }

    /// What was spent in the last seven days.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn usage(&self, now: Timestamp) -> Result<Usage, LedgerError> {
        let (oldest, newest) = counted(now);
        self.read(|connection| {
            let question = "SELECT count(*), min(at) FROM request WHERE at > ?1 AND at <= ?2";
            connection.query_row(question, (oldest, newest), |row| {
                let first: Option<i64> = row.get(1)?;
                let first = first.and_then(|at| Timestamp::from_millisecond(at).ok());
                Ok(Usage { used: row.get(0)?, next_free_at: first.map(window_after) })
            })
        })
    }
}

/// The requests that count are after the first and not after the second: what is beyond the window, or in a far
/// future that a wrong clock once showed, counts no more.
fn counted(now: Timestamp) -> (i64, i64) {
    let bound = |at: Result<Timestamp, jiff::Error>| milliseconds(at.unwrap_or(now));
    (bound(now.saturating_sub(WINDOW)), bound(now.saturating_add(WINDOW)))
}

/// When a request no longer counts.
fn window_after(at: Timestamp) -> Timestamp {
    at.saturating_add(WINDOW).unwrap_or(at)
}
