//! The login's token: kept until shortly before it ends, asked for once.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::Failure;
use super::wire::{Unusable, number_or_string};

/// A token is not used in its last minutes: the request with it takes time, and clocks differ.
const MARGIN: Duration = Duration::from_secs(300);

/// A token and when to ask for another.
pub(super) struct Token {
    secret: Arc<SecretString>,
    good_until: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    #[serde(deserialize_with = "number_or_string")]
    expires_in: u64,
}

impl Token {
    /// From the login's answer, whose numbers may be strings.
    pub(super) fn parse(answer: &[u8]) -> Result<Self, Unusable> {
        // serde's own words could repeat the answer; these say enough.
        let object = answer.trim_ascii_start().starts_with(b"{");
        let answer = serde_json::from_slice::<Answer>(answer).ok();
        let good = |answer: &Answer| object && !answer.access_token.expose_secret().is_empty();
        let answer = answer.filter(good).ok_or(Unusable::NoToken)?;
        let life = Duration::from_secs(answer.expires_in.min(7 * 86_400));
        // A token of a short life is used for the first half of it.
        let margin = MARGIN.min(life / 2);
        Ok(Self { secret: Arc::new(answer.access_token), good_until: Instant::now() + (life - margin) })
    }

    /// How long it is used from now on.
    pub(super) fn left(&self) -> Duration {
        self.good_until.saturating_duration_since(Instant::now())
    }
}

/// The one token in use.
#[derive(Default)]
pub(super) struct Tokens {
    kept: Mutex<Option<Token>>,
    /// Whoever wants one while it is being asked for waits for that one: the login service counts too.
    asking: tokio::sync::Mutex<()>,
}

impl Tokens {
    /// The token, asked for if there is none that is good.
    pub(super) async fn get<F>(&self, ask: impl FnOnce() -> F) -> Result<Arc<SecretString>, Failure>
    where
        F: Future<Output = Result<Token, Failure>>,
    {
        if let Some(good) = self.good() {
            return Ok(good);
        }
        let _alone = self.asking.lock().await;
        if let Some(good) = self.good() {
            return Ok(good);
        }
        let token = ask().await?;
        let secret = Arc::clone(&token.secret);
        *self.lock() = Some(token);
        Ok(secret)
    }

    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    /// The token in use, good or not.
    pub(super) fn known(&self) -> Option<Arc<SecretString>> {
        self.lock().as_ref().map(|token| Arc::clone(&token.secret))
    }

    fn good(&self) -> Option<Arc<SecretString>> {
        self.lock()
            .as_ref()
            .filter(|token| Instant::now() < token.good_until)
            .map(|token| Arc::clone(&token.secret))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Token>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_be_strings() {
        for answer in
            [r#"{"access_token":"t","expires_in":"3599"}"#, r#"{"access_token":"t","expires_in":3599}"#]
        {
            let token = Token::parse(answer.as_bytes()).unwrap_or_else(|_| panic!("{answer}"));
            let left = token.left();
            assert!(left > Duration::from_secs(3200) && left < Duration::from_secs(3300), "{left:?}");
        }
    }

    #[test]
    fn an_answer_without_a_token_is_refused_without_repeating_it() {
        let error = Token::parse(br#"{"access_token":5,"secret":"hidden"}"#).err().unwrap();
        assert!(!error.to_string().contains("hidden"));
        for answer in
            [r#"["t",3599]"#, r#"{"access_token":"","expires_in":1}"#, r#"{"access_token":"t"}"#, "{}", ""]
        {
            assert!(Token::parse(answer.as_bytes()).is_err(), "{answer}");
        }
    }
}
