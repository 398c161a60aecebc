//! `/simulator/…`: troubles, the journal and certificates for hands outside the process.
//!
//! Such requests are neither journaled nor counted.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::House;
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
        ("GET", "certificates") => certificates(house),
        ("POST", "certificates") => set_certificate(house, request),
        _ => Reply::text(404, "The simulator has trouble, journal and certificates.\n"),
    })
}

/// Either one trouble or a list of them.
fn add_troubles(house: &House, request: &Request) -> Reply {
    let troubles = match read::<Value>(request) {
        Ok(Value::Array(troubles)) => troubles,
        Ok(trouble) => vec![trouble],
        Err(text) => return Reply::text(400, text),
    };
    let troubles: Result<Vec<Trouble>, _> = troubles.into_iter().map(serde_json::from_value).collect();
    match troubles {
        Ok(troubles) => {
            let queue = house.change(|state| {
                state.troubles.extend(troubles);
                state.troubles.clone()
            });
            Reply::json(200, &queue)
        }
        Err(error) => Reply::text(400, format!("{error}\n")),
    }
}

fn journal(house: &House) -> Reply {
    let lines = house
        .read(|state| state.journal.entries.iter().map(|entry| format!("{entry}\n")).collect::<String>());
    Reply::text(200, lines)
}

fn certificates(house: &House) -> Reply {
    house.read(|state| {
        let not_installed = state.settings.not_installed;
        let records = state.certificates.iter().map(|record| record.response(not_installed));
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

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, String> {
    serde_json::from_slice(&request.body).map_err(|error| format!("{error}\n"))
}
