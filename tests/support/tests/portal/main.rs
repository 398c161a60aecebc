//! The portal simulator, asked over plain TCP.

mod api;
mod client;
mod running;
mod troubles;
