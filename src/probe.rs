//! A handshake, and the leaf that the server shows.
//!
//! Whether the certificate is trusted is not asked: the question is which one is served. That the server
//! holds its key is proved by the handshake's signature where the algorithm is known. A handshake need
//! not complete (the server may want a client's certificate): the leaf is seen before that.

mod chains;
mod client;
mod connect;
mod groups;
mod handshake;
mod hello;
mod legacy;
mod reason;
mod verifier;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, NamedGroup};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::agent::{Sighting, Unseen};
use crate::apart::{Apart, Kind};
use crate::certificate::{Fingerprint, Hosts, KeyType, Leaf, ServedChain};
use crate::config::{Address, Ask, Endpoint, Origin, Site};
use crate::problem::Problem;
pub use chains::{Chains, rest};
use client::Offer;
use groups::OWN_GROUPS;
use handshake::{Failure, shake_hands};
use verifier::Witness;

/// The first label that stands for a wildcard's star in a handshake.
const WILDCARD_LABEL: &str = "certhook-probe";

/// All handshakes of one site together take no longer.
const LIMIT: Duration = Duration::from_secs(30);
/// So many names of a certificate are asked for; those after them say nothing new.
const MOST_NAMES: usize = 20;
/// So many listeners of one site are asked at once.
const AT_ONCE: usize = 8;

/// What one listener showed for one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The leaf, or why there was none.
    pub sighting: Sighting,
    /// The kind of certificate that was asked for: that of the leaf on disk.
    pub asked: KeyType,
    /// All that the server sent, if it showed a leaf.
    pub chain: Option<Arc<ServedChain>>,
}

/// Where a site is asked for `leaf`.
pub fn asks(site: &Site, leaf: &Leaf) -> Vec<Ask> {
    site.asks(&Origin::new(&leaf.hosts, &leaf.issuer), |host| leaf.hosts.cover(host))
}

/// Handshakes that the second process is to make.
#[derive(Serialize, Deserialize)]
pub struct Task {
    asks: Vec<Ask>,
    leaf: Arc<Leaf>,
    patience: Duration,
}

/// What the listeners of a site showed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// A sighting for each handshake.
    pub sightings: Vec<Sighting>,
    /// What is wrong with the chains that came with the leaf on disk; `None` where no handshake showed that leaf.
    pub chain: Option<Result<(), Problem>>,
}

