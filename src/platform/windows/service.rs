//! `certhook run` as a service: the service manager starts it, hears how it is, and tells it to end.

#![allow(unsafe_code, reason = "the macro of windows-service makes an entry for the system to call")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

use super::signals::{REREAD, STOP};

/// What the service is called.
pub(super) const NAME: &str = "certhook";
/// `ERROR_FAILED_SERVICE_CONTROLLER_CONNECT`: nobody's service, but a program on a console.
const ON_A_CONSOLE: i32 = 1063;
/// Another pass may have to end before it runs, and a request to the portal before it stops.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

type Work = Box<dyn FnOnce() -> u8 + Send>;

/// What is to be done, until it is.
static WORK: Mutex<Option<Work>> = Mutex::new(None);
/// How it ended.
static OUTCOME: AtomicU8 = AtomicU8::new(1);
/// The way to the manager, where there is one.
static STATUS: OnceLock<ServiceStatusHandle> = OnceLock::new();
/// The manager wants to see this grow while something is under way.
static STEP: AtomicU32 = AtomicU32::new(0);

define_windows_service!(entry, main);

/// Does the work, whose outcome is an exit code: for the service manager where it has started this process, which it
/// then tells so; at once where somebody else has.
pub fn as_service(work: impl FnOnce() -> u8 + Send + 'static) -> ExitCode {
    let held = || WORK.lock().unwrap_or_else(PoisonError::into_inner);
    *held() = Some(Box::new(work));
    let outcome = match service_dispatcher::start(NAME, entry) {
        Err(windows_service::Error::Winapi(error)) if error.raw_os_error() == Some(ON_A_CONSOLE) => {
            let work = held().take();
            work.map_or(1, |work| work())
        }
        // Nobody can be told: the manager sees that nothing came of it.
        Err(_) => 1,
        Ok(()) => OUTCOME.load(Ordering::Relaxed),
    };
    ExitCode::from(outcome)
}

/// Called by the system on a thread of its own.
fn main(_: Vec<std::ffi::OsString>) {
    let Ok(status) = service_control_handler::register(NAME, control) else { return };
    let _ = STATUS.set(status);
    tell(ServiceState::StartPending, 0);
    let work = WORK.lock().unwrap_or_else(PoisonError::into_inner).take();
    let outcome = work.map_or(1, |work| work());
    OUTCOME.store(outcome, Ordering::Relaxed);
    tell(ServiceState::Stopped, outcome);
}

fn control(order: ServiceControl) -> ServiceControlHandlerResult {
    match order {
        // Long before the shutdown itself, so that an installation comes to its end.
        ServiceControl::Stop | ServiceControl::Preshutdown | ServiceControl::Shutdown => {
            tell(ServiceState::StopPending, 0);
            STOP.notify_one();
        }
        ServiceControl::ParamChange => REREAD.notify_one(),
        ServiceControl::Interrogate => {}
        _ => return ServiceControlHandlerResult::NotImplemented,
    }
    ServiceControlHandlerResult::NoError
}

pub(super) fn is_one() -> bool {
    STATUS.get().is_some()
}

fn tell(current_state: ServiceState, outcome: u8) {
    let Some(handle) = STATUS.get() else { return };
    let is_pending = matches!(current_state, ServiceState::StartPending | ServiceState::StopPending);
    let controls_accepted = match current_state {
        ServiceState::Running => {
            ServiceControlAccept::STOP
                | ServiceControlAccept::PRESHUTDOWN
                | ServiceControlAccept::SHUTDOWN
                | ServiceControlAccept::PARAM_CHANGE
        }
        _ => ServiceControlAccept::empty(),
    };
    let exit_code = match outcome {
        0 => ServiceExitCode::Win32(0),
        // With it the manager knows a failure from an end, and starts it anew.
        code => ServiceExitCode::ServiceSpecific(code.into()),
    };
    let status = ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state,
        controls_accepted,
        exit_code,
        checkpoint: if is_pending { STEP.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 },
        wait_hint: if is_pending { PATIENCE } else { Duration::ZERO },
        process_id: None,
    };
    if let Err(error) = handle.set_service_status(status) {
        tracing::warn!(%error, "the service manager cannot be told how things are");
    }
}

/// The service manager, if it has started this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manager {
    _private: (),
}

impl Manager {
    /// Whether it has.
    pub fn listens(&self) -> bool {
        is_one()
    }

    /// Never: this manager asks by its own calls.
    pub fn wants_a_beat_every(&self) -> Option<Duration> {
        None
    }

    /// Nothing; see [`Self::wants_a_beat_every`].
    pub fn beat(&self) {}

    /// The process does its work.
    pub fn ready(&self) {
        tell(ServiceState::Running, 0);
    }

    /// Nothing: for this manager a process that reads its configuration again runs.
    pub fn rereads(&self) {}

    /// The process comes to its end.
    pub fn stops(&self) {
        tell(ServiceState::StopPending, 0);
    }

    /// Nothing: this manager shows no line, and the event log has what changed.
    pub fn status(&self, _: &str) {}
}
