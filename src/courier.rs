//! Takes undelivered reports from the ledger to the portal, one at a time, for as long as it takes.
//!
//! It shares nothing with the rest of the house but the ledger: a portal outage delays no reload, and a
//! reload waits for no report.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::ledger::{Ledger, LedgerError, Purpose, Refusal, Report};
use crate::portal::{Failure, Next, Portal, same_name};
use crate::problem::Problem;

/// The longest pause between two attempts, unless the portal asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);
/// How long an idle courier sleeps at most, lest a clock set back keep a report waiting.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What others tell the courier.
#[derive(Debug)]
pub enum Order {
    /// A report may have come.
    Wake,
    /// Send what is due, then answer.
    Flush(oneshot::Sender<()>),
}

/// What the configuration says of a site's record at the portal.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The portal's name.
    pub name: Option<String>,
    /// The portal's id.
    pub id: Option<i64>,
}

/// The courier.
pub struct Courier {
    ledger: Arc<Ledger>,
    portal: Portal,
    known: HashMap<String, Known>,
    requests_per_week: u32,
    first_pause: Duration,
}

/// A record of the portal's.
struct Record {
    id: i64,
    name: String,
}

/// Why a report was not delivered.
enum Trouble {
    /// The portal, or the way to it.
    Failed(Failure),
    /// No request may be spent until then.
    Spent(Timestamp),
    /// The ledger.
    Ledger(LedgerError),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Spent(until) => Self::Spent(until),
            Refusal::Ledger(error) => Self::Ledger(error),
        }
    }
}

impl Courier {
    /// `known` has what the configuration says of each site, by its key.
    pub fn new(ledger: Arc<Ledger>, config: &crate::config::Portal, known: HashMap<String, Known>) -> Self {
        Self {
            ledger,
            portal: Portal::new(config.clone()),
            known,
            requests_per_week: config.requests_per_week,
            first_pause: config.retry,
        }
    }

