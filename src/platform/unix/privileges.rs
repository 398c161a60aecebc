//! The two capabilities that certhook's service has, and who has them: this process, and no program that it starts
//! but the two that explain a refused reload.

use nix::unistd::{geteuid, getuid};

/// Takes the capabilities from every program that this process starts from now on. Root's programs stay root's.
pub fn keep_capabilities_from_programs() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::clear_ambient_capability_set() {
        // Linux before 4.3 has no ambient set, and so has nothing to hand on.
        tracing::debug!(%error, "the ambient capabilities could not be cleared");
    }
}

/// Does some work on a thread of its own, whose programs may read every file where this process may.
///
/// # Panics
/// The work's panic goes on.
pub fn with_right_to_read<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let done = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            #[cfg(target_os = "linux")]
            {
                use rustix::thread::{CapabilitySet, configure_capability_in_ambient_set};
                // Without the capability there is nothing to hand on.
                let _ = configure_capability_in_ambient_set(CapabilitySet::DAC_READ_SEARCH, true);
            }
            work()
        });
        thread.join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The user that this process works as.
pub fn own_user() -> u32 {
    geteuid().as_raw()
}

/// Whether the programs of this process have root's rights.
pub fn is_root() -> bool {
    getuid().is_root() || geteuid().is_root()
}
