//! What the tests and the demo stand on.

pub mod ca;
pub mod demo;
pub mod nginx;
pub mod portal;
pub mod wire;
pub mod writers;
