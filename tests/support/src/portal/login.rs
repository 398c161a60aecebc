//! The login service: client credentials become tokens.

use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::form;
use super::http::{Reply, Request};
use super::journal::What;
use super::record::Fields;
use super::rules::{Effect, Verdict};
use super::state::State;

/// The resource of the tokens that the API takes.
pub(super) const API: &str = "https://management.core.windows.net";
/// The resource of the tokens for a Key Vault.
pub(super) const VAULT: &str = "https://vault.azure.net";

/// A token and what it is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) resource: String,
    pub(super) expires: Timestamp,
}

/// The tenant in a token path.
pub(super) fn tenant(path: &str) -> Option<&str> {
    let tenant = path.strip_prefix('/')?.strip_suffix("/oauth2/token")?;
    Some(tenant).filter(|tenant| !tenant.is_empty() && !tenant.contains('/'))
}

/// Grants or refuses a token.
pub(super) fn judge(state: &State, request: &Request, now: Timestamp) -> Verdict {
    match wanted_resource(state, request) {
        Ok(resource) => grant(state, resource, now),
        Err(reply) => Verdict::refused(What::Token, reply),
    }
}

/// The resource of a request that may have a token.
fn wanted_resource(state: &State, request: &Request) -> Result<String, Reply> {
    let settings = &state.settings;
    let named = tenant(&request.path).unwrap_or_default();
    if named != settings.tenant {
        let text = format!("AADSTS90002: Tenant '{named}' not found.");
        return Err(refusal(400, "invalid_request", &text));
    }
    if !request.is_of_type("application/x-www-form-urlencoded") {
        let text = "AADSTS900144: The request body must be application/x-www-form-urlencoded.";
        return Err(refusal(400, "invalid_request", text));
    }
    let body = std::str::from_utf8(&request.body).map_err(|error| error.to_string());
    let form = body
        .and_then(form::pairs)
        .map_err(|text| refusal(400, "invalid_request", &format!("AADSTS90014: {text}")))?;
    let field = |name: &str| {
        form::value(&form, name).filter(|value| !value.is_empty()).ok_or_else(|| {
            let text = "AADSTS900144: The request body must contain the following parameter:";
            refusal(400, "invalid_request", &format!("{text} '{name}'."))
        })
    };
    if field("grant_type")? != "client_credentials" {
        let text = "AADSTS70003: The app requested an unsupported grant type.";
        return Err(refusal(400, "unsupported_grant_type", text));
    }
    if field("client_id")? != settings.client_id {
        let text = "AADSTS700016: The application was not found in the directory.";
        return Err(refusal(400, "unauthorized_client", text));
    }
    if field("client_secret")? != settings.client_secret {
        let text = "AADSTS7000215: Invalid client secret is provided.";
        return Err(refusal(401, "invalid_client", text));
    }
    match field("resource")? {
        resource @ (API | VAULT) => Ok(resource.to_owned()),
        other => {
            let text = format!("AADSTS500011: The resource principal named {other} was not found.");
            Err(refusal(400, "invalid_resource", &text))
        }
    }
}

fn refusal(status: u16, error: &str, text: &str) -> Reply {
    Reply::json(status, &json!({"error": error, "error_description": text}))
}

fn grant(state: &State, resource: String, now: Timestamp) -> Verdict {
    let settings = &state.settings;
    let lifetime = i64::try_from(settings.token_lifetime.as_secs()).unwrap_or(i64::MAX);
    let expires = now.saturating_add(SignedDuration::from_secs(lifetime));
    let expires = expires.unwrap_or(Timestamp::MAX);
    let number = |number: i64| {
        if settings.expires_in_as_number { json!(number) } else { json!(number.to_string()) }
    };
    let token = Token { text: fresh_token(), resource: resource.clone(), expires };
    let fields = [
        ("token_type", json!("Bearer")),
        ("expires_in", number(lifetime)),
        ("ext_expires_in", number(lifetime)),
        ("expires_on", number(expires.as_second())),
        ("not_before", number(now.as_second())),
        ("resource", json!(resource)),
        ("access_token", json!(token.text)),
    ];
    let fields = fields.map(|(field, value)| (field.to_owned(), value));
    let note = (resource == VAULT).then(|| "for a Key Vault".to_owned());
    Verdict {
        what: What::Token,
        reply: Reply::json(200, &Fields(fields.into())),
        effect: Some(Effect::Issue(token)),
        admitted: false,
        token: Some(state.tokens.len() + 1),
        note,
    }
}

