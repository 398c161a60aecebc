//! The slower proofs: hundreds of renewals, kills at random, power cuts, other people's tools.

#![allow(dead_code, reason = "the ground is shared with the quicker proofs")]

#[path = "proofs/host.rs"]
mod host;
