//! What the agent is told of its servers and sites before it sees them.

use std::time::Duration;

use super::{Pace, Recorded, ServerId};

/// The agent's settings.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// How long an incomplete set may stay quiet before it is a problem.
    pub settle: Duration,
    /// Between looks at everything.
    pub rescan: Duration,
    /// Changes of a site within an hour that are acted on at once; 0: all.
    pub changes_free: u32,
}

/// One server's settings.
#[derive(Debug, Clone, Copy)]
pub struct ServerSetup {
    /// For a certificate to be on the wire after a reload.
    pub verify_timeout: Duration,
    /// From the beginning of one reload to that of the next.
    pub min_interval: Duration,
    /// While so many old workers drain, no reload adds more.
    pub max_draining: Option<usize>,
    /// It reads copies that are published whole: what is half-written cannot harm its reloads.
    pub staged: bool,
}

/// One site's settings.
#[derive(Debug, Clone, Copy)]
pub struct SiteSetup {
    /// Its server.
    pub server: ServerId,
    /// What the ledger has.
    pub recorded: Option<Recorded>,
    /// Its server may not have loaded its part of the configuration yet: that it is not served is no reason to
    /// reload.
    pub unloaded: bool,
    /// Its server is an nginx whose configuration names the certificate: a load that ended well has loaded it.
    pub load_is_evidence: bool,
    /// Its changes before the start, as far as they count.
    pub pace: Option<Pace>,
}
