//! What certhook is trusted for, proved with real parts: a real nginx, a real ledger, real sockets.
//! The modules are by what they prove; `host` is the ground they stand on.

#[path = "host.rs"]
mod host;
#[path = "main_job.rs"]
mod main_job;
