//! The portal's client: tokens, the list of certificates, the report of an installation, renewals.
//!
//! Every failure says what is to happen next: try again, get a new token, or hold. The words of an answer
//! are bounded, made printable, and freed of secrets before anybody sees them.

mod client;
mod reading;
mod remote;
mod token;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::apart::{Apart, Kind};
use crate::certificate::Hosts;
use crate::config;
use crate::problem::{Problem, printable};
use client::broken;
pub use client::{Clients, mishap};
#[doc(hidden)]
pub use reading::Reading;
use remote::{Call, ask};
pub use remote::{Desk, Task};
use token::Tokens;
pub use wire::{Certificate, Links};

/// The largest answer that is read: a list of some thousand certificates.
const MOST_ANSWER: usize = 4 << 20;
/// So much of an error's text is shown.
const MOST_WORDS: usize = 300;

/// What a token is for.
const MANAGEMENT: &str = "https://management.core.windows.net";
const KEY_VAULT: &str = "https://vault.azure.net";

/// What follows a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// Try again, not before the time that the other side asked for.
    Again(Option<Duration>),
    /// The token was refused: get another and try again.
    NewToken,
    /// Trying again is in vain until somebody changes something.
    Hold,
}

/// A request that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What follows.
    pub next: Next,
    /// Whether it may have left this host.
    pub sent: bool,
    /// What went wrong.
    pub problem: Problem,
}

/// What a status that is no 2xx means. The only place that decides it.
pub fn after_status(status: u16, retry_after: Option<Duration>) -> Next {
    match status {
        401 => Next::NewToken,
        408 | 425 | 429 => Next::Again(retry_after),
        400..=499 => Next::Hold,
        // A redirect is not followed: the token belongs to this host. It may be a gateway's maintenance page.
        _ => Next::Again(retry_after),
    }
}

/// The client.
pub struct Portal {
    config: config::Portal,
    /// Where the requests are made; here if it is nowhere else.
    apart: Option<Apart>,
    secret: Secret,
    clients: Clients,
    tokens: Tokens,
    /// Those that the portal is given to reach the customer's Key Vault.
    vault_tokens: Tokens,
}

/// Where the client secret comes from.
enum Secret {
    /// The file that the configuration names, read at each use: it can be replaced while certhook runs.
    File,
    /// Who asked last gave it.
    Given(Mutex<Result<SecretString, Problem>>),
}

impl Secret {
    fn given() -> Self {
        Self::Given(Mutex::new(Err(Problem::new("no_secret", "no client secret was given", "report it"))))
    }

    fn give(&self, secret: Result<SecretString, Problem>) {
        if let Self::Given(given) = self {
            *given.lock().unwrap_or_else(PoisonError::into_inner) = secret;
        }
    }
}

impl Portal {
    /// A client for this configuration.
    pub fn new(config: config::Portal) -> Self {
        let clients = Clients::new(config.timeout);
        let (tokens, vault_tokens) = (Tokens::default(), Tokens::default());
        Self { config, apart: None, secret: Secret::File, clients, tokens, vault_tokens }
    }

    /// One whose requests are made in the second process, if there is one.
    pub fn apart(config: config::Portal, apart: Option<Apart>) -> Self {
        Self { apart, ..Self::new(config) }
    }

