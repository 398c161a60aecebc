//! The pure core: an event and the time in, actions out. No I/O, no clock, no randomness.
//!
//! The agent compares three things of every site, the certificate *on disk*, the one *on the wire* and
//! the last one *recorded*, and acts until they agree. So a crash between any two steps heals itself at
//! the next start, and there is no recovery code.
//!
//! ```text
//!                 hint, retry, rescan
//!   Current ─────────────────────────────▶ Inspecting ◀───────────── hint, quiet, settle ─┐
//!      ▲  ▲                                 │   │   │                                     │
//!      │  └── same set, wire not asked ─────┘   │   └── not whole, or quiet awaited ─▶ Pending
//!      │                                        │ new set, or the wire is to be asked
//!      │                                        ▼
//!      ├────────── served and recorded ───── Probing ── not served ─▶ Ready ◀── hint ──▶ Inspecting
//!      │                                        │                       │ the server's window opens
//!      │                    served, not yet     │                       ▼
//!      │                    recorded            │                    Reloading{attempt}
//!      │                                        ▼                       │ loaded
//!      └──────────────── recorded ────────── Recording ◀─── proved ───── Verifying{until}
//!
//!   from Probing, Reloading, Verifying, Recording:  failed ─▶ Waiting{retry_at} ─ hint, retry ─▶ Inspecting
//!   from Probing, while the server has not loaded its part for the site:  Awaiting{since} ─ hint, load ─▶ Inspecting
//!   instead of Ready, where the site has changed too often:  HeldOff{until} ─ hint, load, until ─▶ Inspecting
//! ```
//!
//! A leaf is served when that is proved, by whichever way a site came there: see `proof`. Where no handshake can show
//! it, Verifying ends in another look, and the load proves it from Probing.
//!
//! A renewal that was only just written goes from Inspecting to Ready without Probing, where its server has shown that
//! it loads only when it is told.
//!
//! A hint that comes while an action is in flight is kept and looked at when the action ends. At most one
//! action is in flight for each site, and one reload for each server. Sites come and go while the agent runs; what
//! is told of one that is gone is passed over.

mod issuers;
pub mod judge;
mod pace;
mod proof;
mod schedule;
mod server;
mod setup;
mod site;
mod sites;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::certificate::{Bundle, Fingerprint, Leaf};
use crate::problem::Problem;
use issuers::Issuers;
pub use pace::{FIRST_HOLD_OFF, LONGEST_HOLD_OFF, PACE_WINDOW, Pace};
pub use proof::{Accepting, OLD_WORKER_LIMIT, Worker, old_worker_accepts};
use schedule::{Key, Schedule};
use server::Server;
pub use setup::{ServerSetup, SiteSetup, Tuning};
pub use site::{Site, State};
use sites::Sites;

/// Stands in for evidence that cannot be had: so long without a further event.
pub const QUIET: Duration = Duration::from_millis(500);
/// A reload waits no longer than this for a neighbour that is being written.
pub const HOLD: Duration = Duration::from_secs(1);
/// As [`HOLD`], for a neighbour that is looked at although nothing is known to have changed: of ten thousand sites at
/// a start hardly any needs the same reload.
pub const SCAN_HOLD: Duration = Duration::from_millis(100);
/// The share of a reload's time that a reload of several sites waits for more of them: one 25th, 4 %.
pub const GATHER_SHARE: u32 = 25;
/// The pause between two reloads of a stream of renewals: so many times as long as the last one took.
pub const STREAM_PAUSE: u32 = 4;
/// A file event this young is followed by a reload at once: nobody else can have had the new set loaded.
pub const FRESH: Duration = Duration::from_millis(500);
/// After a reload old workers accept for a tenth of a second more (nginx); so long an old certificate on the
/// wire is no reason for another reload.
pub const OVERLAP: Duration = Duration::from_millis(300);
/// Reading a site's files takes no longer, or something is wrong with the file system.
pub const LOOK_LIMIT: Duration = Duration::from_secs(30);
/// The code of a site whose files could not be read in time.
pub const NOT_READ: &str = "not_read";
/// So often a server is reloaded for a set that it then does not serve, until somebody asks or a file changes.
pub const MOST_RELOADS: u8 = 3;
/// The first pause after a failure; doubled each time.
pub const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause after failures.
pub const LAST_RETRY: Duration = Duration::from_secs(300);
/// A site whose proof need not hurry is asked first so long after the reload: by then nginx's old workers hardly accept.
pub const ACCEPTED: Duration = Duration::from_millis(120);

