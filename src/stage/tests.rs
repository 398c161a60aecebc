#![cfg(unix)] // what nginx reads through links

use std::os::unix::fs::PermissionsExt;

use certhook_test_support::ca::{Authority, Order, Pair};

use super::*;

struct Bench {
    folder: tempfile::TempDir,
    ca: Authority,
    place: Place,
    stage: Stage,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("a.test");
        std::fs::create_dir(&source).unwrap();
        let place =
            Place { certificate: source.join("fullchain.pem"), key: KeyAt::File(source.join("privkey.pem")) };
        let stage = Stage { folder: folder.path().join("live"), name: "a.test".into() };
        Self { folder, ca: Authority::new(), place, stage }
    }

    fn renew(&self) -> (Pair, Fingerprint) {
        let pair = self.ca.issue(Order { hosts: &["a.test"], ..Order::default() });
        std::fs::write(&self.place.certificate, &pair.fullchain_pem).unwrap();
        let KeyAt::File(key) = &self.place.key else { unreachable!() };
        std::fs::write(key, &pair.key_pem).unwrap();
        let set = crate::inspect::inspect(&self.place, Timestamp::now()).unwrap().bundle.set;
        (pair, set)
    }

    fn published(&self) -> (String, String) {
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        (read(self.stage.certificate()), read(self.stage.key()))
    }

    fn sets(&self) -> usize {
        std::fs::read_dir(self.stage.folder.join(SETS)).unwrap().count()
    }
}

#[test]
fn a_set_is_published_whole_and_private_and_the_last_one_removed() {
    let bench = Bench::new();
    assert!(!bench.stage.is_published());
    let (first, set) = bench.renew();
    assert_eq!(bench.stage.publish(&bench.place, &set), Ok(true));
    assert_eq!(bench.stage.publish(&bench.place, &set), Ok(false), "again is nothing new");
    assert_eq!(bench.published(), (first.fullchain_pem, first.key_pem));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&bench.stage.folder), 0o700);
    assert_eq!(mode(&bench.stage.link()), 0o700);
    assert_eq!((mode(&bench.stage.certificate()), mode(&bench.stage.key())), (0o600, 0o600));
    let (second, set) = bench.renew();
    assert_eq!(bench.stage.publish(&bench.place, &set), Ok(true));
    assert_eq!(bench.published(), (second.fullchain_pem, second.key_pem));
    assert_eq!(bench.sets(), 2);
    bench.stage.tidy();
    assert_eq!(bench.sets(), 1);
    assert!(bench.stage.is_published());
}

#[test]
fn what_breaks_or_goes_leaves_what_was_published() {
    let bench = Bench::new();
    let (first, set) = bench.renew();
    bench.stage.publish(&bench.place, &set).unwrap();
    let (second, next) = bench.renew();
    // Half-written after it was found whole.
    std::fs::write(&bench.place.certificate, &second.fullchain_pem[..900]).unwrap();
    assert_eq!(bench.stage.publish(&bench.place, &next).unwrap_err().code, "changing");
    // Whole, but another set.
    std::fs::write(&bench.place.certificate, &first.fullchain_pem).unwrap();
    assert_eq!(bench.stage.publish(&bench.place, &next).unwrap_err().code, "changing");
    // Whole, and renewed once more since it was looked at.
    bench.renew();
    assert_eq!(bench.stage.publish(&bench.place, &next).unwrap_err().code, "changing");
    std::fs::remove_dir_all(bench.place.certificate.parent().unwrap()).unwrap();
    assert_eq!(bench.stage.publish(&bench.place, &next).unwrap_err().code, "missing");
    assert_eq!(bench.published(), (first.fullchain_pem, first.key_pem));
}

