//! The portal simulator, asked over plain TCP.

mod api;
mod client;
mod downloads;
mod hostile;
mod renewals;
mod running;
mod spoils;
mod troubles;
