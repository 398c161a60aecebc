//! Takes undelivered reports from the ledger to the portal, one at a time, for as long as it takes.
//!
//! It shares nothing with the rest of the house but the ledger, and has a thread of its own: neither the
//! portal's pauses nor the disk's keep a reload waiting. What it tells is true: the portal's record must be of
//! the certificate that is served, by its names and, to a day, by its end.

mod counted;
mod known;
mod records;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::config::Limits;
use crate::ledger::{Allowance, Ledger, LedgerError, Purpose, Refusal, Report, ReportState, Spent};
use crate::portal::{Failure, Next, Portal};
use crate::problem::Problem;
pub use counted::{Trouble, list};
use counted::{settle, spent_until};
pub use known::Known;
use records::Listed;
pub use records::as_list;

/// The longest pause between two attempts, unless the portal asks for more.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);
/// How long an idle courier sleeps at most, lest a clock set back keep a report waiting.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);
/// A connection is kept for the next report so long at most.
const CALM: Duration = Duration::from_secs(10);
/// At the first start one list serves all sites, of which some are seen a little later than others.
const FIRST_LIST: SignedDuration = SignedDuration::from_mins(10);
/// An answer that is no echo may pass; after so many of them somebody has to look.
const MOST_BAD_ANSWERS: u32 = 8;
/// Many hosts that were told to wait for the same time come back spread over this part more of it.
const SPREAD: f64 = 0.25;

/// What others tell the courier.
#[derive(Debug)]
pub enum Order {
    /// A report may have come.
    Wake,
    /// An operator says to try now, whatever was waited for.
    Retry,
    /// Send what is due, then answer.
    Flush(oneshot::Sender<()>),
}

/// The courier.
pub struct Courier {
    ledger: Arc<Ledger>,
    portal: Arc<Portal>,
    /// `name` and `id` of a site are its record's.
    known: Known,
    allowance: Allowance,
    first_pause: Duration,
    /// The leaves whose reports the portal has taken, and the ledger could not note yet.
    answered: RefCell<HashSet<String>>,
    /// The portal's list, for as long as there is something to send.
    listed: RefCell<Option<Arc<Listed>>>,
    /// Failures in a row, of whichever report: what stops one would stop the others.
    failures: Cell<u32>,
    /// Until then nothing is sent, also not what came meanwhile.
    resume_at: Cell<Option<Instant>>,
    /// Called when a report stands otherwise than before.
    told: Box<dyn Fn() + Send>,
    /// Called with what keeps every report from going out, and with `None` when nothing does.
    stopped: Box<dyn Fn(Option<Problem>) + Send>,
    /// Reports that wait for a limit of an earlier configuration were looked at.
    limits_looked_at: Cell<bool>,
}

impl Courier {
    /// `told` is called when a report stands otherwise than before, `stopped` with what keeps every report from going
    /// out and with `None` when nothing does.
    pub fn new(
        ledger: Arc<Ledger>,
        portal: Arc<Portal>,
        config: (&crate::config::Portal, Limits),
        known: Known,
        told: Box<dyn Fn() + Send>,
        stopped: Box<dyn Fn(Option<Problem>) + Send>,
    ) -> Self {
        let (config, limits) = config;
        Self {
            ledger,
            portal,
            known,
            allowance: Allowance {
                per_week: config.requests_per_week,
                reports_per_day: limits.reports_per_day,
                share: limits.share.of(config.requests_per_week),
            },
            first_pause: config.retry,
            answered: RefCell::default(),
            listed: RefCell::default(),
            failures: Cell::new(0),
            resume_at: Cell::new(None),
            told,
            stopped,
            limits_looked_at: Cell::new(false),
        }
    }

