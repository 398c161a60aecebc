//! Renewals: the portal is asked to schedule them, its list is looked at until they are real, and what was renewed
//! is downloaded. From there on the files go the usual way.
//!
//! ```text
//! ask ─▶ Asked ─┬─ answered ─▶ Waiting ─ all renewed, or time over ─▶ Fetching ─▶ Done ─ every ─▶ ask
//!               ├─ refused ──▶ Refused ─ pause ─▶ ask
//!               └─ no answer was ever noted: nobody knows what was scheduled ─▶ Fetching
//! ```
//!
//! Each step is in the ledger before the next begins. The request that schedules is never sent twice within `every`
//! unless the portal has refused it. Looks are few: the portal counts them.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::config;
use crate::courier::{self, LONGEST_PAUSE, Trouble, as_list};
use crate::crash;
use crate::fetch::{Fetcher, Format};
use crate::ledger::{
    Ledger, LedgerError, PortalList, Progress, Purpose, RENEWED_ELSEWHERE, Renewal, Scheduled, Stage,
};
use crate::platform;
use crate::portal::{Certificate, Failure, Next, Portal};
use crate::problem::Problem;

/// When the list is looked at, in eighths of the time that the portal has.
const LOOKS: [u32; 4] = [1, 2, 4, 8];
/// The pause after the first failure; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// So often the downloads of one renewal are begun again.
const MOST_FETCHES: u32 = 3;
/// While something keeps renewals back it is looked at again so often.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Nothing sleeps longer, lest a clock set back keep it waiting.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Looks after renewals.
pub struct Renewer {
    ledger: Arc<Ledger>,
    portal: Arc<Portal>,
    config: config::Renewal,
    requests_per_week: u32,
    /// Of a [[site]]: what it names below `fetch_into` is wanted here, even before it is there.
    wanted: Vec<PathBuf>,
    fetcher: Fetcher,
    /// Failures before anything could be noted.
    failures: Cell<u32>,
    /// The list of the last look, with its links.
    listed: RefCell<Option<Vec<Certificate>>>,
}

impl Renewer {
    /// `wanted` has the paths of certificates that the configuration names.
    pub fn new(
        ledger: Arc<Ledger>,
        portal: Arc<Portal>,
        (config, of_portal): (&config::Renewal, &config::Portal),
        wanted: Vec<PathBuf>,
    ) -> Self {
        let apart = portal.place().cloned();
        let owner = config.owner.as_deref().and_then(platform::owner);
        Self {
            ledger,
            portal,
            config: config.clone(),
            requests_per_week: of_portal.requests_per_week,
            wanted,
            fetcher: Fetcher::new(of_portal.endpoint.as_str(), of_portal.timeout, owner)
                .apart(apart.as_ref()),
            failures: Cell::new(0),
            listed: RefCell::new(None),
        }
    }

    /// Works until `end` is dropped. `told` is called after each step, with what keeps renewals from going on.
    pub async fn run(self, mut end: oneshot::Receiver<()>, told: impl Fn(Option<Problem>)) {
        crash::arm();
        loop {
            let stepped = self.step().await;
            let problem = stepped.as_ref().err().map(Trouble::problem).or_else(|| self.obstacle());
            let look_again = if problem.is_some() { LOOK_AGAIN } else { LONGEST_SLEEP };
            told(problem);
            let sleep = match stepped {
                Ok(sleep) => {
                    self.failures.set(0);
                    sleep
                }
                Err(trouble) => {
                    let failures = self.failures.replace(self.failures.get() + 1);
                    let until = |at: Timestamp| Duration::try_from(at.duration_since(Timestamp::now()));
                    match trouble {
                        Trouble::Spent(at) => until(at).unwrap_or_default().max(Duration::from_secs(60)),
                        Trouble::Failed(failure) => pause(failures, &failure),
                        Trouble::Limited(_) | Trouble::Ledger(_) => Duration::from_secs(60),
                    }
                }
            };
            if !sleep.is_zero() {
                self.portal.rest();
                self.fetcher.rest();
            }
            if tokio::time::timeout(sleep.min(look_again), &mut end).await.is_ok() {
                return;
            }
        }
    }

