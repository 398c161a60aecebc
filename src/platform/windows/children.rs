//! A command and all that it starts, in a job: Windows ends no process's children by itself.

#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;

use tokio::process::{Child, Command};
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{
    CREATE_NO_WINDOW, CREATE_SUSPENDED, OpenThread, ResumeThread, THREAD_SUSPEND_RESUME,
};

/// A command's processes.
#[derive(Debug)]
pub struct Children(OwnedHandle);

impl Children {
    /// Ends them all.
    pub fn end(&self) {
        // They may be gone already; then there is nothing to end.
        // SAFETY: the handle is open for as long as this lives.
        unsafe { TerminateJobObject(self.0.as_raw_handle(), 1) };
    }
}

/// Starts a command whose processes can be ended as a whole. It runs only when it is in its job, lest it start
/// something before.
///
/// # Errors
/// The system's.
pub fn spawn(command: &mut Command) -> io::Result<(Child, Children)> {
    // SAFETY: a job without name and attributes.
    let job = owned(unsafe { CreateJobObjectW(null(), null()) })?;
    let mut child = command.creation_flags(CREATE_SUSPENDED | CREATE_NO_WINDOW).spawn()?;
    let begun = begin(&job, &child);
    if let Err(error) = begun {
        // It never ran.
        let _ = child.start_kill();
        return Err(error);
    }
    Ok((child, Children(job)))
}

fn begin(job: &OwnedHandle, child: &Child) -> io::Result<()> {
    let (Some(process), Some(id)) = (child.raw_handle(), child.id()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    // SAFETY: both handles are open.
    if unsafe { AssignProcessToJobObject(job.as_raw_handle(), process) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // Rust keeps no handle of its only thread.
    let thread = thread_of(id)?.ok_or(io::ErrorKind::NotFound)?;
    // SAFETY: the identifier is that of a thread that is there for as long as it is suspended.
    let thread = owned(unsafe { OpenThread(THREAD_SUSPEND_RESUME, 0, thread) })?;
    // SAFETY: the handle is open, with the right to do so.
    if unsafe { ResumeThread(thread.as_raw_handle()) } == u32::MAX {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn thread_of(process: u32) -> io::Result<Option<u32>> {
    // SAFETY: it takes no pointers.
    let all = owned(unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) })?;
    let mut entry = THREADENTRY32 { dwSize: size_of::<THREADENTRY32>() as u32, ..THREADENTRY32::default() };
    // SAFETY: the snapshot is open, and the entry says how large it is.
    let mut more = unsafe { Thread32First(all.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        if entry.th32OwnerProcessID == process {
            return Ok(Some(entry.th32ThreadID));
        }
        // SAFETY: as above.
        more = unsafe { Thread32Next(all.as_raw_handle(), &raw mut entry) };
    }
    Ok(None)
}

fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nobody else's.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::time::Duration;

    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::time::timeout;

    use super::*;

    /// The inner program keeps the output open: its end is the end of the output.
    #[test]
    fn a_command_is_ended_with_what_it_started() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut command = Command::new("cmd");
            command.args(["/c", "echo begun & cmd /c pause"]).stdout(Stdio::piped()).stdin(Stdio::piped());
            let (mut child, children) = spawn(&mut command).unwrap();
            // Whoever pauses waits for a key.
            let _stdin = child.stdin.take();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let begun = lines.next_line().await.unwrap().unwrap();
            assert_eq!(begun.trim(), "begun");
            assert!(timeout(Duration::from_millis(300), child.wait()).await.is_err(), "it pauses");
            children.end();
            assert!(!child.wait().await.unwrap().success());
            let end = async { while lines.next_line().await.unwrap().is_some() {} };
            timeout(Duration::from_secs(20), end).await.expect("what it started is ended too");
        });
    }
}
