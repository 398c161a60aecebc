//! What holds on Windows, proved by the program itself: `make windows` runs it under wine. Empty elsewhere.
#![allow(clippy::disallowed_methods, reason = "what it reads is its own")]
#![cfg(windows)]

#[path = "windows/console.rs"]
mod console;
#[path = "windows/hooks.rs"]
mod hooks;
#[path = "windows/host.rs"]
mod host;
#[path = "windows/iis.rs"]
mod iis;
#[path = "windows/main_job.rs"]
mod main_job;
#[path = "windows/secret.rs"]
mod secret;
#[path = "windows/service.rs"]
mod service;
