//! What listeners send with their certificates, judged against this host's roots.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::agent::Sighting;
use crate::certificate::{ChainState, Fingerprint, Roots, ServedChain};
use crate::problem::{Problem, printable};

/// To read the roots takes milliseconds, and a renewal is followed by several handshakes.
const KEPT: Duration = Duration::from_secs(5);

/// The roots that were read last, and when.
static ROOTS: Mutex<Option<(Instant, Arc<Roots>)>> = Mutex::new(None);

/// Judges chains; most handshakes show one that was judged before.
#[derive(Default)]
pub struct Chains {
    roots: Option<Arc<Roots>>,
    judged: HashMap<Arc<ServedChain>, ChainState>,
}

impl Chains {
    /// Judges one chain. Blocking: the first call may read the roots.
    pub fn judge(&mut self, chain: &Arc<ServedChain>, now: Timestamp) -> ChainState {
        if let Some(known) = self.judged.get(chain) {
            return known.clone();
        }
        let roots = self.roots.get_or_insert_with(roots);
        let state = chain.judge(roots, now);
        self.judged.insert(Arc::clone(chain), state.clone());
        state
    }

    /// Returns the first fault of the chains that endpoints sent with `leaf`; `None` where none sent that leaf.
    /// Blocking, as [`Chains::judge`].
    pub fn verdict<'s>(
        &mut self,
        leaf: Fingerprint,
        seen: impl IntoIterator<Item = (&'s Sighting, Option<&'s Arc<ServedChain>>)>,
        now: Timestamp,
    ) -> Option<Result<(), Problem>> {
        let is_of_leaf =
            |sighting: &Sighting| sighting.outcome.as_ref().is_ok_and(|served| served.fingerprint == leaf);
        let mut seen = seen.into_iter().filter(|(sighting, _)| is_of_leaf(sighting)).peekable();
        seen.peek()?;
        let mut faults =
            seen.filter_map(|(sighting, chain)| fault(&self.judge(chain?, now), &sighting.endpoint));
        Some(faults.next().map_or(Ok(()), Err))
    }
}

/// Frees the roots: nothing is asked for some time.
pub fn rest() {
    *ROOTS.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn roots() -> Arc<Roots> {
    let mut kept = ROOTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, roots)) = kept.as_ref().filter(|(read_at, _)| read_at.elapsed() < KEPT) {
        return Arc::clone(roots);
    }
    let found = rustls_native_certs::load_native_certs().certs;
    let roots = Arc::new(Roots::new(found.into_iter().map(|der| der.to_vec())));
    *kept = Some((Instant::now(), Arc::clone(&roots)));
    roots
}

fn fault(state: &ChainState, endpoint: &str) -> Option<Problem> {
    match state {
        ChainState::Complete | ChainState::Unknown => None,
        ChainState::Incomplete { issuer } => Some(Problem::new(
            "incomplete_chain",
            format!(
                "{endpoint} does not send the certificate of {}, which issued the last one that it sends: clients \
                 that do not have it refuse the connection",
                printable(issuer, 200)
            ),
            "have ssl_certificate name the file with the whole chain (fullchain.pem), the leaf first and its issuers \
             after it; if the issuer is a private root, add it to this host's trusted roots",
        )),
        ChainState::Expired { subject, ended } => Some(Problem::new(
            "expired_chain",
            format!(
                "{endpoint} sends the intermediate certificate {}, which ended {}: clients refuse the connection",
                printable(subject, 200),
                ended.strftime("%Y-%m-%dT%H:%M:%SZ")
            ),
            "renew the certificate, or put the authority's present intermediate in the place of the old one in the \
             certificate's file; then run: certhook sync",
        )),
    }
}
