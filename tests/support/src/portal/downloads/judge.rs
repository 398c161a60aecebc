//! What the download server answers: as Azure's blob storage does.

use std::time::Instant;

use jiff::Timestamp;

use super::{Download, FileKind, SIGNED_VERSION, Store, spoil};
use crate::portal::form;
use crate::portal::http::{Reply, Request};
use crate::portal::state::State;
use crate::portal::trouble::Delivery;

/// Answers a request, and journals it.
pub(super) fn take(state: &mut State, request: &Request) -> Delivery {
    let now = state.now();
    let signed = state.settings.signed_links;
    match judge(&state.store, request, signed, now) {
        Ok((id, kind)) => {
            let (how, delivery) = spoil::serve(&mut state.store, id, kind);
            note(state, request, Some((id, kind)), how, None, delivery)
        }
        Err((reply, said)) => note(state, request, None, None, Some(said), Delivery::Whole(reply)),
    }
}

/// Journals what cannot be parsed.
pub(super) fn take_broken(state: &mut State, reply: Reply) -> Delivery {
    let unknown = || "?".to_owned();
    let request = Request { method: unknown(), path: unknown(), ..Request::default() };
    let said = String::from_utf8_lossy(&reply.body).into_owned();
    note(state, &request, None, None, Some(said), Delivery::Whole(reply))
}

fn note(
    state: &mut State,
    request: &Request,
    found: Option<(i64, FileKind)>,
    spoiled: Option<spoil::How>,
    note: Option<String>,
    delivery: Delivery,
) -> Delivery {
    let download = Download {
        number: state.store.journal.len() + 1,
        at: Instant::now(),
        time: state.now(),
        method: request.method.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        headers: request.headers.clone(),
        body: String::from_utf8_lossy(&request.body).into_owned(),
        certificate: found.map(|(id, _)| id),
        file: found.map(|(_, kind)| kind),
        status: delivery.status(),
        note,
        spoiled,
    };
    state.store.journal.push(download);
    delivery
}

/// The file a request may have, or the refusal and its reason. Who asks is looked at before what for.
fn judge(
    store: &Store,
    request: &Request,
    signed: bool,
    now: Timestamp,
) -> Result<(i64, FileKind), (Reply, String)> {
    let refuse = |status, code, detail: &str| (error(status, code, detail), format!("{code}: {detail}"));
    if request.method != "GET" {
        let (reply, said) = refuse(405, "UnsupportedHttpVerb", "The resource doesn't support this verb.");
        return Err((reply.with("Allow", "GET"), said));
    }
    if request.all("authorization").next().is_some() {
        let text = "Authentication information is not given in the correct format.";
        return Err(refuse(401, "InvalidAuthenticationInfo", text));
    }
    if signed {
        let query = request.query.as_deref().unwrap_or_default();
        let query = form::pairs(query).map_err(|text| refuse(400, "InvalidQueryParameterValue", &text))?;
        let field = |name| form::value(&query, name);
        let Some(signature) = field("sig") else {
            // What is not public does not exist for those without a signature.
            return Err(refuse(404, "ResourceNotFound", "The specified resource does not exist."));
        };
        let until = field("se").unwrap_or_default();
        let right = store.signature(&request.path, until);
        if signature != right
            || [field("sv"), field("sr"), field("sp")] != [SIGNED_VERSION, "b", "r"].map(Some)
        {
            return Err(refuse(403, "AuthenticationFailed", "Signature did not match."));
        }
        if until.parse::<Timestamp>().is_ok_and(|until| until <= now) {
            let text = format!("Signature not valid in the specified time frame: Expiry [{until}]");
            return Err(refuse(403, "AuthenticationFailed", &text));
        }
    }
    match store.find(&request.path) {
        Some((id, kind, _)) => Ok((id, kind)),
        None => Err(refuse(404, "BlobNotFound", "The specified blob does not exist.")),
    }
}

/// An error as Azure's storage writes it, byte order mark and all.
pub(super) fn error(status: u16, code: &str, detail: &str) -> Reply {
    let text = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code>\
         <Message>The storage account refuses.</Message>\
         <AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail></Error>"
    );
    Reply::typed(status, "application/xml", text.into_bytes()).with("x-ms-error-code", code)
}