/// So many sites of one reload are asked for at once; the rest when the old workers are gone, lest a hundred ask them
/// again and again while the new ones are wanted.
pub const FIRST_ASKED: usize = 4;

/// How old a count of workers may be for a reload to rely on it.
pub const COUNT_EVERY: Duration = Duration::from_secs(1);
/// A reload waits for nothing any more so long before the served certificate ends.
pub const LAST_MINUTE: Duration = Duration::from_secs(60);
/// A reload that is told of so soon after one of certhook's own is that one.
pub const OWN: Duration = Duration::from_secs(5);

/// A site. No two that the agent ever had have the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub usize);

/// A server, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub usize);

/// Why a site is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Something about its files changed.
    Changed,
    /// A file is being written and was not closed yet.
    Writing,
    /// Events may have been lost; nothing is known to have changed.
    Missed,
    /// The start or the slow rescan: the wire is to be asked too.
    Asked,
    /// An operator asked (`sync`): as [`Cause::Asked`], and hold-offs end.
    Requested,
    /// Somebody says that the server was reloaded: the wire is to be asked, and no more than that. A server whose
    /// reload tells certhook of itself must not be reloaded for ever.
    Reloaded,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Look at one site.
    Look(SiteId, Cause),
    /// Look at every site: lost events, a rescan, `sync`, the start. Of [`Cause::Reloaded`], at those whose server
    /// certhook has not just reloaded itself.
    LookAtAll(Cause),
    /// A site's files were read.
    Inspected(SiteId, Result<Seen, Incomplete>),
    /// What is wrong with the chain that a site's endpoints sent with the leaf on disk, if anything.
    ChainSeen(SiteId, Result<(), Problem>),
    /// A site's endpoints were asked.
    Probed(SiteId, Vec<Sighting>),
    /// A server was told to reload, and had loaded or refused.
    Reloaded(ServerId, Result<Loaded, Refused>),
    /// A server was not told to reload: no site's new set could be put before it, each for a reason of its own.
    KeptBack(ServerId, Vec<(SiteId, Problem)>),
    /// The ledger has, or could not take, what [`Action::Record`] said.
    Recorded(SiteId, Result<(), Problem>),
    /// There is one more site; it is looked at.
    Added(SiteId, SiteSetup),
    /// Whether a load of the site's server proves its certificate: see [`SiteSetup::load_is_evidence`].
    LoadIsEvidence(SiteId, bool),
    /// The server's configuration says something else of a site; it is looked at.
    Changed(SiteId),
    /// A site is there no more.
    Removed(SiteId),
    /// Somebody else made a server load its configuration.
    LoadedByOthers(ServerId),
    /// A server's configuration has changed: what it refused it may take now.
    Mended(ServerId),
    /// So many old workers of a server still drain; `None` where it cannot be told.
    Counted(ServerId, Option<usize>),
    /// Who accepts connections of a server.
    Accepting(ServerId, Accepting),
    /// A deadline has passed.
    Tick,
}

impl Event {
    /// The one site it is about; it must be there.
    fn site(&self) -> Option<SiteId> {
        match self {
            Self::Look(site, _)
            | Self::Inspected(site, _)
            | Self::ChainSeen(site, _)
            | Self::Probed(site, _)
            | Self::Recorded(site, _)
            | Self::LoadIsEvidence(site, _)
            | Self::Changed(site)
            | Self::Removed(site) => Some(*site),
            _ => None,
        }
    }
}

/// A reload that a server carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// From the order until it had loaded.
    pub took: Duration,
    /// What the sites' certificates looked like to it when it was told.
    pub marks: Vec<(SiteId, Mark)>,
    /// The sites whose new set could not be put before it.
    pub kept_back: Vec<(SiteId, Problem)>,
    /// Its processes from before; empty where there are none, or none can be seen.
    pub before: BTreeSet<i32>,
}

/// A reload that a server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub problem: Problem,
    /// Whose files it names as the cause, if it names any file at all: every other site is blocked by those.
    pub at_fault: Option<BTreeSet<SiteId>>,
}

/// By what nginx tells two versions of a file: it may keep what it loaded while both are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// The file's number in its file system.
    pub inode: u64,
    /// Its write time, in whole seconds since 1970.
    pub second: i64,
}

