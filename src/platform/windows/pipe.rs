//! The control socket is a named pipe: it has a list of who may use it, and no file that could be left behind.

#![allow(unsafe_code)]

use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::windows::named_pipe::{
    ClientOptions, NamedPipeClient, NamedPipeServer, PipeMode, ServerOptions,
};
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::access::Descriptor;

const FOLDER: &str = r"\\.\pipe\";
/// The system's word for: all its ends are taken just now.
const ERROR_PIPE_BUSY: i32 = 231;
/// Between two tries then.
const AGAIN: Duration = Duration::from_millis(10);

/// The agent's end, with one caller at the other.
pub type ControlStream = NamedPipeServer;

/// See [`listen`].
#[derive(Debug)]
pub struct ControlListener {
    name: PathBuf,
    /// What the next caller gets: a pipe is there only while it has an end that is free.
    next: Mutex<NamedPipeServer>,
}

/// Where the agent of a state folder listens. Pipes have no folders: the name tells the state folders apart.
pub fn control_path(state_dir: &Path) -> PathBuf {
    let folder = super::as_compared(state_dir);
    // Components, so that either slash is as good.
    let bytes = folder.components().flat_map(|part| {
        let part: Vec<u16> = part.as_os_str().encode_wide().chain([0]).collect();
        part.into_iter().flat_map(u16::to_le_bytes)
    });
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes.collect::<Vec<u8>>());
    let hash: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    PathBuf::from(format!("{FOLDER}certhook-{hash}"))
}

pub(super) fn is_one(path: &Path) -> bool {
    path.as_os_str().to_string_lossy().starts_with(FOLDER)
}

/// The control pipe, for the system, the administrators and this user alone, and for callers of this host.
///
/// # Errors
/// The system's; somebody has that pipe already is one of them.
pub fn listen(path: &Path) -> io::Result<ControlListener> {
    Ok(ControlListener { name: path.to_owned(), next: Mutex::new(end(path, true)?) })
}

fn end(name: &Path, first: bool) -> io::Result<NamedPipeServer> {
    let private = Descriptor::private()?;
    let mut attributes = private.attributes();
    let mut options = ServerOptions::new();
    options.pipe_mode(PipeMode::Byte).reject_remote_clients(true).first_pipe_instance(first);
    // SAFETY: the attributes and their descriptor are whole, and live beyond the call.
    unsafe { options.create_with_security_attributes_raw(name, (&raw mut attributes).cast()) }
}

/// Takes one caller.
///
/// # Errors
/// The system's.
pub async fn accept(listener: &ControlListener) -> io::Result<ControlStream> {
    let mut next = listener.next.lock().await;
    if let Err(error) = next.connect().await {
        // It came and left; the end is free again.
        next.disconnect()?;
        return Err(error);
    }
    // If there can be no other, the caller is taken the next time: it is connected still.
    let free = end(&listener.name, false)?;
    Ok(std::mem::replace(&mut *next, free))
}

/// Calls the agent.
///
/// # Errors
/// The system's; none is listening is one of them.
pub async fn connect(path: &Path) -> io::Result<NamedPipeClient> {
    loop {
        match ClientOptions::new().open(path) {
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY) => sleep(AGAIN).await,
            outcome => return outcome,
        }
    }
}

/// Nothing: no server on Windows listens on such a socket.
///
/// # Errors
/// That it is so.
pub async fn connect_unix(_: &Path) -> io::Result<NamedPipeClient> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "Windows has no servers that listen on such a socket"))
}

/// The group whose members may ask for the status: none, there is no such socket here.
pub const STATUS_GROUP: &str = "Administrators";

/// Where the agent tells its status to users besides its own: nowhere.
pub fn status_path() -> Option<PathBuf> {
    None
}

/// Nothing: see [`status_path`].
///
/// # Errors
/// That it is so.
pub async fn listen_for_status(path: &Path) -> io::Result<ControlListener> {
    listen_shared(path).await
}

/// Nothing: Windows has no such sockets.
///
/// # Errors
/// That it is so.
pub async fn listen_shared(_: &Path) -> io::Result<ControlListener> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "Windows has no such sockets"))
}

/// The name of the user that this process runs as.
pub fn user_name() -> String {
    std::env::var("USERNAME").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn a_caller_is_heard_and_answered_to_the_last_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = control_path(folder.path());
        block_on(async {
            assert!(connect(&path).await.is_err(), "nobody listens yet");
            let listener = listen(&path).unwrap();
            let serving = async {
                for _ in 0..3 {
                    let mut caller = accept(&listener).await.unwrap();
                    let mut word = [0; 4];
                    caller.read_exact(&mut word).await.unwrap();
                    // More than a pipe holds.
                    caller.write_all(&vec![word[3]; 300_000]).await.unwrap();
                }
            };
            let calling = async {
                for word in [b"ask1", b"ask2", b"ask3"] {
                    let mut stream = connect(&path).await.unwrap();
                    stream.write_all(word).await.unwrap();
                    let mut answer = Vec::new();
                    stream.read_to_end(&mut answer).await.unwrap();
                    assert_eq!((answer.len(), answer[299_999]), (300_000, word[3]));
                }
            };
            tokio::join!(serving, calling);
            drop(listener);
            assert!(connect(&path).await.is_err(), "nothing is left behind");
        });
    }

    #[test]
    fn a_second_listener_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = control_path(folder.path());
        block_on(async {
            let first = listen(&path).unwrap();
            if certhook_test_support::wine::cannot_prove("it does not heed FILE_FLAG_FIRST_PIPE_INSTANCE") {
                return;
            }
            assert!(listen(&path).is_err());
            drop(first);
            assert!(listen(&path).is_ok());
        });
    }

    #[test]
    fn a_state_folder_has_one_pipe_however_it_is_spelled() {
        let path = control_path(Path::new(r"C:\ProgramData\certhook\state"));
        assert_eq!(path, control_path(Path::new("c:/programdata/certhook/state/")));
        assert_ne!(path, control_path(Path::new(r"C:\ProgramData\certhook\other")));
        assert!(is_one(&path) && super::super::identity(&path).is_some());
    }
}
