//! Requests that the portal counts: noted before they are sent, given back if they never were.

use jiff::Timestamp;

use crate::ledger::{Allowance, Ledger, LedgerError, Limited, Purpose, Refusal, Spent};
use crate::portal::{Certificate, Failure, Next, Portal};
use crate::problem::Problem;

/// Why a request was not made, or in vain.
pub enum Trouble {
    /// The portal, or the way to it.
    Failed(Failure),
    /// No request may be spent until then.
    Spent(Timestamp),
    /// The report's site has used what it may.
    Limited(Limited),
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
            Refusal::Limited(limited) => Self::Limited(limited),
            Refusal::Ledger(error) => Self::Ledger(error),
        }
    }
}

impl Trouble {
    /// For whoever is to know of it.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Failed(failure) => failure.problem.clone(),
            Self::Spent(until) => spent_until(*until),
            Self::Limited(limited) => limited.problem(),
            Self::Ledger(error) => error.problem(),
        }
    }
}

/// No request may be spent until then.
pub(super) fn spent_until(until: Timestamp) -> Problem {
    Problem::new(
        "requests_spent",
        format!("this host's requests to the portal are spent until {until}"),
        "wait, or raise requests_per_week if the portal allows more",
    )
}

/// A request that never left this host costs nothing.
pub(super) fn settle<T>(ledger: &Ledger, spent: Spent, outcome: Result<T, Failure>) -> Result<T, Trouble> {
    if let Err(Failure { sent: false, .. }) = &outcome {
        ledger.refund(spent)?;
    }
    Ok(outcome?)
}

/// The portal's certificates; with a second try if the token is refused.
///
/// # Errors
/// [`Trouble`]
pub async fn list(
    ledger: &Ledger,
    portal: &Portal,
    allowance: impl Into<Allowance>,
    purpose: Purpose<'_>,
) -> Result<Vec<Certificate>, Trouble> {
    let allowance = allowance.into();
    let mut tried = false;
    loop {
        portal.authorise().await?;
        let spent = ledger.spend(purpose, allowance, Timestamp::now())?;
        match portal.list().await {
            Err(failure) if failure.next == Next::NewToken && !tried => portal.forget_token(),
            outcome => return settle(ledger, spent, outcome),
        }
        tried = true;
    }
}
