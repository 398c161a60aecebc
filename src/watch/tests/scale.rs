//! Thousands of topics: what one change costs, and what is kept of those that went.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component, Path};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::super::*;

const FLAG: Topic = Topic::Server(ServerId(0));

fn site(number: usize) -> Topic {
    Topic::Site(SiteId(number))
}

fn watcher() -> (Watcher, UnboundedReceiver<Hint>, TempDir, PathBuf) {
    let (sender, hints) = unbounded_channel();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    (Watcher::new(sender), hints, folder, root)
}

/// How many paths and names are kept.
fn size(tree: &tree::Tree) -> (usize, usize) {
    (tree.children.len(), tree.names.numbers.len())
}

/// The topics of all hints so far, once each.
fn hinted(hints: &mut UnboundedReceiver<Hint>, flag: &Path) -> BTreeSet<usize> {
    if flag.is_dir() { fs::remove_dir(flag) } else { fs::create_dir(flag) }.unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut found = BTreeSet::new();
    loop {
        let next = async { tokio::time::timeout(Duration::from_secs(20), hints.recv()).await };
        match runtime.block_on(next).expect("a hint in time") {
            Some(Hint::Look(FLAG, _)) => return found,
            Some(Hint::Look(Topic::Site(SiteId(number)), _)) => found.insert(number),
            other => panic!("{other:?}"),
        };
    }
}

#[test]
fn of_ten_thousand_a_change_touches_those_it_concerns_and_none_that_went_leaves_anything() {
    const FOLDERS: usize = 500;
    let (mut watcher, mut hints, _folder, root) = watcher();
    let flag = root.join("flag");
    watcher.follow(FLAG, vec![flag.clone()], &[]);
    let before = (size(&lock(&watcher.shared).interest.tree), watcher.folders.known.len());
    let folder = |number: usize| root.join(format!("live/{}", number % FOLDERS));
    (0..FOLDERS).for_each(|number| fs::create_dir_all(folder(number)).unwrap());
    let file = |number: usize, name: &str| folder(number).join(format!("{name}{}.pem", number / FOLDERS));
    let files = |number| vec![file(number, "cert"), file(number, "key")];
    // What comes while others are taken up is of no account here.
    watcher.follow_all((0..10_000).map(|number| (site(number), files(number))));
    let (nodes, _) = size(&lock(&watcher.shared).interest.tree);
    assert_eq!(
        (nodes, watcher.folders.known.len()),
        (before.0.0 + 1 + FOLDERS + 20_000, before.1 + 1 + FOLDERS)
    );
    assert_eq!(watcher.polled(), 0);
    hinted(&mut hints, &flag);

    fs::write(file(7_777, "key"), "new").unwrap();
    assert_eq!(hinted(&mut hints, &flag), BTreeSet::from([7_777]));
    fs::write(folder(7_777).join("other.pem"), "new").unwrap();
    assert_eq!(hinted(&mut hints, &flag), BTreeSet::new());
    fs::remove_file(file(7_777, "key")).unwrap();
    fs::rename(folder(3), root.join("elsewhere")).unwrap();
    let concerned: BTreeSet<usize> =
        (0..10_000).filter(|number| number % FOLDERS == 3).chain([7_777]).collect();
    assert_eq!(hinted(&mut hints, &flag), concerned);
    fs::rename(root.join("elsewhere"), folder(3)).unwrap();
    hinted(&mut hints, &flag);
    watcher.rearm_all((0..10_000).map(site));
    fs::write(file(1_003, "cert"), "watched again").unwrap();
    assert_eq!(hinted(&mut hints, &flag), BTreeSet::from([1_003]));
    fs::rename(root.join("live"), root.join("gone")).unwrap();
    assert_eq!(hinted(&mut hints, &flag).len(), 10_000, "all stood below it");

    watcher.rearm_all((0..5_000).map(site));
    (0..10_000).for_each(|number| watcher.forget(site(number)));
    assert_eq!((size(&lock(&watcher.shared).interest.tree), watcher.folders.known.len()), before);
    assert_eq!(watcher.followed.len(), 1);
}

