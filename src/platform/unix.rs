//! Linux, and whatever is like it.

mod children;
mod confine;
#[cfg(target_os = "linux")]
mod file_systems;
mod journal;
mod manager;
mod memory;
#[cfg(target_os = "linux")]
mod mounts;
mod path_trust;
mod privileges;
mod second;
mod secret;
mod service;
mod signals;
mod socket;

use std::borrow::Cow;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use tokio::net::{UnixListener, UnixStream};

use super::exposed::Exposed;

pub use children::{Children, end_group, spawn};
pub use confine::confine_to_the_network;
#[cfg(target_os = "linux")]
pub use file_systems::tells;
pub use journal::Journal;
pub use manager::Manager;
pub use memory::{give_back_memory, use_one_heap};
#[cfg(target_os = "linux")]
pub use mounts::Mounts;
pub use path_trust::{UntrustedPath, trusted_program};
pub use privileges::{is_root, keep_capabilities_from_programs, own_user, user_words, with_right_to_read};
pub use second::{Second, first_process, give_up_rights, has_lent_rights, start_second};
pub use secret::{Unseen, can_seal, seal, unseal};
pub use service::{as_service, install_service, uninstall_service};
pub use signals::{RereadSignal, StopSignals};
pub use socket::{STATUS_GROUP, listen_for_status, listen_shared, status_path, user_name};

/// The agent's end of the control socket, with one caller at the other.
pub type ControlStream = UnixStream;
/// See [`listen`].
pub type ControlListener = UnixListener;

/// Whether it is IIS that a host of this system serves with, unless somebody says otherwise.
pub const HAS_IIS: bool = false;

/// What to do where this user may not.
pub const AS_WHOM: &str = "run it as root, or as certhook's user";

/// How long this thread has worked: it does not grow while the thread waits.
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Where the configuration stands unless somebody says otherwise.
pub fn default_config() -> PathBuf {
    PathBuf::from("/etc/certhook/certhook.toml")
}

/// Where the state folder is unless the configuration says otherwise.
pub fn default_state_dir() -> PathBuf {
    PathBuf::from("/var/lib/certhook")
}

/// Opens without waiting for the other end of a pipe.
///
/// # Errors
/// The system's.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// As [`open_to_read`]: here nobody can tell who writes.
///
/// # Errors
/// The system's.
pub fn open_unwritten(path: &Path) -> io::Result<File> {
    open_to_read(path)
}

/// Whether it is a file with an end: no folder, pipe, socket or device.
pub fn is_regular(_: &File, metadata: &std::fs::Metadata) -> bool {
    metadata.is_file()
}

/// Never: here nobody can have a file for itself alone.
pub fn is_being_written(_: &io::Error) -> bool {
    false
}

/// Creates a folder that only its owner may enter, and those above it; one that is there stays as it is.
///
/// # Errors
/// The system's.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        create_private_folder(above)?;
    }
    match as_owner_of(above(path), || std::fs::DirBuilder::new().mode(0o700).create(path)) {
        // Another process was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        outcome => outcome,
    }
}