impl Task {
    /// As [`look`], with a verdict in the place of the chains.
    pub async fn perform(&self) -> Answer {
        let shown = look(&self.asks, &self.leaf, self.patience).await;
        let leaf = self.leaf.fingerprint;
        let judging = tokio::task::spawn_blocking(move || {
            let seen = shown.iter().map(|shown| (&shown.sighting, shown.chain.as_ref()));
            let chain = Chains::default().verdict(leaf, seen, Timestamp::now());
            Answer { sightings: shown.into_iter().map(|shown| shown.sighting).collect(), chain }
        });
        judging.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Whether all of it goes over the network. Who may reach a socket in the file system is a matter of rights, which
    /// only the first process has; and only a server of this host listens there.
    fn is_for_the_network(&self) -> bool {
        self.asks.iter().all(|ask| matches!(ask.endpoint.address, Address::Tcp(_)))
    }
}

/// Asks as [`look`] does, in the second process if there is one.
pub async fn sightings(
    apart: Option<&Apart>,
    asks: Vec<Ask>,
    leaf: &Arc<Leaf>,
    patience: Duration,
) -> Answer {
    let task = Task { asks, leaf: Arc::clone(leaf), patience };
    let Some(apart) = apart.filter(|_| task.is_for_the_network()) else { return task.perform().await };
    match apart.ask::<Answer>(Kind::Handshakes, &task).await {
        Ok(mut answer) => {
            share_leaf(&mut answer.sightings, leaf);
            answer
        }
        Err(problem) => {
            let sightings = task.asks.iter().map(|ask| unasked(ask, &problem)).collect();
            Answer { sightings, chain: None }
        }
    }
}

/// Nearly always it is the one that is looked for, which is kept once.
fn share_leaf(sightings: &mut [Sighting], leaf: &Arc<Leaf>) {
    for seen in sightings.iter_mut().filter_map(|sighting| sighting.outcome.as_mut().ok()) {
        if seen == leaf {
            *seen = Arc::clone(leaf);
        }
    }
}

fn unasked(ask: &Ask, problem: &Problem) -> Sighting {
    let host = ask.hosts.first().cloned().unwrap_or_default();
    let outcome = Err(Unseen::Unreachable(problem.clone()));
    Sighting { endpoint: ask.endpoint.to_string(), host, outcome }
}

/// Asks for the leaf, in the order of `asks`: several listeners at once, the names of each one after the other.
/// Each handshake may take `patience`, and all of them half a minute.
pub async fn look(asks: &[Ask], leaf: &Arc<Leaf>, patience: Duration) -> Vec<Shown> {
    let until = Instant::now() + LIMIT;
    let mut found = match asks {
        [ask] => look_at(ask, leaf, patience, until).await,
        _ => look_at_all(asks, leaf, patience, until).await,
    };
    share_chains(&mut found);
    found
}

async fn look_at_all(asks: &[Ask], leaf: &Arc<Leaf>, patience: Duration, until: Instant) -> Vec<Shown> {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut asking = JoinSet::new();
    for (index, ask) in asks.iter().cloned().enumerate() {
        let (permits, leaf) = (Arc::clone(&permits), Arc::clone(leaf));
        asking.spawn(async move {
            // Nobody closes it.
            let _permit = permits.acquire_owned().await;
            (index, look_at(&ask, &leaf, patience, until).await)
        });
    }
    let mut answers = asking.join_all().await;
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().flat_map(|(_, shown)| shown).collect()
}

/// The names of one listener.
async fn look_at(ask: &Ask, leaf: &Arc<Leaf>, patience: Duration, until: Instant) -> Vec<Shown> {
    let Ask { endpoint, hosts } = ask;
    let hosts = if hosts.is_empty() { names(&leaf.hosts) } else { hosts.clone() };
    let mut found = Vec::new();
    for host in hosts.into_iter().take(MOST_NAMES) {
        let patience = patience.min(until.saturating_duration_since(Instant::now()));
        let (outcome, chain) = match self::ask(endpoint, &host, leaf, patience).await {
            Ok((leaf, chain)) => (Ok(leaf), Some(Arc::new(chain))),
            Err(unseen) => (Err(unseen), None),
        };
        let silent = matches!(outcome, Err(Unseen::Unreachable(_)));
        let sighting = Sighting { endpoint: endpoint.to_string(), host, outcome };
        found.push(Shown { sighting, asked: leaf.key_type, chain });
        if silent {
            // It would not answer for another name either.
            break;
        }
    }
    found
}

/// Most listeners send the same chain: it is kept once.
fn share_chains(found: &mut [Shown]) {
    let mut known: Vec<Arc<ServedChain>> = Vec::new();
    for chain in found.iter_mut().filter_map(|shown| shown.chain.as_mut()) {
        match known.iter().find(|other| *other == chain) {
            Some(same) => *chain = Arc::clone(same),
            None => known.push(Arc::clone(chain)),
        }
    }
}

/// The names to ask for; a certificate without any is asked for by none.
fn names(hosts: &Hosts) -> Vec<String> {
    if hosts.is_empty() {
        return vec![String::new()];
    }
    let concrete = |host: &str| match host.strip_prefix("*.") {
        Some(domain) => format!("{WILDCARD_LABEL}.{domain}"),
        None => host.to_owned(),
    };
    // Where a wildcard stands beside its own domain, the domain is witness enough.
    let wanted = hosts.iter().filter(|host| match host.strip_prefix("*.") {
        Some(domain) => !hosts.iter().any(|other| other == domain),
        None => true,
    });
    wanted.map(concrete).collect()
}

/// The leaf that `endpoint` shows for `host`, with its chain.
///
/// The kind of `leaf` is asked for at once. A server with certificates of several kinds shows the right one
/// then, whichever it prefers, and one that has this kind alone shows what it shows to everybody: one handshake
/// for both. A server that has none of this kind refuses, by an alert or (against the standard) by hanging up.
/// Only then is it asked for any: what it does show is what counts (a site that moves from RSA to ECDSA, and
/// whose server still has the old one). No certificate of another kind is taken for an answer before a wider
/// client has failed to get the right one: the refusal may have been for a curve or a cipher that is not known.
async fn ask(
    endpoint: &Endpoint,
    host: &str,
    leaf: &Arc<Leaf>,
    patience: Duration,
) -> Result<(Arc<Leaf>, ServedChain), Unseen> {
    let mut kept: Option<Failed> = None;
    'offers: for only in [Some(leaf.key_type), None] {
        for is_legacy in [false, true] {
            let witness = Arc::new(Witness::new(only));
            let attempt = async {
                if is_legacy {
                    legacy::shake_hands(endpoint, host, only, &witness).await
                } else {
                    shake_hands(endpoint, host, Offer { only, group: None }, &witness).await
                }
            };
            let outcome = timeout(patience, attempt).await;
            if let Some(ders) = witness.take() {
                return read(leaf, ders).map_err(|why| reason::unreadable(endpoint, host, &why));
            }
            let failed = match outcome {
                Err(_) => Failed::Late,
                Ok(Err(failure)) => Failed::By(failure),
                Ok(Ok(())) => Failed::By(Failure::Other(rustls::Error::NoCertificatesPresented)),
            };
            let is_final = failed.is_final();
            // The words of the first refusal are the best; an endpoint that is silent in the end is not known to refuse.
            if kept.is_none() || failed.is_silence() {
                kept = Some(failed);
            }
            if is_final {
                break 'offers;
            }
        }
    }
    let failed = kept.unwrap_or(Failed::Late);
    let wanted = match failed {
        Failed::By(Failure::Alert(_)) => {
            timeout(patience, legacy::wanted(endpoint, host)).await.ok().flatten()
        }
        _ => None,
    };
    let group = wanted.map(|(_, group)| NamedGroup::from(group));
    if let Some(group) = group.filter(|group| OWN_GROUPS.iter().any(|own| own.name() == *group)) {
        for only in [Some(leaf.key_type), None] {
            let (witness, offer) = (Arc::new(Witness::new(only)), Offer { only, group: Some(group) });
            let _ = timeout(patience, shake_hands(endpoint, host, offer, &witness)).await;
            if let Some(ders) = witness.take() {
                return read(leaf, ders).map_err(|why| reason::unreadable(endpoint, host, &why));
            }
        }
    }
    Err(explain(endpoint, host, patience, failed, wanted))
}

