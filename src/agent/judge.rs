//! What the wire shows, against what is on disk.

use super::{Recorded, Seen, Sighting, Unseen};
use crate::problem::Problem;

/// The sum of a site's sightings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// The leaf on disk is served, and an older one nowhere.
    Served,
    /// An older certificate of this site is served somewhere.
    Stale(Problem),
    /// Every endpoint that answered serves the leaf on disk; at least one did not answer.
    Partly(Problem),
    /// No endpoint that answered serves it; at least one did not answer.
    Unreachable(Problem),
    /// Nothing was asked: this host has none of the addresses.
    NotHere(Problem),
    /// Only certificates of other sites are served.
    Foreign(Problem),
}

impl Wire {
    /// Why it is not served everywhere, unless it is.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Served => None,
            Self::Stale(problem)
            | Self::Partly(problem)
            | Self::Unreachable(problem)
            | Self::Foreign(problem)
            | Self::NotHere(problem) => Some(problem),
        }
    }
}

/// Sums up. A certificate of other host names is no witness against this site: a leaf may name hosts that
/// this server does not serve. The recorded leaf and any other of the same names is an older one.
pub fn judge(disk: &Seen, recorded: Option<&Recorded>, sightings: &[Sighting]) -> Wire {
    let leaf = &disk.bundle.leaf;
    let (mut served, mut stale, mut unreachable, mut foreign) = (false, None, None, None);
    let mut not_here = None;
    for sighting in sightings {
        match &sighting.outcome {
            Ok(seen) if seen.fingerprint == leaf.fingerprint => served = true,
            Ok(seen) => {
                let older =
                    recorded.is_some_and(|known| known.leaf == seen.fingerprint) || seen.hosts == leaf.hosts;
                let place = if older { &mut stale } else { &mut foreign };
                place.get_or_insert_with(|| not_served(sighting, older));
            }
            Err(Unseen::Unreachable(problem)) => {
                unreachable.get_or_insert_with(|| problem.clone());
            }
            Err(Unseen::NotHere(problem)) => {
                not_here.get_or_insert_with(|| problem.clone());
            }
            Err(Unseen::Refused(problem)) => {
                foreign.get_or_insert_with(|| problem.clone());
            }
        }
    }
    if let (None, None, false, None, Some(problem)) = (&stale, &unreachable, served, &foreign, not_here) {
        return Wire::NotHere(problem);
    }
    match (stale, unreachable, served, foreign) {
        (Some(problem), ..) => Wire::Stale(problem),
        (None, Some(problem), true, _) => Wire::Partly(problem),
        (None, Some(problem), false, _) => Wire::Unreachable(problem),
        (None, None, true, _) => Wire::Served,
        (None, None, false, Some(problem)) => Wire::Foreign(problem),
        (None, None, false, None) => Wire::Unreachable(Problem::new(
            "no_endpoint",
            "there is no endpoint to ask for the certificate",
            "name one with verify",
        )),
    }
}

/// Whether no certificate can be seen: an endpoint that was asked shows none, and no other shows any.
pub fn is_unseen(sightings: &[Sighting]) -> bool {
    let is_asked = |sighting: &Sighting| !matches!(sighting.outcome, Err(Unseen::NotHere(_)));
    sightings.iter().any(is_asked) && sightings.iter().all(|sighting| sighting.outcome.is_err())
}

fn not_served(sighting: &Sighting, older: bool) -> Problem {
    let Sighting { endpoint, host, .. } = sighting;
    if older {
        return Problem::new(
            "stale",
            format!("{endpoint} still serves another certificate for {host} than the one on disk"),
            "see the server's error log, that it uses this very file, and that it has no other certificate for the same names and kind of key",
        );
    }
    Problem::new(
        "not_served",
        format!("{endpoint} serves a certificate of other names for {host}"),
        "see that the server uses this very file, and that verify names the right address",
    )
}