/// A text that looks like a JSON Web Token and cannot be guessed.
fn fresh_token() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = [0_u8; 160];
    SystemRandom::new().fill(&mut random).expect("the system has randomness");
    let text: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect();
    let (claims, signature) = text.split_at(74);
    format!("eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.{claims}.{signature}")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::portal::builder::Settings;

    const GOOD: &str = "grant_type=client_credentials&client_id=625bc9f6-3bf6-4b6d-94ba-e97cf07a22de\
        &client_secret=qkDwDJlDfig2IpeuUZYKH1Wb8q1V0ju6sILxQQqhJ%2Bs%3D\
        &resource=https%3A%2F%2Fmanagement.core.windows.net";

    fn now() -> Timestamp {
        "2026-11-21T19:00:00Z".parse().unwrap()
    }

    fn ask(state: &State, path: &str, media_type: &str, body: &str) -> (u16, Value) {
        let request = Request {
            method: "POST".to_owned(),
            path: path.to_owned(),
            headers: vec![("content-type".to_owned(), media_type.to_owned())],
            body: body.as_bytes().to_vec(),
            ..Request::default()
        };
        let verdict = judge(state, &request, now());
        assert_eq!(verdict.effect.is_some(), verdict.reply.status == 200);
        (verdict.reply.status, serde_json::from_slice(&verdict.reply.body).unwrap())
    }

    #[test]
    fn each_rule_has_its_refusal() {
        let state = State::new(Settings::default());
        let form = "application/x-www-form-urlencoded";
        let without = |name: &str| {
            let parts: Vec<_> = GOOD.split('&').filter(|part| !part.starts_with(name)).collect();
            parts.join("&")
        };
        let good = "/contoso.com/oauth2/token";
        for (path, media_type, body, status, error, text) in [
            ("/fabrikam.com/oauth2/token", form, GOOD, 400, "invalid_request", "Tenant"),
            (good, "application/json", GOOD, 400, "invalid_request", "urlencoded"),
            (good, form, &format!("{GOOD}&a=%"), 400, "invalid_request", "broken"),
            (good, form, &format!("{GOOD}&client_id=x"), 400, "invalid_request", "twice"),
            (good, form, &without("grant_type"), 400, "invalid_request", "'grant_type'"),
            (good, form, &without("client_id"), 400, "invalid_request", "'client_id'"),
            (good, form, &without("client_secret"), 400, "invalid_request", "'client_secret'"),
            (good, form, &without("resource"), 400, "invalid_request", "'resource'"),
            (good, form, &GOOD.replace("=client_", "=Client_"), 400, "unsupported_grant_type", ""),
            (good, form, &GOOD.replace("625", "626"), 400, "unauthorized_client", ""),
            (good, form, &GOOD.replace("qkD", "qkd"), 401, "invalid_client", ""),
            // A plus sign that was not encoded is a space.
            (good, form, &GOOD.replace("%2B", "+"), 401, "invalid_client", ""),
            (good, form, &format!("{GOOD}%2F"), 400, "invalid_resource", ""),
        ] {
            let (answered, answer) = ask(&state, path, media_type, body);
            assert_eq!((answered, &answer["error"]), (status, &json!(error)), "{body}");
            let description = answer["error_description"].as_str().unwrap();
            assert!(description.contains(text), "{description}");
        }
    }

    #[test]
    fn a_token_tells_its_lifetime_in_strings_or_numbers() {
        let ask = |settings| {
            let state = State::new(settings);
            let form = "application/x-www-form-urlencoded; charset=utf-8";
            ask(&state, "/contoso.com/oauth2/token", form, GOOD)
        };
        let (status, strings) = ask(Settings::default());
        assert_eq!(status, 200);
        assert_eq!(strings["token_type"], "Bearer");
        assert_eq!(strings["resource"], API);
        assert_eq!(strings["expires_in"], "3599");
        assert_eq!(strings["not_before"], now().as_second().to_string());
        assert_eq!(strings["expires_on"], (now().as_second() + 3599).to_string());
        let (_, numbers) = ask(Settings { expires_in_as_number: true, ..Settings::default() });
        assert_eq!(numbers["expires_in"], 3599);
        assert_eq!(numbers["expires_on"], now().as_second() + 3599);
    }

    #[test]
    fn tokens_are_never_the_same() {
        let (one, other) = (fresh_token(), fresh_token());
        assert_ne!(one, other);
        assert!(one.starts_with("eyJ0eXAi") && one.split('.').count() == 3, "{one}");
    }

    #[test]
    fn finds_the_tenant() {
        assert_eq!(tenant("/contoso.com/oauth2/token"), Some("contoso.com"));
        for path in ["//oauth2/token", "/a/b/oauth2/token", "/a/oauth2/Token", "/oauth2/token"] {
            assert_eq!(tenant(path), None, "{path}");
        }
    }
}
