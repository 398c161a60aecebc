//! The certificate portal, simulated: its login service and its API on one loopback port, the certificates
//! that it issues on another.
//!
//! It is strict to the documented API, says in its journal why it refused what it refused, and
//! misbehaves on command. Nothing in it waits for a clock: [`Portal::advance`] moves the portal's.
//!
//! ```
//! use certhook_test_support::portal::{Action, FileKind, How, Portal, Record, Spoil, Trouble, What};
//!
//! let portal = Portal::start();
//! portal.add_certificate(Record::new(158, "contoso.com"));
//! portal.trouble(Trouble::new(Action::retry_after(503, 7)).on(What::Report));
//! // … a client that is given portal.endpoint() …
//! assert_eq!(portal.reports(), []);
//!
//! // One that the portal issues, has files of, and renews when it is asked to.
//! portal.add_certificate(Record::new(159, "fabrikam.com").issued());
//! portal.spoil(Spoil::new(How::CutShort).of(159).file(FileKind::FullChain));
//! // … a client that follows the links of the list …
//! assert!(portal.downloads().is_empty() && portal.issued(159).is_some());
//! ```

mod budget;
mod builder;
mod control;
mod downloads;
mod form;
mod handles;
pub mod hostile;
mod http;
mod journal;
mod login;
mod record;
mod renewals;
mod rules;
mod server;
mod state;
mod trouble;

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

pub use builder::Builder;
pub use downloads::{Download, FileKind, How, Spoil};
pub use journal::{Entry, TimedOut, What};
pub use record::{NotInstalled, Record};
pub use state::Report;
pub use trouble::{Action, Empty, Field, Trouble};

use http::{Reply, Request};
use server::{Desk, Door};
use state::State;
use trouble::Delivery;

/// How often to look whether a renewal has become real.
const LOOK: Duration = Duration::from_millis(20);

/// A running portal; it stops when it is dropped.
#[derive(Debug)]
pub struct Portal {
    house: Arc<House>,
    door: Door,
    downloads: Door,
}

impl Portal {
    /// A portal without certificates, on a free loopback port. Panics when there is none.
    pub fn start() -> Self {
        Self::builder().start().expect("start the portal simulator")
    }

    /// A portal to be set up.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `http://127.0.0.1:PORT`, for the login service as for the API.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// The tenant that tokens are asked for.
    pub fn tenant(&self) -> String {
        self.house.read(|state| state.settings.tenant.clone())
    }

    /// The client id that gets tokens.
    pub fn client_id(&self) -> String {
        self.house.read(|state| state.settings.client_id.clone())
    }

    /// The client secret that gets tokens.
    pub fn client_secret(&self) -> String {
        self.house.read(|state| state.settings.client_secret.clone())
    }

    /// Adds a certificate. Panics when its id is taken.
    pub fn add_certificate(&self, record: Record) {
        assert!(self.certificate(record.id).is_none(), "there is a certificate {}", record.id);
        self.set_certificate(record);
    }

    /// Adds a certificate, or replaces the one with its id.
    pub fn set_certificate(&self, record: Record) {
        self.house.change(|state| state.set_certificate(record));
    }

    /// Removes a certificate; gives back what it was.
    pub fn remove_certificate(&self, id: i64) -> Option<Record> {
        self.house.change(|state| {
            let index = state.certificates.iter().position(|record| record.id == id)?;
            state.scheduled.remove(&id);
            state.store.forget(id);
            Some(state.certificates.remove(index))
        })
    }

    /// Renews a certificate: issued now, expiring then, not installed. Panics when there is none.
    pub fn renew(&self, id: i64, expiry_date: DateTime) {
        let record = self.certificate(id).expect("a certificate to renew");
        let issue_date = record::utc(self.now());
        let renewed = Record { issue_date, expiry_date, remote_create_date: None, ..record };
        self.set_certificate(renewed);
    }

    /// A certificate.
    pub fn certificate(&self, id: i64) -> Option<Record> {
        self.house.read(|state| state.certificates.iter().find(|record| record.id == id).cloned())
    }

    /// All certificates, in the order they were added.
    pub fn certificates(&self) -> Vec<Record> {
        self.house.read(|state| state.certificates.clone())
    }

    /// Every request until now, also refused ones.
    pub fn journal(&self) -> Vec<Entry> {
        self.house.read(|state| state.journal.entries.clone())
    }

    /// The reports it accepted, in their order.
    pub fn reports(&self) -> Vec<Report> {
        self.house.read(|state| state.reports.clone())
    }

    /// How many requests of the last seven days count against the weekly budget: API calls with a
    /// valid token, whether they were well-formed or not, but not those refused by the budget.
    pub fn requests_counted(&self) -> usize {
        self.house.read(|state| state.budget.used(state.now()))
    }

