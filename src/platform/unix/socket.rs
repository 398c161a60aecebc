//! Sockets in the file system that users besides certhook's own may open.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::{Group, geteuid};
use tokio::net::{UnixListener, UnixStream};

/// The group whose members may ask for the status.
pub const STATUS_GROUP: &str = "certhook-status";

/// Where the agent tells its status to the members of [`STATUS_GROUP`]: in the service manager's runtime directory.
pub fn status_path() -> Option<PathBuf> {
    let given = std::env::var_os("RUNTIME_DIRECTORY").filter(|given| !given.is_empty());
    let folder = match &given {
        // The manager's list is separated by colons.
        Some(given) => given.to_string_lossy().split(':').next().map(PathBuf::from),
        None => Some(PathBuf::from("/run/certhook")),
    };
    folder.filter(|folder| folder.is_absolute()).map(|folder| folder.join("status.sock"))
}

/// Listens for the members of [`STATUS_GROUP`].
///
/// # Errors
/// Why there can be no such socket: the folder or the group is not there, the folder is another user's or others may
/// write in it, or another process listens.
pub async fn listen_for_status(path: &Path) -> io::Result<UnixListener> {
    let refused = |why: &str| Err(io::Error::other(why.to_owned()));
    let folder = std::fs::symlink_metadata(path.parent().unwrap_or(Path::new("/")))?;
    if !folder.is_dir() || folder.uid() != geteuid().as_raw() || folder.mode() & 0o022 != 0 {
        return refused("its folder is not this user's alone");
    }
    if group().is_none() {
        return refused("there is no group certhook-status");
    }
    let listener = bind(path).await?;
    share(path, true).inspect_err(|_| drop(std::fs::remove_file(path)))?;
    Ok(listener)
}

/// Listens on a socket of mode 0660, of [`STATUS_GROUP`] where it can be given to that. Only a socket that this user
/// left behind is replaced.
///
/// # Errors
/// The system's; something else is at the path, or another process listens there.
pub async fn listen_shared(path: &Path) -> io::Result<UnixListener> {
    let listener = bind(path).await?;
    share(path, false).inspect_err(|_| drop(std::fs::remove_file(path)))?;
    Ok(listener)
}

fn group() -> Option<u32> {
    Group::from_name(STATUS_GROUP).ok().flatten().map(|group| group.gid.as_raw())
}

async fn bind(path: &Path) -> io::Result<UnixListener> {
    remove_dead(path).await?;
    UnixListener::bind(path)
}

/// Gives a socket that was just made its group and mode.
fn share(path: &Path, with_group: bool) -> io::Result<()> {
    let made = open_socket(path)?;
    let there = PathBuf::from(format!("/proc/self/fd/{}", made.as_raw_fd()));
    // The group first: until the mode changes, only the owner can connect.
    if let Some(group) = group() {
        let given = std::os::unix::fs::chown(&there, None, Some(group));
        if with_group {
            given?;
        }
    }
    std::fs::set_permissions(&there, Permissions::from_mode(0o660))
}

async fn remove_dead(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() || found.uid() != geteuid().as_raw() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "something else is there"));
    }
    // Not the standard library's: it waits while the other's queue is full.
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        _ => Err(io::Error::new(ErrorKind::AddrInUse, "another process listens there")),
    }
}

/// The socket itself, whatever becomes of its path: a link in its place is not followed.
#[expect(clippy::disallowed_methods, reason = "a path alone is opened")]
fn open_socket(path: &Path) -> io::Result<File> {
    let made = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    let found = made.metadata()?;
    match found.file_type().is_socket() && found.uid() == geteuid().as_raw() {
        true => Ok(made),
        false => Err(io::Error::new(ErrorKind::AlreadyExists, "something else is there")),
    }
}

/// The name of the user that this process runs as, as the user database has it.
pub fn user_name() -> String {
    let user = nix::unistd::User::from_uid(geteuid()).ok().flatten();
    user.map_or_else(|| geteuid().to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(path: &Path) -> io::Result<UnixListener> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(listen_shared(path))
    }

    #[test]
    fn only_a_dead_socket_of_ours_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "content").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        std::os::unix::fs::symlink("nothing", at("dangling")).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        for name in ["file", "link", "dangling", "folder"] {
            assert!(listen(&at(name)).is_err(), "{name}");
        }
        assert_eq!(std::fs::read(at("file")).unwrap(), b"content");
        assert!(at("dangling").symlink_metadata().unwrap().is_symlink() && !at("nothing").exists());

        let living = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert_eq!(listen(&at("socket")).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(living);
        let _listener = listen(&at("socket")).unwrap();
        assert_eq!(at("socket").symlink_metadata().unwrap().mode() & 0o7777, 0o660);
        if geteuid().is_root() {
            // Another user's, dead or not, stays.
            drop(std::os::unix::net::UnixListener::bind(at("other")).unwrap());
            std::os::unix::fs::lchown(at("other"), Some(65534), None).unwrap();
            assert_eq!(listen(&at("other")).unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
    }
}
