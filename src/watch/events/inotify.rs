//! Linux: inotify(7). The kernel knows a folder by a number; which of the tree's folders that is, is kept here and
//! nothing more, so that ten thousand cost little.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use super::{Refused, Told};
use crate::agent::Cause;
use crate::watch::tree::{Node, Tree};

/// A folder that is watched, and what changed in it; without a name it is the folder itself.
#[derive(Debug)]
pub(in crate::watch) struct At {
    folder: Node,
    name: Option<OsString>,
}

impl At {
    /// Its path.
    pub(in crate::watch) fn path(self, tree: &Tree) -> PathBuf {
        let folder = tree.path(self.folder);
        match self.name {
            Some(name) => folder.join(name),
            None => folder,
        }
    }
}

/// The folders that are watched.
pub(in crate::watch) struct Events {
    inotify: Arc<Inotify>,
    watches: Arc<Mutex<Watches>>,
    /// Closed, it ends the thread that reads.
    _end: PipeWriter,
}

/// Two paths may lead to one folder (a bind mount): the kernel has one watch for both.
#[derive(Default)]
struct Watches {
    folders: BTreeSet<(WatchDescriptor, Node)>,
    by_folder: BTreeMap<Node, WatchDescriptor>,
}

impl Watches {
    fn folders(&self, watch: WatchDescriptor) -> impl Iterator<Item = Node> + '_ {
        let all = (watch, Node::FIRST)..=(watch, Node::LAST);
        self.folders.range(all).map(|(_, folder)| *folder)
    }

    /// A folder is watched no longer; its watch, if no other folder has it.
    fn remove(&mut self, folder: Node) -> Option<WatchDescriptor> {
        let watch = self.by_folder.remove(&folder)?;
        self.folders.remove(&(watch, folder));
        self.folders(watch).next().is_none().then_some(watch)
    }
}

impl Events {
    /// `tell` is called on a thread of its own.
    pub(in crate::watch) fn new(tell: impl FnMut(Told) + Send + 'static) -> io::Result<Self> {
        let inotify = Arc::new(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?);
        let watches = Arc::<Mutex<Watches>>::default();
        let (ended, end) = io::pipe()?;
        let (events, known) = (Arc::clone(&inotify), Arc::clone(&watches));
        let read = move || read(&events, &known, &ended, tell);
        std::thread::Builder::new().name("events".into()).spawn(read)?;
        Ok(Self { inotify, watches, _end: end })
    }

    /// Watches a folder.
    pub(in crate::watch) fn watch(&mut self, folder: Node, path: &Path) -> Result<(), Refused> {
        let wanted = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        // Held meanwhile: an event of it may come before this thread goes on.
        let mut watches = lock(&self.watches);
        let watch = self.inotify.add_watch(path, wanted).map_err(|error| match error {
            // What stands there now is for the next walk to see.
            Errno::ENOENT | Errno::ENOTDIR => Refused::Missing,
            Errno::ENOSPC => Refused::Limit,
            error => Refused::Other(error.desc().to_owned()),
        })?;
        watches.folders.insert((watch, folder));
        watches.by_folder.insert(folder, watch);
        Ok(())
    }

    /// Watches several; how many before one was refused.
    pub(in crate::watch) fn watch_all<'f>(
        &mut self,
        folders: impl Iterator<Item = (Node, &'f Path)>,
    ) -> usize {
        folders.take_while(|(folder, path)| self.watch(*folder, path).is_ok()).count()
    }

    /// Watches a folder no longer.
    pub(in crate::watch) fn unwatch(&mut self, folder: Node, _: &Path) {
        if let Some(watch) = lock(&self.watches).remove(folder) {
            // It may have gone with its folder.
            let _ = self.inotify.rm_watch(watch);
        }
    }
}

