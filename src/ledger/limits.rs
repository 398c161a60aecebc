//! What one site may use of the portal's requests: so many certificates a day, and a share of the week while other
//! sites have reports waiting.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, Transaction};

use super::budget::window_after;
use super::{Entry, Ledger, LedgerError, Report, history, milliseconds, timestamp};
use crate::problem::Problem;

/// What counts for `reports_per_day`.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// A report that waits for those of other sites is looked at again so often at most.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(60);

const REPORTS_LIMITED: &str = "reports_limited";
const SHARE_SPENT: &str = "share_spent";

/// The requests of a week, and what one site may use of them.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Of all sites together.
    pub per_week: u32,
    /// Certificates reported in 24 hours for one site, and for one record; 0: any number.
    pub reports_per_day: u32,
    /// For one site, while others wait; `None`: all.
    pub share: Option<u32>,
}

impl From<u32> for Allowance {
    /// So many a week, of which one site may use all.
    fn from(per_week: u32) -> Self {
        Self { per_week, reports_per_day: 0, share: None }
    }
}

/// Why a report waits although requests are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// So many other certificates were reported for its site or record in the last 24 hours.
    Reports {
        /// How many.
        count: u32,
        /// When there are fewer.
        until: Timestamp,
    },
    /// Its site has used its share, and other sites have reports waiting.
    Share {
        /// Requests of the site in the last seven days.
        used: u32,
        /// When the site has used less than its share.
        until: Timestamp,
        /// When to look whether others still wait.
        look_at: Timestamp,
    },
}

impl Limited {
    /// When the report is tried again.
    pub fn next_attempt_at(&self) -> Timestamp {
        match self {
            Self::Reports { until, .. } => *until,
            Self::Share { until, look_at, .. } => *until.min(look_at),
        }
    }

    /// With code and remedy.
    pub fn problem(&self) -> Problem {
        let words = |at: &Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        match self {
            Self::Reports { count, until } => Problem::new(
                REPORTS_LIMITED,
                format!(
                    "{count} certificates were reported for this site within 24 hours (reports_per_day); the newest is reported at {}",
                    words(until)
                ),
                "see which program renews it so often, or raise reports_per_day below [limits] and reload certhook",
            ),
            Self::Share { used, until, .. } => Problem::new(
                SHARE_SPENT,
                format!(
                    "this site has used its share of the week's requests ({used}); it is reported when no other site's report waits, at the latest at {}",
                    words(until)
                ),
                "wait, or raise share below [limits] and reload certhook",
            ),
        }
    }
}

/// Which limit keeps a request for `report`, about `record` where that is known, from being made at `now`.
pub(super) fn of(
    transaction: &Transaction<'_>,
    report: &Report,
    record: Option<i64>,
    allowance: Allowance,
    now: Timestamp,
) -> rusqlite::Result<Option<Limited>> {
    if let Some(limited) = reports(transaction, report, record, allowance.reports_per_day, now)? {
        return Ok(Some(limited));
    }
    match allowance.share {
        Some(share) => share_of(transaction, report, share, now),
        None => Ok(None),
    }
}

/// Several requests for one certificate (a list, attempts that failed) count as one report of it.
fn reports(
    transaction: &Transaction<'_>,
    report: &Report,
    record: Option<i64>,
    most: u32,
    now: Timestamp,
) -> rusqlite::Result<Option<Limited>> {
    if most == 0 {
        return Ok(None);
    }
    let mut query = transaction.prepare_cached(
        "SELECT max(at) AS last FROM request
         WHERE report <> ?1 AND (site = ?2 OR record = ?3) AND at > ?4 GROUP BY report ORDER BY last",
    )?;
    let since = milliseconds(now.saturating_sub(DAY).unwrap_or(now));
    let rows = query.query_map((report.id, &report.site, record, since), |row| timestamp(row, 0))?;
    let last: Vec<Timestamp> = rows.collect::<Result<_, _>>()?;
    let count = u32::try_from(last.len()).unwrap_or(u32::MAX);
    let until = count.checked_sub(most).and_then(|beyond| last.get(beyond as usize));
    let until = until.map(|at| at.saturating_add(DAY).unwrap_or(*at));
    Ok(until.map(|until| Limited::Reports { count, until }))
}

