//! Which of the portal's records a report is about.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Courier, Trouble};
use crate::certificate::Hosts;
use crate::config::Site;
use crate::ledger::{PortalList, PortalRecord, Purpose, Report};
use crate::platform;
use crate::portal::{Certificate, Failure, Next};
use crate::problem::{Problem, printable};

/// The portal's end of a certificate and the certificate's own may differ by so much and mean the same.
const SAME_END: SignedDuration = SignedDuration::from_hours(24);

/// The portal's list, to look things up in. Of two records of one name the first is taken.
pub(super) struct Listed {
    /// When it was asked for.
    at: Timestamp,
    records: Vec<PortalRecord>,
    by_id: HashMap<i64, usize>,
    by_name: HashMap<Hosts, usize>,
}

impl Listed {
    pub(super) fn new(list: PortalList) -> Self {
        let (mut by_id, mut by_name) = (HashMap::new(), HashMap::new());
        for (index, record) in list.records.iter().enumerate() {
            by_id.entry(record.id).or_insert(index);
            by_name.entry(Hosts::from_portal_name(&record.name)).or_insert(index);
        }
        Self { at: list.at, records: list.records, by_id, by_name }
    }

    fn find(&self, known: Option<&Site>, report: &Report) -> Option<&PortalRecord> {
        let index = match known {
            Some(Site { id: Some(id), .. }) => self.by_id.get(id),
            Some(Site { name: Some(name), .. }) => self.by_name.get(&Hosts::from_portal_name(name)),
            _ => self.by_name.get(&Hosts::from_portal_name(&report.hosts)),
        };
        index.map(|index| &self.records[*index])
    }

    /// The record that an operator may have meant: the one with most host names of the report's certificate, else the
    /// one whose name is spelled nearly as the configured one.
    fn nearest(&self, known: &Site, report: &Report) -> Option<&PortalRecord> {
        /// How like two names are of which one is a slip of the other; 1 is equal.
        const ALIKE: f64 = 0.8;
        let hosts = Hosts::from_portal_name(&report.hosts);
        let shared = |record: &PortalRecord| {
            let names = Hosts::from_portal_name(&record.name);
            names.iter().filter(|name| hosts.iter().any(|host| host == *name)).count()
        };
        let most =
            self.records.iter().map(|record| (shared(record), record)).rev().max_by_key(|(count, _)| *count);
        if let Some((1.., record)) = most {
            return Some(record);
        }
        let name = known.name.as_deref().unwrap_or(&report.hosts);
        let like = |record: &PortalRecord| strsim::normalized_levenshtein(name, &record.name);
        let alike = self.records.iter().filter(|record| like(record) >= ALIKE);
        alike.max_by(|a, b| like(a).total_cmp(&like(b)))
    }
}

/// Whether the record is of the report's certificate: it ends when the certificate does.
pub(super) fn is_of(record: &PortalRecord, report: &Report) -> bool {
    record.expires.is_none_or(|expires| expires.duration_since(report.not_after).abs() <= SAME_END)
}

/// Whether a list answers the question of the first start: one of later than the report and an operator's word, or one
/// of shortly before that has the certificate or is of later than its file, which is never older than its record.
pub(super) fn answers(list: Timestamp, has_it: bool, report: &Report) -> bool {
    if report.released_at.is_some_and(|released| list < released) {
        return false;
    }
    let shortly_before = report.created_at.saturating_sub(super::FIRST_LIST).unwrap_or(report.created_at);
    list >= report.created_at
        || list >= shortly_before && (has_it || written_by(report).is_some_and(|written| list >= written))
}

/// When the certificate's file had been written for sure; the portal's form has whole seconds.
fn written_by(report: &Report) -> Option<Timestamp> {
    let second: DateTime = report.remote_create_date.parse().ok()?;
    let second = second.to_zoned(TimeZone::UTC).ok()?.timestamp();
    second.checked_add(SignedDuration::from_secs(1)).ok()
}

impl Courier {
    /// The record of a report's certificate, `None` where it is not the portal's: as kept, or, where that is of an
    /// older certificate, as one list for all tells now.
    pub(super) async fn record_of(&self, report: &Report) -> Result<Option<PortalRecord>, Trouble> {
        // An operator who says to send it again has mended something that what is kept cannot show.
        let after = |at: Timestamp| report.released_at.is_none_or(|released| at >= released);
        if let Some(record) = self.kept_list(after)?.and_then(|list| self.find_same(&list, report).cloned()) {
            return Ok(Some(record));
        }
        let since = report.released_at.map_or(report.created_at, |released| released.max(report.created_at));
        let list = self.list(self.kept_list(|at| at >= since)?, Purpose::Record(report)).await?;
        match self.find(&list, report) {
            Some(record) if is_of(record, report) => Ok(Some(record.clone())),
            Some(record) => Err(hold(differs(record, report))),
            None => match self.known.get(&report.site) {
                Some(known) => Err(hold(unknown(known, report, list.nearest(known, report)))),
                None => Ok(None),
            },
        }
    }