/// Why one handshake showed no leaf.
enum Failed {
    /// There was no answer in time.
    Late,
    By(Failure),
}

impl Failed {
    /// A connection that breaks off may be any trouble of the server's; an answer of TLS is an answer.
    fn is_silence(&self) -> bool {
        matches!(self, Self::Late | Self::By(Failure::Connect(_) | Failure::BrokenOff(_)))
    }

    /// Whether another offer would be answered as this one.
    fn is_final(&self) -> bool {
        match self {
            Self::Late | Self::By(Failure::Connect(_)) => true,
            Self::By(Failure::BrokenOff(_)) => false,
            Self::By(Failure::Alert(alert)) => *alert == AlertDescription::UnrecognisedName,
            // What rustls does not like of the server may be no matter to the other client.
            Self::By(Failure::Other(error)) => {
                !matches!(error, rustls::Error::PeerIncompatible(_) | rustls::Error::PeerMisbehaved(_))
            }
        }
    }
}

fn explain(
    endpoint: &Endpoint,
    host: &str,
    patience: Duration,
    failed: Failed,
    wanted: Option<(u16, u16)>,
) -> Unseen {
    let failure = match failed {
        Failed::Late => {
            return reason::unreachable(endpoint, &format!("no answer within {} s", patience.as_secs_f32()));
        }
        Failed::By(Failure::Connect(_)) if connect::needs_ipv6(endpoint) && !connect::has_ipv6() => {
            return reason::no_ipv6(endpoint);
        }
        Failed::By(Failure::Connect(error) | Failure::BrokenOff(error)) => {
            return reason::unreachable(endpoint, &error.to_string());
        }
        Failed::By(failure) => failure,
    };
    reason::refused(endpoint, host, &failure, wanted)
}

/// Whether a handshake can ask for it. Another one is left out, as an address always is.
fn is_name(host: &str) -> bool {
    matches!(ServerName::try_from(host), Ok(ServerName::DnsName(_)))
}

/// The certificates of a handshake. Nearly always they begin with the leaf that is looked for.
fn read(wanted: &Arc<Leaf>, ders: Vec<Vec<u8>>) -> Result<(Arc<Leaf>, ServedChain), String> {
    let der = ders.first().map(Vec::as_slice).unwrap_or_default();
    let leaf = if Fingerprint::of(der) == wanted.fingerprint {
        Arc::clone(wanted)
    } else {
        Arc::new(Leaf::from_der(der).map_err(|fault| fault.to_string())?)
    };
    Ok((leaf, ServedChain::new(ders)))
}

#[cfg(test)]
mod tests;
