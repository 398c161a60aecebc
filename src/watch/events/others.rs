//! Every system but Linux, as the notify library has it.

use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, EventKindMask, ModifyKind, RenameMode};
use notify::{Event, EventKind, PathOp, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::{Refused, Told};
use crate::agent::Cause;
use crate::watch::tree::{Node, Tree};

/// What changed.
#[derive(Debug)]
pub(in crate::watch) struct At(PathBuf);

impl At {
    /// Its path.
    pub(in crate::watch) fn path(self, _: &Tree) -> PathBuf {
        self.0
    }
}

/// The folders that are watched.
pub(in crate::watch) struct Events(RecommendedWatcher);

impl Events {
    /// `tell` is called on a thread of its own, which is also the one that adds watches.
    pub(in crate::watch) fn new(mut tell: impl FnMut(Told) + Send + 'static) -> notify::Result<Self> {
        let wanted = EventKindMask::CORE | EventKindMask::ACCESS_CLOSE;
        let config = notify::Config::default().with_event_kinds(wanted);
        let handler = move |event: notify::Result<Event>| match event {
            Ok(event) if event.need_rescan() => tell(Told::Lost(None)),
            Ok(event) => pass_on(event, &mut tell),
            Err(error) => tell(Told::Lost(Some(error.to_string()))),
        };
        Ok(Self(RecommendedWatcher::new(handler, config)?))
    }

    /// Watches a folder.
    pub(in crate::watch) fn watch(&mut self, _: Node, path: &Path) -> Result<(), Refused> {
        self.0.watch(path, RecursiveMode::NonRecursive).map_err(|error| match &error.kind {
            notify::ErrorKind::PathNotFound => Refused::Missing,
            notify::ErrorKind::Io(error) if error.kind() == std::io::ErrorKind::NotFound => Refused::Missing,
            notify::ErrorKind::MaxFilesWatch => Refused::Limit,
            _ => Refused::Other(error.to_string()),
        })
    }

    /// Hands several to the thread that adds watches, in one go; how many it added before one was refused.
    pub(in crate::watch) fn watch_all<'f>(
        &mut self,
        folders: impl Iterator<Item = (Node, &'f Path)>,
    ) -> usize {
        let wanted: Vec<PathOp> = folders.map(|(_, path)| PathOp::watch_non_recursive(path)).collect();
        let count = wanted.len();
        match self.0.update_paths(wanted) {
            Ok(()) => count,
            Err(error) if error.origin.is_some() => count - 1 - error.remaining.len(),
            Err(_) => 0,
        }
    }

    /// Watches a folder no longer.
    pub(in crate::watch) fn unwatch(&mut self, _: Node, path: &Path) {
        // It may have gone with its folder.
        let _ = self.0.unwatch(path);
    }
}

fn pass_on(event: Event, tell: &mut impl FnMut(Told)) {
    let cause = match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => Cause::Writing,
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Cause::Changed,
        EventKind::Access(_) => return,
        _ => Cause::Changed,
    };
    let goes =
        matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)));
    for path in event.paths {
        tell(Told::Changed { at: At(path), cause, goes });
    }
}