    /// What will keep the next renewal from being put in place: this process may have less rights on files than
    /// whoever runs `check`.
    fn obstacle(&self) -> Option<Problem> {
        let into = self.config.fetch_into.as_deref().filter(|into| !platform::may_write_in(into))?;
        let message =
            format!("what is renewed cannot be put into {}: certhook may not write there", into.display());
        let read_only = platform::is_read_only(into);
        let remedy = if read_only { platform::WORDS.read_only } else { platform::WORDS.let_write };
        Some(Problem::new("fetch_into", message, remedy))
    }

    /// One step, if one is due; how long nothing is to be done then.
    ///
    /// # Errors
    /// [`Trouble`] that could not be noted.
    pub async fn step(&self) -> Result<Duration, Trouble> {
        let now = Timestamp::now();
        let last = self.ledger.last_renewal()?;
        if let Some(left) = last.as_ref().and_then(|last| self.left(last, now)) {
            return Ok(left);
        }
        match last {
            Some(last) => match last.stage {
                Stage::Asked | Stage::Waiting => self.look(&last).await?,
                Stage::Fetching => self.fetch(&last).await?,
                Stage::Done | Stage::Refused => drop(self.ask().await?),
            },
            None => drop(self.ask().await?),
        }
        Ok(Duration::ZERO)
    }

    /// How long the next step has still to wait; a clock set back makes no pause longer than it can be.
    fn left(&self, last: &Renewal, now: Timestamp) -> Option<Duration> {
        let left = Duration::try_from(last.next_at.duration_since(now)).ok()?;
        let most = self.config.every + self.config.every / 10 + LONGEST_PAUSE;
        (!left.is_zero() && left <= most).then_some(left)
    }

    /// Has the portal schedule renewals; what it scheduled. The answer may never come: then that is what is noted.
    ///
    /// # Errors
    /// [`Trouble`]
    pub async fn ask(&self) -> Result<Vec<Certificate>, Trouble> {
        self.portal.authorise().await?;
        for last in [false, true] {
            let spent = self.ledger.spend(Purpose::Renew, self.requests_per_week, Timestamp::now())?;
            let now = Timestamp::now();
            let renewal = self.ledger.begin_renewal(now + self.config.wait, now)?;
            crash::point("renewal-noted");
            let outcome = self.portal.renew(self.config.key_vault).await;
            crash::point("renewal-answered");
            let now = Timestamp::now();
            match outcome {
                Ok(certificates) => {
                    self.scheduled(&renewal, &certificates, now)?;
                    return Ok(certificates);
                }
                Err(failure) if failure.next == Next::NewToken && !last => {
                    self.portal.forget_token();
                    self.ledger.renewal_refused(&renewal, &failure.problem, now, now)?;
                }
                Err(failure) => {
                    if !failure.sent {
                        self.ledger.refund(spent)?;
                    }
                    if is_answer(&failure) {
                        let next = match failure.next {
                            Next::Hold => self.next_round(now),
                            _ => now + pause(renewal.failures, &failure),
                        };
                        self.ledger.renewal_refused(&renewal, &failure.problem, next, now)?;
                    }
                    return Err(failure.into());
                }
            }
        }
        Ok(Vec::new())
    }

