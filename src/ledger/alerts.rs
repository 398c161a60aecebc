//! What the alerts must remember over a restart: since when something is wrong, and who was told of it.

use jiff::Timestamp;

use super::{Ledger, LedgerError, milliseconds, timestamp};

/// Something that is wrong, or was when somebody was told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What it is about: two cases never have the same.
    pub subject: String,
    /// The site, as people call it; empty where it is about none.
    pub site: String,
    /// The server; empty where it is about none.
    pub server: String,
    /// The problem's code.
    pub code: String,
    /// Its words.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Since when anything is wrong with it.
    pub begun: Timestamp,
    /// Since when this is.
    pub since: Timestamp,
    /// The code that was told last.
    pub told: Option<String>,
    /// It was well since: what comes now is another.
    pub recovered: bool,
}

impl Ledger {
    /// All cases.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn cases(&self) -> Result<Vec<Case>, LedgerError> {
        self.read(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT subject, site, server, code, message, remedy, begun, since, told, recovered
                 FROM alert ORDER BY subject",
            )?;
            let rows = query.query_map([], |row| {
                Ok(Case {
                    subject: row.get(0)?,
                    site: row.get(1)?,
                    server: row.get(2)?,
                    code: row.get(3)?,
                    message: row.get(4)?,
                    remedy: row.get(5)?,
                    begun: timestamp(row, 6)?,
                    since: timestamp(row, 7)?,
                    told: row.get(8)?,
                    recovered: row.get(9)?,
                })
            })?;
            rows.collect()
        })
    }

    /// From here on these are all.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing has changed then.
    pub fn keep_cases(&self, cases: &[Case]) -> Result<(), LedgerError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM alert", [])?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO alert (subject, site, server, code, message, remedy, begun, since, told, recovered)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?;
            for case in cases {
                insert.execute((
                    &case.subject,
                    &case.site,
                    &case.server,
                    &case.code,
                    &case.message,
                    &case.remedy,
                    milliseconds(case.begun),
                    milliseconds(case.since),
                    &case.told,
                    case.recovered,
                ))?;
            }
            Ok(())
        })
    }
}
