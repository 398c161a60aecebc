//! What the portal's API accepts, and what it answers. Nothing changes here: the effect comes back.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use super::form;
use super::http::{Reply, Request};
use super::journal::What;
use super::login::{self, Token};
use super::record::{self, Fields, Record};
use super::state::State;

/// What is to be answered, and what comes of it.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) what: What,
    pub(super) reply: Reply,
    pub(super) effect: Option<Effect>,
    /// Whether it counts against the weekly budget.
    pub(super) admitted: bool,
    /// The number of the token it carries or gets.
    pub(super) token: Option<usize>,
    pub(super) note: Option<String>,
}

/// What a request changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Issue(Token),
    Install {
        id: i64,
        name: String,
        remote_create_date: String,
    },
    /// Renewals of certificates with these ids.
    Schedule(Vec<i64>),
}

impl Verdict {
    /// A refusal that explains itself.
    pub(super) fn refused(what: What, reply: Reply) -> Self {
        let note = Some(String::from_utf8_lossy(&reply.body).into_owned());
        Self { what, reply, effect: None, admitted: false, token: None, note }
    }
}

/// Judges one request.
pub(super) fn judge(state: &State, request: &Request, now: Timestamp) -> Verdict {
    let is_token = login::tenant(&request.path).is_some();
    let calls: &[(&str, What)] = match request.path.as_str() {
        "/api/v2/Certificate" => &[("GET", What::Get), ("POST", What::Report)],
        "/api/v2/CertificateList" => &[("GET", What::List)],
        "/api/v2/CertificateRenewal" => &[("POST", What::Renew)],
        _ if is_token => &[("POST", What::Token)],
        path => {
            let text = format!("Resource not found: there is no {path} (case matters).");
            return Verdict::refused(What::Other, Reply::text(404, text));
        }
    };
    match calls.iter().find(|(method, _)| *method == request.method) {
        Some((_, What::Token)) => login::judge(state, request, now),
        Some((_, what)) => call(state, request, *what, now),
        None => {
            let allowed: Vec<_> = calls.iter().map(|(method, _)| *method).collect();
            let text = format!("The method {} is not allowed here.", request.method);
            let reply = Reply::text(405, text).with("Allow", allowed.join(", "));
            Verdict::refused(What::Other, reply)
        }
    }
}

/// Token first, then the budget, then the call itself.
fn call(state: &State, request: &Request, what: What, now: Timestamp) -> Verdict {
    let token = match bearer(state, request, now) {
        Ok(token) => token,
        Err((token, reply)) => {
            return Verdict { token, ..Verdict::refused(what, reply) };
        }
    };
    if let Some(wait) = state.budget.wait(now) {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let limit = state.budget.limit();
        let text = format!("Out of call volume quota: {limit} requests a week are allowed.");
        let reply = Reply::text(429, text).with("Retry-After", seconds.to_string());
        return Verdict { token: Some(token), ..Verdict::refused(what, reply) };
    }
    let answer = match what {
        What::Report => report(state, request, now),
        What::Renew => renew(state, request, now),
        What::List => list(state, request),
        What::Get | What::Token | What::Other => get(state, request),
    };
    let verdict = match answer {
        Ok((reply, effect)) => Verdict { what, reply, effect, admitted: true, token: None, note: None },
        Err(text) => Verdict::refused(what, Reply::text(400, text)),
    };
    Verdict { admitted: true, token: Some(token), ..verdict }
}

/// The number of the token the request carries, if it is good for the API.
fn bearer(state: &State, request: &Request, now: Timestamp) -> Result<usize, (Option<usize>, Reply)> {
    let refuse = |number, text: &str, challenge: &str| {
        (number, Reply::text(401, text).with("WWW-Authenticate", challenge))
    };
    let Some(bearer) = request.header("authorization").and_then(|value| value.split_once(' ')) else {
        return Err(refuse(None, "Unauthorized. Access token is missing.", "Bearer"));
    };
    if bearer.0 != "Bearer" {
        return Err(refuse(None, "Unauthorized. The token is not a Bearer token.", "Bearer"));
    }
    let invalid = "Bearer error=\"invalid_token\"";
    let Some(index) = state.tokens.iter().position(|token| token.text == bearer.1) else {
        return Err(refuse(None, "Unauthorized. Access token is invalid.", invalid));
    };
    let (number, token) = (index + 1, &state.tokens[index]);
    if token.expires <= now {
        return Err(refuse(Some(number), "Unauthorized. Access token is expired.", invalid));
    }
    if token.resource != login::API {
        let text = "Unauthorized. Access token is for another resource.";
        return Err(refuse(Some(number), text, invalid));
    }
    Ok(number)
}

/// What a call comes to; an error is the text of a 400.
type Answer = Result<(Reply, Option<Effect>), String>;

/// The answer to a report.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Echo<'a> {
    id: i64,
    name: &'a str,
    remote_create_date: &'a str,
}

