//! Renewals: they are scheduled, and become real after a while.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::downloads::LIFE;
use super::record::{self, Record};
use super::state::State;

impl State {
    /// Whether a call now schedules this certificate. Those of a Key Vault need a token for it.
    pub(super) fn is_due(&self, record: &Record, vault: bool, now: Timestamp) -> bool {
        let within = SignedDuration::try_from(self.settings.renew_within).unwrap_or(SignedDuration::MAX);
        let ends = record::utc(now).saturating_add(within);
        record.renewal == "Automatic"
            && record.expiry_date <= ends
            && (vault || !record.is_key_vault())
            && !self.scheduled.contains_key(&record.id)
    }

    pub(super) fn schedule(&mut self, ids: Vec<i64>, now: Timestamp) {
        let real = match self.settings.renewal_takes {
            Duration::MAX => Timestamp::MAX,
            takes => now.saturating_add(takes).unwrap_or(Timestamp::MAX),
        };
        self.scheduled.extend(ids.into_iter().map(|id| (id, real)));
    }

    /// Renews what was scheduled long enough ago.
    pub(super) fn ripen(&mut self, now: Timestamp) {
        self.renew_scheduled(|real| real <= now, now);
    }

    /// Renews what was scheduled and is ready; gives the ids of what has been renewed.
    pub(super) fn renew_scheduled(&mut self, ready: impl Fn(Timestamp) -> bool, now: Timestamp) -> Vec<i64> {
        let ids: Vec<i64> =
            self.scheduled.iter().filter(|(_, real)| ready(**real)).map(|(id, _)| *id).collect();
        let mut renewed = Vec::new();
        for id in ids {
            self.scheduled.remove(&id);
            self.changes += 1;
            let known = self.certificates.iter().find(|record| record.id == id && !record.fails_to_renew);
            if let Some(record) = known.cloned() {
                let issue_date = record::utc(now);
                let expiry_date = issue_date.saturating_add(LIFE);
                self.set_certificate(Record { issue_date, expiry_date, remote_create_date: None, ..record });
                renewed.push(id);
            }
        }
        renewed
    }
}
