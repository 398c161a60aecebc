//! The SQLite database: what was recorded, what the portal is to know, what was spent, what happened.
//!
//! A second process may read and write at the same time. What is acknowledged here survives a power cut
//! (WAL with `synchronous=FULL`). Times come in as data.

mod alerts;
mod budget;
mod history;
mod limits;
mod prune;
mod records;
mod renewals;
mod reports;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};

use crate::agent::{Evidence, How, Recorded};
use crate::certificate::Fingerprint;
use crate::platform;
use crate::problem::Problem;
pub use alerts::Case;
pub use budget::{Purpose, Refusal, Spent, Usage};
pub use history::{Entry, Tally};
pub use limits::{Allowance, Limited};
pub use prune::MAX_HISTORY_ROWS;
pub use records::{PortalList, PortalRecord};
pub use renewals::{Progress, RENEWED_ELSEWHERE, Renewal, Scheduled, Stage};
pub use reports::{Report, ReportState};

/// Step N brings a database of version N - 1 to version N. Never change one that was released.
const MIGRATIONS: [&str; 7] = [
    include_str!("ledger/schema.sql"),
    include_str!("ledger/renewals.sql"),
    include_str!("ledger/alerts.sql"),
    include_str!("ledger/limits.sql"),
    include_str!("ledger/pruned.sql"),
    include_str!("ledger/remedies.sql"),
    include_str!("ledger/evidence.sql"),
];

/// Of the database in memory; SQLite itself would take 2 MB as the history grows.
const CACHE_KB: i64 = 256;
/// The write-ahead log is taken into the database at so many pages of 4 kB: SQLite's own 1000 fill a small disk.
const CHECKPOINT_PAGES: u32 = 64;
/// What is kept of the log's file after that, in bytes.
const MOST_LOG: u32 = CHECKPOINT_PAGES * 4096;

/// The words for what proved a leaf.
const HANDSHAKE: &str = "handshake";
const LOAD: &str = "load";

/// Another process's write is waited for so long.
const BUSY: Duration = Duration::from_secs(10);

/// The ledger. It is opened when it is first needed, and again after it was moved away or failed: whatever
/// keeps it from being used may pass.
#[derive(Debug)]
pub struct Ledger {
    state_dir: PathBuf,
    connection: Mutex<Option<Opened>>,
}

/// An open database, and which file it is.
#[derive(Debug)]
struct Opened {
    connection: Connection,
    identity: Option<platform::Identity>,
}

/// Why the ledger could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The folder or the file.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, std::io::Error),
    /// Written by a later version.
    #[error("it was written by a newer certhook (version {found} of the format, this one knows {known})")]
    Newer {
        /// The file's version.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// SQLite's words.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl LedgerError {
    /// With code and remedy.
    pub fn problem(&self) -> Problem {
        let message = format!("the ledger cannot be used: {self}");
        if matches!(self, Self::Io(_, error) if error.kind() == std::io::ErrorKind::PermissionDenied) {
            let remedy =
                format!("{}; where that is so already, let that user write in state_dir", platform::AS_WHOM);
            return Problem::new("ledger_io", message, remedy);
        }
        let there = format!("see that state_dir is there and {} may write in it", platform::WORDS.user);
        let let_write = format!("let {} write in state_dir", platform::WORDS.user);
        let code = match self {
            Self::Sqlite(error) => error.sqlite_error_code(),
            _ => None,
        };
        let (code, remedy) = match (self, code) {
            (Self::Io(..), _) => ("ledger_io", &*there),
            (Self::Newer { .. }, _) => {
                ("ledger_newer", "install that version again, or move the ledger away")
            }
            (_, Some(ErrorCode::DiskFull)) => ("disk_full", "make room on the disk that holds state_dir"),
            (_, Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen)) => {
                ("ledger_io", "see the system's log for the disk that holds state_dir")
            }
            (_, Some(ErrorCode::ReadOnly)) => ("ledger_read_only", &*let_write),
            (_, Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)) => (
                "ledger_corrupt",
                "move ledger.db away; certhook begins a new one and asks the portal what it knows",
            ),
            _ => ("ledger", "see the disk that holds state_dir"),
        };
        Problem::new(code, message, remedy)
    }
}

