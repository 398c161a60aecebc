//! `/simulator/…`: troubles, the journals, certificates and their downloads for hands outside the process.
//!
//! Such requests are neither journaled nor counted.

use jiff::SignedDuration;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::House;
use super::downloads::Spoil;
use super::http::{Reply, Request};
use super::record::Record;
use super::trouble::Trouble;

/// Answers a request that is for the simulator itself.
pub(super) fn answer(house: &House, request: &Request) -> Option<Reply> {
    let path = request.path.strip_prefix("/simulator/")?;
    Some(match (request.method.as_str(), path) {
        ("POST", "trouble") => add_troubles(house, request),
        ("GET", "trouble") => Reply::json(200, &house.read(|state| state.troubles.clone())),
        ("DELETE", "trouble") => {
            house.change(|state| state.troubles.clear());
            Reply::json(200, &json!([]))
        }
        ("GET", "journal") => journal(house),
        ("POST", "spoils") => add_spoils(house, request),
        ("GET", "spoils") => Reply::json(200, &house.read(|state| state.store.spoils.clone())),
        ("DELETE", "spoils") => {
            house.change(|state| state.store.spoils.clear());
            Reply::json(200, &json!([]))
        }
        ("GET", "downloads") => downloads(house),
        ("GET", "root") => house.read(|state| Reply::text(200, state.store.authority.root_pem())),
        ("POST", "renewals") => {
            let renewed = house.change(|state| state.renew_scheduled(|_| true, state.now()));
            Reply::json(200, &renewed)
        }
        ("GET", "renewals") => {
            Reply::json(200, &house.read(|state| state.scheduled.keys().copied().collect::<Vec<_>>()))
        }
        ("POST", "clock") => advance(house, request),
        ("GET", "certificates") => certificates(house),
        ("POST", "certificates") => set_certificate(house, request),
        _ => {
            let text = "The simulator has trouble, journal, certificates, renewals, spoils, downloads, \
                        root and clock.\n";
            Reply::text(404, text)
        }
    })
}

fn add_troubles(house: &House, request: &Request) -> Reply {
    let troubles = match some::<Trouble>(request) {
        Ok(troubles) => troubles,
        Err(text) => return Reply::text(400, text),
    };
    let queue = house.change(|state| {
        state.troubles.extend(troubles);
        state.troubles.clone()
    });
    Reply::json(200, &queue)
}

fn add_spoils(house: &House, request: &Request) -> Reply {
    let spoils = match some::<Spoil>(request) {
        Ok(spoils) => spoils,
        Err(text) => return Reply::text(400, text),
    };
    let queue = house.change(|state| {
        state.store.spoils.extend(spoils);
        state.store.spoils.clone()
    });
    Reply::json(200, &queue)
}

/// `{"advance":600}` moves the portal's clock forward, in seconds.
fn advance(house: &House, request: &Request) -> Reply {
    let fields = read::<Map<String, Value>>(request).unwrap_or_default();
    match fields.get("advance").and_then(Value::as_u64).map(i64::try_from) {
        Some(Ok(seconds)) => house.change(|state| {
            state.ahead = state.ahead.saturating_add(SignedDuration::from_secs(seconds));
            Reply::json(200, &json!({"now": state.now().to_string()}))
        }),
        _ => Reply::text(400, "Say {\"advance\":SECONDS}.\n"),
    }
}

fn journal(house: &House) -> Reply {
    let lines = house
        .read(|state| state.journal.entries.iter().map(|entry| format!("{entry}\n")).collect::<String>());
    Reply::text(200, lines)
}

fn downloads(house: &House) -> Reply {
    let lines =
        house.read(|state| state.store.journal.iter().map(|entry| format!("{entry}\n")).collect::<String>());
    Reply::text(200, lines)
}

fn certificates(house: &House) -> Reply {
    house.read(|state| {
        let records = state.certificates.iter().map(|record| state.response(record));
        Reply::json(200, &records.collect::<Vec<_>>())
    })
}

/// Adds a certificate, or replaces the one with its id.
fn set_certificate(house: &House, request: &Request) -> Reply {
    let record = read::<Map<String, Value>>(request).and_then(|fields| {
        if fields.contains_key("id") && fields.contains_key("name") {
            Record::from_fields(&fields)
        } else {
            Err("A certificate has an id and a name.\n".to_owned())
        }
    });
    match record {
        Ok(record) => {
            house.change(|state| state.set_certificate(record));
            certificates(house)
        }
        Err(text) => Reply::text(400, text),
    }
}

/// Either one of them or a list.
fn some<T: DeserializeOwned>(request: &Request) -> Result<Vec<T>, String> {
    let all = match read::<Value>(request)? {
        Value::Array(all) => all,
        one => vec![one],
    };
    let all: Result<Vec<T>, _> = all.into_iter().map(serde_json::from_value).collect();
    all.map_err(|error| format!("{error}\n"))
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, String> {
    serde_json::from_slice(&request.body).map_err(|error| format!("{error}\n"))
}
