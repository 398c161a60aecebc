//! What the tests and the demo stand on. nginx, and what plays it, are Unix's alone.

#![allow(clippy::disallowed_methods, reason = "what it reads is its own")]
#![cfg_attr(not(windows), forbid(unsafe_code))]

pub mod ca;
#[cfg(unix)]
pub mod demo;
#[cfg(unix)]
pub mod machine;
#[cfg(unix)]
pub mod nginx;
pub mod portal;
pub mod wine;
pub mod wire;
#[cfg(unix)]
pub mod writers;
