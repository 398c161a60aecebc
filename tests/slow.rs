//! The slower proofs: hundreds of renewals, kills at random, power cuts, other people's tools.

#![allow(clippy::disallowed_methods, reason = "what it reads is its own")]
#![allow(dead_code, reason = "the ground is shared with the quicker proofs")]

#[path = "slow/attacks.rs"]
mod attacks;
#[path = "slow/bare.rs"]
mod bare;
#[path = "slow/cache.rs"]
mod cache;
#[path = "slow/configurations.rs"]
mod configurations;
#[path = "slow/crashes.rs"]
mod crashes;
#[path = "slow/disks.rs"]
mod disks;
#[path = "slow/hints.rs"]
mod hints;
#[path = "proofs/host.rs"]
mod host;
#[path = "slow/machine.rs"]
mod machine;
#[path = "slow/month.rs"]
mod month;
#[path = "slow/mounts.rs"]
mod mounts;
#[path = "slow/power.rs"]
mod power;
#[path = "slow/renewals.rs"]
mod renewals;
#[path = "slow/soak.rs"]
mod soak;
#[path = "slow/staged.rs"]
mod staged;
#[path = "slow/time.rs"]
mod time;
#[path = "slow/tools.rs"]
mod tools;
#[path = "slow/truth.rs"]
mod truth;
#[path = "slow/wires.rs"]
mod wires;
#[path = "slow/writers.rs"]
mod writers;