    /// Works until nobody can give orders any more.
    pub async fn run(self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            let sleep = match self.deliver_due().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(problem = %error.problem(), "the courier cannot use the ledger");
                    Some(self.first_pause.max(Duration::from_secs(1)))
                }
            };
            let sleep = sleep.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
            match tokio::time::timeout(sleep, orders.recv()).await {
                Ok(None) => return,
                Ok(Some(Order::Wake)) | Err(_) => {}
                Ok(Some(Order::Flush(done))) => {
                    // The ledger's trouble was told above, and is in the outcome that the asker reads.
                    let _ = self.deliver_due().await;
                    let _ = done.send(());
                }
            }
        }
    }

    /// Sends every report that is due; the time until the next one is.
    async fn deliver_due(&self) -> Result<Option<Duration>, LedgerError> {
        loop {
            let now = Timestamp::now();
            let Some(report) = self.ledger.next_report()? else { return Ok(None) };
            // A pause longer than any that is ever set comes of a clock that was set back.
            let wait = report.next_attempt_at.duration_since(now);
            if wait > SignedDuration::ZERO && wait <= SignedDuration::from_hours(8 * 24) {
                return Ok(Some(Duration::try_from(wait).unwrap_or_default()));
            }
            match self.deliver(&report).await {
                Ok(()) => {
                    crate::crash::point("report-answered");
                    self.ledger.delivered(&report, Timestamp::now())?;
                    tracing::info!(site = report.site, fingerprint = %report.fingerprint, remote_create_date = report.remote_create_date, "reported");
                    crate::crash::point("report-noted");
                }
                Err(trouble) => self.put_off(&report, trouble)?,
            }
        }
    }

    /// One attempt, with a second try if the token is refused.
    async fn deliver(&self, report: &Report) -> Result<(), Trouble> {
        let record = self.record_of(report).await?;
        for last in [false, true] {
            self.portal.authorise().await?;
            crate::crash::point("token-got");
            self.ledger.spend(Purpose::Report(report), self.requests_per_week, Timestamp::now())?;
            crate::crash::point("request-noted");
            match self.portal.report(record.id, &record.name, &report.remote_create_date).await {
                Err(Failure { next: Next::NewToken, .. }) if !last => self.portal.forget_token(),
                outcome => return Ok(outcome?),
            }
        }
        Ok(())
    }

    /// The portal's record of a certificate: configured, kept, or asked for with one list for all.
    async fn record_of(&self, report: &Report) -> Result<Record, Trouble> {
        let known = self.known.get(&report.site).cloned().unwrap_or_default();
        if let Known { id: Some(id), name: Some(name) } = &known {
            return Ok(Record { id: *id, name: name.clone() });
        }
        let kept = self.ledger.portal_list()?;
        if let Some(record) = kept.as_ref().and_then(|(_, list)| find(list, &known, report)) {
            return Ok(record);
        }
        // A record may have been made since the list; one that an operator asks for again, too.
        let current =
            kept.is_some_and(|(listed_at, _)| listed_at >= report.created_at) && report.error.is_none();
        if !current {
            let list = self.list().await?;
            if let Some(record) = find(&list, &known, report) {
                return Ok(record);
            }
        }
        Err(Trouble::Failed(Failure { next: Next::Hold, problem: unknown(&known, report) }))
    }

    async fn list(&self) -> Result<Vec<(i64, String)>, Trouble> {
        for last in [false, true] {
            self.portal.authorise().await?;
            self.ledger.spend(Purpose::Look, self.requests_per_week, Timestamp::now())?;
            match self.portal.list().await {
                Err(Failure { next: Next::NewToken, .. }) if !last => self.portal.forget_token(),
                outcome => {
                    let list = outcome?
                        .into_iter()
                        .map(|certificate| (certificate.id, certificate.name))
                        .collect::<Vec<_>>();
                    self.ledger.keep_portal_list(&list, Timestamp::now())?;
                    return Ok(list);
                }
            }
        }
        Ok(Vec::new())
    }

    fn put_off(&self, report: &Report, trouble: Trouble) -> Result<(), LedgerError> {
        let now = Timestamp::now();
        let (at, problem) = match trouble {
            Trouble::Ledger(error) => return Err(error),
            Trouble::Spent(until) => {
                let message = format!("this host's requests to the portal are spent until {until}");
                (
                    until.max(now + Duration::from_secs(60)),
                    Problem::new(
                        "requests_spent",
                        message,
                        "wait, or raise requests_per_week if the portal allows more",
                    ),
                )
            }
            Trouble::Failed(Failure { next: Next::Hold, problem }) => {
                tracing::warn!(site = report.site, fingerprint = %report.fingerprint, %problem, "report held");
                return self.ledger.hold(report, &problem, now);
            }
            Trouble::Failed(Failure { next, problem }) => {
                let asked = match next {
                    Next::Again(asked) => asked.unwrap_or_default(),
                    // The second token was refused as well; it is not kept for the next attempt.
                    Next::NewToken | Next::Hold => Duration::ZERO,
                };
                if next == Next::NewToken {
                    self.portal.forget_token();
                }
                (now + self.pause(report.attempts).max(asked), problem)
            }
        };
        tracing::warn!(site = report.site, fingerprint = %report.fingerprint, attempt = report.attempts + 1, next_attempt_at = %at, %problem, "report not delivered");
        self.ledger.postpone(report, at, &problem, now)
    }

    /// Grows with the attempts made, with jitter, so that many hosts do not come at once.
    fn pause(&self, attempts: u32) -> Duration {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(self.first_pause)
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter()
            .without_max_times();
        pauses.build().nth(attempts.min(40) as usize).unwrap_or(LONGEST_PAUSE)
    }
}

fn find(list: &[(i64, String)], known: &Known, report: &Report) -> Option<Record> {
    let wanted = |(id, name): &&(i64, String)| match known {
        Known { id: Some(wanted), .. } => id == wanted,
        Known { name: Some(wanted), .. } => same_name(name, wanted),
        _ => same_name(name, &report.hosts),
    };
    list.iter().find(wanted).map(|(id, name)| Record { id: *id, name: name.clone() })
}

fn unknown(known: &Known, report: &Report) -> Problem {
    let what = match known {
        Known { id: Some(id), .. } => format!("the id {id}"),
        Known { name: Some(name), .. } => format!("the name {name}"),
        _ => format!("the host names {}", report.hosts),
    };
    Problem::new(
        "unknown_to_portal",
        format!("the portal has no certificate of {}", crate::problem::printable(&what, 300)),
        "give the site the portal's name or id, or report = false; then run: certhook sync --retry",
    )
}