/// To end watches one by one takes longer the more there are.
#[test]
fn where_many_go_the_others_are_watched_anew() {
    const GOING: usize = 1_100;
    let (mut watcher, mut hints, _folder, root) = watcher();
    let flag = root.join("flag");
    let file = |number: usize| root.join(format!("{number}/cert.pem"));
    for number in 0..=GOING {
        fs::create_dir(root.join(number.to_string())).unwrap();
    }
    watcher.follow_all((0..=GOING).map(|number| (site(number), vec![file(number)])));
    let going: Vec<Topic> = (0..GOING).map(site).collect();
    assert!(!watcher.forget_all(&going[..1]));
    assert!(watcher.forget_all(&going[1..]), "the others are to be looked at");
    watcher.follow(FLAG, vec![flag.clone()], &[]);
    watcher.rearm(site(GOING));
    for number in [0, GOING] {
        fs::write(file(number), "new").unwrap();
    }
    assert_eq!(hinted(&mut hints, &flag), BTreeSet::from([GOING]));
}

#[test]
fn a_path_is_kept_as_long_as_somebody_holds_it() {
    let mut tree = tree::Tree::default();
    let paths = ["/a/b/c", "/a/b", "/a/../a/c", "/", "relative/c"].map(Path::new);
    let nodes = paths.map(|path| tree.make(path));
    for (path, node) in paths.into_iter().zip(nodes) {
        tree.hold(node);
        assert_eq!((tree.path(node).as_path(), tree.find(path)), (path, Some(node)));
    }
    assert_eq!(size(&tree).0, 10, "roots, too");
    tree.release(nodes[1]);
    assert_eq!(tree.find(paths[1]), Some(nodes[1]), "there is one below it");
    tree.release(nodes[0]);
    assert_eq!((tree.find(paths[0]), tree.find(paths[1])), (None, None));
    let again = tree.make(Path::new("/x"));
    assert_eq!(tree.path(again), Path::new("/x"));
    tree.hold(again);
    for node in [nodes[2], nodes[3], nodes[4], again] {
        tree.release(node);
    }
    assert_eq!(size(&tree), (0, 0));
}

/// The plain way to find the entries and folders on the way to a file, which keeps every path in full.
fn naive_way(file: &Path) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let parts = |path: &Path| -> VecDeque<OsString> {
        let named = |part: &Component| matches!(part, Component::Normal(_) | Component::ParentDir);
        path.components().filter(named).map(|part| part.as_os_str().to_owned()).collect()
    };
    let (mut entries, mut folders) = (BTreeSet::new(), BTreeSet::new());
    let (mut rest, mut here, mut links) = (parts(file), PathBuf::from("/"), 0);
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        folders.insert(here.clone());
        let entry = here.join(name);
        entries.insert(entry.clone());
        match fs::symlink_metadata(&entry) {
            Ok(found) if found.is_dir() => here = entry,
            Ok(found) if found.is_symlink() && links < 40 => {
                links += 1;
                let target = fs::read_link(&entry).unwrap();
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                let mut onward = parts(&target);
                onward.append(&mut rest);
                rest = onward;
            }
            _ => break,
        }
    }
    (entries, folders)
}

const NAMES: [&str; 9] = ["a", "b", "c", "a/a", "a/b", "b/a", "a/b/c", "a/../b/a", "b/c"];
const TARGETS: [&str; 6] = ["a", "../b", "b/a", "../a/b", "c", "../../c"];