    /// Works until nobody can give orders any more.
    pub async fn run(self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            let sleep = self.work(|| orders.is_closed()).await;
            let mut order = timeout(sleep.min(CALM), orders.recv()).await;
            if order.is_err() && sleep > CALM {
                self.portal.rest();
                order = timeout(sleep - CALM, orders.recv()).await;
            }
            match order {
                Ok(None) => return,
                Ok(Some(Order::Wake)) | Err(_) => {}
                Ok(Some(Order::Retry)) => {
                    self.failures.set(0);
                    self.resume_at.set(None);
                }
                Ok(Some(Order::Flush(done))) => {
                    self.work(|| orders.is_closed()).await;
                    let _ = done.send(());
                }
            }
        }
    }

    /// Sends every report that is due; returns how long to sleep. What keeps it from that is in the status.
    async fn work(&self, orders_over: impl Fn() -> bool) -> Duration {
        let outcome = self.deliver_due(orders_over).await;
        (self.stopped)(outcome.as_ref().err().map(LedgerError::problem));
        match outcome {
            Ok(next) => next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP),
            Err(_) => self.first_pause.max(Duration::from_secs(1)),
        }
    }

    /// Sends every report that is due; the time until the next one is.
    async fn deliver_due(&self, orders_over: impl Fn() -> bool) -> Result<Option<Duration>, LedgerError> {
        if !self.limits_looked_at.get() {
            self.ledger.look_at_limited(Timestamp::now())?;
            self.limits_looked_at.set(true);
        }
        let outcome = self.deliver_each(orders_over).await;
        self.listed.take();
        outcome
    }

    async fn deliver_each(&self, orders_over: impl Fn() -> bool) -> Result<Option<Duration>, LedgerError> {
        loop {
            let now = Timestamp::now();
            let Some(report) = self.ledger.next_report()? else { return Ok(None) };
            if orders_over() {
                return Ok(None);
            }
            let stopped = self.resume_at.get().map(|at| at.saturating_duration_since(Instant::now()));
            if let Some(wait) = wait(&report, now).max(stopped.filter(|left| !left.is_zero())) {
                return Ok(Some(wait));
            }
            let outcome = match report.state {
                ReportState::Unasked => self.ask(&report).await,
                _ => self.deliver(&report).await,
            };
            match outcome {
                Ok(()) => self.failures.set(0),
                Err(trouble) => self.put_off(&report, trouble)?,
            }
            (self.told)();
        }
    }

    async fn deliver(&self, report: &Report) -> Result<(), Trouble> {
        let leaf = report.fingerprint.to_string();
        if !self.answered.borrow().contains(&leaf) {
            if !self.post(report).await? {
                let Report { site, fingerprint, .. } = report;
                tracing::info!(site, %fingerprint, "not a certificate of the portal's: nothing to report");
                return Ok(self.ledger.decide(&[(report, false)], Timestamp::now())?);
            }
            self.answered.borrow_mut().insert(leaf.clone());
        }
        crate::crash::point("report-answered");
        self.ledger.delivered(report, Timestamp::now())?;
        self.answered.borrow_mut().remove(&leaf);
        let Report { site, fingerprint, remote_create_date, .. } = report;
        tracing::info!(site, %fingerprint, remote_create_date, "reported");
        crate::crash::point("report-noted");
        Ok(())
    }

    /// One attempt, with a second try if the token is refused. `false` where the portal has no such certificate, and
    /// nobody said that it should: another authority's, on the same server.
    async fn post(&self, report: &Report) -> Result<bool, Trouble> {
        let Some(record) = self.record_of(report).await? else { return Ok(false) };
        for last in [false, true] {
            self.portal.authorise().await?;
            crate::crash::point("token-got");
            let spent = self.spend(Purpose::Report(report, record.id))?;
            crate::crash::point("request-noted");
            match self.portal.report(record.id, &record.name, &report.remote_create_date).await {
                Err(Failure { next: Next::NewToken, .. }) if !last => self.portal.forget_token(),
                outcome => return settle(&self.ledger, spent, outcome).map(|()| true),
            }
        }
        Ok(true)
    }

    fn spend(&self, purpose: Purpose<'_>) -> Result<Spent, Refusal> {
        self.ledger.spend(purpose, self.allowance, Timestamp::now())
    }

    fn put_off(&self, report: &Report, trouble: Trouble) -> Result<(), LedgerError> {
        let now = Timestamp::now();
        let Report { site, fingerprint, .. } = report;
        let (at, problem) = match trouble {
            Trouble::Ledger(error) => return Err(error),
            Trouble::Limited(limited) => {
                let (at, problem) = (limited.next_attempt_at(), limited.problem());
                tracing::warn!(site, %fingerprint, next_attempt_at = %at, %problem, "report limited");
                return self.ledger.limit_report(report, &limited, now);
            }
            Trouble::Spent(until) => (until.max(now + Duration::from_secs(60)), spent_until(until)),
            Trouble::Failed(failure) if must_hold(&failure, report) => {
                tracing::warn!(site, %fingerprint, problem = %failure.problem, "report held");
                return self.ledger.hold(report, &failure.problem, now);
            }
            Trouble::Failed(Failure { next, problem, .. }) => {
                if next == Next::NewToken {
                    // The second token was refused as well; it is not kept for the next attempt.
                    self.portal.forget_token();
                }
                let asked = match next {
                    Next::Again(asked) => asked.map(spread).unwrap_or_default(),
                    Next::NewToken | Next::Hold => Duration::ZERO,
                };
                let failures = self.failures.get().max(report.attempts.saturating_sub(1));
                self.failures.set(failures + 1);
                let pause = pause(self.first_pause, failures).max(asked);
                self.resume_at.set(Some(Instant::now() + pause));
                self.ledger.postpone_all(now + pause, now)?;
                (now + pause, problem)
            }
        };
        let attempt = report.attempts + 1;
        tracing::warn!(site, %fingerprint, attempt, next_attempt_at = %at, %problem, "report not delivered");
        self.ledger.postpone(report, at, &problem, now)
    }
}

fn must_hold(failure: &Failure, report: &Report) -> bool {
    failure.next == Next::Hold
        || (failure.problem.code == "bad_answer" && report.attempts >= MOST_BAD_ANSWERS)
}

/// Doubles with each failure, with up to a half more by chance, so that many hosts do not come at once.
pub fn pause(first: Duration, failures: u32) -> Duration {
    let doubled = first.saturating_mul(1 << failures.min(24)).min(LONGEST_PAUSE.mul_f64(2.0 / 3.0));
    doubled + doubled.mul_f64(0.5 * fastrand::f64())
}

/// How long a report has still to wait; `None` if it is due. A clock set back makes no pause longer than it was.
fn wait(report: &Report, now: Timestamp) -> Option<Duration> {
    if now < report.postponed_at {
        // It was set back since: how much of the pause is over nobody knows.
        return None;
    }
    let pause = report.next_attempt_at.duration_since(report.postponed_at);
    let left = report.next_attempt_at.duration_since(now).min(pause);
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// What was asked for, and a little more by chance.
fn spread(asked: Duration) -> Duration {
    asked + asked.mul_f64(SPREAD * fastrand::f64())
}

#[cfg(test)]
mod tests;
