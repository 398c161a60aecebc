//! The portal simulator, asked over plain TCP.

#![allow(clippy::disallowed_methods, reason = "what it reads is its own")]

mod api;
mod client;
mod downloads;
mod hostile;
mod renewals;
mod running;
mod spoils;
mod troubles;