#[derive(Debug, Clone)]
enum Step {
    Follow(Vec<(usize, Vec<usize>)>),
    Forget(usize),
    Rearm(usize),
    Folder(usize),
    File(usize, usize),
    Link(usize, usize),
    Remove(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || 0..NAMES.len();
    let topic = || 0..4usize;
    let files = prop::collection::vec(name(), 1..3);
    let follow = prop::collection::vec((topic(), files), 1..4);
    let step = prop_oneof![
        3 => follow.prop_map(Step::Follow),
        1 => topic().prop_map(Step::Forget),
        2 => topic().prop_map(Step::Rearm),
        2 => name().prop_map(Step::Folder),
        2 => (name(), 1..5usize).prop_map(|(name, size)| Step::File(name, size)),
        3 => (name(), 0..TARGETS.len()).prop_map(|(name, target)| Step::Link(name, target)),
        2 => name().prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 1..40)
}

/// Best effort: the names stand in each other's way, and that is what is wanted.
fn change(root: &Path, step: &Step) {
    let path = |name: &usize| root.join(NAMES[*name]);
    match step {
        Step::Folder(name) => drop(fs::create_dir(path(name))),
        Step::File(name, size) => drop(fs::write(path(name), "x".repeat(*size))),
        Step::Link(name, target) => drop(symlink(TARGETS[*target], path(name))),
        Step::Remove(name) => {
            let is_folder = fs::symlink_metadata(path(name)).is_ok_and(|found| found.is_dir());
            drop(if is_folder { fs::remove_dir_all(path(name)) } else { fs::remove_file(path(name)) });
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whom a path concerns, which folders are watched and what is polled are what the plain way says of it.
    #[test]
    fn what_is_kept_is_what_the_plain_way_finds(steps in steps(), is_polled: bool) {
        let (mut watcher, _hints, _folder, root) = watcher();
        if is_polled {
            watcher.folders.events = None;
        }
        let mut model: BTreeMap<usize, Vec<PathBuf>> = BTreeMap::new();
        for step in steps {
            change(&root, &step);
            let changed: BTreeSet<_> = watcher.poll().into_iter().map(|topic| format!("{topic:?}")).collect();
            prop_assert!(watcher.poll().is_empty(), "{changed:?} told once");
            match step {
                Step::Follow(wanted) => {
                    let paths = |files: &Vec<usize>| files.iter().map(|file| root.join(NAMES[*file])).collect();
                    let wanted: Vec<(usize, Vec<PathBuf>)> =
                        wanted.iter().map(|(topic, files)| (*topic, paths(files))).collect();
                    watcher.follow_all(wanted.iter().map(|(topic, files)| (site(*topic), files.clone())));
                    model.extend(wanted);
                }
                Step::Forget(topic) => {
                    watcher.forget(site(topic));
                    model.remove(&topic);
                }
                Step::Rearm(topic) => watcher.rearm(site(topic)),
                _ => {}
            }
            prop_assert_eq!(watcher.polled(), if is_polled { model.len() } else { 0 });
            watcher.rearm_all((0..4).map(site));

            let ways: Vec<_> = model
                .iter()
                .map(|(topic, files)| (*topic, files.iter().map(|file| naive_way(file)).collect::<Vec<_>>()))
                .collect();
            let folders: BTreeSet<&PathBuf> =
                ways.iter().flat_map(|(_, way)| way.iter().flat_map(|(_, folders)| folders)).collect();
            prop_assert_eq!(watcher.folders.known.len(), folders.len());
            let shared = lock(&watcher.shared);
            let tree = &shared.interest.tree;
            for folder in folders {
                prop_assert!(tree.find(folder).is_some_and(|node| watcher.folders.known.contains_key(&node)), "{folder:?}");
            }
            let below = NAMES.iter().map(|name| root.join(name));
            for path in root.ancestors().map(Path::to_owned).chain(below) {
                let concerned: Vec<Topic> = ways
                    .iter()
                    .filter(|(_, way)| way.iter().any(|(entries, _)| entries.contains(&path)))
                    .map(|(topic, _)| site(*topic))
                    .collect();
                prop_assert_eq!(shared.interest.through(&path), concerned, "{:?}", path);
            }
        }
        model.keys().for_each(|topic| watcher.forget(site(*topic)));
        let left = (size(&lock(&watcher.shared).interest.tree), watcher.folders.known.len(), watcher.polled());
        prop_assert_eq!(left, ((0, 0), 0, 0));
    }
}
