use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::super::tree::Tree;
use super::super::*;

/// The site whose file tells that everything before it was read: events of one watcher keep their order.
const FLAG: Topic = Topic::Site(SiteId(99));
const SITE: Topic = Topic::Site(SiteId(0));

struct Bench {
    watcher: Watcher,
    hints: UnboundedReceiver<Hint>,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let (sender, hints) = unbounded_channel();
        let folder = tempfile::tempdir().unwrap();
        for name in ["flags", "ssl"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut bench = Self { watcher: Watcher::new(sender), hints, folder };
        bench.watcher.follow(FLAG, vec![bench.path("../flags/flag")], &[]);
        bench
    }

    /// Below `ssl`.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("ssl").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn folders(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn link(&self, target: &str, name: &str) {
        symlink(target, self.path(name)).unwrap();
    }

    /// A link put in another's place by a rename, as `ln -sfn` and kubelet do.
    fn link_over(&self, target: &str, name: &str) {
        self.link(target, "link.tmp");
        self.rename("link.tmp", name);
    }

    fn follow(&mut self, site: Topic, names: &[&str]) {
        let files = names.iter().map(|name| self.path(name)).collect();
        self.watcher.follow(site, files, &[]);
    }

    fn is_watched(&self, name: &str) -> bool {
        let node = lock(&self.watcher.shared).interest.tree.find(&self.path(name));
        node.is_some_and(|node| self.watcher.folders.known.contains_key(&node))
    }

    /// The hints of everything that was done so far; each is followed by a look, as the daemon does.
    fn hints(&mut self) -> Vec<Hint> {
        let flag = self.path("../flags/flag");
        if flag.is_dir() { fs::remove_dir(flag) } else { fs::create_dir(flag) }.unwrap();
        let mut found = Vec::new();
        loop {
            match self.next() {
                Hint::Look(FLAG, _) => return found,
                hint => found.push(hint),
            }
            if let Some(Hint::Look(site, _)) = found.last() {
                self.watcher.rearm(*site);
            }
        }
    }

    fn next(&mut self) -> Hint {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let wait = async { tokio::time::timeout(Duration::from_secs(20), self.hints.recv()).await };
        runtime.block_on(wait).expect("a hint in time").expect("a watcher")
    }

    /// The causes of one site's hints, without repetitions; other sites have none.
    fn causes(&mut self, of: Topic) -> Vec<Cause> {
        let mut causes = Vec::new();
        for hint in self.hints() {
            let Hint::Look(site, cause) = hint else { panic!("{hint:?}") };
            assert_eq!(site, of);
            if causes.last() != Some(&cause) {
                causes.push(cause);
            }
        }
        causes
    }

    /// All is looked at, and from now on only what happens next gives hints.
    fn settle(&mut self) {
        while !self.hints().is_empty() {}
    }

    #[track_caller]
    fn assert_changed(&mut self, what: &str) {
        assert_eq!(self.causes(SITE), [Cause::Changed], "{what}");
        self.settle();
    }

    #[track_caller]
    fn assert_noticed(&mut self, name: &str) {
        self.write(name, "again");
        let causes = self.causes(SITE);
        assert!(causes.ends_with(&[Cause::Writing, Cause::Changed]), "a write to {name}: {causes:?}");
        self.settle();
    }
}

#[test]
fn a_plain_file_in_every_way_of_writing() {
    let mut bench = Bench::new();
    bench.write("cert.pem", "old");
    bench.follow(SITE, &["cert.pem"]);
    assert_eq!(bench.causes(SITE), [], "nothing happened yet");
    bench.write("cert.pem", "in place");
    assert_eq!(bench.causes(SITE), [Cause::Writing, Cause::Changed]);
    bench.write("cert.tmp", "renamed");
    bench.rename("cert.tmp", "cert.pem");
    bench.assert_changed("a rename over it");
    fs::remove_file(bench.path("cert.pem")).unwrap();
    bench.assert_changed("unlinked");
    bench.write("cert.pem", "made anew");
    assert_eq!(bench.causes(SITE), [Cause::Changed, Cause::Writing, Cause::Changed]);
    let now = std::time::SystemTime::now();
    let times = fs::FileTimes::new().set_accessed(now).set_modified(now);
    fs::File::options().write(true).open(bench.path("cert.pem")).unwrap().set_times(times).unwrap();
    bench.assert_changed("touched, which cures an inherited certificate of nginx");
    fs::hard_link(bench.path("cert.pem"), bench.path("hard")).unwrap();
    fs::remove_file(bench.path("cert.pem")).unwrap();
    bench.rename("hard", "cert.pem");
    bench.assert_changed("another name of the file");
}