fn share_of(
    transaction: &Transaction<'_>,
    report: &Report,
    share: u32,
    now: Timestamp,
) -> rusqlite::Result<Option<Limited>> {
    let own = used_by(transaction, &report.site)?;
    let Some(beyond) = own.checked_sub(share) else { return Ok(None) };
    let Some(others) = first_of_others(transaction, report, share)? else { return Ok(None) };
    let mut query =
        transaction.prepare_cached("SELECT at FROM request WHERE site = ?1 ORDER BY at LIMIT 1 OFFSET ?2")?;
    let freed = query.query_row((&report.site, beyond), |row| timestamp(row, 0)).optional()?;
    let soon = now.saturating_add(LOOK_AGAIN).unwrap_or(now);
    let until = freed.map_or(soon, window_after);
    Ok(Some(Limited::Share { used: own, until, look_at: soon.max(others) }))
}

fn used_by(transaction: &Transaction<'_>, site: &str) -> rusqlite::Result<u32> {
    let mut query = transaction.prepare_cached("SELECT count(*) FROM request WHERE site = ?1")?;
    query.query_row([site], |row| row.get(0))
}

/// Whether the site of `report` has used its share, and other sites are there to which it leaves the last requests.
pub(super) fn leaves_the_last(
    transaction: &Transaction<'_>,
    report: &Report,
    allowance: Allowance,
) -> rusqlite::Result<bool> {
    let Some(share) = allowance.share else { return Ok(false) };
    let mut others = transaction.prepare_cached("SELECT 1 FROM report WHERE site <> ?1 LIMIT 1")?;
    Ok(used_by(transaction, &report.site)? >= share && others.exists([&report.site])?)
}

/// When the first report of another site is due, of one that has not used its own share, and is within its own limits:
/// two sites that have used theirs do not wait for each other.
fn first_of_others(
    transaction: &Transaction<'_>,
    report: &Report,
    share: u32,
) -> rusqlite::Result<Option<Timestamp>> {
    let mut query = transaction.prepare_cached(
        "SELECT next_attempt_at FROM report
         WHERE state IN ('unasked', 'pending') AND site <> ?1 AND error_code IS NOT ?3
           AND (SELECT count(*) FROM request WHERE request.site = report.site) < ?2
         ORDER BY next_attempt_at LIMIT 1",
    )?;
    query.query_row((&report.site, share, REPORTS_LIMITED), |row| timestamp(row, 0)).optional()
}

impl Ledger {
    /// A report waits for its limits; the history has one line of it.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn limit_report(
        &self,
        report: &Report,
        limited: &Limited,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let why = limited.problem();
        self.write(|transaction| {
            transaction.execute(
                "UPDATE report SET next_attempt_at = ?2, postponed_at = ?5, error_code = ?3, error = ?4, remedy = ?6
                 WHERE id = ?1",
                (
                    report.id,
                    milliseconds(limited.next_attempt_at()),
                    &why.code,
                    &why.message,
                    milliseconds(now),
                    &why.remedy,
                ),
            )?;
            if report.error.as_ref().is_some_and(|error| error.code == why.code) {
                return Ok(());
            }
            let entry = Entry::new(now, &report.site, "report_limited").about(&report.fingerprint);
            history::append(transaction, &entry.saying(&why.message))
        })
    }

    /// The limits may be others since: reports that wait for them are looked at again.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn look_at_limited(&self, now: Timestamp) -> Result<(), LedgerError> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE report SET next_attempt_at = ?1, postponed_at = ?1
                 WHERE state = 'pending' AND error_code IN (?2, ?3)",
                (milliseconds(now), REPORTS_LIMITED, SHARE_SPENT),
            )?;
            Ok(())
        })
    }
}
