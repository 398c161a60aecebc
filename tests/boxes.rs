//! The packages, in booted Debians: what they install, what they leave, and certhook's whole job in its sandbox.
//! `make lifecycle` builds the packages and runs this.

#![allow(clippy::disallowed_methods, reason = "what it reads is its own")]

#[path = "boxes/certbot.rs"]
mod certbot;
#[path = "boxes/host.rs"]
mod host;
#[path = "boxes/lifecycle.rs"]
mod lifecycle;
#[path = "boxes/rpm.rs"]
mod rpm;
#[path = "boxes/sandbox.rs"]
mod sandbox;
#[path = "boxes/service.rs"]
mod service;