#[test]
fn what_does_not_concern_a_site_gives_no_hint() {
    let mut bench = Bench::new();
    bench.write("cert.pem", "old");
    bench.write("cert.pem.bak", "old");
    bench.folders("site");
    bench.follow(SITE, &["cert.pem", "site/key.pem"]);
    assert_eq!(fs::read_to_string(bench.path("cert.pem")).unwrap(), "old");
    assert!(fs::metadata(bench.path("cert.pem")).unwrap().is_file());
    bench.write("cert.pem.bak", "new");
    bench.write("cert.pem.tmp", "new");
    bench.rename("cert.pem.tmp", "cert.pem.new");
    bench.write("site/other.pem", "new");
    bench.folders("other");
    bench.write("other/cert.pem", "new");
    fs::remove_file(bench.path("cert.pem.new")).unwrap();
    assert_eq!(bench.hints(), []);
    bench.assert_noticed("cert.pem");
    bench.write("site/key.pem", "new");
    assert_eq!(bench.causes(SITE), [Cause::Changed, Cause::Writing, Cause::Changed]);
}

#[test]
fn links_are_followed_at_every_step() {
    let mut bench = Bench::new();
    bench.folders("live");
    bench.folders("archive");
    bench.write("archive/cert1.pem", "1");
    bench.write("archive/cert2.pem", "2");
    bench.link("../archive/cert1.pem", "live/cert.pem");
    bench.link("live/cert.pem", "nginx.pem");
    bench.follow(SITE, &["nginx.pem"]);
    bench.assert_noticed("archive/cert1.pem");
    // certbot: for a moment there is no link.
    fs::remove_file(bench.path("live/cert.pem")).unwrap();
    bench.assert_changed("the link is gone");
    bench.link("../archive/cert2.pem", "live/cert.pem");
    bench.assert_changed("the link is back");
    bench.assert_noticed("archive/cert2.pem");
    bench.write("archive/cert1.pem", "of no account any more");
    assert_eq!(bench.hints(), []);
    // dehydrated: ln -sf; with a full path, to a file that comes later.
    let target = bench.path("archive/cert3.pem");
    bench.link_over(target.to_str().unwrap(), "live/cert.pem");
    bench.assert_changed("the link leads elsewhere");
    bench.write("archive/cert3.pem", "3");
    assert!(bench.causes(SITE).ends_with(&[Cause::Changed]));
    bench.assert_noticed("archive/cert3.pem");
}

#[test]
fn a_kubernetes_secret_changes_by_one_rename_above_it() {
    let mut bench = Bench::new();
    for version in ["..1", "..2", "..3"] {
        bench.folders(version);
        for name in ["tls.crt", "tls.key"] {
            bench.write(&format!("{version}/{name}"), version);
        }
    }
    bench.link("..1", "..data");
    bench.link("..data/tls.crt", "tls.crt");
    bench.link("..data/tls.key", "tls.key");
    bench.follow(SITE, &["tls.crt", "tls.key"]);
    for (old, new) in [("..1", "..2"), ("..2", "..3")] {
        bench.link_over(new, "..data");
        bench.assert_changed("..data leads elsewhere");
        bench.assert_noticed(&format!("{new}/tls.key"));
        fs::remove_dir_all(bench.path(old)).unwrap();
        assert_eq!(bench.hints(), [], "kubelet clears up");
    }
}

#[test]
fn folders_that_come_later_are_awaited() {
    for at_once in [true, false] {
        let mut bench = Bench::new();
        bench.follow(SITE, &["a/b/c/cert.pem", "a/b/key.pem"]);
        bench.folders("z/b/c");
        assert_eq!(bench.hints(), []);
        for folder in ["a", "a/b", "a/b/c"] {
            bench.folders(folder);
            if !at_once {
                bench.assert_changed(folder);
            }
        }
        if at_once {
            assert!(!bench.causes(SITE).is_empty());
        }
        bench.settle();
        for file in ["a/b/c/cert.pem", "a/b/key.pem"] {
            bench.write(file, "first");
            assert!(bench.causes(SITE).ends_with(&[Cause::Changed]), "{file}");
            bench.settle();
            bench.assert_noticed(file);
        }
    }
}