fn report(state: &State, request: &Request, now: Timestamp) -> Answer {
    no_query(request)?;
    let fields = json_object(request)?;
    if let Some(unknown) = fields.keys().find(|field| !record::is_documented(field)) {
        return Err(format!("A CertificateResponse has no '{unknown}'."));
    }
    let id = fields.get("id").and_then(Value::as_i64).ok_or("'id' must be an integer.")?;
    let text = |field: &str| {
        let text = fields.get(field).and_then(Value::as_str);
        text.ok_or_else(|| format!("'{field}' must be a string."))
    };
    let name = text("name")?;
    let remote_create_date = text("remoteCreateDate")?;
    let date = local_date(remote_create_date)
        .ok_or("'remoteCreateDate' must be a date in the form 2021-01-30T01:04:32.")?;
    let tomorrow = record::utc(now).saturating_add(SignedDuration::from_hours(24));
    if date > tomorrow {
        return Err("'remoteCreateDate' is in the future.".to_owned());
    }
    let known = state.certificates.iter().find(|record| record.id == id);
    let known = known.ok_or_else(|| format!("There is no certificate with the id {id}."))?;
    if known.name != name {
        return Err(format!("The certificate {id} does not have the name '{name}'."));
    }
    let echo = Echo { id, name, remote_create_date };
    let reply = if state.settings.report_answer_as_object {
        Reply::json(200, &echo)
    } else {
        Reply::json(200, &[echo])
    };
    let (name, remote_create_date) = (name.to_owned(), remote_create_date.to_owned());
    Ok((reply, Some(Effect::Install { id, name, remote_create_date })))
}

fn get(state: &State, request: &Request) -> Answer {
    no_body(request)?;
    let query = form::pairs(request.query.as_deref().unwrap_or_default())?;
    if let Some((other, _)) = query.iter().find(|(field, _)| field != "name") {
        return Err(format!("There is no parameter '{other}' here."));
    }
    let name = form::value(&query, "name").filter(|name| !name.is_empty());
    let name = name.ok_or("The parameter 'name' is missing.")?;
    let known = state.certificates.iter().find(|record| record.name == name);
    let known = known.ok_or_else(|| format!("The certificate '{name}' was not found."))?;
    Ok((Reply::json(200, &state.response(known)), None))
}

fn list(state: &State, request: &Request) -> Answer {
    no_body(request)?;
    no_query(request)?;
    let all: Vec<_> = state.certificates.iter().map(|record| state.response(record)).collect();
    Ok((Reply::json(200, &all), None))
}

fn renew(state: &State, request: &Request, now: Timestamp) -> Answer {
    no_query(request)?;
    let vault = !request.body.is_empty();
    if vault {
        let mut fields = json_object(request)?;
        let token = fields.remove("keyVaultAccessToken");
        if let Some(other) = fields.keys().next() {
            return Err(format!("An AccessTokenPayload has no '{other}'."));
        }
        let token = token.as_ref().and_then(Value::as_str);
        let token = token.ok_or("'keyVaultAccessToken' must be a string.")?;
        let known = state
            .tokens
            .iter()
            .any(|known| known.text == token && known.resource == login::VAULT && known.expires > now);
        if !known {
            return Err("'keyVaultAccessToken' is not a valid token for a Key Vault.".to_owned());
        }
    }
    let due = || state.certificates.iter().filter(|record| state.is_due(record, vault, now));
    let scheduled: Vec<Fields> = due()
        .map(|record| {
            // As in the documented sample: not installed, and nothing to download.
            let record = Record { remote_create_date: None, ..record.clone() };
            record.response_with(state.settings.not_installed, None)
        })
        .collect();
    let ids: Vec<i64> = due().map(|record| record.id).collect();
    let effect = (!ids.is_empty()).then_some(Effect::Schedule(ids));
    Ok((Reply::json(200, &scheduled), effect))
}

fn no_query(request: &Request) -> Result<(), String> {
    match &request.query {
        Some(_) => Err("This call has no parameters.".to_owned()),
        None => Ok(()),
    }
}

fn no_body(request: &Request) -> Result<(), String> {
    if request.body.is_empty() { Ok(()) } else { Err("This call has no body.".to_owned()) }
}

fn json_object(request: &Request) -> Result<Map<String, Value>, String> {
    if !request.is_of_type("application/json") {
        return Err("The Content-Type must be application/json.".to_owned());
    }
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("The body must be a JSON object.".to_owned()),
        Err(error) => Err(format!("The body is not JSON: {error}.")),
    }
}

/// A valid date of exactly the form `YYYY-MM-DDTHH:MM:SS`.
fn local_date(text: &str) -> Option<DateTime> {
    let date: DateTime = text.parse().ok()?;
    Some(date).filter(|date| text.len() == 19 && date.to_string() == text)
}

#[cfg(test)]
mod tests;
