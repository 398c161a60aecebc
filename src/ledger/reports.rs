//! Reports: durable before the courier sees them, ended only by the portal's echo.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction};

use super::{
    Entry, Ledger, LedgerError, NewReport, fingerprint, history, milliseconds, moment, readable, timestamp,
};
use crate::agent::How;
use crate::certificate::Fingerprint;
use crate::problem::Problem;

/// Where a report stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportState {
    /// It was there at the first start; the portal's list is to tell whether it is reported.
    Unasked,
    /// To be sent at its time.
    Pending,
    /// The portal has echoed it.
    Delivered,
    /// The portal has refused it; somebody has to look.
    Held,
    /// The portal knew of it, or has no such record: nothing is to be sent.
    Known,
}

/// One report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its number in the ledger.
    pub id: i64,
    /// The site's key.
    pub site: String,
    /// The leaf.
    pub fingerprint: Fingerprint,
    /// The certificate's host names, joined by commas.
    pub hosts: String,
    /// As the portal wants it.
    pub remote_create_date: String,
    /// Where it stands.
    pub state: ReportState,
    /// How often it was sent.
    pub attempts: u32,
    /// The certificate's end.
    pub not_after: Timestamp,
    /// When it is sent next, while it is pending.
    pub next_attempt_at: Timestamp,
    /// When that was set.
    pub postponed_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When an operator last said to send it again: what is kept of the portal is older than that, and not used.
    pub released_at: Option<Timestamp>,
    /// Why it was not taken the last time.
    pub error: Option<Problem>,
}

const COLUMNS: &str = "id, site, fingerprint, hosts, remote_create_date, state, attempts, \
                       next_attempt_at, error_code, error, created_at, not_after, postponed_at, released_at, remedy";

/// Adds a report unless this certificate has one. An undelivered one of the leaf that it replaces is superseded where
/// no site serves that any more, and the site's older one of the same host names: to the portal it is the same record.
/// The site's own leaf is written down by now.
pub(super) fn enqueue(
    transaction: &Transaction<'_>,
    site: &str,
    (replaced, leaf): (Option<&str>, &Fingerprint),
    report: &NewReport,
    how: How,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let leaf = leaf.to_string();
    let wanted = if how == How::Adopted { "unasked" } else { "pending" };
    let (state, put_aside) = if report.put_aside { ("superseded", Some(wanted)) } else { (wanted, None) };
    if let Some(replaced) = replaced.filter(|replaced| *replaced != leaf) {
        transaction.execute(
            "UPDATE report SET state = 'superseded', ended_at = ?2
             WHERE fingerprint = ?1 AND state IN ('unasked', 'pending', 'held')
               AND NOT EXISTS (SELECT 1 FROM site WHERE leaf = ?1)",
            (replaced, milliseconds(now)),
        )?;
    }
    let mut supersede = transaction.prepare_cached(
        "UPDATE report SET state = 'superseded', ended_at = ?3
         WHERE site = ?1 AND hosts = ?4 AND fingerprint <> ?2 AND state IN ('unasked', 'pending', 'held')",
    )?;
    supersede.execute((site, &leaf, milliseconds(now), &report.hosts))?;
    // Two sites may use one certificate: the portal has one record of it.
    let mut others = transaction
        .prepare_cached("SELECT 1 FROM report WHERE fingerprint = ?1 AND state <> 'superseded'")?;
    if others.exists([&leaf])? {
        return Ok(());
    }
    let mut add = transaction.prepare_cached(
        "INSERT INTO report (site, fingerprint, hosts, remote_create_date, not_after, state, next_attempt_at,
                             postponed_at, created_at, put_aside)
         VALUES (?1, ?2, ?3, ?4, ?5, ?7, ?6, ?6, ?6, ?8)
         ON CONFLICT (site, fingerprint) DO UPDATE
         SET state = CASE WHEN ?8 IS NULL AND put_aside = 'unasked' THEN 'unasked' ELSE ?7 END,
             put_aside = CASE WHEN put_aside = 'unasked' AND ?8 IS NOT NULL THEN 'unasked' ELSE ?8 END,
             next_attempt_at = ?6, postponed_at = ?6, remote_create_date = ?4, ended_at = NULL",
    )?;
    add.execute((
        site,
        &leaf,
        &report.hosts,
        &report.remote_create_date,
        milliseconds(report.not_after),
        milliseconds(now),
        state,
        put_aside,
    ))?;
    Ok(())
}

