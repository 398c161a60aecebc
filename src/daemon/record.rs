//! A leaf that is served is written down, with the report that it calls for. What comes while the disk is busy is
//! written together: a first start finds ten thousand, and each would wait for the disk alone.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::acting::Hold;
use super::backlog::Backlog;
use super::give::retire;
use super::{Daemon, wall};
use crate::agent::{Event, Evidence, Installed, Recorded, ServerId, SiteId};
use crate::inspect::Place;
use crate::ledger::{Installation, Ledger, NewReport};
use crate::problem::{Problem, printable};
use crate::server::Server;
use crate::stage::Stage;
use crate::status::display_name;

/// Written in one step at most; the next ones need not wait for ever.
const TOGETHER: usize = 256;
/// The length of a reason that is kept, in characters.
const MAX_REASON: usize = 300;

/// What waits to be written down, and whether somebody writes; and what is to be done then.
#[derive(Clone, Default)]
pub(super) struct Records(Arc<Mutex<(Vec<ToWrite>, bool)>>, Backlog<ToWrite>);

struct ToWrite {
    id: SiteId,
    installation: Installation,
    after: After,
    acting: Hold,
}

/// What is done when it is written.
struct After {
    server: Arc<Server>,
    /// Where somebody else had it loaded from its source, the copy is behind.
    copies: Option<(Stage, Place, Arc<tokio::sync::Mutex<()>>)>,
}

impl Records {
    /// Whether the caller is to see to it that it is written.
    fn add(&self, entry: ToWrite) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.0.push(entry);
        !std::mem::replace(&mut waiting.1, true)
    }

    /// The next ones; an end to the caller's writing where there are none.
    fn next(&self) -> Vec<ToWrite> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.0.len().min(TOGETHER);
        waiting.1 = count > 0;
        waiting.0.drain(..count).collect()
    }
}

impl Daemon {
    pub(super) fn record(&self, id: SiteId, installed: &Installed) {
        let (Some(agent_site), Some(site)) = (self.agent.site(id), self.sites.get(&id)) else { return };
        let Some(seen) = agent_site.disk() else { return };
        let (bundle, settings) = (&seen.bundle, &site.roster.settings);
        let unseen = agent_site.unseen().filter(|_| installed.evidence == Evidence::Load);
        let installation = Installation {
            site: site.roster.key().into_owned(),
            name: display_name(settings, Some(&bundle.leaf)),
            recorded: Recorded {
                leaf: bundle.leaf.fingerprint,
                set: bundle.set,
                intermediates: bundle.intermediates,
                evidence: installed.evidence,
            },
            how: installed.how,
            whole_at: wall(installed.whole),
            reloaded_at: installed.reloaded.map(wall),
            served_at: wall(installed.served),
            unseen: unseen.map(|problem| printable(&problem.message, MAX_REASON)),
            report: site.report.then(|| NewReport {
                hosts: bundle.leaf.hosts.to_string(),
                remote_create_date: remote_create_date(seen.written_at),
                not_after: bundle.leaf.not_after,
                put_aside: installed.evidence == Evidence::Load && !self.config.reports_unproved(),
            }),
        };
        let server = self.servers.get(ServerId(settings.server));
        let publishing = || self.servers.publishing(ServerId(settings.server));
        let copies =
            site.roster.stage.as_deref().cloned().map(|stage| (stage, Place::of(settings), publishing()));
        let acting = self.acting.hold();
        if self.records.add(ToWrite { id, installation, after: After { server, copies }, acting }) {
            let (records, ledger, results) =
                (self.records.clone(), Arc::clone(&self.ledger), self.result_sender.clone());
            tokio::task::spawn_blocking(move || {
                let runtime = tokio::runtime::Handle::current();
                loop {
                    let next = records.next();
                    if next.is_empty() {
                        return;
                    }
                    for (entry, outcome) in write(&ledger, next) {
                        let recorded = outcome.is_ok();
                        // The loop is gone only when certhook ends.
                        let _ = results.send(Event::Recorded(entry.id, outcome));
                        // It may wait for a reload, which others' records do not; the reload, for a thread.
                        if recorded && entry.after.is_something() && records.1.add(entry) {
                            let after = records.1.clone();
                            runtime.spawn_blocking(move || {
                                after
                                    .work_off(|entry| entry.after.perform(&entry.installation, entry.acting));
                            });
                        }
                    }
                }
            });
        }
    }
}