/// What to do. Each but the last answers with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the site's files.
    Inspect(SiteId),
    /// Shake hands with the site's endpoints, for the leaf on disk.
    Probe(SiteId),
    /// Reload the server, for the sites of [`Agent::reloading`].
    Reload(ServerId),
    /// Count the old workers of a server that still drain.
    Count(ServerId),
    /// Find out who accepts connections of a server.
    LookAtWorkers(ServerId),
    /// Write down that the site's leaf on disk is served.
    Record(SiteId, Installed),
    /// Tell that a site has a problem now, or none any more.
    Tell(SiteId, Option<Problem>),
}

/// A whole set as it was seen on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The set.
    pub bundle: Bundle,
    /// The write time of the file that holds the leaf.
    pub written_at: Timestamp,
    /// How long ago that was when it was read; zero for times in the future.
    pub age: Duration,
    /// When it was read.
    pub read_at: Timestamp,
    /// What the certificate's file looks like to a server that compares.
    pub mark: Mark,
    /// The number of the file system that the certificate's file is in.
    pub device: u64,
}

/// A set that is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    /// Why.
    pub problem: Problem,
    /// When it may be whole by time alone (a certificate that is not valid yet).
    pub after: Option<Duration>,
}

/// What one handshake showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Who was asked.
    pub endpoint: String,
    /// The name that was asked for.
    pub host: String,
    /// The leaf, or why there was none.
    pub outcome: Result<Arc<Leaf>, Unseen>,
}

/// Why a handshake showed no leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unseen {
    /// Nobody answered, or not in time.
    Unreachable(Problem),
    /// The server answered and showed no certificate for this name.
    Refused(Problem),
    /// It was not asked: this host does not have the address, and another one that has it proves nothing.
    NotHere(Problem),
}

/// The last leaf that the ledger has for a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The leaf.
    pub leaf: Fingerprint,
    /// Leaf and chain together.
    pub set: Fingerprint,
    /// How many certificates followed the leaf.
    pub intermediates: u32,
    /// What proved it.
    pub evidence: Evidence,
}

impl Recorded {
    /// Whether it is this set, and its load proved it.
    pub fn proves_by_load(&self, set: &Fingerprint) -> bool {
        self.set == *set && self.evidence == Evidence::Load
    }
}

/// What proves that a certificate is served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// A handshake showed it.
    #[default]
    Handshake,
    /// The server loaded it, and no handshake can show what it serves.
    Load,
}

/// How a leaf came to be served, with the moments of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installed {
    /// Which of the cases.
    pub how: How,
    /// When its files were found whole.
    pub whole: Instant,
    /// When the server had loaded it, if certhook reloaded it.
    pub reloaded: Option<Instant>,
    /// When it was proved; of a handshake, when the wire had shown it.
    pub served: Instant,
    /// What proved it.
    pub evidence: Evidence,
}

/// How a leaf came to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It was there and served when certhook first saw the site: nothing is reported.
    Adopted,
    /// It is new.
    Installed,
    /// It is known; the server had fallen back to another, or its chain is new.
    Restored,
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    tuning: Tuning,
    sites: Sites,
    servers: Vec<Server>,
    schedule: Schedule,
    issuers: Issuers,
    actions: Vec<Action>,
    /// When the first event came: somebody may have reloaded just before.
    begun: Option<Instant>,
}

impl Agent {
    /// An agent that has seen nothing yet and has no sites.
    pub fn new(tuning: Tuning, servers: &[ServerSetup]) -> Self {
        Self {
            tuning,
            sites: Sites::default(),
            servers: servers.iter().copied().map(Server::new).collect(),
            schedule: Schedule::default(),
            issuers: Issuers::default(),
            actions: Vec::new(),
            begun: None,
        }
    }

    /// Takes one event at the time `now` and says what to do.
    pub fn handle(&mut self, now: Instant, event: Event) -> Vec<Action> {
        if self.begun.is_none() {
            self.begun = Some(now);
            self.schedule.set(Key::Rescan, now + self.tuning.rescan);
        }
        if event.site().is_none_or(|site| self.sites.get(site).is_some()) {
            self.take(now, event);
        }
        self.due(now);
        std::mem::take(&mut self.actions)
    }

