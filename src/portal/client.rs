//! The only place that makes HTTP clients, and what is said when one of them fails.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Failure, MOST_WORDS, Next};
use crate::problem::{Problem, printable};

/// Clients that know no credentials, follow no redirect and keep no cookie. Nothing is opened or loaded before the
/// first request, nor after a rest before the next.
pub struct Clients {
    timeout: Duration,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// For https, by way of the environment's proxy if it names one.
    tls: Option<reqwest::Client>,
    /// For http, which is loopback's: a proxy would get what is sent in the clear.
    plain: Option<reqwest::Client>,
}

impl Clients {
    /// `timeout` is for one request.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, kept: Mutex::default() }
    }

    /// The client for one of the two.
    ///
    /// # Errors
    /// Why TLS, or the client, cannot be used.
    pub fn get(&self, plain: bool) -> Result<reqwest::Client, Problem> {
        let mut kept = self.kept();
        let kept = if plain { &mut kept.plain } else { &mut kept.tls };
        if let Some(known) = kept {
            return Ok(known.clone());
        }
        let made = client(self.timeout, plain).map_err(|message| {
            Problem::new("no_client", message, "install the system's root certificates (ca-certificates)")
        })?;
        Ok(kept.insert(made).clone())
    }

    /// Lets go of them: their connections, the system's root certificates as they were then. A client that has
    /// connections to keep wakes its process now and then.
    pub fn rest(&self) {
        *self.kept() = Kept::default();
    }

    /// Whether there is none.
    #[cfg(test)]
    pub(crate) fn are_at_rest(&self) -> bool {
        let kept = self.kept();
        kept.tls.is_none() && kept.plain.is_none()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn client(timeout: Duration, plain: bool) -> Result<reqwest::Client, String> {
    let mut roots = rustls::RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        // Requests to loopback need none; all others say so.
        tracing::warn!(errors = ?loaded.errors, "the system has no root certificates; install ca-certificates");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let builder = reqwest::Client::builder();
    let builder = if plain { builder.no_proxy() } else { builder };
    builder
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(10)))
        .user_agent(concat!("certhook/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("the HTTP client cannot be made: {error}"))
}

/// What happened to a request that got no answer, and whether the other side is not trusted here. Never its URL.
pub fn mishap(error: &reqwest::Error) -> (String, bool) {
    // The innermost cause says most; the URL says nothing new, and may hold a signature.
    let cause = innermost(error);
    let words = match cause.is::<reqwest::Error>() {
        true => "no reason is known".to_owned(),
        false => printable(&cause.to_string(), MOST_WORDS),
    };
    let untrusted = matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)));
    let what = match error {
        _ if untrusted => format!("shows a certificate that is not trusted here: {words}"),
        _ if error.is_timeout() => "did not answer in time".to_owned(),
        _ if error.is_connect() => format!("cannot be reached: {words}"),
        _ => format!("broke off: {words}"),
    };
    (what, untrusted)
}

pub(super) fn broken(who: &str, error: &reqwest::Error) -> Failure {
    let (what, untrusted) = mishap(error);
    let (code, remedy) = match untrusted {
        true => (
            "portal_untrusted",
            "see that endpoint and login are right; where a proxy opens TLS, add its authority to the system's roots",
        ),
        false => ("portal_unreachable", "certhook tries again by itself"),
    };
    let problem = Problem::new(code, format!("the {who} {what}"), remedy);
    Failure { next: Next::Again(None), sent: !error.is_connect(), problem }
}

/// An error of input and output does not call what it is made of its source.
fn innermost(error: &reqwest::Error) -> &(dyn std::error::Error + 'static) {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    loop {
        let wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        match wrapped.map(|inner| inner as &(dyn std::error::Error + 'static)).or(cause.source()) {
            Some(inner) => cause = inner,
            None => return cause,
        }
    }
}
