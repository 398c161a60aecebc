//! The portal's certificates, as its last list told.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::{Ledger, LedgerError, milliseconds, moment, timestamp};

/// One of the portal's certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortalRecord {
    /// The portal's number.
    pub id: i64,
    /// The portal's name, as it spells it.
    pub name: String,
    /// When the portal's certificate ends, if it says so.
    pub expires: Option<Timestamp>,
    /// Whether the portal believes that it is installed.
    pub installed: bool,
}

/// The last list, and when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortalList {
    /// When.
    pub at: Timestamp,
    /// The certificates.
    pub records: Vec<PortalRecord>,
}

impl Ledger {
    /// When the portal's last list was asked for, if it was.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn listed_at(&self) -> Result<Option<Timestamp>, LedgerError> {
        self.read(listed_at)
    }

    /// The portal's last list, if there was one.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn portal_list(&self) -> Result<Option<PortalList>, LedgerError> {
        self.read(|connection| {
            let Some(at) = listed_at(connection)? else { return Ok(None) };
            let mut query = connection
                .prepare_cached("SELECT id, name, expires, installed FROM portal_certificate ORDER BY id")?;
            let rows = query.query_map([], |row| {
                let expires: Option<i64> = row.get(2)?;
                Ok(PortalRecord {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    expires: expires.map(moment),
                    installed: row.get(3)?,
                })
            })?;
            Ok(Some(PortalList { at, records: rows.collect::<Result<_, _>>()? }))
        })
    }

    /// Keeps a list, in place of the last.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn keep_portal_list(&self, list: &PortalList) -> Result<(), LedgerError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM portal_certificate", [])?;
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO portal_certificate (id, name, expires, installed) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for record in &list.records {
                insert.execute((record.id, &record.name, record.expires.map(milliseconds), record.installed))?;
            }
            transaction.execute(
                "INSERT OR REPLACE INTO portal_list (only_row, listed_at) VALUES (1, ?1)",
                [milliseconds(list.at)],
            )?;
            Ok(())
        })
    }
}

fn listed_at(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let mut asked = connection.prepare_cached("SELECT listed_at FROM portal_list")?;
    asked.query_row([], |row| timestamp(row, 0)).optional()
}