impl Ledger {
    /// The pending report whose turn is next, due or not. One that cannot be read keeps no other from being sent;
    /// [`Ledger::unreadable_report`] names it.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn next_report(&self) -> Result<Option<Report>, LedgerError> {
        self.read(|connection| {
            let mut query = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM report WHERE state IN ('unasked', 'pending')
                 ORDER BY next_attempt_at, attempts, id"
            ))?;
            let mut reports = query.query_map([], read)?;
            reports.find_map(|report| readable(report).transpose()).transpose()
        })
    }

    /// The problem of the first undelivered report that cannot be read, if there is one.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn unreadable_report(&self) -> Result<Option<Problem>, LedgerError> {
        let found = self.read(|connection| {
            let mut query = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM report WHERE state IN ('unasked', 'pending', 'held') ORDER BY id"
            ))?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                if let Err(error) = read(row) {
                    let text = |column| row.get_ref(column).ok()?.as_str().ok().map(str::to_owned);
                    let id: i64 = row.get(0)?;
                    return Ok(Some((id, text(1).unwrap_or_default(), error)));
                }
            }
            Ok(None)
        })?;
        Ok(found.map(|(id, site, error)| {
            let path = Self::path(&self.state_dir);
            Problem::new(
                "ledger_corrupt",
                format!("a report of {site} cannot be read (row {id} of {}): {error}", path.display()),
                format!(
                    "stop certhook, move {} away and start certhook: it asks the portal what it knows",
                    path.display()
                ),
            )
        }))
    }

    /// The report of a certificate, whichever of its sites it was made for.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn report_of(&self, leaf: &Fingerprint) -> Result<Option<Report>, LedgerError> {
        Ok(self.reports_of(&[Some(*leaf)])?.pop().flatten())
    }

    /// As [`Ledger::report_of`], of many in one reading.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn reports_of(&self, leaves: &[Option<Fingerprint>]) -> Result<Vec<Option<Report>>, LedgerError> {
        self.read(|connection| {
            // Or each query takes the file's lock for itself.
            let reading = connection.unchecked_transaction()?;
            let mut query = reading.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM report WHERE fingerprint = ?1 AND state <> 'superseded'"
            ))?;
            let one = |leaf: &Option<Fingerprint>| match leaf {
                Some(leaf) => Ok(readable(query.query_row([leaf.to_string()], read).optional())?.flatten()),
                None => Ok(None),
            };
            leaves.iter().map(one).collect()
        })
    }

    /// The portal has echoed it.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn delivered(&self, report: &Report, now: Timestamp) -> Result<(), LedgerError> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE report SET state = 'delivered', ended_at = ?2, error_code = NULL, error = NULL, remedy = NULL
                 WHERE id = ?1",
                (report.id, milliseconds(now)),
            )?;
            let entry = Entry::new(now, &report.site, "reported").about(&report.fingerprint);
            history::append(transaction, &entry.saying(&report.remote_create_date))
        })
    }

    /// It was not taken and is sent again at `at`.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn postpone(
        &self,
        report: &Report,
        at: Timestamp,
        why: &Problem,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE report SET next_attempt_at = ?2, postponed_at = ?5, error_code = ?3, error = ?4, remedy = ?6
                 WHERE id = ?1",
                (report.id, milliseconds(at), &why.code, &why.message, milliseconds(now), &why.remedy),
            )?;
            let entry = Entry::new(now, &report.site, "report_failed").about(&report.fingerprint);
            history::append(transaction, &entry.saying(&why.message))
        })
    }

    /// Nothing is sent before `at`: what went wrong with one report would go wrong with the others.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn postpone_all(&self, at: Timestamp, now: Timestamp) -> Result<(), LedgerError> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE report SET next_attempt_at = ?1, postponed_at = ?2
                 WHERE state IN ('unasked', 'pending') AND next_attempt_at < ?1",
                (milliseconds(at), milliseconds(now)),
            )?;
            Ok(())
        })
    }

    /// Reports are made for these sites alone, and only if `unproved` is set for those of them whose load is the only
    /// evidence: others' that were not delivered are put aside, and those that were put aside and are of what is
    /// served now are taken up again.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn report_only(&self, sites: &[String], unproved: bool, now: Timestamp) -> Result<(), LedgerError> {
        self.write(|transaction| {
            let mut reporting: HashSet<&str> = sites.iter().map(String::as_str).collect();
            if !unproved {
                let mut query =
                    transaction.prepare_cached("SELECT site FROM site WHERE evidence = 'load'")?;
                let mut rows = query.query([])?;
                while let Some(row) = rows.next()? {
                    reporting.remove(row.get_ref(0)?.as_str()?);
                }
            }
            let of_others = reports(
                transaction,
                "SELECT id, site FROM report WHERE state IN ('unasked', 'pending', 'held')",
                |site| !reporting.contains(site),
            )?;
            let mut put = transaction.prepare_cached(
                "UPDATE report SET put_aside = state, state = 'superseded', ended_at = ?1 WHERE id = ?2",
            )?;
            for id in of_others {
                put.execute([milliseconds(now), id])?;
            }
            let put_aside = reports(
                transaction,
                "SELECT id, site FROM report
                 WHERE state = 'superseded'
                   AND fingerprint = (SELECT leaf FROM site WHERE site.site = report.site)",
                |site| reporting.contains(site),
            )?;
            // One report tells the portal of a certificate, however many sites have it.
            let mut take = transaction.prepare_cached(
                "UPDATE report SET state = CASE put_aside WHEN 'unasked' THEN 'unasked' ELSE 'pending' END,
                        put_aside = NULL, ended_at = NULL,
                        next_attempt_at = ?1, postponed_at = ?1
                 WHERE id = ?2
                   AND NOT EXISTS (SELECT 1 FROM report AS other WHERE other.fingerprint = report.fingerprint
                                                                   AND other.state <> 'superseded')",
            )?;
            for id in put_aside {
                take.execute([milliseconds(now), id])?;
            }
            Ok(())
        })
    }

    /// It was refused, and is held until something changes.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn hold(&self, report: &Report, why: &Problem, now: Timestamp) -> Result<(), LedgerError> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE report SET state = 'held', error_code = ?2, error = ?3, remedy = ?4
                 WHERE id = ?1 AND state = 'pending'",
                (report.id, &why.code, &why.message, &why.remedy),
            )?;
            let entry = Entry::new(now, &report.site, "report_held").about(&report.fingerprint);
            history::append(transaction, &entry.saying(&why.message))
        })
    }

    /// The reports that the portal's list is to decide about, at most so many, in the order of [`Self::next_report`].
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn unasked(&self, most: u32) -> Result<Vec<Report>, LedgerError> {
        self.read(|connection| {
            let mut query = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM report WHERE state = 'unasked'
                 ORDER BY next_attempt_at, attempts, id LIMIT ?1"
            ))?;
            query.query_map([most], read)?.filter_map(|report| readable(report).transpose()).collect()
        })
    }

    /// The portal's list has told whether certificates are to be reported: of some that were there at the first start,
    /// or of one that is not the portal's at all.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn decide(&self, decided: &[(&Report, bool)], now: Timestamp) -> Result<(), LedgerError> {
        self.write(|transaction| {
            let mut update = transaction.prepare_cached(
                "UPDATE report SET state = ?2, next_attempt_at = ?3, postponed_at = ?3, error_code = NULL, error = NULL,
                        remedy = NULL
                 WHERE id = ?1 AND (state = 'unasked' OR (state = 'pending' AND ?2 = 'known'))",
            )?;
            for (report, wanted) in decided {
                let state = if *wanted { "pending" } else { "known" };
                update.execute((report.id, state, milliseconds(now)))?;
            }
            Ok(())
        })
    }

    /// Held and postponed reports are due now, at an operator's word. How many there are.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn release_reports(&self, now: Timestamp) -> Result<usize, LedgerError> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE report SET next_attempt_at = ?1, postponed_at = ?1, released_at = ?1,
                        state = CASE state WHEN 'held' THEN 'pending' ELSE state END
                 WHERE state IN ('unasked', 'held', 'pending')",
                [milliseconds(now)],
            )
        })
    }
}

