//! Renewals at the portal: what was asked for, and how far it got. Each step is written down before the next begins,
//! so that a process that ends in between goes on where it was.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction};

use super::{Entry, Ledger, LedgerError, history, milliseconds, moment, timestamp};
use crate::problem::Problem;

/// The history's word for a certificate that another host had renewed.
pub const RENEWED_ELSEWHERE: &str = "renewed_elsewhere";

/// How far a renewal got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The request was about to be sent; what came of it is not known.
    Asked,
    /// The portal refused it, or could not be reached: nothing was scheduled.
    Refused,
    /// The portal renews what it scheduled.
    Waiting,
    /// What was renewed is downloaded.
    Fetching,
    /// Over.
    Done,
}

/// How one of its certificates stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The portal said that it would renew it.
    Scheduled,
    /// The portal's list has a new one.
    Renewed,
    /// It is on this host.
    Fetched,
    /// It was not renewed in time, or could not be downloaded.
    Failed,
}

/// One certificate of a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// The portal's number.
    pub id: i64,
    /// The portal's name.
    pub name: String,
    /// When it ended when it was scheduled.
    pub expires: Option<Timestamp>,
    /// When it was issued when it was scheduled, as the portal writes it.
    pub issued: Option<String>,
    /// How it stands.
    pub progress: Progress,
    /// Why it failed.
    pub error: Option<String>,
}

/// One time that the portal was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    id: i64,
    /// When.
    pub asked_at: Timestamp,
    /// How far it got.
    pub stage: Stage,
    /// How often the list was asked whether it is done.
    pub looks: u32,
    /// When its next step is due, or, if it is over, the next renewal.
    pub next_at: Timestamp,
    /// Failures in a row.
    pub failures: u32,
    /// What went wrong last: a code and words.
    pub error: Option<(String, String)>,
    /// What was scheduled.
    pub certificates: Vec<Scheduled>,
}