/// In one step; where that fails, each by itself: what is wrong with one keeps no other back.
fn write(ledger: &Ledger, entries: Vec<ToWrite>) -> Vec<(ToWrite, Result<(), Problem>)> {
    let now = Timestamp::now();
    let together = ledger.install_all(entries.iter().map(|entry| &entry.installation), now);
    let several = entries.len() > 1;
    let alone = |entry: &ToWrite| match &together {
        Err(_) if several => ledger.install(&entry.installation, now).map_err(|error| error.problem()),
        Err(error) => Err(error.problem()),
        Ok(()) => Ok(()),
    };
    entries
        .into_iter()
        .map(|entry| {
            let outcome = alone(&entry);
            (entry, outcome)
        })
        .collect()
}

impl After {
    fn is_something(&self) -> bool {
        self.copies.is_some() || self.server.takes_certificates()
    }

    /// Blocking.
    fn perform(self, installation: &Installation, acting: Hold) {
        if let Some((stage, place, publishing)) = self.copies {
            let _while_nobody_loads = publishing.blocking_lock();
            match stage.publish(&place, &installation.recorded.set) {
                Ok(_) => stage.tidy(),
                Err(problem) => tracing::warn!(%problem, "the copy is behind its source"),
            }
        }
        retire(&self.server, &[installation.recorded.leaf]);
        drop(acting);
    }
}

/// The portal's form of a write time: UTC, whole seconds, no offset.
fn remote_create_date(written_at: Timestamp) -> String {
    written_at.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::How;
    use crate::certificate::Fingerprint;
    use crate::config::Config;

    fn entry(number: usize, site: &str) -> ToWrite {
        let (leaf, at) = (Fingerprint::of(site.as_bytes()), Timestamp::from_second(4).unwrap());
        let report = NewReport {
            hosts: site.into(),
            remote_create_date: "then".into(),
            not_after: at,
            put_aside: false,
        };
        ToWrite {
            id: SiteId(number),
            installation: Installation {
                site: site.to_owned(),
                name: site.to_owned(),
                recorded: Recorded { leaf, set: leaf, intermediates: 1, evidence: Evidence::Handshake },
                how: How::Installed,
                whole_at: at,
                reloaded_at: None,
                served_at: at,
                unseen: None,
                report: Some(report),
            },
            after: After { server: Arc::new(Server::new(&Config::of_this_host().servers[0])), copies: None },
            acting: super::super::Acting::default().hold(),
        }
    }

    #[test]
    fn one_writes_for_all_until_nothing_waits() {
        let records = Records::default();
        assert!(records.add(entry(0, "a")), "nobody writes yet");
        for number in 1..=TOGETHER {
            assert!(!records.add(entry(number, "b")));
        }
        let numbers = |entries: Vec<ToWrite>| entries.iter().map(|entry| entry.id.0).collect::<Vec<_>>();
        assert_eq!(numbers(records.next()), (0..TOGETHER).collect::<Vec<_>>());
        assert_eq!(numbers(records.next()), [TOGETHER]);
        assert!(!records.add(entry(0, "c")), "somebody writes still");
        assert_eq!(numbers(records.next()), [0]);
        assert!(records.next().is_empty());
        assert!(records.add(entry(0, "d")), "nobody does any more");
    }

    #[test]
    fn what_cannot_be_written_keeps_no_other_back() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let trigger = "CREATE TRIGGER refuses BEFORE INSERT ON report WHEN NEW.site = 'b' BEGIN
                       SELECT RAISE(ABORT, 'no'); END";
        rusqlite::Connection::open(Ledger::path(folder.path())).unwrap().execute_batch(trigger).unwrap();
        let all = ["a", "b", "c"].iter().enumerate().map(|(number, site)| entry(number, site));
        let outcomes: Vec<bool> =
            write(&ledger, all.collect()).into_iter().map(|(_, outcome)| outcome.is_ok()).collect();
        assert_eq!(outcomes, [true, false, true]);
        let mut recorded: Vec<String> = ledger.recorded().unwrap().into_keys().collect();
        recorded.sort_unstable();
        assert_eq!(recorded, ["a", "c"]);
    }

    #[test]
    fn write_times_are_cut_to_seconds_of_utc() {
        let at = "2021-01-30T01:04:32.999999999Z".parse().unwrap();
        assert_eq!(remote_create_date(at), "2021-01-30T01:04:32");
        assert_eq!(remote_create_date("1970-01-01T00:00:00Z".parse().unwrap()), "1970-01-01T00:00:00");
    }
}