/// The numbers of the reports that a query for numbers and sites finds, of some sites.
fn reports(
    transaction: &Transaction<'_>,
    query: &str,
    is_wanted: impl Fn(&str) -> bool,
) -> rusqlite::Result<Vec<i64>> {
    let mut query = transaction.prepare_cached(query)?;
    let mut rows = query.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if is_wanted(row.get_ref(1)?.as_str()?) {
            found.push(row.get(0)?);
        }
    }
    Ok(found)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Report> {
    let state = match row.get_ref(5)?.as_str()? {
        "delivered" => ReportState::Delivered,
        "held" => ReportState::Held,
        "unasked" => ReportState::Unasked,
        "known" => ReportState::Known,
        _ => ReportState::Pending,
    };
    let code: Option<String> = row.get(8)?;
    let words: Option<String> = row.get(9)?;
    let remedy: Option<String> = row.get(14)?;
    Ok(Report {
        id: row.get(0)?,
        site: row.get(1)?,
        fingerprint: fingerprint(row, 2)?,
        hosts: row.get(3)?,
        remote_create_date: row.get(4)?,
        state,
        attempts: row.get(6)?,
        next_attempt_at: timestamp(row, 7)?,
        not_after: timestamp(row, 11)?,
        postponed_at: timestamp(row, 12)?,
        released_at: row.get::<_, Option<i64>>(13)?.map(moment),
        created_at: timestamp(row, 10)?,
        error: code
            .zip(words)
            .map(|(code, message)| Problem::new(&code, message, remedy.unwrap_or_default())),
    })
}