    /// Sees to it that there is a token; costs no request of the portal's.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn authorise(&self) -> Result<(), Failure> {
        if let Some(apart) = &self.apart {
            return ask(apart, &self.config, Call::Authorise).await;
        }
        self.token().await.map(drop)
    }

    /// Forgets the tokens, because the portal refused one.
    pub fn forget_token(&self) {
        if let Some(apart) = &self.apart {
            apart.tell(Kind::ForgetToken);
        }
        self.tokens.forget();
        self.vault_tokens.forget();
    }

    /// All certificates of the subscription.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn list(&self) -> Result<Vec<Certificate>, Failure> {
        if let Some(apart) = &self.apart {
            return ask(apart, &self.config, Call::List).await;
        }
        let answer = self.call(Method::GET, "/api/v2/CertificateList", |request| request).await?;
        wire::list(&answer).map_err(|error| self.unusable(&error))
    }

    /// Tells that a certificate was installed; `Ok` only if the portal echoes it.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn report(&self, id: i64, name: &str, remote_create_date: &str) -> Result<(), Failure> {
        if let Some(apart) = &self.apart {
            let (name, remote_create_date) = (name.to_owned(), remote_create_date.to_owned());
            return ask(apart, &self.config, Call::Report { id, name, remote_create_date }).await;
        }
        let report = wire::Report { id, name, remote_create_date };
        let answer = self.call(Method::POST, "/api/v2/Certificate", |request| request.json(&report)).await?;
        wire::echoes(&answer, &report).map_err(|error| self.unusable(&error))
    }

    /// Schedules the renewal of whatever is due in the whole subscription; tells which certificates that is.
    /// `key_vault` gives the portal a token for those that it has to put into a Key Vault.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn renew(&self, key_vault: bool) -> Result<Vec<Certificate>, Failure> {
        if let Some(apart) = &self.apart {
            return ask(apart, &self.config, Call::Renew { key_vault }).await;
        }
        let vault = match key_vault {
            true => Some(self.vault_tokens.get(|| self.ask_token(KEY_VAULT)).await?),
            false => None,
        };
        let with_body = |request: RequestBuilder| match &vault {
            Some(token) => request.json(&wire::Renewal { key_vault_access_token: token.expose_secret() }),
            // Gateways refuse a POST that says nothing of its length.
            None => request.header(CONTENT_LENGTH, 0),
        };
        let answer = self.call(Method::POST, "/api/v2/CertificateRenewal", with_body).await?;
        wire::list(&answer).map_err(|error| self.unusable(&error))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        build: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Vec<u8>, Failure> {
        let token = self.token().await?;
        let bearer = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
        let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| {
            let problem = Problem::new(
                "bad_token",
                "the login service's token holds characters that no header may",
                "see login",
            );
            Failure { next: Next::Again(None), sent: true, problem }
        })?;
        bearer.set_sensitive(true);
        let url = format!("{}{path}", self.config.endpoint.as_str());
        let request = build(self.http(&url)?.request(method, url).header(AUTHORIZATION, bearer));
        self.send("portal", request).await
    }

    async fn token(&self) -> Result<Arc<SecretString>, Failure> {
        self.tokens.get(|| self.ask_token(MANAGEMENT)).await
    }

    async fn ask_token(&self, resource: &str) -> Result<token::Token, Failure> {
        let secret = self.client_secret()?;
        let url = format!("{}/{}/oauth2/token", self.config.login.as_str(), self.config.tenant_id);
        let request = self.http(&url)?.post(url).form(&[
            ("grant_type", "client_credentials"),
            ("client_id", &self.config.client_id),
            ("client_secret", secret.expose_secret()),
            ("resource", resource),
        ]);
        let answer = self.send("login service", request).await.map_err(|mut failure| {
            // Whatever it says of the credentials, they can be mended without certhook being told.
            if !matches!(failure.next, Next::Again(_)) {
                failure.next = Next::Again(None);
                failure.problem.code = "credentials_refused".to_owned();
                failure.problem.remedy =
                    "see that tenant_id, client_id and the client secret are right".to_owned();
            }
            failure
        })?;
        let answer = Zeroizing::new(answer);
        token::Token::parse(&answer).map_err(|error| self.unusable(&error))
    }

    fn client_secret(&self) -> Result<SecretString, Failure> {
        let secret = match &self.secret {
            Secret::File => read_secret(&self.config.secret),
            Secret::Given(given) => given.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        secret.map_err(|problem| Failure { next: Next::Again(None), sent: true, problem })
    }

    async fn send(&self, who: &str, request: RequestBuilder) -> Result<Vec<u8>, Failure> {
        let mut response = request.send().await.map_err(|error| broken(who, &error))?;
        let status = response.status();
        let retry_after = retry_after(&response);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(who, &error))? {
            if body.len() + chunk.len() > MOST_ANSWER {
                let message = format!("the {who} answered with more than {} MB", MOST_ANSWER >> 20);
                let problem =
                    Problem::new("answer_too_large", message, "see that endpoint and login are right");
                return Err(Failure { next: Next::Again(None), sent: true, problem });
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(body);
        }
        let words = self.words(&body);
        let problem = Problem::new(
            &format!("http_{}", status.as_u16()),
            format!(
                "the {who} answered {}{}{words}",
                status.as_u16(),
                if words.is_empty() { "" } else { ": " }
            ),
            match after_status(status.as_u16(), None) {
                Next::Hold => "mend what it says, then run: certhook sync --retry",
                _ => "certhook tries again by itself",
            },
        );
        Err(Failure { next: after_status(status.as_u16(), retry_after), sent: true, problem })
    }

    /// An answer's text without what must not be seen.
    fn words(&self, body: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(&body[..body.len().min(4096)]).into_owned();
        let tokens = [&self.tokens, &self.vault_tokens].map(|tokens| tokens.known());
        let tokens = tokens.into_iter().flatten().map(|token| (*token).clone());
        for secret in self.client_secret().ok().into_iter().chain(tokens) {
            for form in forms(secret.expose_secret()) {
                text = text.replace(form.as_str(), "[secret]");
            }
        }
        if text.trim_start().starts_with('<') {
            return "a page of HTML".to_owned();
        }
        printable(&without_tokens(&text), MOST_WORDS)
    }

    fn unusable(&self, error: &wire::Unusable) -> Failure {
        let words = self.words(error.to_string().as_bytes());
        Failure {
            next: Next::Again(None),
            sent: true,
            problem: Problem::new(
                "bad_answer",
                words,
                "see that endpoint and login are right; certhook tries again by itself",
            ),
        }
    }

    /// Lets go of the connections.
    pub fn rest(&self) {
        if let Some(apart) = &self.apart {
            apart.tell(Kind::Rest);
        }
        self.clients.rest();
    }

    /// Where the requests are made, if it is not here.
    pub fn place(&self) -> Option<&Apart> {
        self.apart.as_ref()
    }

    fn http(&self, url: &str) -> Result<reqwest::Client, Failure> {
        let unusable = |problem| Failure { next: Next::Again(None), sent: false, problem };
        self.clients.get(url.starts_with("http:")).map_err(unusable)
    }
}