/// What is to be written down of a leaf that is served.
#[derive(Debug, Clone)]
pub struct Installation {
    /// The site's key.
    pub site: String,
    /// What the site is called.
    pub name: String,
    /// Leaf, set, chain length.
    pub recorded: Recorded,
    /// How it came.
    pub how: How,
    /// When its files were whole.
    pub whole_at: Timestamp,
    /// When the server had loaded it.
    pub reloaded_at: Option<Timestamp>,
    /// When it was proved; of a handshake, when the wire showed it.
    pub served_at: Timestamp,
    /// Why no handshake shows it, where its load proved it.
    pub unseen: Option<String>,
    /// What the portal is to know of it, if it is to know of the site. Of an adopted leaf it is asked first.
    pub report: Option<NewReport>,
}

/// A report to come.
#[derive(Debug, Clone)]
pub struct NewReport {
    /// The certificate's host names, joined by commas.
    pub hosts: String,
    /// As the portal wants it.
    pub remote_create_date: String,
    /// The certificate's end.
    pub not_after: Timestamp,
    /// It waits until it is to be sent on this evidence, or on another: see [`Ledger::report_only`].
    pub put_aside: bool,
}

impl Installation {
    /// What the agent took for the first sight of a site is a renewal if the ledger knows another leaf: it could
    /// not be read when the agent began.
    fn how_after(&self, known: Option<&str>) -> How {
        match (self.how, known) {
            (How::Adopted, Some(known)) if known != self.recorded.leaf.to_string() => How::Installed,
            (how, _) => how,
        }
    }
}

fn known_leaf(transaction: &Transaction<'_>, site: &str) -> rusqlite::Result<Option<String>> {
    let mut query = transaction.prepare_cached("SELECT leaf FROM site WHERE site = ?1")?;
    query.query_row([site], |row| row.get(0)).optional()
}