    fn scheduled(
        &self,
        renewal: &Renewal,
        certificates: &[Certificate],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let names: Vec<&str> = certificates.iter().map(|certificate| certificate.name.as_str()).collect();
        tracing::info!(count = names.len(), names = names.join(" "), "the portal has scheduled renewals");
        let scheduled: Vec<Scheduled> = certificates
            .iter()
            .map(|certificate| Scheduled {
                id: certificate.id,
                name: certificate.name.clone(),
                expires: certificate.expires(),
                issued: Some(certificate.issue_date.clone()).filter(|date| !date.is_empty()),
                progress: Progress::Scheduled,
                error: None,
            })
            .collect();
        self.ledger.renewal_scheduled(renewal, &scheduled, now + look_after(self.config.wait, 0), now)?;
        if scheduled.is_empty() {
            self.ledger.move_renewal(renewal, Stage::Done, self.next_round(now), None)?;
        }
        Ok(())
    }

    /// Asks the list whether what was scheduled is renewed.
    ///
    /// # Errors
    /// [`Trouble`]
    pub async fn look(&self, renewal: &Renewal) -> Result<(), Trouble> {
        let list = match self.list().await {
            Ok(list) => list,
            Err(Trouble::Failed(failure)) => {
                let next = Timestamp::now() + pause(renewal.failures, &failure);
                self.ledger.move_renewal(renewal, renewal.stage, next, Some(&failure.problem))?;
                return Ok(());
            }
            Err(trouble) => return Err(trouble),
        };
        crash::point("renewal-looked");
        let now = Timestamp::now();
        let mut missing = false;
        let over = now >= renewal.asked_at + self.config.wait || renewal.looks as usize + 1 >= LOOKS.len();
        for one in renewal.certificates.iter().filter(|one| one.progress == Progress::Scheduled) {
            let id = (one.id, one.name.as_str());
            let note = |progress, words| self.ledger.renewal_progress(renewal, id, progress, words, now);
            match list.iter().find(|listed| listed.id == one.id) {
                Some(listed) if is_renewed(one, listed) => note(Progress::Renewed, None)?,
                Some(_) if over => {
                    note(
                        Progress::Failed,
                        Some("the portal has not renewed it in time; see its notifications"),
                    )?;
                }
                Some(_) => missing = true,
                None => note(Progress::Failed, Some("the portal does not list it any more"))?,
            }
        }
        if missing {
            let next = renewal.asked_at + look_after(self.config.wait, renewal.looks as usize + 1);
            self.ledger.move_renewal(renewal, Stage::Waiting, next.max(now), None)?;
            return Ok(());
        }
        let (stage, next) = match self.config.fetch_into {
            Some(_) => (Stage::Fetching, now),
            None => (Stage::Done, self.next_round(now)),
        };
        *self.listed.borrow_mut() = Some(list);
        self.ledger.move_renewal(renewal, stage, next, None)?;
        Ok(())
    }

    /// Downloads what this host uses and has older, or not at all.
    async fn fetch(&self, renewal: &Renewal) -> Result<(), Trouble> {
        let Some(into) = &self.config.fetch_into else {
            return Ok(self.ledger.move_renewal(
                renewal,
                Stage::Done,
                self.next_round(Timestamp::now()),
                None,
            )?);
        };
        let kept = self.listed.borrow_mut().take();
        let list = match kept {
            Some(list) => list,
            None => self.list().await?,
        };
        let mut failed = None;
        for (certificate, folder) in list.iter().zip(crate::fetch::folders(&list)) {
            if !folder.is_ok_and(|folder| self.is_wanted(&into.join(folder))) {
                continue;
            }
            let id = (certificate.id, certificate.name.as_str());
            if !crate::fetch::here(into, certificate, Format::default()).is_wanting() {
                // What was there already, and is not of this renewal, is no news.
                let open = |one: &Scheduled| one.id == certificate.id && one.progress == Progress::Renewed;
                if renewal.certificates.iter().any(open) {
                    self.ledger.renewal_progress(renewal, id, Progress::Fetched, None, Timestamp::now())?;
                }
                continue;
            }
            match self.fetcher.fetch(certificate, into, Format::default(), Timestamp::now()).await {
                Ok(fetched) => {
                    tracing::info!(name = certificate.name, folder = %fetched.folder.display(), "fetched");
                    crash::point("renewal-fetched");
                    self.ledger.renewal_progress(renewal, id, Progress::Fetched, None, Timestamp::now())?;
                }
                Err(problem) => {
                    tracing::warn!(name = certificate.name, %problem, "not fetched");
                    let words = Some(problem.message.as_str());
                    self.ledger.renewal_progress(renewal, id, Progress::Failed, words, Timestamp::now())?;
                    failed = Some(problem);
                }
            }
        }
        let now = Timestamp::now();
        match failed {
            Some(problem) if renewal.failures + 1 < MOST_FETCHES => {
                let next = now + courier::pause(FIRST_PAUSE, renewal.failures);
                self.ledger.move_renewal(renewal, Stage::Fetching, next, Some(&problem))?;
            }
            failed => {
                self.ledger.move_renewal(renewal, Stage::Done, self.next_round(now), failed.as_ref())?;
            }
        }
        Ok(())
    }