    /// Which of the reports of the first start are to be sent: of certificates that the portal misses. One list
    /// decides about all that it serves.
    pub(super) async fn ask(&self, report: &Report) -> Result<(), Trouble> {
        /// More are asked about in the next turn.
        const AT_ONCE: u32 = 500;
        let answered =
            |list: &Listed, other: &Report| answers(list.at, self.find_same(list, other).is_some(), other);
        let kept = self.kept_list(|at| answers(at, true, report))?;
        let list = self.list(kept.filter(|list| answered(list, report)), Purpose::Look).await?;
        let mut reports = self.ledger.unasked(AT_ONCE)?;
        // The one that it was asked for is decided whatever the clock did, or it would be asked for again at once.
        reports.retain(|other| other.id == report.id || answered(&list, other));
        let is_missed = |other| self.find_same(&list, other).is_some_and(|record| !record.installed);
        let decided: Vec<(&Report, bool)> = reports.iter().map(|other| (other, is_missed(other))).collect();
        Ok(self.ledger.decide(&decided, Timestamp::now())?)
    }

    /// The list, as kept where that serves, or asked for now.
    async fn list(&self, kept: Option<Arc<Listed>>, purpose: Purpose<'_>) -> Result<Arc<Listed>, Trouble> {
        if let Some(list) = kept {
            return Ok(list);
        }
        let asked = Timestamp::now();
        let answer = super::list(&self.ledger, &self.portal, self.allowance, purpose).await?;
        let list = as_list(answer, asked);
        self.ledger.keep_portal_list(&list)?;
        let list = Arc::new(Listed::new(list));
        self.listed.replace(Some(Arc::clone(&list)));
        Ok(list)
    }

    /// The list as the ledger has it, if it serves. It is read anew only where somebody has asked since.
    fn kept_list(&self, serves: impl Fn(Timestamp) -> bool) -> Result<Option<Arc<Listed>>, Trouble> {
        let Some(at) = self.ledger.listed_at()?.filter(|at| serves(*at)) else { return Ok(None) };
        let known = self.listed.borrow().clone();
        if let Some(known) = known.filter(|known| known.at.as_millisecond() == at.as_millisecond()) {
            return Ok(Some(known));
        }
        let Some(list) = self.ledger.portal_list()? else { return Ok(None) };
        let list = Arc::new(Listed::new(list));
        self.listed.replace(Some(Arc::clone(&list)));
        Ok(Some(list))
    }

    fn find<'a>(&self, list: &'a Listed, report: &Report) -> Option<&'a PortalRecord> {
        list.find(self.known.get(&report.site), report)
    }

    /// The record, if it is of this certificate and not of an older or newer one.
    fn find_same<'a>(&self, list: &'a Listed, report: &Report) -> Option<&'a PortalRecord> {
        self.find(list, report).filter(|record| is_of(record, report))
    }
}

/// The portal's answer as the ledger keeps it; `at` is when it was asked for, for what came meanwhile may be missing.
pub fn as_list(certificates: Vec<Certificate>, at: Timestamp) -> PortalList {
    let records = certificates.into_iter().map(|certificate| PortalRecord {
        id: certificate.id,
        expires: certificate.expires(),
        installed: certificate.remote_create_date.is_some(),
        name: certificate.name,
    });
    PortalList { at, records: records.collect() }
}

/// The certificate's path of a site's key, which names the server too where several use the certificate.
fn path_of(site: &str) -> &str {
    site.rsplit_once('@').filter(|(_, server)| !server.contains(['/', '\\'])).map_or(site, |(path, _)| path)
}

fn hold(problem: Problem) -> Trouble {
    Trouble::Failed(Failure { next: Next::Hold, sent: true, problem })
}

fn unknown(known: &Site, report: &Report, nearest: Option<&PortalRecord>) -> Problem {
    let what = match known {
        Site { id: Some(id), .. } => format!("with the id {id}"),
        Site { name: Some(name), .. } => format!("with the name {name}"),
        _ => format!("of the host names {}", report.hosts),
    };
    let reload = platform::WORDS.reload;
    let (hint, set) = match nearest {
        Some(PortalRecord { id, name, .. }) => {
            let name = printable(name, 200);
            let set = if known.id.is_some() { format!("id = {id}") } else { format!("name = {name:?}") };
            (format!("; the nearest that it has is {name} (id {id})"), set)
        }
        None => (String::new(), "the name or id that `certhook list` shows for it".to_owned()),
    };
    Problem::new(
        "unknown_to_portal",
        format!("the portal has no certificate {}{hint}", printable(&what, 300)),
        format!(
            "set {set}, or report = false, in the [[site]] at line {} of the configuration; then run: {reload}; certhook sync --retry",
            known.line
        ),
    )
}

fn differs(record: &PortalRecord, report: &Report) -> Problem {
    let expires = record.expires.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d").to_string());
    let served = report.not_after.strftime("%Y-%m-%d");
    let name = printable(&record.name, 200);
    // Sent again it would be held again: only another certificate, or none to report, ends it.
    Problem::new(
        "other_certificate",
        format!(
            "the certificate that is served is not the portal's {name}: that one ends {expires}, the served one {served}"
        ),
        format!(
            "serve the portal's (certhook fetch {name:?} --into DIR downloads it), or set report = false in the [[site]] with certificate = {:?} and run: {}",
            path_of(&report.site),
            platform::WORDS.reload
        ),
    )
}
