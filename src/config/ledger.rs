//! `[ledger]`.

use std::time::Duration;

use super::raw::Section;

const DAY: Duration = Duration::from_secs(86_400);
/// Ten years.
const MAX_KEEP: Duration = Duration::from_secs(3653 * 86_400);

/// `[ledger]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerSettings {
    /// How long the history and reports that have ended are kept.
    pub keep: Duration,
}

pub(super) fn ledger(section: Option<Section<'_, '_>>) -> LedgerSettings {
    let mut settings = LedgerSettings { keep: 365 * DAY };
    if let Some(mut section) = section {
        settings.keep = section.days("keep", settings.keep, DAY, MAX_KEEP);
        section.close();
    }
    settings
}
