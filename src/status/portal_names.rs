//! Whether the portal has a certificate of a site.

use std::collections::HashSet;

use super::Report;
use crate::certificate::{Hosts, Leaf};
use crate::config::{Config, Site};
use crate::ledger::{Ledger, LedgerError};

/// What the portal's last list says of sites.
#[derive(Debug, Default)]
pub struct PortalNames {
    is_configured: bool,
    /// The ids and the names of its certificates; `None` before the first list.
    listed: Option<(HashSet<i64>, HashSet<Hosts>)>,
}

impl PortalNames {
    /// Reads the list that the ledger has.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn of(config: &Config, ledger: Option<&Ledger>) -> Result<Self, LedgerError> {
        let is_configured = config.portal.is_some();
        let list = match ledger.filter(|_| is_configured) {
            Some(ledger) => ledger.portal_list()?,
            None => None,
        };
        let listed = list.map(|list| {
            let names = list.records.iter().map(|record| Hosts::from_portal_name(&record.name)).collect();
            (list.records.iter().map(|record| record.id).collect(), names)
        });
        Ok(Self { is_configured, listed })
    }

    /// Returns the word of `status --json`: `known`, `unknown`, or `unconfigured` where the site is not reported;
    /// `None` before the portal was asked, or before the certificate was seen.
    pub fn word(&self, site: &Site, leaf: Option<&Leaf>, report: &Report) -> Option<String> {
        let known = match (&self.listed, report.state.as_str()) {
            _ if !self.is_configured || !site.report => return Some("unconfigured".to_owned()),
            // The list may be older than the report.
            (_, "delivered") => true,
            (Some((ids, names)), _) => match (site.id, &site.name) {
                (Some(id), _) => ids.contains(&id),
                (None, Some(name)) => names.contains(&Hosts::from_portal_name(name)),
                (None, None) => names.contains(&leaf?.hosts),
            },
            (None, _) => return None,
        };
        Some(if known { "known" } else { "unknown" }.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::Timestamp;

    use super::*;
    use crate::ledger::{PortalList, PortalRecord};

    const PORTAL: &str = "[portal]\nendpoint = \"https://p.test\"\nlogin = \"https://l.test\"\ntenant_id = \"t\"\n\
                          client_id = \"c\"\n";

    #[test]
    #[cfg_attr(windows, ignore = "its paths are Unix's")]
    fn site_is_known_by_id_name_or_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let config = |portal: &str, site: &str| {
            let text = format!(
                "{portal}[server.x]\n[[site]]\ncertificate = \"/a.pem\"\nverify = [\"a:1\"]\n{site}\n"
            );
            Config::parse(Path::new("certhook.toml"), &text).unwrap()
        };
        let word = |portal: &str, site: &str, state: &str| {
            let config = config(portal, site);
            let report = Report { state: state.to_owned(), ..Report::none() };
            let names = PortalNames::of(&config, Some(&ledger)).unwrap();
            names.word(&config.sites[0], None, &report)
        };
        assert_eq!(word(PORTAL, "id = 7", "none"), None, "the portal was not asked yet");
        let record = PortalRecord { id: 7, name: "b.test, a.test".into(), expires: None, installed: false };
        ledger.keep_portal_list(&PortalList { at: Timestamp::now(), records: vec![record] }).unwrap();
        for (portal, site, state, expected) in [
            (PORTAL, "id = 7", "none", Some("known")),
            (PORTAL, "id = 8", "none", Some("unknown")),
            (PORTAL, "id = 8", "delivered", Some("known")),
            (PORTAL, "name = \"a.test,b.test\"", "none", Some("known")),
            (PORTAL, "name = \"a.test\"", "held", Some("unknown")),
            // Its certificate was not seen yet.
            (PORTAL, "", "none", None),
            (PORTAL, "id = 7\nreport = false", "none", Some("unconfigured")),
            ("", "id = 7", "none", Some("unconfigured")),
        ] {
            assert_eq!(word(portal, site, state).as_deref(), expected, "{portal} {site} {state}");
        }
    }
}
