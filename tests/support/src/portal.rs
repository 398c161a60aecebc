//! The certificate portal, simulated: its login service and its API on one loopback port.
//!
//! It is strict to the documented API, says in its journal why it refused what it refused, and
//! misbehaves on command. Nothing in it waits for a clock: [`Portal::advance`] moves the portal's.
//!
//! ```
//! use certhook_test_support::portal::{Action, Portal, Record, Trouble, What};
//!
//! let portal = Portal::start();
//! portal.add_certificate(Record::new(158, "contoso.com"));
//! portal.trouble(Trouble::new(Action::retry_after(503, 7)).on(What::Report));
//! // … a client that is given portal.endpoint() …
//! assert_eq!(portal.reports(), []);
//! ```

mod budget;
mod builder;
mod control;
mod form;
mod http;
mod journal;
mod login;
mod record;
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
pub use journal::{Entry, TimedOut, What};
pub use record::{NotInstalled, Record};
pub use state::Report;
pub use trouble::{Action, Empty, Field, Trouble};

use http::{Reply, Request};
use server::{Place, Server};
use state::State;
use trouble::Delivery;

/// A running portal; it stops when it is dropped.
#[derive(Debug)]
pub struct Portal {
    house: Arc<House>,
    place: Place,
    server: Mutex<Option<Server>>,
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
        self.place.address()
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
        loop {
            let (changes, journal) = self.house.read(|state| (state.changes, state.journal.entries.clone()));
            if wanted(&journal) {
                return Ok(());
            }
            if !self.house.wait_change(changes, until) {
                return Err(TimedOut { waited: limit, journal });
            }
        }
    }

    /// Waits until that many reports have been accepted, and gives them.
    pub fn wait_for_reports(&self, count: usize, limit: Duration) -> Result<Vec<Report>, TimedOut> {
        self.wait_for(|_| self.reports().len() >= count, limit).map(|()| self.reports())
    }

    /// Goes down: open connections end, new ones are refused, the port stays its own. Nothing is
    /// forgotten.
    pub fn stop(&self) {
        if let Some(server) = self.server().take() {
            server.stop();
        }
    }

    /// Comes back at the same address; stops first if it runs. Panics when it cannot.
    pub fn restart(&self) {
        self.stop();
        let server = Server::start(&self.place, Arc::clone(&self.house));
        *self.server() = Some(server.expect("restart the portal simulator"));
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.stop();
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }
}