impl Ledger {
    /// Where the database is in a state folder.
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("ledger.db")
    }

    /// A ledger in this state folder, which need not be usable yet.
    pub fn at(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), connection: Mutex::new(None) }
    }

    /// Opens the ledger, and makes it if there is none. All of it is read once, to see that it is sound.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn open(state_dir: &Path) -> Result<Self, LedgerError> {
        let ledger = Self::at(state_dir);
        ledger.read(sound)?;
        Ok(ledger)
    }

    /// Opens a ledger that is there; `None` where there is none yet.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn open_existing(state_dir: &Path) -> Result<Option<Self>, LedgerError> {
        // A link that leads nowhere is no ledger that is yet to come.
        match Self::path(state_dir).symlink_metadata() {
            Ok(_) => Self::open(state_dir).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LedgerError::Io(Self::path(state_dir), error)),
        }
    }

    /// The last recorded leaf of every site.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn recorded(&self) -> Result<HashMap<String, Recorded>, LedgerError> {
        self.read(|connection| {
            let mut query = connection
                .prepare_cached("SELECT site, leaf, chain_set, intermediates, evidence FROM site")?;
            let mut rows = query.query_map([], |row| {
                let recorded = Recorded {
                    leaf: fingerprint(row, 1)?,
                    set: fingerprint(row, 2)?,
                    intermediates: row.get(3)?,
                    evidence: match row.get_ref(4)?.as_str()? {
                        LOAD => Evidence::Load,
                        _ => Evidence::Handshake,
                    },
                };
                Ok((row.get(0)?, recorded))
            })?;
            // A site whose row cannot be read is recorded again as soon as it is served.
            rows.by_ref().filter_map(|row| readable(row).transpose()).collect()
        })
    }

    /// The sites whose last leaf was recorded since a moment, by key, each with what people call it.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn recorded_names(&self, since: Timestamp) -> Result<Vec<(String, String)>, LedgerError> {
        self.read(|connection| {
            let mut query = connection
                .prepare_cached("SELECT site, name FROM site WHERE recorded_at >= ?1 ORDER BY site")?;
            let rows = query.query_map([milliseconds(since)], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    /// As [`Ledger::install_all`], of one.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing is written then.
    pub fn install(&self, installation: &Installation, now: Timestamp) -> Result<(), LedgerError> {
        self.install_all([installation], now)
    }

    /// Writes down that leaves are served, together with the reports they call for, in one step. Doing it again
    /// changes nothing.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing is written then.
    pub fn install_all<'i>(
        &self,
        installations: impl IntoIterator<Item = &'i Installation>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(|transaction| {
            installations.into_iter().try_for_each(|installation| install(transaction, installation, now))
        })
    }

    /// Empties the write-ahead log, and lets go of the pages and statements that are kept for the next time, unless
    /// somebody is at it. The file stays open: on a full disk it could not be opened again.
    pub fn rest(&self) {
        if let Ok(slot) = self.connection.try_lock()
            && let Some(Opened { connection, .. }) = &*slot
        {
            connection.flush_prepared_statement_cache();
            empty_log(connection);
            // What cannot be freed is kept.
            let _ = connection.execute_batch("PRAGMA shrink_memory");
        }
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, LedgerError> {
        self.with(|connection| work(connection))
    }

    /// One transaction that takes the write lock at its beginning: what it reads stays true until it ends.
    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, LedgerError> {
        self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, LedgerError> {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let on_disk = platform::identity(&Self::path(&self.state_dir));
        if slot.as_ref().is_some_and(|opened| on_disk.is_none() || opened.identity != on_disk) {
            // It was moved away: what is written into the open file would be lost with it.
            *slot = None;
        }
        let opened = match &mut *slot {
            Some(opened) => opened,
            empty => empty.insert(open(&self.state_dir)?),
        };
        let result = work(&mut opened.connection);
        match result.as_ref().map_err(rusqlite::Error::sqlite_error_code) {
            // The log itself may have filled the disk. On one that is full the database could not be opened again.
            Err(Some(ErrorCode::DiskFull)) => empty_log(&opened.connection),
            // A fault of the file or the disk may be mended by the next time.
            Err(_) => *slot = None,
            Ok(_) => {}
        }
        Ok(result?)
    }
}

fn install(
    transaction: &Transaction<'_>,
    installation: &Installation,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let Installation { site, name, recorded, .. } = installation;
    let known = known_leaf(transaction, site)?;
    let how = installation.how_after(known.as_deref());
    let mut write = transaction.prepare_cached(
        "INSERT INTO site (site, name, leaf, chain_set, intermediates, recorded_at, evidence, reason)
         VALUES (?1, ?6, ?2, ?3, ?4, ?5, ?7, ?8)
         ON CONFLICT (site) DO UPDATE
         SET name = ?6, leaf = ?2, chain_set = ?3, intermediates = ?4, recorded_at = ?5, evidence = ?7, reason = ?8",
    )?;
    write.execute((
        site,
        recorded.leaf.to_string(),
        recorded.set.to_string(),
        recorded.intermediates,
        milliseconds(now),
        name,
        match recorded.evidence {
            Evidence::Handshake => HANDSHAKE,
            Evidence::Load => LOAD,
        },
        &installation.unseen,
    ))?;
    let note = |at: Timestamp, event: &str| {
        history::append(transaction, &Entry::new(at, site, event).about(&recorded.leaf))
    };
    let note_proof = |event: &str| {
        let mut entry = Entry::new(installation.served_at, site, event).about(&recorded.leaf);
        entry.detail = installation.unseen.as_ref().map(|why| format!("loaded, not seen: {why}"));
        history::append(transaction, &entry)
    };
    let note_reload = || installation.reloaded_at.map_or(Ok(()), |at| note(at, "reloaded"));
    match how {
        How::Adopted => {
            if installation.unseen.is_some() {
                note_reload()?;
            }
            note_proof("adopted")?;
        }
        How::Installed | How::Restored => {
            note(installation.whole_at, "whole")?;
            note_reload()?;
            note_proof("served")?;
        }
    }
    match &installation.report {
        Some(report) => {
            reports::enqueue(transaction, site, (known.as_deref(), &recorded.leaf), report, how, now)
        }
        None => Ok(()),
    }
}

fn open(state_dir: &Path) -> Result<Opened, LedgerError> {
    let path = Ledger::path(state_dir);
    platform::create_private_folder(state_dir)
        .map_err(|error| LedgerError::Io(state_dir.to_owned(), error))?;
    // Made here and not by SQLite, which would make it readable for all.
    platform::open_private(&path).map_err(|error| LedgerError::Io(path.clone(), error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&path, flags)?;
    connection.busy_timeout(BUSY)?;
    begin_log(&connection)?;
    connection.pragma_update(None, "cache_size", -CACHE_KB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", MOST_LOG)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    migrate(&mut connection)?;
    Ok(Opened { connection, identity: platform::identity(&path) })
}

/// SQLite waits for no other connection here, whatever its busy timeout: the first two processes on a host
/// may come at the same time.
fn begin_log(connection: &Connection) -> rusqlite::Result<()> {
    const PAUSE: Duration = Duration::from_millis(10);
    let mut patience = BUSY;
    loop {
        let error = match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => error,
            outcome => return outcome,
        };
        if patience.is_zero() {
            return Err(error);
        }
        std::thread::sleep(PAUSE);
        patience = patience.saturating_sub(PAUSE);
    }
}

/// Takes the write-ahead log into the database and its file's room back. What cannot be taken in stays in the log, and
/// while somebody else reads it that is so.
fn empty_log(connection: &Connection) {
    let emptied = connection.busy_timeout(Duration::ZERO).and_then(|()| {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
    });
    if let Err(error) = emptied {
        tracing::debug!(%error, "the ledger's log cannot be emptied");
    }
    // It fails for nothing but a connection that is gone.
    let _ = connection.busy_timeout(BUSY);
}

fn migrate(connection: &mut Connection) -> Result<(), LedgerError> {
    let version = |connection: &Connection| {
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))
    };
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if version(connection)? == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Asked again: another process may have done it meanwhile.
    let found = version(&transaction)?;
    if found > known {
        return Err(LedgerError::Newer { found, known });
    }
    for step in MIGRATIONS.iter().skip(found as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

/// Damage in the middle of the file shows only where it is read.
fn sound(connection: &Connection) -> rusqlite::Result<()> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    match found.as_str() {
        "ok" => Ok(()),
        _ => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
            Some(found),
        )),
    }
}

fn milliseconds(at: Timestamp) -> i64 {
    at.as_millisecond()
}

fn timestamp(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(moment(row.get(column)?))
}

/// Returns the moment of a stored time; one beyond the calendar is the calendar's end. [`Timestamp::MAX`] itself, the
/// end of a certificate that has none, is beyond it by a fraction of a second once it is stored.
fn moment(milliseconds: i64) -> Timestamp {
    let bound = if milliseconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(milliseconds).unwrap_or(bound)
}

/// Returns `None` for a row that holds a value which this program cannot read. Errors of the database stay errors.
fn readable<T>(row: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match row {
        Ok(value) => Ok(Some(value)),
        Err(error @ rusqlite::Error::SqliteFailure(..)) => Err(error),
        Err(_) => Ok(None),
    }
}

fn fingerprint(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Fingerprint> {
    row.get::<_, String>(column)?.parse().map_err(|error| unusable(column, error))
}

fn unusable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

#[cfg(test)]
mod tests;
