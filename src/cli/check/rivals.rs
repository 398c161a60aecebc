//! Sites of one server that would take a binding from each other.

use std::sync::Arc;

use super::Findings;
use crate::cli::survey::Finding;
use crate::config::Kind;
use crate::roster;
use crate::server::{Claimant, same_names};

impl Findings<'_> {
    pub(super) fn rivals(&mut self, findings: &[Finding]) {
        for (index, server) in self.config.servers.iter().enumerate() {
            if !matches!(server.kind, Kind::Iis(_)) {
                continue;
            }
            let of_it =
                self.census.sites.iter().zip(findings).filter(|(site, _)| site.settings.server == index);
            let all: Vec<(usize, Claimant)> = of_it.filter_map(claimant).collect();
            let claimants: Vec<Claimant> = all.iter().map(|(_, claimant)| claimant.clone()).collect();
            for (line, claimant) in &all {
                if let Some(problem) = same_names(claimant, &claimants) {
                    self.add(*line, problem);
                }
            }
        }
    }
}

fn claimant((site, finding): (&roster::Site, &Finding)) -> Option<(usize, Claimant)> {
    let settings = &site.settings;
    let claimant = Claimant {
        key: site.key().into_owned(),
        label: settings.label(),
        leaf: Arc::clone(&finding.seen.as_ref().ok()?.bundle.leaf),
        bindings: settings.bindings.clone(),
    };
    Some((settings.line, claimant))
}