#[test]
fn what_was_begun_and_never_finished_is_in_nobodys_way() {
    let bench = Bench::new();
    let (_, set) = bench.renew();
    let sets = bench.stage.folder.join(SETS);
    let broken = sets.join(bench.stage.set(&set));
    std::fs::create_dir_all(&broken).unwrap();
    std::fs::write(broken.join(CERTIFICATE), "half").unwrap();
    std::fs::create_dir_all(sets.join(".new-a.test-1-1")).unwrap();
    std::fs::create_dir_all(sets.join("a.test.other@0123456789abcdef")).unwrap();
    assert_eq!(bench.stage.publish(&bench.place, &set), Ok(true));
    bench.stage.tidy();
    assert_eq!(bench.sets(), 2, "its own, and another site's");
    assert!(bench.published().0.starts_with("-----BEGIN"));
}

#[test]
fn a_folder_that_cannot_be_written_says_so() {
    let bench = Bench::new();
    let (_, set) = bench.renew();
    std::fs::write(&bench.stage.folder, "a file").unwrap();
    let problem = bench.stage.publish(&bench.place, &set).unwrap_err();
    assert_eq!(problem.code, "not_published");
    assert!(problem.message.contains(&bench.folder.path().display().to_string()), "{problem}");
}

/// What is below the stage's folder, the folder of the sets included.
fn names(bench: &Bench) -> Vec<String> {
    let below = [&bench.stage.folder, &bench.stage.folder.join(SETS)];
    let mut names: Vec<String> =
        below.iter().flat_map(|folder| entries(folder)).map(|(name, _)| name).collect();
    names.sort();
    names
}

#[test]
fn failed_publish_leaves_nothing_behind() {
    let bench = Bench::new();
    // A file where the whole set is to be: the rename fails after all was written.
    let (first, set) = bench.renew();
    let in_the_way = bench.stage.folder.join(SETS).join(bench.stage.set(&set));
    std::fs::create_dir_all(in_the_way.parent().unwrap()).unwrap();
    std::fs::write(&in_the_way, "").unwrap();
    let before = names(&bench);
    for _ in 0..3 {
        assert_eq!(bench.stage.publish(&bench.place, &set).unwrap_err().code, "not_published");
        assert_eq!(names(&bench), before);
    }
    std::fs::remove_file(&in_the_way).unwrap();
    assert_eq!(bench.stage.publish(&bench.place, &set), Ok(true));
    // Two folders where the link is to be: the swap fails after the set was written.
    std::fs::remove_file(bench.stage.link()).unwrap();
    for folder in [bench.stage.link(), bench.stage.folder.join(".before-a.test")] {
        std::fs::create_dir(folder).unwrap();
    }
    let before = names(&bench);
    for _ in 0..3 {
        let (_, set) = bench.renew();
        assert_eq!(bench.stage.publish(&bench.place, &set).unwrap_err().code, "not_published");
        assert_eq!(names(&bench), before);
    }
    std::fs::remove_dir(bench.stage.folder.join(".before-a.test")).unwrap();
    let (second, set) = bench.renew();
    assert_eq!(bench.stage.publish(&bench.place, &set), Ok(true));
    assert_ne!(first.fullchain_pem, second.fullchain_pem);
    assert_eq!(bench.published(), (second.fullchain_pem, second.key_pem));
}