fn lock(watches: &Mutex<Watches>) -> MutexGuard<'_, Watches> {
    watches.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(inotify: &Inotify, watches: &Mutex<Watches>, ended: &PipeReader, mut tell: impl FnMut(Told)) {
    loop {
        let mut either =
            [inotify.as_fd(), ended.as_fd()].map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
        match poll(&mut either, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return tell(Told::Lost(Some(error.desc().to_owned()))),
        }
        // Its other end is closed.
        if either[1].any() == Some(true) {
            return;
        }
        match inotify.read_events() {
            Ok(events) => events.into_iter().for_each(|event| pass_on(event, watches, &mut tell)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return tell(Told::Lost(Some(error.desc().to_owned()))),
        }
    }
}

fn pass_on(event: InotifyEvent, watches: &Mutex<Watches>, tell: &mut impl FnMut(Told)) {
    let InotifyEvent { wd, mask, name, .. } = event;
    if mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
        return tell(Told::Lost(None));
    }
    let mut watches = lock(watches);
    let folders: Vec<Node> = watches.folders(wd).collect();
    if mask.contains(AddWatchFlags::IN_IGNORED) {
        // The folder is gone, and the kernel's watch with it: its number means nothing any more.
        for folder in folders {
            watches.remove(folder);
        }
        return;
    }
    drop(watches);
    let going = AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_UNMOUNT;
    let goes = mask.intersects(going);
    let cause = if mask == AddWatchFlags::IN_MODIFY { Cause::Writing } else { Cause::Changed };
    for folder in folders {
        tell(Told::Changed { at: At { folder, name: name.clone() }, cause, goes });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// The folders of whom a change of a new file is told.
    fn told_of(file: &Path, told: &Receiver<Told>) -> BTreeSet<Node> {
        // What is told of this one is told after all of that.
        let end = file.with_extension("end");
        std::fs::write(file, "x").unwrap();
        std::fs::write(&end, "").unwrap();
        let mut folders = BTreeSet::new();
        loop {
            let Told::Changed { at, goes, .. } = told.recv_timeout(PATIENCE).unwrap() else { panic!("lost") };
            assert!(!goes);
            if at.name.as_deref() == end.file_name() {
                return folders;
            }
            if at.name.as_deref() == file.file_name() {
                folders.insert(at.folder);
            }
        }
    }

    #[test]
    fn two_paths_to_one_folder_have_each_their_own() {
        let (sender, told) = channel();
        let mut events = Events::new(move |what| sender.send(what).unwrap_or_default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let other = Path::new("/proc/self/root").join(folder.path().strip_prefix("/").unwrap());
        let mut tree = Tree::default();
        let nodes = [folder.path(), &other].map(|path| tree.make(path));
        events.watch(nodes[0], folder.path()).unwrap();
        events.watch(nodes[1], &other).unwrap();
        assert_eq!(told_of(&folder.path().join("one.pem"), &told), BTreeSet::from(nodes));
        events.unwatch(nodes[0], folder.path());
        assert_eq!(told_of(&folder.path().join("two.pem"), &told), BTreeSet::from([nodes[1]]));
        events.unwatch(nodes[1], &other);
        assert!(lock(&events.watches).folders.is_empty());
        // Whoever tells ends with the watches.
        drop(events);
        while told.recv_timeout(PATIENCE).is_ok() {}
        assert_eq!(told.try_recv().unwrap_err(), std::sync::mpsc::TryRecvError::Disconnected);
    }

    #[test]
    fn what_went_is_forgotten() {
        let (sender, told) = channel();
        let mut events = Events::new(move |what| sender.send(what).unwrap_or_default()).unwrap();
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("a");
        std::fs::create_dir(&folder).unwrap();
        let node = Tree::default().make(&folder);
        events.watch(node, &folder).unwrap();
        std::fs::remove_dir(&folder).unwrap();
        let what = told.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(what, Told::Changed { goes: true, cause: Cause::Changed, .. }), "{what:?}");
        let begun = std::time::Instant::now();
        while !lock(&events.watches).by_folder.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "the kernel's word that the watch is gone");
            std::thread::yield_now();
        }
        assert!(matches!(events.watch(node, &folder), Err(Refused::Missing)));
        std::fs::write(&folder, "a file").unwrap();
        assert!(matches!(events.watch(node, &folder), Err(Refused::Missing)));
    }
}
