//! IIS without any site: what its bindings are to show by HTTP.sys's records, against the wire.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Chains, OnDisk, Verdict, days_left, key_type, on_wire};
use crate::certificate::Leaf;
use crate::cli::{complain, survey};
use crate::config::{Ask, Binding, Config};
use crate::probe;
use crate::problem::Problem;
use crate::server::Server;

pub(super) async fn verdicts(
    config: &Config,
    known: &[Option<Problem>],
    chains: &mut Chains,
    now: Timestamp,
) -> Vec<Verdict> {
    let mut found = Vec::new();
    for server in config.servers.iter().filter(|server| server.discovers()) {
        let shown = Server::new(server).shown().unwrap_or_else(|problem| {
            // What keeps its configuration from being read was told.
            if !known.contains(&Some(problem.clone())) {
                complain(&format!("{}: {problem}", server.name));
            }
            Vec::new()
        });
        for (binding, leaf) in shown {
            found.push(match leaf {
                Some(leaf) => asked(&server.name, &binding, &Arc::new(leaf), chains, now).await,
                None => without(&server.name, &binding),
            });
        }
    }
    found
}

async fn asked(
    server: &str,
    binding: &Binding,
    leaf: &Arc<Leaf>,
    chains: &mut Chains,
    now: Timestamp,
) -> Verdict {
    let hosts = match binding.host() {
        "" => Vec::new(),
        host => vec![host.replacen('*', "certhook-probe", 1)],
    };
    let ask = Ask { endpoint: binding.endpoint(), hosts };
    let shown = probe::look(&[ask], leaf, survey::PATIENCE).await;
    let wire: Vec<_> = shown
        .iter()
        .map(|shown| {
            let chain = shown.chain.as_ref().map(|chain| chains.judge(chain, now));
            on_wire(&shown.sighting, Some(leaf), chain.as_ref(), now)
        })
        .collect();
    let is_served = !wire.is_empty() && wire.iter().all(|seen| seen.matches);
    let sent = shown.iter().map(|shown| (&shown.sighting, shown.chain.as_ref()));
    let of_chain = chains.verdict(leaf.fingerprint, sent, now).and_then(Result::err);
    let ok = is_served && of_chain.is_none();
    let problem = (!is_served).then(|| {
        let why = wire.iter().find_map(|seen| seen.error.clone());
        let why = why.unwrap_or_else(|| "another certificate is served".to_owned());
        let message = format!("{binding} does not show the certificate of its record: {why}");
        Problem::new(
            "not_served",
            message,
            "see in the IIS manager that the site is started and whose the address is",
        )
    });
    let problem = problem.or(of_chain);
    Verdict {
        ok: Some(ok),
        on_disk: Some(OnDisk {
            fingerprint: leaf.fingerprint.to_string(),
            not_after: leaf.not_after,
            days_left: days_left(leaf, now),
            key_type: key_type(leaf),
        }),
        wire,
        problem,
        ..nothing(server, binding)
    }
}

fn without(server: &str, binding: &Binding) -> Verdict {
    let message = format!(
        "HTTP.sys has no record of {binding}, or one whose certificate is in no store of the machine"
    );
    let remedy = "bind a certificate in the IIS manager; netsh http show sslcert lists the records";
    Verdict { problem: Some(Problem::new("no_record", message, remedy)), ..nothing(server, binding) }
}

fn nothing(server: &str, binding: &Binding) -> Verdict {
    Verdict {
        name: binding.to_string(),
        certificate: String::new(),
        server: server.to_owned(),
        ok: Some(false),
        on_disk: None,
        wire: Vec::new(),
        problem: None,
    }
}
