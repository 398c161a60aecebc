//! Programs by their own path: only one that no other user of the host can change is executed.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;
/// Written by the group or by others.
const SHARED: u32 = 0o022;
/// In a directory of many users each renames and removes his own files only.
const STICKY: u32 = 0o1000;

/// Why a program is not executed.
#[derive(Debug, thiserror::Error)]
pub enum UntrustedPath {
    /// The system's.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    /// It, or a directory or link on its path, belongs to another user.
    #[error("{} belongs to user {}", .0.display(), .1)]
    Owner(PathBuf, u32),
    /// Other users can write it, or can replace what is in it.
    #[error("{} can be written by other users (mode {:04o})", .0.display(), .1 & 0o7777)]
    Shared(PathBuf, u32),
    /// A directory, device or pipe.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
}

impl UntrustedPath {
    /// The shell command that cures it, if one does.
    pub fn cure(&self) -> Option<String> {
        match self {
            Self::Owner(path, _) => Some(format!("chown -h root {}", path.display())),
            Self::Shared(path, _) => Some(format!("chmod go-w {}", path.display())),
            Self::Io(..) | Self::NotAFile(_) => None,
        }
    }
}

/// Returns the path of a program with all links resolved, where only `owners` can change the program, the
/// directories above it and the links on its way.
///
/// # Errors
/// The first part of the path that somebody else can change.
pub fn trusted_program(path: &Path, owners: &[u32]) -> Result<PathBuf, UntrustedPath> {
    let mut at = PathBuf::from("/");
    check(&at, owners)?;
    let mut rest: VecDeque<OsString> = names(path);
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(name);
        if check(&next, owners)? != Part::Link {
            at = next;
            continue;
        }
        links += 1;
        let failed = |error| UntrustedPath::Io(next.clone(), error);
        if links > MAX_LINKS {
            return Err(failed(io::Error::from(nix::errno::Errno::ELOOP)));
        }
        let target = std::fs::read_link(&next).map_err(failed)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        for name in names(&target).into_iter().rev() {
            rest.push_front(name);
        }
    }
    match check(&at, owners)? {
        Part::File => Ok(at),
        Part::Link | Part::Directory => Err(UntrustedPath::NotAFile(at)),
    }
}

#[derive(PartialEq)]
enum Part {
    Link,
    Directory,
    File,
}

fn check(path: &Path, owners: &[u32]) -> Result<Part, UntrustedPath> {
    let metadata =
        std::fs::symlink_metadata(path).map_err(|error| UntrustedPath::Io(path.to_owned(), error))?;
    if !owners.contains(&metadata.uid()) {
        return Err(UntrustedPath::Owner(path.to_owned(), metadata.uid()));
    }
    let mode = metadata.mode();
    let shared = mode & SHARED != 0;
    match metadata.file_type() {
        kind if kind.is_symlink() => Ok(Part::Link),
        kind if kind.is_dir() && (!shared || mode & STICKY != 0) => Ok(Part::Directory),
        kind if kind.is_file() && !shared => Ok(Part::File),
        kind if kind.is_dir() || kind.is_file() => Err(UntrustedPath::Shared(path.to_owned(), mode)),
        _ => Err(UntrustedPath::NotAFile(path.to_owned())),
    }
}

/// The names along a path, from the root.
fn names(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn path_that_another_user_can_change_is_untrusted() {
        let folder = tempfile::tempdir().unwrap();
        let me = nix::unistd::geteuid().as_raw();
        let owners = [0, me];
        let path = |name: &str| folder.path().join(name);
        for name in ["mine", "open", "sticky", "mine/below"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        let program = |name: &str, mode: u32| {
            std::fs::write(path(name), "").unwrap();
            std::fs::set_permissions(path(name), PermissionsExt::from_mode(mode)).unwrap();
        };
        let names =
            ["mine/below/good", "mine/shared", "mine/group", "open/good", "sticky/good", "mine/foreign"];
        let modes = [0o755, 0o757, 0o775, 0o755, 0o755, 0o755];
        names.iter().zip(modes).for_each(|(name, mode)| program(name, mode));
        symlink("../mine/below/good", path("open/link")).unwrap();
        symlink("../open/good", path("mine/to_open")).unwrap();
        symlink("below/../below/good", path("mine/link")).unwrap();
        symlink("loop", path("mine/loop")).unwrap();
        symlink("none", path("mine/dangling")).unwrap();
        let chmod = |name: &str, mode| std::fs::set_permissions(path(name), PermissionsExt::from_mode(mode));
        chmod("open", 0o777).unwrap();
        chmod("sticky", 0o1777).unwrap();
        let why = |name: &str| match trusted_program(&path(name), &owners) {
            Ok(found) => found.strip_prefix(folder.path().canonicalize().unwrap()).unwrap().to_owned(),
            Err(UntrustedPath::Io(..)) => "io".into(),
            Err(UntrustedPath::Owner(..)) => "owner".into(),
            Err(UntrustedPath::Shared(..)) => "shared".into(),
            Err(UntrustedPath::NotAFile(_)) => "not a file".into(),
        };
        for (name, expected) in [
            ("mine/below/good", "mine/below/good"),
            ("mine/link", "mine/below/good"),
            ("sticky/good", "sticky/good"),
            ("mine/shared", "shared"),
            ("mine/group", "shared"),
            ("open/good", "shared"),
            ("open/link", "shared"),
            ("mine/to_open", "shared"),
            ("mine/loop", "io"),
            ("mine/dangling", "io"),
            ("mine/below", "not a file"),
        ] {
            assert_eq!(why(name), Path::new(expected), "{name}");
        }
        if me == 0 {
            chown(path("mine/foreign"), Some(65534), None).unwrap();
            assert_eq!(why("mine/foreign"), Path::new("owner"));
            std::os::unix::fs::lchown(path("sticky/good"), Some(65534), None).unwrap();
            assert_eq!(why("sticky/good"), Path::new("owner"));
        }
    }
}