    /// Counts requests against the budget as if other hosts had sent them now.
    pub fn spend_elsewhere(&self, requests: usize) {
        self.house.change(|state| (0..requests).for_each(|_| state.budget.spend(state.now())));
    }

    /// Every token it ever issued. They are secrets: look for them where they must not be.
    pub fn tokens_issued(&self) -> Vec<String> {
        self.house.read(|state| state.tokens.iter().map(|token| token.text.clone()).collect())
    }

    /// Makes every token issued until now expire.
    pub fn revoke_tokens(&self) {
        self.house.change(|state| {
            let now = state.now();
            for token in &mut state.tokens {
                token.expires = token.expires.min(now);
            }
        });
    }

    /// Makes it misbehave, after the troubles it was given before.
    pub fn trouble(&self, trouble: Trouble) {
        self.house.change(|state| state.troubles.push_back(trouble));
    }

    /// The troubles that have not been played to their end.
    pub fn troubles(&self) -> Vec<Trouble> {
        let left = |trouble: &&Trouble| trouble.times != Some(0);
        self.house.read(|state| state.troubles.iter().filter(left).cloned().collect())
    }

    /// Makes it behave again. Requests that hang already keep hanging.
    pub fn clear_troubles(&self) {
        self.house.change(|state| state.troubles.clear());
    }

    /// The portal's clock.
    pub fn now(&self) -> Timestamp {
        self.house.read(State::now)
    }

    /// Moves the portal's clock forward: tokens expire, the week's budget slides.
    pub fn advance(&self, by: Duration) {
        let by = SignedDuration::try_from(by).expect("a time within reason");
        self.house.change(|state| state.ahead = state.ahead.saturating_add(by));
    }

    /// Waits until the journal is as wanted; looks again at each change. The closure may ask the
    /// portal other things too.
    pub fn wait_for(
        &self,
        mut wanted: impl FnMut(&[Entry]) -> bool,
        limit: Duration,
    ) -> Result<(), TimedOut> {
        let until = Instant::now().checked_add(limit);
        self.wait_until(|| wanted(&self.journal()), until, limit)
    }

    fn wait_until(
        &self,
        mut wanted: impl FnMut() -> bool,
        until: Option<Instant>,
        limit: Duration,
    ) -> Result<(), TimedOut> {
        loop {
            let changes = self.house.read(|state| state.changes);
            if wanted() {
                return Ok(());
            }
            if !self.house.wait_change(changes, until) {
                return Err(TimedOut { waited: limit, journal: self.journal() });
            }
        }
    }

    /// Waits until that many reports have been accepted, and gives them.
    pub fn wait_for_reports(&self, count: usize, limit: Duration) -> Result<Vec<Report>, TimedOut> {
        self.wait_for(|_| self.reports().len() >= count, limit).map(|()| self.reports())
    }

    /// Goes down: open connections end, new ones are refused, the port stays its own. Nothing is
    /// forgotten. The download server stays.
    pub fn stop(&self) {
        self.door.stop();
    }

    /// Comes back at the same address; stops first if it runs. Panics when it cannot.
    pub fn restart(&self) {
        self.door.restart();
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.stop();
        self.stop_downloads();
    }
}

/// The state, shared by the connections and the test.
#[derive(Debug)]
struct House {
    state: Mutex<State>,
    changed: Condvar,
}

impl House {
    fn new(state: State) -> Self {
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The state as it is by the portal's clock: renewals that are over have been done.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state.now();
        state.ripen(now);
        state
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock())
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        state.changes += 1;
        drop(state);
        self.changed.notify_all();
        result
    }

    fn take(&self, request: &Request) -> Delivery {
        self.change(|state| state.take(request, state.now(), Instant::now()))
    }

    fn take_broken(&self, reply: Reply) -> Delivery {
        self.change(|state| state.take_broken(reply, state.now(), Instant::now()))
    }

    /// Waits for a change after these; `false` when the time was up first.
    fn wait_change(&self, changes: u64, until: Option<Instant>) -> bool {
        let mut state = self.lock();
        while state.changes == changes {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return false;
            }
            // Nobody tells of a renewal that becomes real: while one is scheduled, look.
            let look = if state.scheduled.is_empty() { Duration::from_secs(3600) } else { LOOK };
            let waited = self.changed.wait_timeout(state, left.unwrap_or(look).min(look));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            let now = state.now();
            state.ripen(now);
        }
        true
    }
}

/// The API's side of a connection.
#[derive(Debug)]
struct Api(Arc<House>);

impl Desk for Api {
    fn answer(&self, request: &Request) -> Delivery {
        match control::answer(&self.0, request) {
            Some(reply) => Delivery::Whole(reply),
            None => self.0.take(request),
        }
    }

    fn refuse(&self, reply: Reply) -> Delivery {
        self.0.take_broken(reply)
    }
}
