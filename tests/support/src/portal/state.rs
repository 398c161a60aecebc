//! Everything the portal knows, and the one place where it changes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::budget::Budget;
use super::builder::Settings;
use super::downloads::{FileKind, Store};
use super::http::{Reply, Request};
use super::journal::{Entry, Journal, Secrets, What};
use super::login::Token;
use super::record::{Fields, Record};
use super::rules::{self, Effect, Verdict};
use super::trouble::{self, Delivery, Played, Trouble};

/// A report that the portal accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The certificate's id.
    pub id: i64,
    /// The certificate's name.
    pub name: String,
    /// When it was installed, word for word.
    pub remote_create_date: String,
    /// When it was accepted, by the monotonic clock.
    pub at: Instant,
    /// When it was accepted, by the portal's clock.
    pub time: Timestamp,
}

/// The portal's memory.
#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) certificates: Vec<Record>,
    /// What will be renewed, by id, and when.
    pub(super) scheduled: BTreeMap<i64, Timestamp>,
    pub(super) store: Store,
    pub(super) tokens: Vec<Token>,
    pub(super) budget: Budget,
    pub(super) troubles: VecDeque<Trouble>,
    pub(super) reports: Vec<Report>,
    pub(super) journal: Journal,
    /// How far the portal's clock is ahead of the system's.
    pub(super) ahead: SignedDuration,
    /// Grows with every change.
    pub(super) changes: u64,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            budget: Budget::new(settings.requests_per_week),
            settings,
            certificates: Vec::new(),
            scheduled: BTreeMap::new(),
            store: Store::new(),
            tokens: Vec::new(),
            troubles: VecDeque::new(),
            reports: Vec::new(),
            journal: Journal::default(),
            ahead: SignedDuration::ZERO,
            changes: 0,
        }
    }

    /// The portal's clock.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::now().saturating_add(self.ahead).unwrap_or(Timestamp::MAX)
    }

    /// Adds a certificate, or replaces the one with its id.
    pub(super) fn set_certificate(&mut self, mut record: Record) {
        self.store.stock(&mut record);
        match self.certificates.iter_mut().find(|known| known.id == record.id) {
            Some(known) => {
                if known.expiry_date != record.expiry_date {
                    self.scheduled.remove(&record.id);
                }
                *known = record;
            }
            None => self.certificates.push(record),
        }
    }

    /// The links to a certificate's files and their password, when there is something to download.
    pub(super) fn links(&self, record: &Record) -> Option<Fields> {
        let password = &self.store.issued(record.id).filter(|_| !record.is_key_vault())?.password;
        let until = self.now().saturating_add(self.settings.link_lifetime).unwrap_or(Timestamp::MAX);
        let until = self.settings.signed_links.then_some(until);
        let link = |kind: FileKind| {
            let link = self.store.link(record.id, kind, until)?;
            Some((kind.field().to_owned(), link.into()))
        };
        let mut fields: Vec<_> = FileKind::ALL.into_iter().filter_map(link).collect();
        fields.push(("pfxpwd".to_owned(), password.as_str().into()));
        Some(Fields(fields))
    }

    /// A certificate as it is answered now.
    pub(super) fn response(&self, record: &Record) -> Fields {
        record.response_with(self.settings.not_installed, self.links(record))
    }

    /// Judges a request, plays a trouble on it, lets it take effect, and journals it.
    pub(super) fn take(&mut self, request: &Request, now: Timestamp, at: Instant) -> Delivery {
        let verdict = rules::judge(self, request, now);
        let played = trouble::take(&mut self.troubles, verdict.what, &verdict.reply);
        self.settle(request, verdict, played, now, at)
    }

    /// Journals what cannot be parsed.
    pub(super) fn take_broken(&mut self, reply: Reply, now: Timestamp, at: Instant) -> Delivery {
        let unknown = || "?".to_owned();
        let request = Request { method: unknown(), path: unknown(), ..Request::default() };
        self.settle(&request, Verdict::refused(What::Other, reply), None, now, at)
    }

    fn settle(
        &mut self,
        request: &Request,
        verdict: Verdict,
        played: Option<Played>,
        now: Timestamp,
        at: Instant,
    ) -> Delivery {
        if played.as_ref().is_none_or(|played| played.applied) {
            self.apply(verdict.effect, now, at);
        }
        let counts = verdict.admitted && played.as_ref().is_none_or(|played| played.counted);
        if counts {
            self.budget.spend(now);
        }
        let counted = counts.then(|| self.budget.used(now));
        let (trouble, delivery) = match played {
            Some(played) => (Some(played.action), played.delivery),
            None => (None, Delivery::Whole(verdict.reply)),
        };
        let token = verdict.token.filter(|number| *number <= self.tokens.len());
        let secrets = Secrets {
            client_secret: &self.settings.client_secret,
            tokens: self.tokens.iter().map(|token| token.text.as_str()).collect(),
        };
        let entry = Entry {
            number: self.journal.entries.len() + 1,
            at,
            time: now,
            method: request.method.clone(),
            path: secrets.redact_encoded(&request.target()),
            what: verdict.what,
            headers: secrets.redact_headers(request),
            body: secrets.redact_encoded(&String::from_utf8_lossy(&request.body)),
            token,
            status: delivery.status(),
            counted,
            budget: self.budget.limit(),
            note: verdict.note.map(|note| secrets.redact_encoded(&note)),
            trouble,
        };
        self.journal.push(entry);
        delivery
    }

    fn apply(&mut self, effect: Option<Effect>, now: Timestamp, at: Instant) {
        match effect {
            None => {}
            Some(Effect::Issue(token)) => self.tokens.push(token),
            Some(Effect::Schedule(ids)) => self.schedule(ids, now),
            Some(Effect::Install { id, name, remote_create_date }) => {
                for record in self.certificates.iter_mut().filter(|record| record.id == id) {
                    record.remote_create_date = Some(remote_create_date.clone());
                }
                self.reports.push(Report { id, name, remote_create_date, at, time: now });
            }
        }
    }
}
