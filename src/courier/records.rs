//! Which of the portal's records a report is about.

use jiff::{SignedDuration, Timestamp};

use super::{Courier, Trouble};
use crate::ledger::{PortalList, PortalRecord, Purpose, Report};
use crate::portal::{Certificate, Failure, Next, same_name};
use crate::problem::{Problem, printable};

/// The portal's end of a certificate and the certificate's own may differ by so much and mean the same.
const SAME_END: SignedDuration = SignedDuration::from_hours(24);

/// What the configuration says of a site's record at the portal.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The portal's name.
    pub name: Option<String>,
    /// The portal's id.
    pub id: Option<i64>,
}

/// Whether the record is of the report's certificate: it ends when the certificate does.
pub(super) fn is_of(record: &PortalRecord, report: &Report) -> bool {
    record.expires.is_none_or(|expires| expires.duration_since(report.not_after).abs() <= SAME_END)
}

impl Courier {
    /// The record of a report's certificate, `None` where it is not the portal's: as kept, or, where that is of an older certificate, as one list
    /// for all tells now.
    pub(super) async fn record_of(&self, report: &Report) -> Result<Option<PortalRecord>, Trouble> {
        // An operator who says to send it again has mended something that what is kept cannot show.
        let after = |list: &PortalList| report.released_at.is_none_or(|released| list.at >= released);
        let kept = self.ledger.portal_list()?.filter(after).and_then(|list| self.find(list, report));
        if let Some(record) = kept.filter(|record| is_of(record, report)) {
            return Ok(Some(record));
        }
        match self.listed_since(report.created_at, report, Purpose::Record).await? {
            Some(record) if is_of(&record, report) => Ok(Some(record)),
            Some(record) => Err(hold(differs(&record, report))),
            None => match self.known.get(&report.site) {
                Some(known) => Err(hold(unknown(known, report))),
                None => Ok(None),
            },
        }
    }

    /// The site's record in a list of that time or later, which is asked for where there is none.
    pub(super) async fn listed_since(
        &self,
        since: Timestamp,
        report: &Report,
        purpose: Purpose<'_>,
    ) -> Result<Option<PortalRecord>, Trouble> {
        let since = report.released_at.map_or(since, |released| released.max(since));
        let young = |list: &PortalList| list.at >= since;
        let list = match self.ledger.portal_list()?.filter(young) {
            Some(list) => list,
            None => self.ask_for_list(purpose).await?,
        };
        Ok(self.find(list, report))
    }

    async fn ask_for_list(&self, purpose: Purpose<'_>) -> Result<PortalList, Trouble> {
        let answer = super::list(&self.ledger, &self.portal, self.requests_per_week, purpose).await?;
        let list = as_list(answer, Timestamp::now());
        self.ledger.keep_portal_list(&list)?;
        Ok(list)
    }

    fn find(&self, list: PortalList, report: &Report) -> Option<PortalRecord> {
        let known = self.known.get(&report.site).cloned().unwrap_or_default();
        list.records.into_iter().find(|record| match &known {
            Known { id: Some(id), .. } => record.id == *id,
            Known { name: Some(name), .. } => same_name(&record.name, name),
            _ => same_name(&record.name, &report.hosts),
        })
    }
}

/// The portal's answer as the ledger keeps it.
pub fn as_list(certificates: Vec<Certificate>, at: Timestamp) -> PortalList {
    let records = certificates.into_iter().map(|certificate| PortalRecord {
        id: certificate.id,
        expires: certificate.expires(),
        installed: certificate.remote_create_date.is_some(),
        name: certificate.name,
    });
    PortalList { at, records: records.collect() }
}

fn hold(problem: Problem) -> Trouble {
    Trouble::Failed(Failure { next: Next::Hold, sent: true, problem })
}

fn unknown(known: &Known, report: &Report) -> Problem {
    let what = match known {
        Known { id: Some(id), .. } => format!("the id {id}"),
        Known { name: Some(name), .. } => format!("the name {name}"),
        _ => format!("the host names {}", report.hosts),
    };
    Problem::new(
        "unknown_to_portal",
        format!("the portal has no certificate of {}", printable(&what, 300)),
        "give the site the portal's name or id, or report = false; then run: certhook sync --retry",
    )
}

fn differs(record: &PortalRecord, report: &Report) -> Problem {
    let expires = record.expires.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d").to_string());
    let served = report.not_after.strftime("%Y-%m-%d");
    Problem::new(
        "other_certificate",
        format!(
            "the portal's {} ends {expires}, the certificate that is served {served}",
            printable(&record.name, 200)
        ),
        "install the portal's certificate, or set report = false for the site; then run: certhook sync --retry",
    )
}
