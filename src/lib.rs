//! certhook sees to it that a renewed TLS certificate is served, and then tells the portal.
//!
//! ```text
//! watch ─▶ inspect ─▶ agent ─▶ server ─▶ probe ─▶ ledger ─▶ courier ─▶ portal
//! hint     files→     decides   reload    wire→    record    report
//!          bundle                         leaf
//! ```
//!
//! Probe, portal, downloads and metrics' callers are served by a second process that has no rights: [`network`], at the
//! other end of [`apart`]. The adapters are the same on both sides.
//!
//! Data goes one way along this line, and each room stands at one place on it. [`daemon`] is the only
//! loop: it takes events, hands them to the pure [`agent`], and performs the actions that come back.
//! Dependencies point inward: `cli → daemon → {agent, adapters}`; adapters know the types of `agent` and
//! `certificate` and not each other (but `courier → ledger, portal`); `agent → certificate → nothing of ours`.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests read what they wrote"))]
#![cfg_attr(not(any(windows, target_os = "linux")), forbid(unsafe_code))]

pub mod agent;
pub mod alert;
pub mod apart;
pub mod certificate;
pub mod cli;
pub mod command;
pub mod config;
pub mod control;
pub mod courier;
pub mod crash;
pub mod daemon;
pub mod discover;
pub mod fetch;
pub mod files;
pub mod inspect;
pub mod ledger;
pub mod metrics;
pub mod network;
pub mod outlets;
pub mod platform;
pub mod portal;
pub mod probe;
pub mod problem;
pub mod renewal;
pub mod roster;
pub mod server;
pub mod stage;
pub mod status;
pub mod telemetry;
pub mod watch;
