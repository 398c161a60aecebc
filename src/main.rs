//! `certhook`: parses, runs, exits. Everything else is in the library.

use std::process::ExitCode;

/// One heap for all threads: glibc gives each its own, and keeps what each needed once.
#[cfg(target_os = "linux")]
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    certhook::cli::run()
}