    /// Whether this host uses it: its folder is there, or the configuration names a file in it. Another host's key is
    /// not brought here.
    fn is_wanted(&self, folder: &Path) -> bool {
        folder.is_dir() || self.wanted.iter().any(|path| path.starts_with(folder))
    }

    async fn list(&self) -> Result<Vec<Certificate>, Trouble> {
        let asked = Timestamp::now();
        let list = courier::list(&self.ledger, &self.portal, self.requests_per_week, Purpose::Look).await?;
        let new = as_list(list.clone(), asked);
        self.note_renewed_elsewhere(&new, Timestamp::now())?;
        self.ledger.keep_portal_list(&new)?;
        Ok(list)
    }

    /// A certificate that was renewed and that this host did not have scheduled: another host asks too.
    fn note_renewed_elsewhere(&self, new: &PortalList, now: Timestamp) -> Result<(), LedgerError> {
        let Some(old) = self.ledger.portal_list()? else { return Ok(()) };
        let ours = self.ledger.last_renewal()?.map(|last| last.certificates).unwrap_or_default();
        for record in &new.records {
            let before = old.records.iter().find(|before| before.id == record.id);
            let later =
                before.is_some_and(|before| before.expires < record.expires && before.expires.is_some());
            if later && !ours.iter().any(|one| one.id == record.id) {
                let entry = crate::ledger::Entry::new(now, &record.name, RENEWED_ELSEWHERE);
                self.ledger.note(&entry)?;
            }
        }
        Ok(())
    }

    /// When the portal is asked again: a little later than `every` by chance, so that many hosts do not come at once.
    fn next_round(&self, now: Timestamp) -> Timestamp {
        now + self.config.every + (self.config.every / 10).mul_f64(fastrand::f64())
    }
}

/// When the look after `looks` others is due, after the portal was asked.
pub fn look_after(wait: Duration, looks: usize) -> Duration {
    wait * LOOKS[looks.min(LOOKS.len() - 1)] / 8
}

/// Whether the list has a new certificate in place of the one that was scheduled.
fn is_renewed(scheduled: &Scheduled, listed: &Certificate) -> bool {
    let later = listed.expires().is_some() && listed.expires() > scheduled.expires;
    let issued = scheduled.issued.as_ref();
    later || issued.is_some_and(|issued| !listed.issue_date.is_empty() && *issued != listed.issue_date)
}

/// Whether the portal has said no, or was never asked: what it did else is not known.
fn is_answer(failure: &Failure) -> bool {
    !failure.sent || failure.problem.code.starts_with("http_")
}

fn pause(failures: u32, failure: &Failure) -> Duration {
    let asked = match failure.next {
        Next::Again(asked) => asked.unwrap_or_default(),
        Next::NewToken | Next::Hold => Duration::ZERO,
    };
    courier::pause(FIRST_PAUSE, failures).max(asked)
}
