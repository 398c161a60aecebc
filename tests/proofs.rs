//! What certhook is trusted for, proved with real parts: a real nginx, a real ledger, real sockets.
//! The modules are by what they prove; `host` is the ground they stand on.

#![allow(clippy::disallowed_methods, reason = "what it reads is its own")]

#[path = "proofs/abuse.rs"]
mod abuse;
#[path = "proofs/alerts.rs"]
mod alerts;
#[path = "proofs/architecture.rs"]
mod architecture;
#[path = "proofs/chains.rs"]
mod chains;
#[path = "proofs/checks.rs"]
mod checks;
#[path = "proofs/commands.rs"]
mod commands;
#[path = "proofs/corpus.rs"]
mod corpus;
#[path = "proofs/courier.rs"]
mod courier;
#[path = "proofs/crashes.rs"]
mod crashes;
#[path = "proofs/dead_server.rs"]
mod dead_server;
#[path = "proofs/delivery.rs"]
mod delivery;
#[path = "proofs/discovery.rs"]
mod discovery;
#[path = "proofs/evidence.rs"]
mod evidence;
#[path = "proofs/fetch.rs"]
mod fetch;
#[path = "proofs/following.rs"]
mod following;
#[path = "proofs/forms.rs"]
mod forms;
#[path = "proofs/hooks.rs"]
mod hooks;
#[path = "proofs/host.rs"]
mod host;
#[path = "proofs/limits.rs"]
mod limits;
#[path = "proofs/main_job.rs"]
mod main_job;
#[path = "proofs/metrics.rs"]
mod metrics;
#[path = "proofs/network.rs"]
mod network;
#[path = "proofs/nginx.rs"]
mod nginx;
#[path = "proofs/no_ipv6.rs"]
mod no_ipv6;
#[path = "proofs/nodes.rs"]
mod nodes;
#[path = "proofs/outward.rs"]
mod outward;
#[path = "proofs/red.rs"]
mod red;
#[path = "proofs/refusals.rs"]
mod refusals;
#[path = "proofs/renewal.rs"]
mod renewal;
#[path = "proofs/secrets.rs"]
mod secrets;
#[path = "proofs/service.rs"]
mod service;
#[path = "proofs/silent.rs"]
mod silent;
#[path = "proofs/threads.rs"]
mod threads;
#[path = "proofs/way.rs"]
mod way;
#[path = "proofs/wire.rs"]
mod wire;