/// The ways in which a folder makes room for another of its path.
#[test]
fn a_folder_that_was_replaced_is_watched_again() {
    type Replace = fn(&Bench, &str);
    let ways: [(&str, Replace); 4] = [
        ("renamed away, made anew", |bench, folder| {
            bench.rename(folder, "old");
            bench.folders("a/b");
            bench.write("a/b/cert.pem", "new");
            fs::remove_dir_all(bench.path("old")).unwrap();
        }),
        ("removed, made anew: often of the same inode", |bench, folder| {
            fs::remove_dir_all(bench.path(folder)).unwrap();
            bench.folders("a/b");
            bench.write("a/b/cert.pem", "new");
        }),
        ("another put in its place", |bench, folder| {
            bench.folders("new/b");
            bench.write("new/cert.pem", "new");
            bench.write("new/b/cert.pem", "new");
            bench.rename(folder, "old");
            bench.rename("new", folder);
            fs::remove_dir_all(bench.path("old")).unwrap();
        }),
        ("renamed away and back", |bench, folder| {
            bench.rename(folder, "old");
            bench.rename("old", folder);
        }),
    ];
    for (way, replace) in ways {
        let mut bench = Bench::new();
        bench.folders("a/b");
        bench.write("a/b/cert.pem", "old");
        bench.follow(SITE, &["a/b/cert.pem"]);
        for round in 0..6 {
            for folder in ["a", "a/b"] {
                replace(&bench, folder);
                // Now and then somebody looks before the events are read.
                if round % 2 == 0 {
                    bench.watcher.rearm(SITE);
                }
                assert!(!bench.hints().is_empty(), "{way}, {folder}");
                bench.settle();
                bench.write("a/b/cert.pem", "again");
                let causes = bench.causes(SITE);
                assert!(
                    causes.ends_with(&[Cause::Writing, Cause::Changed]),
                    "{way}, {folder}, round {round}: {causes:?}"
                );
                bench.settle();
            }
        }
    }
}

#[test]
fn a_folder_of_another_name_is_followed_through_its_link() {
    let mut bench = Bench::new();
    bench.folders("release-1");
    bench.write("release-1/cert.pem", "old");
    bench.link("release-1", "current");
    bench.follow(SITE, &["current/cert.pem"]);
    bench.rename("release-1", "release-2");
    bench.link_over("release-2", "current");
    assert!(!bench.hints().is_empty());
    bench.settle();
    bench.assert_noticed("release-2/cert.pem");
}

#[test]
fn following_other_files_forgets_the_old_ones() {
    let mut bench = Bench::new();
    bench.folders("one");
    bench.folders("two");
    let other = Topic::Site(SiteId(1));
    for name in ["one/cert.pem", "one/other.pem", "two/cert.pem"] {
        bench.write(name, "old");
    }
    bench.follow(SITE, &["one/cert.pem"]);
    bench.follow(other, &["one/other.pem"]);
    bench.follow(SITE, &["two/cert.pem"]);
    bench.write("one/cert.pem", "new");
    assert_eq!(bench.hints(), []);
    bench.assert_noticed("two/cert.pem");
    bench.write("one/other.pem", "new");
    assert_eq!(bench.causes(other), [Cause::Writing, Cause::Changed], "of a folder that both used");
    bench.follow(other, &["two/cert.pem"]);
    assert!(!bench.is_watched("one"), "nobody needs it any more");
    bench.write("two/cert.pem", "new");
    let hints = bench.hints();
    for site in [SITE, other] {
        assert!(hints.contains(&Hint::Look(site, Cause::Changed)), "{hints:?}");
    }
    bench.watcher.rearm(Topic::Site(SiteId(55)));
}

#[test]
fn lost_events_mean_a_look_at_everything_with_new_watches() {
    let mut bench = Bench::new();
    bench.folders("a");
    bench.write("a/cert.pem", "old");
    bench.follow(SITE, &["a/cert.pem"]);
    let (sender, mut told) = unbounded_channel();
    for told in [Told::Lost(None), Told::Lost(Some("read".into()))] {
        // A watch that went with its folder, and the event that told so was lost.
        let folder = bench.path("a");
        bench.watcher.folders.events.as_mut().unwrap().unwatch(&folder);
        bench.write("a/cert.pem", "unseen");
        assert_eq!(bench.hints(), []);
        pass_on(told, &bench.watcher.shared, &sender);
        bench.watcher.rearm(FLAG);
        bench.watcher.rearm(SITE);
        bench.assert_noticed("a/cert.pem");
    }
    assert_eq!([told.try_recv(), told.try_recv()], [Ok(Hint::Lost); 2]);
}

