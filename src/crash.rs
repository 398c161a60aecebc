//! Places where a test build can be told to die, as by `kill -9`. A release build has none.

#[cfg(debug_assertions)]
static ARMED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// From here on the points count: the first file event has come.
pub fn arm() {
    #[cfg(debug_assertions)]
    ARMED.store(true, std::sync::atomic::Ordering::Relaxed);
}

/// Kills this process if `CERTHOOK_CRASH_AT` names this point.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    let armed = ARMED.load(std::sync::atomic::Ordering::Relaxed);
    if armed && std::env::var_os("CERTHOOK_CRASH_AT").is_some_and(|wanted| wanted == name) {
        crate::platform::kill_self();
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub fn point(_name: &str) {}