#[test]
fn leftovers_of_earlier_runs_are_removed_and_nothing_else() {
    let bench = Bench::new();
    let (_, set) = bench.renew();
    let sets = bench.stage.folder.join(SETS);
    std::fs::create_dir_all(&sets).unwrap();
    for number in 0..20 {
        std::fs::create_dir(sets.join(format!(".new-a.test-77-{number}"))).unwrap();
        let link = bench.stage.folder.join(format!(".link-a.test-77-{number}"));
        std::os::unix::fs::symlink("nowhere", link).unwrap();
    }
    // Of other sites, of other programs, and what a swap took out of its place.
    let others = [
        sets.join(".new-a.test-b.test-77-1"),
        sets.join(".new-a.test-1-77-1"),
        sets.join(".new-b.test-77-1"),
        sets.join(".new-a.test"),
        bench.stage.folder.join(".link-a.test-77-folder"),
        bench.stage.folder.join(".link-a.test-77-21"),
    ];
    others.iter().for_each(|other| std::fs::create_dir(other).unwrap());
    let under_way = Begun::new(&sets, NEW, "a.test");
    std::fs::create_dir(under_way.path()).unwrap();
    // A file where the whole set is to be.
    let in_the_way = sets.join(bench.stage.set(&set));
    std::fs::write(&in_the_way, "").unwrap();
    bench.stage.publish(&bench.place, &set).unwrap_err();
    let expected = others.len() + [SETS, "under way", "in the way"].len();
    assert_eq!(names(&bench).len(), expected, "{:?}", names(&bench));
    assert!(others.iter().all(|other| other.exists()) && under_way.path().exists());
    std::fs::remove_file(&in_the_way).unwrap();
    std::fs::create_dir(sets.join(".new-a.test-78-1")).unwrap();
    assert_eq!(bench.stage.publish(&bench.place, &set), Ok(true));
    bench.stage.tidy();
    assert!(others.iter().all(|other| other.exists()) && under_way.path().exists());
    assert!(!sets.join(".new-a.test-78-1").exists());
}

/// A service's user that has been taken over must not be able to have root, who runs a hook, write elsewhere.
#[test]
fn what_others_have_put_there_leads_root_nowhere() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: it takes root to work in a folder of another user's");
        return;
    }
    let bench = Bench::new();
    let (_, set) = bench.renew();
    std::fs::set_permissions(bench.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let give = |path: &Path| nix::unistd::chown(path, Some(nobody.uid), Some(nobody.gid)).unwrap();
    let (sets, precious) = (bench.stage.folder.join(SETS), bench.folder.path().join("precious"));
    std::fs::write(&precious, "precious").unwrap();
    std::fs::create_dir_all(&sets).unwrap();
    give(&bench.stage.folder);
    give(&sets);
    for number in 0..1000 {
        let new = sets.join(format!(".new-a.test-{}-{number}", std::process::id()));
        std::fs::create_dir(&new).unwrap();
        std::os::unix::fs::symlink(&precious, new.join(CERTIFICATE)).unwrap();
        give(&new);
    }
    assert_eq!(bench.stage.publish(&bench.place, &set).unwrap_err().code, "not_published");
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    // Without them all is the user's own.
    std::fs::remove_dir_all(&sets).unwrap();
    assert_eq!(bench.stage.publish(&bench.place, &set), Ok(true));
    use std::os::unix::fs::MetadataExt;
    let owner = std::fs::metadata(bench.stage.key()).unwrap().uid();
    assert_eq!(owner, nobody.uid.as_raw());
}

#[test]
fn a_folder_put_there_by_hand_makes_way_and_is_kept() {
    let bench = Bench::new();
    let by_hand = bench.stage.link();
    std::fs::create_dir_all(&by_hand).unwrap();
    for file in [bench.stage.certificate(), bench.stage.key()] {
        std::fs::write(file, "by hand").unwrap();
    }
    let (pair, set) = bench.renew();
    assert_eq!(bench.stage.publish(&bench.place, &set), Ok(true));
    assert_eq!(bench.published(), (pair.fullchain_pem, pair.key_pem));
    let kept = bench.stage.folder.join(".before-a.test").join(KEY);
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "by hand");
    bench.stage.tidy();
    assert!(kept.exists());
    // Nothing of anybody's is lost for a second one.
    std::fs::remove_file(&by_hand).unwrap();
    std::fs::create_dir(&by_hand).unwrap();
    let (_, set) = bench.renew();
    let problem = bench.stage.publish(&bench.place, &set).unwrap_err();
    assert!(
        problem.message.contains(".before-a.test") && problem.message.contains("remove one"),
        "{problem}"
    );
    assert!(by_hand.is_dir() && kept.exists());
}