    fn take(&mut self, now: Instant, event: Event) {
        match event {
            Event::Look(site, cause) => self.look(now, site, cause),
            Event::LookAtAll(cause) => self.look_at_all(now, cause),
            Event::Inspected(site, outcome) => self.inspected(now, site, outcome),
            Event::ChainSeen(site, outcome) => self.chain_seen(now, site, outcome.err()),
            Event::Probed(site, sightings) => self.probed(now, site, sightings),
            Event::Reloaded(server, outcome) => self.reloaded(now, server, outcome),
            Event::KeptBack(server, problems) => self.kept_back(now, server, problems),
            Event::Recorded(site, outcome) => self.recorded(now, site, outcome),
            Event::Added(site, setup) => self.added(now, site, setup),
            Event::LoadIsEvidence(site, is_evidence) => self.sites[site].load_is_evidence = is_evidence,
            Event::Changed(site) => self.changed(now, site),
            Event::Removed(site) => self.removed(now, site),
            Event::LoadedByOthers(server) => self.loaded_by_others(now, server),
            Event::Mended(server) => self.look_at_unserved(now, server, false),
            Event::Counted(server, draining) => self.counted(now, server, draining),
            Event::Accepting(server, accepting) => self.accepting(now, server, &accepting),
            Event::Tick => {}
        }
    }

    /// When [`Event::Tick`] is wanted next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.schedule.next()
    }

    /// One site, while it is there.
    pub fn site(&self, site: SiteId) -> Option<&Site> {
        self.sites.get(site)
    }

    /// Every site.
    pub fn sites(&self) -> impl Iterator<Item = (SiteId, &Site)> {
        self.sites.iter()
    }

    fn due(&mut self, now: Instant) {
        while let Some(key) = self.schedule.pop(now) {
            match key {
                Key::Site(site) => self.site_due(now, site),
                Key::Server(server) => self.try_reload(now, server),
                Key::Workers(server) => self.look_at_workers_soon(now, server),
                Key::Rescan => self.look_at_all(now, Cause::Asked),
            }
        }
    }

    fn look_at_all(&mut self, now: Instant, cause: Cause) {
        let passed_over =
            |server: &ServerId| cause == Cause::Reloaded && self.has_just_reloaded(now, *server);
        let servers: BTreeSet<ServerId> =
            (0..self.servers.len()).map(ServerId).filter(|server| !passed_over(server)).collect();
        for server in servers.iter().filter(|_| cause == Cause::Reloaded) {
            self.loaded_by_others(now, *server);
        }
        for site in self.sites.ids() {
            if servers.contains(&self.sites[site].server) {
                self.look(now, site, cause);
            }
        }
        // Lost events are no reason to ask the wire later than it would be.
        if matches!(cause, Cause::Asked | Cause::Requested) {
            self.schedule.set(Key::Rescan, now + self.tuning.rescan);
        }
    }

    fn added(&mut self, now: Instant, id: SiteId, setup: SiteSetup) {
        self.sites.add(id, Site::new(now, setup));
        if setup.unloaded {
            self.servers[setup.server.0].unserved.insert(id);
        }
        self.look(now, id, Cause::Asked);
    }

    fn changed(&mut self, now: Instant, id: SiteId) {
        let site = &mut self.sites[id];
        site.unloaded = Some(now);
        self.servers[site.server.0].unserved.insert(id);
        self.look(now, id, Cause::Asked);
    }

    fn removed(&mut self, now: Instant, id: SiteId) {
        let server = self.sites[id].server;
        self.schedule.clear(Key::Site(id));
        self.servers[server.0].leave(id);
        self.sites.remove(id);
        // Whoever waited for it may go on.
        self.try_reload(now, server);
    }

    /// What a server did not serve it may serve now: it has loaded, or is going to.
    fn look_at_unserved(&mut self, now: Instant, server: ServerId, has_loaded: bool) {
        for id in self.servers[server.0].unserved.clone() {
            let site = &mut self.sites[id];
            if has_loaded {
                site.unloaded = None;
            }
            // Who was reloaded in vain is not reloaded for this: two of them would go on for ever.
            if matches!(site.state, State::Waiting { .. } | State::Awaiting { .. } | State::HeldOff { .. }) {
                self.stir(now, id, false);
                self.look_now(now, id, true);
            }
        }
    }
}

/// The pause before the next try after `failures` (at least one) of them.
fn retry_pause(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LAST_RETRY)
}