#[test]
fn without_events_files_are_polled() {
    let mut bench = Bench::new();
    bench.watcher.folders.events = None;
    bench.write("cert.pem", "old");
    bench.follow(SITE, &["cert.pem", "key.pem"]);
    bench.follow(Topic::Site(SiteId(1)), &["other.pem"]);
    assert_eq!((bench.watcher.polled(), bench.watcher.poll()), (2, vec![]));
    type Step = fn(&Bench);
    let steps: [(&str, Step); 4] = [
        ("longer", |bench| bench.write("cert.pem", "longer")),
        ("new", |bench| bench.write("key.pem", "new")),
        ("renamed over", |bench| {
            bench.write("tmp", "longer");
            bench.rename("tmp", "cert.pem");
        }),
        ("gone", |bench| fs::remove_file(bench.path("key.pem")).unwrap()),
    ];
    for (what, step) in steps {
        step(&bench);
        bench.watcher.rearm(SITE);
        assert_eq!(bench.watcher.poll(), [SITE], "{what}");
        assert_eq!(bench.watcher.poll(), [], "{what}, told once");
    }
}

/// The entries and folders on the way to files.
fn way_to(files: &[PathBuf]) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let mut tree = Tree::default();
    let nodes: Vec<_> = files.iter().map(|file| tree.make(file)).collect();
    let way = Way::to(&nodes, &mut tree, &mut Seen::default(), &HashSet::new(), &|_, _| false);
    let paths = |nodes: &[Node]| nodes.iter().map(|node| tree.path(*node)).collect::<BTreeSet<_>>();
    let folders = paths(&tree.folders_of(&way.ends));
    let mut entries: BTreeSet<_> = paths(&way.ends).union(&folders).cloned().collect();
    entries.remove(Path::new("/"));
    (entries, folders)
}

#[test]
fn the_way_to_a_file_has_every_folder_and_link() {
    let bench = Bench::new();
    bench.folders("real/deep");
    bench.folders("live");
    bench.write("real/deep/cert.pem", "x");
    bench.link("../real/./deep", "live/here");
    bench.link(bench.path("live/../live/here/cert.pem").to_str().unwrap(), "full");
    bench.link("loop", "loop");
    bench.link("pong", "ping");
    bench.link("ping", "pong");
    let root = bench.path("");
    let way = |name: &str| {
        let (entries, folders) = way_to(&[bench.path(name)]);
        assert!(folders.contains(Path::new("/")), "{name}");
        let below = |path: &PathBuf| Some(path.strip_prefix(&root).ok()?.to_str()?.to_owned());
        let below = |paths: BTreeSet<PathBuf>| paths.iter().filter_map(below).collect::<Vec<_>>().join(" ");
        (below(entries).trim().to_owned(), below(folders).trim().to_owned())
    };
    let table = [
        ("real/deep/cert.pem", "real real/deep real/deep/cert.pem", "real real/deep"),
        ("real/../real/deep/cert.pem", "real real/deep real/deep/cert.pem", "real real/deep"),
        ("live/here/cert.pem", "live live/here real real/deep real/deep/cert.pem", "live real real/deep"),
        ("live/here/../cert.pem", "live live/here real real/cert.pem real/deep", "live real"),
        ("full", "full live live/here real real/deep real/deep/cert.pem", "live real real/deep"),
        ("none/cert.pem", "none", ""),
        ("real/none.pem", "real real/none.pem", "real"),
        ("real/deep/cert.pem/x", "real real/deep real/deep/cert.pem", "real real/deep"),
        ("loop", "loop", ""),
        ("ping/x", "ping pong", ""),
    ];
    for (name, entries, folders) in table {
        assert_eq!(way(name), (entries.to_owned(), folders.to_owned()), "{name}");
    }
}

#[test]
fn ten_thousand_files_are_walked_to_in_a_moment() {
    let bench = Bench::new();
    let files: Vec<PathBuf> = (0..10_000).map(|n| bench.path(&format!("{n}.conf"))).collect();
    let begun = std::time::Instant::now();
    let (entries, folders) = way_to(&files);
    let above = bench.path("").components().count();
    assert_eq!((entries.len(), folders.len()), (10_000 + above - 1, above));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
}
