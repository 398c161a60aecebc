//! The portal's scarce requests: noted before they are sent, counted over seven days.

use jiff::{SignedDuration, Timestamp};
use rusqlite::OptionalExtension;

use super::limits::{self, Allowance, Limited};
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
    /// Asking for the record that this report is about.
    Record(&'a Report),
    /// Sending this report, about the portal's record of this number: counts as one more attempt at it.
    Report(&'a Report, i64),
}

impl<'a> Purpose<'a> {
    /// The report that it is for, and the record where it is known.
    fn report(self) -> Option<(&'a Report, Option<i64>)> {
        match self {
            Self::Look | Self::Renew => None,
            Self::Record(report) => Some((report, None)),
            Self::Report(report, record) => Some((report, Some(record))),
        }
    }
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
    /// The report's site has used what it may.
    #[error("the site has used what it may")]
    Limited(Limited),
    /// The ledger could not note it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Ledger {
    /// Notes one request, if `allowance` permits it.
    ///
    /// # Errors
    /// [`Refusal`]: the request must not be sent.
    pub fn spend(
        &self,
        purpose: Purpose<'_>,
        allowance: impl Into<Allowance>,
        now: Timestamp,
    ) -> Result<Spent, Refusal> {
        let allowance = allowance.into();
        let per_week = allowance.per_week;
        let report = purpose.report();
        self.write(|transaction| {
            let (oldest, newest) = counted(now);
            transaction.execute("DELETE FROM request WHERE at <= ?1 OR at > ?2", (oldest, newest))?;
            if let Some((report, record)) = report
                && let Some(limited) = limits::of(transaction, report, record, allowance, now)?
            {
                return Ok(Err(Refusal::Limited(limited)));
            }
            let may_spend_the_last = match report {
                Some((report, _)) => !limits::leaves_the_last(transaction, report, allowance)?,
                None => false,
            };
            let limit = if may_spend_the_last { per_week } else { per_week - reserve(per_week) };
            let used: u32 = transaction.query_row("SELECT count(*) FROM request", [], |row| row.get(0))?;
            if let Some(beyond) = used.checked_sub(limit) {
                // So many of the oldest have to be forgotten, and one more.
                let place = "SELECT at FROM request ORDER BY at LIMIT 1 OFFSET ?1";
                let freed = transaction.query_row(place, [beyond], |row| super::timestamp(row, 0));
                return Ok(Err(Refusal::Spent(freed.optional()?.map_or(now, window_after))));
            }
            let what = match purpose {
                Purpose::Look => "look",
                Purpose::Renew => "renew",
                Purpose::Record(_) => "record",
                Purpose::Report(report, _) => {
                    transaction
                        .execute("UPDATE report SET attempts = attempts + 1 WHERE id = ?1", [report.id])?;
                    "report"
                }
            };
            let (site, record) =
                (report.map(|(report, _)| &report.site), report.and_then(|(_, record)| record));
            transaction.execute(
                "INSERT INTO request (at, what, report, site, record) VALUES (?1, ?2, ?3, ?4, ?5)",
                (milliseconds(now), what, report.map(|(report, _)| report.id), site, record),
            )?;
            Ok(Ok(Spent(transaction.last_insert_rowid())))
        })?
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
                let first = first.map(super::moment);
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
pub(super) fn window_after(at: Timestamp) -> Timestamp {
    at.saturating_add(WINDOW).unwrap_or(at)
}
