//! Windows's own programs, of its own folder: whatever else is called like them in `PATH` is not run.

#![allow(unsafe_code)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use windows_sys::Win32::System::SystemInformation::GetSystemDirectoryW;

use super::super::fallback::{Commands, command_line};
use crate::command::{Command, Ended};
use crate::problem::{Problem, printable};

/// `appcmd` and `netsh`.
pub struct Programs {
    system: PathBuf,
    patience: Duration,
}

impl Programs {
    /// Of the system's folder; `patience` is for each run.
    pub fn new(system: &Path, patience: Duration) -> Self {
        Self { system: system.to_owned(), patience }
    }

    fn path(&self, program: &str) -> PathBuf {
        match program {
            "appcmd" => self.system.join("inetsrv").join("appcmd.exe"),
            program => self.system.join(format!("{program}.exe")),
        }
    }
}

impl Commands for Programs {
    fn run(&mut self, words: &[String]) -> Result<(), Problem> {
        let line = printable(&command_line(words), 400);
        let failed = |why: String| {
            let remedy = "run the line in an elevated prompt, and see what it says";
            Problem::new("program", format!("{line}: {why}"), remedy)
        };
        let [program, arguments @ ..] = words else { return Err(failed("it is no command".to_owned())) };
        let path = self.path(program);
        if !path.is_file() {
            let message = format!("{line}: there is no {}", path.display());
            let remedy = "add the Windows feature \"IIS Management Scripts and Tools\", or bind the certificate in the IIS manager";
            return Err(Problem::new("program", message, remedy));
        }
        let mut argv = vec![path.display().to_string()];
        argv.extend_from_slice(arguments);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(error.to_string()))?;
        match runtime.block_on(Command::new(&argv, self.patience).output()) {
            Ok(Ended { success: true, .. }) => Ok(()),
            Ok(Ended { how, output, .. }) => {
                let said = printable(output.trim(), 400);
                Err(failed(format!("it ended with {how}: {said}")))
            }
            Err(failure) => Err(failed(failure.to_string())),
        }
    }
}

/// `C:\Windows\System32`, wherever it is: asked of the system, not of the environment.
pub fn system_folder() -> PathBuf {
    let mut path = [0u16; 260];
    // SAFETY: the length is the buffer's own.
    let length = unsafe { GetSystemDirectoryW(path.as_mut_ptr(), path.len() as u32) };
    match path.get(..length as usize) {
        Some(path) if !path.is_empty() => PathBuf::from(String::from_utf16_lossy(path)),
        _ => PathBuf::from(r"C:\Windows\System32"),
    }
}