impl Ledger {
    /// The last one, if there was any.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn last_renewal(&self) -> Result<Option<Renewal>, LedgerError> {
        self.read(|connection| {
            let mut last = connection.prepare_cached(
                "SELECT id, asked_at, state, looks, next_at, failures, error_code, error
                 FROM renewal ORDER BY id DESC LIMIT 1",
            )?;
            let found = last.query_row([], |row| {
                let code: Option<String> = row.get(6)?;
                let words: Option<String> = row.get(7)?;
                Ok(Renewal {
                    id: row.get(0)?,
                    asked_at: timestamp(row, 1)?,
                    stage: Stage::of(&row.get::<_, String>(2)?),
                    looks: row.get(3)?,
                    next_at: timestamp(row, 4)?,
                    failures: row.get(5)?,
                    error: code.zip(words),
                    certificates: Vec::new(),
                })
            });
            let Some(mut renewal) = found.optional()? else { return Ok(None) };
            let mut query = connection.prepare_cached(
                "SELECT id, name, expires, issued, state, error
                 FROM renewal_certificate WHERE renewal = ?1 ORDER BY id",
            )?;
            let rows = query.query_map([renewal.id], |row| {
                let expires: Option<i64> = row.get(2)?;
                Ok(Scheduled {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    expires: expires.map(moment),
                    issued: row.get(3)?,
                    progress: Progress::of(&row.get::<_, String>(4)?),
                    error: row.get(5)?,
                })
            })?;
            renewal.certificates = rows.collect::<Result<_, _>>()?;
            Ok(Some(renewal))
        })
    }

    /// To be called before the portal is asked. `next_at` is when to go on if no answer is ever noted.
    ///
    /// # Errors
    /// [`LedgerError`]: the portal must not be asked.
    pub fn begin_renewal(&self, next_at: Timestamp, now: Timestamp) -> Result<Renewal, LedgerError> {
        let failures = self.last_renewal()?.filter(|last| last.stage == Stage::Refused);
        let failures = failures.map_or(0, |last| last.failures);
        let id = self.write(|transaction| {
            transaction.execute(
                "INSERT INTO renewal (asked_at, state, next_at, failures) VALUES (?1, 'asked', ?2, ?3)",
                (milliseconds(now), milliseconds(next_at), failures),
            )?;
            let id = transaction.last_insert_rowid();
            // The older ones are in the history.
            transaction.execute("DELETE FROM renewal WHERE id <= ?1 - 20", [id])?;
            Ok(id)
        })?;
        Ok(Renewal {
            id,
            asked_at: now,
            stage: Stage::Asked,
            looks: 0,
            next_at,
            failures,
            error: None,
            certificates: Vec::new(),
        })
    }

    /// The portal scheduled nothing; it is asked again at `next_at`.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn renewal_refused(
        &self,
        renewal: &Renewal,
        why: &Problem,
        next_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE renewal SET state = 'refused', next_at = ?2, failures = failures + 1,
                        error_code = ?3, error = ?4 WHERE id = ?1",
                (renewal.id, milliseconds(next_at), &why.code, &why.message),
            )?;
            note(transaction, now, PORTAL, "renewal_refused", &why.message)
        })
    }

    /// The portal scheduled these; `next_at` is when to look whether they are renewed.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn renewal_scheduled(
        &self,
        renewal: &Renewal,
        certificates: &[Scheduled],
        next_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE renewal SET state = 'waiting', next_at = ?2, failures = 0, error_code = NULL, error = NULL
                 WHERE id = ?1",
                (renewal.id, milliseconds(next_at)),
            )?;
            for certificate in certificates {
                transaction.execute(
                    "INSERT OR REPLACE INTO renewal_certificate (renewal, id, name, expires, issued, state)
                     VALUES (?1, ?2, ?3, ?4, ?5, 'scheduled')",
                    (
                        renewal.id,
                        certificate.id,
                        &certificate.name,
                        certificate.expires.map(milliseconds),
                        &certificate.issued,
                    ),
                )?;
                note(transaction, now, &certificate.name, "renewal_scheduled", "")?;
            }
            Ok(())
        })
    }

    /// One of its certificates is further; whatever it was before.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn renewal_progress(
        &self,
        renewal: &Renewal,
        (id, name): (i64, &str),
        progress: Progress,
        words: Option<&str>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO renewal_certificate (renewal, id, name, state, error) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (renewal, id) DO UPDATE SET state = ?4, error = ?5",
                (renewal.id, id, name, progress.word(), words),
            )?;
            let event = match progress {
                Progress::Scheduled => "renewal_scheduled",
                Progress::Renewed => "renewed",
                Progress::Fetched => "fetched",
                Progress::Failed => "renewal_failed",
            };
            note(transaction, now, name, event, words.unwrap_or_default())
        })
    }

    /// Its next step is due at `next_at`; `looked` if the list was asked, `failure` if it could not be.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn move_renewal(
        &self,
        renewal: &Renewal,
        stage: Stage,
        next_at: Timestamp,
        failure: Option<&Problem>,
    ) -> Result<(), LedgerError> {
        self.write(|transaction| {
            let (code, words) = failure.map(|problem| (&problem.code, &problem.message)).unzip();
            let looked = u32::from(failure.is_none() && stage == Stage::Waiting);
            transaction.execute(
                "UPDATE renewal SET state = ?2, next_at = ?3, looks = looks + ?4,
                        failures = CASE WHEN ?5 IS NULL THEN 0 ELSE failures + 1 END,
                        error_code = ?5, error = ?6 WHERE id = ?1",
                (renewal.id, stage.word(), milliseconds(next_at), looked, code, words),
            )?;
            Ok(())
        })
    }
}

/// Whose history it is where it is no certificate's.
const PORTAL: &str = "portal";

fn note(
    transaction: &Transaction<'_>,
    now: Timestamp,
    name: &str,
    event: &str,
    words: &str,
) -> rusqlite::Result<()> {
    let entry = Entry::new(now, name, event);
    let entry = if words.is_empty() { entry } else { entry.saying(words) };
    history::append(transaction, &entry)
}

impl Stage {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Asked, "asked"),
        (Self::Refused, "refused"),
        (Self::Waiting, "waiting"),
        (Self::Fetching, "fetching"),
        (Self::Done, "done"),
    ];

    /// As it is written.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(stage, _)| *stage == self).map_or("done", |(_, word)| word)
    }

    fn of(word: &str) -> Self {
        // The table takes no other words.
        Self::ALL.iter().find(|(_, known)| *known == word).map_or(Self::Done, |(stage, _)| *stage)
    }
}

impl Progress {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Scheduled, "scheduled"),
        (Self::Renewed, "renewed"),
        (Self::Fetched, "fetched"),
        (Self::Failed, "failed"),
    ];

    /// As it is written.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(progress, _)| *progress == self).map_or("failed", |(_, word)| word)
    }

    fn of(word: &str) -> Self {
        Self::ALL.iter().find(|(_, known)| *known == word).map_or(Self::Failed, |(progress, _)| *progress)
    }
}