/// The client secret, as its file has it now.
fn read_secret(source: &config::SecretSource) -> Result<SecretString, Problem> {
    let text = crate::files::secret(&source.path).map_err(|error| {
        let mut problem = error.problem("no_secret");
        problem.message = format!("the client secret: {}", problem.message);
        problem
    })?;
    let text = text.trim();
    if text.is_empty() {
        let message = format!("the client secret {} is empty", source.path.display());
        return Err(Problem::new("no_secret", message, "write the secret of the application into it"));
    }
    Ok(SecretString::from(text))
}

/// How a secret may stand in an answer: as it is, percent-encoded as it was sent, or escaped in JSON.
fn forms(secret: &str) -> [Zeroizing<String>; 4] {
    let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let escaped = serde_json::to_string(secret).unwrap_or_default();
    let escaped = escaped.trim_matches('"').to_owned();
    let slashes = escaped.replace('/', "\\/");
    [secret.to_owned(), encoded, escaped, slashes].map(Zeroizing::new)
}

/// Leaves out whatever looks like a token of the login's: one that is not in use any more may still be good.
fn without_tokens(text: &str) -> String {
    let in_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=');
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("eyJ") {
        let (before, token) = rest.split_at(at);
        let end = token.find(|c| !in_token(c)).unwrap_or(token.len());
        out.push_str(before);
        out.push_str(if end >= 20 { "[secret]" } else { &token[..end] });
        rest = &token[end..];
    }
    out + rest
}

/// Seconds, or a date; at most a week, whatever is asked.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    wire::retry_after(text, jiff::Timestamp::now())
}

/// Whether two names of the portal's mean one certificate.
pub fn same_name(a: &str, b: &str) -> bool {
    Hosts::from_portal_name(a) == Hosts::from_portal_name(b)
}

#[cfg(test)]
mod tests;