fn above(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Does some work with files as the folder's owner. What root does by hand in the folder of a service that has a
/// user of its own is that user's, or it could not use it; and a link that such a user has put there leads root to
/// nothing that the user could not change himself. For this thread alone, and for files alone.
pub fn as_owner_of<T>(folder: &Path, work: impl FnOnce() -> T) -> T {
    use nix::unistd::{Gid, Uid, geteuid, setfsgid, setfsuid};
    /// Gives back what was before, however the work ends.
    struct Before(Uid, Gid);
    impl Drop for Before {
        fn drop(&mut self) {
            setfsuid(self.0);
            setfsgid(self.1);
        }
    }
    // What is to be made there is the owner's of the nearest folder that is there.
    let there = folder.ancestors().find_map(|folder| std::fs::metadata(folder).ok());
    let Some(owner) = there.filter(|found| geteuid().is_root() && found.uid() != 0) else { return work() };
    let group = setfsgid(Gid::from_raw(owner.gid()));
    // Last: from here on this thread has another user's rights to files.
    let _before = Before(setfsuid(Uid::from_raw(owner.uid())), group);
    work()
}

/// Opens or creates a file that only its owner may read or write.
///
/// # Errors
/// The system's.
#[expect(clippy::disallowed_methods, reason = "the folder is certhook's own")]
pub fn open_private(path: &Path) -> io::Result<File> {
    as_owner_of(above(path), || {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
    })
}

/// Creates a file that was not there; for its owner alone, or for all to read.
///
/// # Errors
/// The system's; something is there, be it a link, is one of them.
#[expect(clippy::disallowed_methods, reason = "a new file is no pipe")]
pub fn create_new(path: &Path, private: bool) -> io::Result<File> {
    let mode = if private { 0o600 } else { 0o644 };
    let file =
        as_owner_of(above(path), || OpenOptions::new().write(true).create_new(true).mode(mode).open(path))?;
    if !private {
        // Whatever the process leaves out of its files' modes: it is to be read.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    Ok(file)
}

/// Opens a folder and locks it until that is dropped; a link to one is none. `None` while somebody else has it.
///
/// # Errors
/// The system's.
pub fn lock_folder(path: &Path) -> io::Result<Option<File>> {
    let folder = open_folder(path)?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[expect(clippy::disallowed_methods, reason = "a folder alone is opened")]
fn open_folder(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)
}

/// Gives an open file or folder to a user and a group.
///
/// # Errors
/// The system's: only root may.
pub fn give(file: &File, (user, group): (u32, u32)) -> io::Result<()> {
    std::os::unix::fs::fchown(file, Some(user), Some(group))
}

/// Makes a link at `link` that leads to `target`.
///
/// # Errors
/// The system's.
pub fn make_link(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Gives two entries each other's name, in one step.
///
/// # Errors
/// The system's; `Unsupported` where it, or the file system, cannot.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
        Ok(renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)?)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    {
        let _ = (one, other);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Has the folder's entries on disk before it returns.
///
/// # Errors
/// The system's.
#[expect(clippy::disallowed_methods, reason = "a folder of certhook's own")]
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// As [`sync_folder`], of an open one.
///
/// # Errors
/// The system's.
pub fn sync_open_folder(folder: &File) -> io::Result<()> {
    folder.sync_all()
}

/// Gives a file a write time a second later than it has: a server that compares whole seconds takes it for another.
/// `false`, and nothing is done, where `path` no longer leads to the regular file of that file system and number: the
/// user who owns its folder may have put a link to somebody else's file there.
///
/// # Errors
/// The system's: only the file's owner and root may.
#[expect(clippy::disallowed_methods, reason = "it waits for nobody, and reads nothing")]
pub fn touch(path: &Path, device: u64, inode: u64) -> io::Result<bool> {
    let is_expected = |file: &File| -> io::Result<bool> {
        let found = file.metadata()?;
        Ok(found.is_file() && (found.dev(), found.ino()) == (device, inode))
    };
    let without_waiting = libc::O_NONBLOCK | libc::O_NOCTTY;
    // Links on the way are followed; the last part is a link only if it was swapped since.
    let resolved = path.canonicalize()?;
    let opened =
        OpenOptions::new().read(true).custom_flags(without_waiting | libc::O_NOFOLLOW).open(resolved);
    let file = match opened {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Ok(false),
        opened => opened?,
    };
    if !is_expected(&file)? {
        return Ok(false);
    }
    // The same open file once more, to append, where that may be: its close tells other watchers, as a writer's does.
    let same = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let to_append = OpenOptions::new().append(true).custom_flags(without_waiting).open(same);
    let to_append = to_append.ok().filter(|file| is_expected(file).unwrap_or(false));
    let later = whole_second_after(file.metadata()?.mtime());
    to_append.as_ref().unwrap_or(&file).set_modified(later)?;
    Ok(true)
}

/// Seconds since 1970, which may be negative.
fn whole_second_after(seconds: i64) -> SystemTime {
    let (since, distance) = (seconds + 1, Duration::from_secs((seconds + 1).unsigned_abs()));
    if since < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// Whether users other than the owner and the group may read the file.
///
/// # Errors
/// The system's.
pub fn readable_by_others(path: &Path) -> io::Result<Option<Exposed>> {
    exposed(path, 0o007, "0600")
}

/// Whether users other than the owner and the group may make or replace something in the folder.
///
/// # Errors
/// The system's.
pub fn open_to_others(folder: &Path) -> io::Result<Option<Exposed>> {
    exposed(folder, 0o002, "o-w")
}

fn exposed(path: &Path, to_others: u32, private: &str) -> io::Result<Option<Exposed>> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    Ok((mode & to_others != 0).then(|| Exposed {
        to: format!("mode {:04o}", mode & 0o7777),
        remedy: format!("run: chmod {private} {}", path.display()),
    }))
}

/// The folders beside the state folder that are certhook's alone: none, a package makes them.
pub fn private_folders() -> Vec<PathBuf> {
    Vec::new()
}

/// Keeps keys and secrets out of core dumps, also those that a program takes from a pipe.
pub fn forbid_core_dumps() {
    let limited = setrlimit(Resource::RLIMIT_CORE, 0, 0).and_then(|()| nix::sys::prctl::set_dumpable(false));
    if let Err(error) = limited {
        tracing::warn!(%error, "core dumps could not be forbidden");
    }
}

/// Where the agent of a state folder listens.
pub fn control_path(state_dir: &Path) -> PathBuf {
    state_dir.join("control.sock")
}

/// The control socket, for its owner alone. Whoever calls holds the state folder's lock, so one that is
/// there was left behind.
///
/// # Errors
/// The system's.
pub fn listen(path: &Path) -> io::Result<ControlListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Takes one caller.
///
/// # Errors
/// The system's.
pub async fn accept(listener: &ControlListener) -> io::Result<ControlStream> {
    listener.accept().await.map(|(stream, _)| stream)
}

/// Calls the agent.
///
/// # Errors
/// The system's; none is listening is one of them.
pub async fn connect(path: &Path) -> io::Result<ControlStream> {
    UnixStream::connect(path).await
}

/// Calls a server that listens on a socket of its own.
///
/// # Errors
/// The system's.
pub async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let path = path.to_owned();
    // Off the loop: the path may lead to a file system that hangs.
    let connecting = tokio::task::spawn_blocking(move || std::os::unix::net::UnixStream::connect(path));
    let stream = connecting.await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// What tells one file from another and one content from the next, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

impl Signature {
    /// How long ago the file was changed last, its content or its names; `None` for a time to come.
    pub fn age(&self) -> Option<Duration> {
        let (seconds, nanoseconds) = self.changed.max(self.modified);
        let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
        SystemTime::now().duration_since(UNIX_EPOCH.checked_add(since)?).ok()
    }
}

/// The file's signature, links followed; `None` where there is no file.
pub fn signature(path: &Path) -> Option<Signature> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Signature {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

/// The file's number in its file system.
pub fn inode(_: &Path, metadata: &std::fs::Metadata) -> u64 {
    metadata.ino()
}

/// The number of the file system that the file is in.
pub fn device(metadata: &std::fs::Metadata) -> u64 {
    metadata.dev()
}

/// A path as it is compared with others: here each has one spelling.
pub fn as_compared(path: &Path) -> Cow<'_, Path> {
    Cow::Borrowed(path)
}

/// What tells a folder from another of the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// The number of the file system that it is in.
    pub fn file_system(&self) -> u64 {
        self.device
    }
}

/// The identity of what is at `path`, links not followed; `None` where there is nothing.
pub fn identity(path: &Path) -> Option<Identity> {
    std::fs::symlink_metadata(path).as_ref().map(identity_of).ok()
}

fn identity_of(metadata: &std::fs::Metadata) -> Identity {
    Identity { device: metadata.dev(), inode: metadata.ino() }
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder, told from another of its path.
    Folder(Identity),
    /// A link, and where it leads.
    Link(PathBuf),
    /// A file, told from another of its path, and how many names it has.
    File(Identity, u64),
    /// Anything else, or nothing.
    Other,
}

/// What is at `path`, links not followed.
pub fn kind(path: &Path) -> Kind {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Kind::Folder(identity_of(&metadata)),
        Ok(metadata) if metadata.is_symlink() => std::fs::read_link(path).map_or(Kind::Other, Kind::Link),
        Ok(metadata) if metadata.is_file() => Kind::File(identity_of(&metadata), metadata.nlink()),
        _ => Kind::Other,
    }
}

/// Ends this process as nothing can prevent: for crash tests.
#[cfg(debug_assertions)]
pub fn kill_self() {
    let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL);
}

