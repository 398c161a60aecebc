//! What Windows tells, which is less and in another order: every change ends in a hint, and its last look sees it.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::super::*;

const SITE: Topic = Topic::Site(SiteId(0));

struct Bench {
    watcher: Watcher,
    hints: UnboundedReceiver<Hint>,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let (sender, hints) = unbounded_channel();
        Self { watcher: Watcher::new(sender), hints, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn follow(&mut self, name: &str) {
        self.watcher.follow(SITE, vec![self.path(name)], &[]);
    }

    /// Whether a hint comes within a time; each is followed by a look, as the daemon does.
    fn hinted(&mut self, within: Duration) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let hint = runtime.block_on(async { tokio::time::timeout(within, self.hints.recv()).await });
        if let Ok(Some(Hint::Look(site, _))) = hint {
            self.watcher.rearm(site);
        }
        hint.is_ok()
    }

    /// Does something, and sees the hint that comes of it when all earlier ones have come.
    #[track_caller]
    fn sees(&mut self, what: &str, act: impl FnOnce(&Self)) {
        while self.hinted(Duration::from_millis(300)) {}
        act(self);
        assert!(self.hinted(Duration::from_secs(20)), "{what}");
    }
}

#[test]
fn a_plain_file_in_every_way_of_writing() {
    let mut bench = Bench::new();
    bench.follow("cert.pem");
    bench.sees("created", |bench| fs::write(bench.path("cert.pem"), "one").unwrap());
    bench.sees("written in place", |bench| fs::write(bench.path("cert.pem"), "other").unwrap());
    bench.sees("renamed over it", |bench| {
        fs::write(bench.path("new.pem"), "two").unwrap();
        fs::rename(bench.path("new.pem"), bench.path("cert.pem")).unwrap();
    });
    bench.sees("removed", |bench| fs::remove_file(bench.path("cert.pem")).unwrap());
    bench.sees("moved in", |bench| {
        fs::create_dir(bench.path("elsewhere")).unwrap();
        fs::write(bench.path("elsewhere/cert.pem"), "three").unwrap();
        fs::rename(bench.path("elsewhere/cert.pem"), bench.path("cert.pem")).unwrap();
    });
    bench.sees("renamed away", |bench| fs::rename(bench.path("cert.pem"), bench.path("old.pem")).unwrap());
}

#[test]
fn another_spelling_of_the_name_is_the_same_file() {
    let mut bench = Bench::new();
    fs::write(bench.path("Full Chain.PEM"), "one").unwrap();
    bench.follow("full chain.pem");
    bench.sees("written", |bench| fs::write(bench.path("FULL CHAIN.pem"), "two").unwrap());
}

#[test]
fn what_does_not_concern_a_site_gives_no_hint() {
    let mut bench = Bench::new();
    fs::write(bench.path("cert.pem"), "one").unwrap();
    bench.follow("cert.pem");
    while bench.hinted(Duration::from_millis(300)) {}
    fs::write(bench.path("cert.pem.bak"), "two").unwrap();
    assert_eq!(fs::read_to_string(bench.path("cert.pem")).unwrap(), "one");
    assert!(!bench.hinted(Duration::from_millis(500)));
}

#[test]
fn folders_that_come_later_or_are_replaced_are_watched() {
    let mut bench = Bench::new();
    bench.follow("live/a/cert.pem");
    bench.sees("the folders", |bench| fs::create_dir_all(bench.path("live/a")).unwrap());
    bench.sees("the file", |bench| fs::write(bench.path("live/a/cert.pem"), "one").unwrap());
    if certhook_test_support::wine::cannot_prove("it tells nobody that a folder is removed that is watched") {
        return;
    }
    bench.sees("its folder is gone", |bench| fs::remove_dir_all(bench.path("live/a")).unwrap());
    bench.sees("made anew", |bench| {
        // Its name is free when the last who has it open has let go: certhook too, when it has heard.
        let free = |_: &u32| {
            std::thread::sleep(Duration::from_millis(10));
            fs::create_dir(bench.path("live/a")).is_ok()
        };
        assert!((0..2000).find(free).is_some());
    });
    bench.sees("the new file", |bench| fs::write(bench.path("live/a/cert.pem"), "two").unwrap());
}

#[test]
fn without_events_files_are_polled() {
    let mut bench = Bench::new();
    bench.watcher.folders.events = None;
    fs::write(bench.path("cert.pem"), "one").unwrap();
    bench.follow("cert.pem");
    assert_eq!((bench.watcher.polled(), bench.watcher.poll()), (1, vec![]));
    fs::write(bench.path("cert.pem"), "longer").unwrap();
    assert_eq!((bench.watcher.poll(), bench.watcher.poll()), (vec![SITE], vec![]));
}
