//! `certhook service install` and `uninstall`.
//!
//! The service runs as LocalSystem: to give IIS a certificate one puts its key into the machine's store and changes
//! records of HTTP.sys, and both want an administrator; LocalService may do neither.
//! Its privileges are not cut (`SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO`): whatever it starts inherits them, also the
//! commands of `[server]` and `[alert]`, and which of them the import of a key wants only a real Windows can show.

#![allow(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use windows_service::service::{
    ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceFailureActions,
    ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_sys::Win32::System::ErrorReporting::{WerAddExcludedApplication, WerRemoveExcludedApplication};
use windows_sys::Win32::System::Registry::{
    HKEY_LOCAL_MACHINE, REG_DWORD, REG_EXPAND_SZ, RegDeleteTreeW, RegSetKeyValueW,
};

use super::journal::SOURCE;
use super::service::{NAME, PATIENCE};
use super::{access, default_config, trust, wide};

const DISPLAYED: &str = "certhook";
const DESCRIPTION: &str = "Sees to it that a renewed TLS certificate is served, proves it by a handshake, and tells the RCL Portal.";
/// A part of every Windows, whose messages 1 to 1000 are: what the event says.
const MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";
/// Errors, warnings and the rest.
const EVENT_KINDS: u32 = 7;
// `ERROR_FILE_NOT_FOUND`, `ERROR_INVALID_LEVEL`, `ERROR_SERVICE_DOES_NOT_EXIST`, `ERROR_SERVICE_NOT_ACTIVE`.
const NO_FILE: i32 = 2;
const NO_LEVEL: i32 = 124;
const NO_SERVICE: i32 = 1060;
const NOT_ACTIVE: i32 = 1062;

/// Makes the service, or, where it is there, as it should be: started with the system (after what that needs more
/// urgently), and anew after a failure. It is not started now.
///
/// Gives what this system does not know and was left out: nothing, on a Windows of this century.
///
/// # Errors
/// The system's: only administrators may. One without a code of the system's says itself what to do: others may have
/// put something into the folder of the configuration, and nothing was done.
pub fn install_service(config: &Path) -> io::Result<Vec<&'static str>> {
    take_own_folder(config)?;
    let program = std::env::current_exe()?;
    // Written out: what a service finds in its environment is not what this command finds.
    let launch_arguments: Vec<OsString> =
        vec!["run".into(), "--config".into(), std::path::absolute(config)?.into()];
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: DISPLAYED.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program,
        launch_arguments,
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?;
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::CHANGE_CONFIG | ServiceAccess::START;
    let service = match manager.open_service(NAME, access) {
        Ok(service) => {
            service.change_config(&info).map_err(of_service)?;
            service
        }
        Err(_) => manager.create_service(&info, access).map_err(of_service)?,
    };
    service.set_description(DESCRIPTION).map_err(of_service)?;
    let mut left_out = Vec::new();
    let mut wish = |what, outcome: windows_service::Result<()>| match outcome.map_err(of_service) {
        Err(error) if error.raw_os_error() == Some(NO_LEVEL) => {
            left_out.push(what);
            Ok(())
        }
        outcome => outcome,
    };
    wish("the delayed start", service.set_delayed_auto_start(true))?;
    wish("the time before a shutdown", service.set_preshutdown_timeout(PATIENCE))?;
    let restart = |seconds| ServiceAction {
        action_type: ServiceActionType::Restart,
        delay: Duration::from_secs(seconds),
    };
    let failures = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(Duration::from_secs(86_400)),
        reboot_msg: None,
        command: None,
        // The last is for every failure from then on.
        actions: Some(vec![restart(5), restart(30), restart(300)]),
    };
    wish("the start after a failure", service.update_failure_actions(failures))?;
    // Also when it says itself that it cannot go on.
    wish("the start after an end", service.set_failure_actions_on_non_crash_failures(true))?;
    add_event_source()?;
    keep_out_of_error_reports(true);
    Ok(left_out)
}

/// Where the configuration is, and the state, unless another configuration names others.
fn take_own_folder(config: &Path) -> io::Result<()> {
    let usual = default_config();
    let Some(folder) = usual.parent() else { return Ok(()) };
    if config == usual || std::fs::symlink_metadata(folder).is_ok() {
        trust::take_folder(folder)?;
    }
    Ok(())
}

/// Stops and removes the service. Configuration and ledger stay.
///
/// # Errors
/// The system's: only administrators may; there is none.
pub fn uninstall_service() -> io::Result<()> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE;
    let service = match manager.open_service(NAME, access).map_err(of_service) {
        Err(error) if error.raw_os_error() == Some(NO_SERVICE) => {
            return Err(io::Error::new(io::ErrorKind::NotFound, "there is no such service"));
        }
        opened => opened?,
    };
    match service.stop().map_err(of_service) {
        Err(error) if error.raw_os_error() != Some(NOT_ACTIVE) => return Err(error),
        _ => {}
    }
    // Its program can be replaced only when it has ended.
    for _ in 0..900 {
        let state = service.query_status().map_err(of_service)?.current_state;
        if state == ServiceState::Stopped {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    service.delete().map_err(of_service)?;
    keep_out_of_error_reports(false);
    remove_event_source()
}

fn manager(access: ServiceManagerAccess) -> io::Result<ServiceManager> {
    ServiceManager::local_computer(None::<&str>, access).map_err(of_service)
}

fn of_service(error: windows_service::Error) -> io::Error {
    match error {
        windows_service::Error::Winapi(error) => error,
        other => io::Error::other(other),
    }
}

fn event_source() -> Vec<u16> {
    wide(format!(r"SYSTEM\CurrentControlSet\Services\EventLog\Application\{SOURCE}"))
}

fn add_event_source() -> io::Result<()> {
    let (key, file, file_name, kinds) =
        (event_source(), wide(MESSAGES), wide("EventMessageFile"), wide("TypesSupported"));
    let length = size_of_val(file.as_slice()) as u32;
    let set = |name: &[u16], kind, data: *const std::ffi::c_void, length| {
        // SAFETY: key and name end with a zero, and the length is that of the data.
        match unsafe { RegSetKeyValueW(HKEY_LOCAL_MACHINE, key.as_ptr(), name.as_ptr(), kind, data, length) }
        {
            0 => Ok(()),
            code => Err(access::of_code(code)),
        }
    };
    set(&file_name, REG_EXPAND_SZ, file.as_ptr().cast(), length)?;
    set(&kinds, REG_DWORD, std::ptr::from_ref(&EVENT_KINDS).cast(), size_of::<u32>() as u32)
}

fn remove_event_source() -> io::Result<()> {
    // SAFETY: the key's name ends with a zero.
    match unsafe { RegDeleteTreeW(HKEY_LOCAL_MACHINE, event_source().as_ptr()) } {
        0 => Ok(()),
        code if code.cast_signed() == NO_FILE => Ok(()),
        code => Err(access::of_code(code)),
    }
}

/// For all users. Best effort: what the process does for itself holds without it.
fn keep_out_of_error_reports(kept: bool) {
    let Ok(program) = std::env::current_exe() else { return };
    let Some(name) = program.file_name().map(wide) else { return };
    // SAFETY: the name ends with a zero.
    unsafe {
        if kept {
            WerAddExcludedApplication(name.as_ptr(), 1);
        } else {
            WerRemoveExcludedApplication(name.as_ptr(), 1);
        }
    }
}