/// Whether this user may run the program.
pub fn may_run(program: &Path) -> bool {
    program.is_file() && nix::unistd::access(program, nix::unistd::AccessFlags::X_OK).is_ok()
}

/// Whether this user may make files in the folder, or, where it is not there yet, may make it.
pub fn may_write_in(folder: &Path) -> bool {
    use nix::unistd::{AccessFlags, access};
    let there = folder.ancestors().find(|folder| folder.exists());
    there.is_some_and(|folder| {
        folder.is_dir() && access(folder, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
    })
}

/// Whether a folder, or the nearest one above it that is there, is in a file system that is read-only to this process.
pub fn is_read_only(folder: &Path) -> bool {
    use nix::sys::statvfs::{FsFlags, statvfs};
    let there = folder.ancestors().find_map(|folder| statvfs(folder).ok());
    there.is_some_and(|system| system.flags().contains(FsFlags::ST_RDONLY))
}

/// The numbers of a user and a group, written `user` or `user:group`; the user's own group where none is named.
/// `None` where this system has no such user or group.
pub fn owner(text: &str) -> Option<(u32, u32)> {
    use nix::unistd::{Group, User};
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let user = User::from_name(user).ok()??;
    let group = match group {
        Some(name) => Group::from_name(name).ok()??.gid,
        None => user.gid,
    };
    Some((user.uid.as_raw(), group.as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What tells a file from another.
    fn of(path: &Path) -> (u64, u64) {
        let found = std::fs::metadata(path).unwrap();
        (found.dev(), found.ino())
    }

    fn seconds(path: &Path) -> i64 {
        std::fs::metadata(path).unwrap().mtime()
    }

    fn set(path: &Path, since: u64) {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_millis(since * 1000 + 700)).unwrap();
    }

    #[test]
    fn touch_moves_the_inspected_file_by_a_second_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("fullchain1.pem"), folder.path().join("fullchain.pem"));
        std::fs::write(&file, "x").unwrap();
        // As certbot's live folder has it; and a file that its owner may only read.
        std::os::unix::fs::symlink("fullchain1.pem", &link).unwrap();
        for (mode, path) in [(0o600, &file), (0o600, &link), (0o400, &link)] {
            set(&file, 1_800_000_000);
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let (device, inode) = of(&file);
            assert!(touch(path, device, inode).unwrap());
            let found = std::fs::metadata(&file).unwrap();
            assert_eq!((found.mtime(), found.mtime_nsec()), (1_800_000_001, 0), "{mode:o}");
        }
        assert_eq!(whole_second_after(-5), UNIX_EPOCH - Duration::from_secs(4));
    }

    #[test]
    fn touch_leaves_alone_what_was_put_in_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (folder.path().join("own.pem"), folder.path().join("other"));
        let precious = |path: &Path| {
            std::fs::write(path, "precious").unwrap();
            set(path, 1_800_000_000);
        };
        precious(&own);
        precious(&other);
        // The inspected file stays, so that no other has its number.
        let (device, inode) = of(&own);
        let kept = folder.path().join("kept");
        std::fs::rename(&own, &kept).unwrap();
        type Swap = fn(&Path, &Path);
        let swaps: [(&str, Swap); 4] = [
            ("a link", |own, other| std::os::unix::fs::symlink(other, own).unwrap()),
            ("a hard link", |own, other| std::fs::hard_link(other, own).unwrap()),
            ("a pipe", |own, _| nix::unistd::mkfifo(own, nix::sys::stat::Mode::S_IRWXU).unwrap()),
            ("a link to a pipe", |own, other| {
                let pipe = other.with_extension("pipe");
                nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
                std::os::unix::fs::symlink(pipe, own).unwrap();
            }),
        ];
        for (what, swap) in swaps {
            swap(&own, &other);
            assert!(!touch(&own, device, inode).unwrap(), "{what}");
            assert_eq!((seconds(&other), seconds(&kept)), (1_800_000_000, 1_800_000_000), "{what}");
            std::fs::remove_file(&own).unwrap();
        }
        assert!(touch(&own, device, inode).is_err(), "nothing is there");
        // The number alone is not enough: other file systems have the same ones.
        assert!(!touch(&kept, device + 1, inode).unwrap());
        assert!(touch(&kept, device, inode).unwrap());
    }
}
