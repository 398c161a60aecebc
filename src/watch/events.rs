//! What the system tells of folders and files, as the notify library has it on every system.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKindMask, ModifyKind, RenameMode};
use notify::{Event, EventKind, PathOp, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::agent::Cause;

/// What was told.
#[derive(Debug)]
pub(super) enum Told {
    /// Something changed in a folder that is watched, or the folder or file itself.
    Changed {
        /// Where.
        at: PathBuf,
        /// How.
        cause: Cause,
        /// Whether what stood at that path, and the watches below it, may be there no more.
        goes: bool,
    },
    /// Events were lost, and why if that is known.
    Lost(Option<String>),
}

/// Why a path is not watched.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is not there.
    Missing,
    /// There may be no more watches.
    Limit,
    /// The system's words.
    Other(String),
}

/// The paths that are watched.
pub(super) struct Events {
    watcher: RecommendedWatcher,
    tell: Arc<dyn Fn(Told) + Send + Sync>,
}

impl Events {
    /// `tell` is called on a thread of its own, which is also the one that adds watches.
    pub(super) fn new(tell: impl Fn(Told) + Send + Sync + 'static) -> notify::Result<Self> {
        let tell: Arc<dyn Fn(Told) + Send + Sync> = Arc::new(tell);
        Ok(Self { watcher: begin(&tell)?, tell })
    }

    /// Ends every watch. The library looks through all of them to end one: many are ended together.
    pub(super) fn clear(&mut self) -> notify::Result<()> {
        self.watcher = begin(&self.tell)?;
        Ok(())
    }

    /// Watches a path.
    pub(super) fn watch(&mut self, path: &Path) -> Result<(), Refused> {
        self.watcher.watch(path, RecursiveMode::NonRecursive).map_err(|error| match &error.kind {
            notify::ErrorKind::PathNotFound => Refused::Missing,
            notify::ErrorKind::Io(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                Refused::Missing
            }
            notify::ErrorKind::MaxFilesWatch => Refused::Limit,
            _ => Refused::Other(error.to_string()),
        })
    }

    /// Hands several to the thread that adds watches, in one go; how many it added before one was refused.
    pub(super) fn watch_all<'p>(&mut self, paths: impl Iterator<Item = &'p Path>) -> usize {
        let wanted: Vec<PathOp> = paths.map(PathOp::watch_non_recursive).collect();
        let count = wanted.len();
        match self.watcher.update_paths(wanted) {
            Ok(()) => count,
            Err(error) if error.origin.is_some() => count - 1 - error.remaining.len(),
            Err(_) => 0,
        }
    }

    /// Watches a path no longer.
    pub(super) fn unwatch(&mut self, path: &Path) {
        // The watch may have gone with what stood there.
        let _ = self.watcher.unwatch(path);
    }
}

fn begin(tell: &Arc<dyn Fn(Told) + Send + Sync>) -> notify::Result<RecommendedWatcher> {
    let wanted = EventKindMask::CORE | EventKindMask::ACCESS_CLOSE;
    let config = notify::Config::default().with_event_kinds(wanted);
    let tell = Arc::clone(tell);
    let handler = move |event: notify::Result<Event>| match event {
        Ok(event) if event.need_rescan() => tell(Told::Lost(None)),
        Ok(event) => pass_on(event, &*tell),
        Err(error) => tell(Told::Lost(Some(error.to_string()))),
    };
    RecommendedWatcher::new(handler, config)
}

fn pass_on(event: Event, tell: &dyn Fn(Told)) {
    let cause = match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => Cause::Writing,
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Cause::Changed,
        EventKind::Access(_) => return,
        // The two names of a rename are told one by one, too.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) if cfg!(target_os = "linux") => return,
        _ => Cause::Changed,
    };
    let goes =
        matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)));
    for path in event.paths {
        tell(Told::Changed { at: path, cause, goes });
    }
}
