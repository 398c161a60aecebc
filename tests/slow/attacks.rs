//! Attacks of an ordinary user of the host: a tenant gains nothing from certhook, and harms no neighbour by it.

#[path = "attacks/bounded.rs"]
mod bounded;
#[path = "attacks/capabilities.rs"]
mod capabilities;
#[path = "attacks/hung.rs"]
pub mod hung;
#[path = "attacks/other_user.rs"]
mod other_user;
#[path = "attacks/pipes.rs"]
mod pipes;
#[path = "attacks/processes.rs"]
mod processes;
#[path = "attacks/tenant.rs"]
pub mod tenant;
#[path = "attacks/titles.rs"]
mod titles;
