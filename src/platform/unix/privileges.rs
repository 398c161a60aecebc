//! The two capabilities that certhook's service has, and who has them: this process, and no program that it starts
//! but the two that explain a refused reload.

use nix::unistd::{Uid, User, geteuid, getuid};

/// Takes the capabilities from every program that this process starts from now on. Root's programs stay root's. Each
/// thread has its own set, so this comes before there is a second one.
pub fn keep_capabilities_from_programs() {
    #[cfg(target_os = "linux")]
    if let Err(error) = linux::keep() {
        // Linux before 4.3 has no ambient set, and so has nothing to hand on.
        tracing::debug!(%error, "the capabilities that programs inherit could not be cleared");
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
            // Without the capability there is nothing to hand on.
            let _ = linux::hand_on_right_to_read();
            work()
        });
        thread.join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::io::Result;
    use rustix::thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        configure_capability_in_ambient_set, set_capabilities,
    };

    pub(super) fn keep() -> Result<()> {
        clear_ambient_capability_set()?;
        inherit(CapabilitySet::empty())
    }

    pub(super) fn hand_on_right_to_read() -> Result<()> {
        inherit(CapabilitySet::DAC_READ_SEARCH)?;
        configure_capability_in_ambient_set(CapabilitySet::DAC_READ_SEARCH, true)
    }

    fn inherit(inheritable: CapabilitySet) -> Result<()> {
        let sets = capabilities(None)?;
        if sets.inheritable == inheritable {
            return Ok(());
        }
        set_capabilities(None, CapabilitySets { inheritable, ..sets })
    }
}

/// The user that this process works as.
pub fn own_user() -> u32 {
    geteuid().as_raw()
}

/// A user as people know him: name and number, or the number alone.
pub fn user_words(user: u32) -> String {
    match User::from_uid(Uid::from_raw(user)) {
        Ok(Some(found)) => format!("{} (user {user})", found.name),
        Ok(None) | Err(_) => format!("user {user}"),
    }
}

/// Whether the programs of this process have root's rights.
pub fn is_root() -> bool {
    getuid().is_root() || geteuid().is_root()
}
