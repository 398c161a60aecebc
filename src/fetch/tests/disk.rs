//! What is on disk before, between and after.

use super::*;

#[tokio::test]
async fn what_a_crash_left_is_removed() {
    let world = World::new().await;
    world.age();
    std::fs::write(world.path(".certhook-new-privateKey.key"), "half").unwrap();
    std::fs::write(world.path(".certhook-new-of-another-version"), "half").unwrap();
    std::fs::write(world.path("mine.txt"), "mine").unwrap();
    assert!(world.fetch(Format::Pem).await.unwrap().changed);
    let mut names: Vec<_> =
        world.snapshot().into_keys().map(|path| path.file_name().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "caBundle.crt",
            "certificate.pfx",
            "fullChainCertificate.crt",
            "mine.txt",
            "primaryCertificate.crt",
            "privateKey.key"
        ]
    );
    // Also where there is nothing new.
    std::fs::write(world.path(".certhook-new-caBundle.crt"), "half").unwrap();
    assert!(!world.fetch(Format::Pem).await.unwrap().changed);
    assert!(!world.path(".certhook-new-caBundle.crt").exists());
}

#[cfg(unix)] // links, which on Windows only administrators make
#[tokio::test]
async fn planted_links_are_not_followed() {
    use std::os::unix::fs::symlink;
    let world = World::new().await;
    let victim = world.root.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::create_dir_all(world.home()).unwrap();
    // The folder itself.
    let elsewhere = world.root.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, world.home().join(FOLDER)).unwrap();
    assert_eq!(world.fetch(Format::Pem).await.unwrap_err().code, "not_a_folder");
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    std::fs::remove_file(world.home().join(FOLDER)).unwrap();
    // Leads nowhere, yet.
    symlink(world.root.path().join("nowhere"), world.home().join(FOLDER)).unwrap();
    assert_eq!(world.fetch(Format::Pem).await.unwrap_err().code, "not_a_folder");
    assert!(!world.root.path().join("nowhere").exists());
    std::fs::remove_file(world.home().join(FOLDER)).unwrap();
    std::fs::write(world.home().join(FOLDER), "").unwrap();
    assert_eq!(world.fetch(Format::Pem).await.unwrap_err().code, "not_a_folder");
    std::fs::remove_file(world.home().join(FOLDER)).unwrap();
    // The files in it: links are replaced.
    std::fs::create_dir(world.home().join(FOLDER)).unwrap();
    for name in ["privateKey.key", "fullChainCertificate.crt", ".certhook-new-privateKey.key"] {
        symlink(&victim, world.path(name)).unwrap();
    }
    assert!(world.fetch(Format::Pem).await.unwrap().changed);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    for name in ["privateKey.key", "fullChainCertificate.crt"] {
        assert!(world.path(name).symlink_metadata().unwrap().is_file(), "{name}");
    }
    // Even a link to the very same content.
    let copy = world.root.path().join("copy");
    std::fs::rename(world.path("privateKey.key"), &copy).unwrap();
    symlink(&copy, world.path("privateKey.key")).unwrap();
    assert!(world.fetch(Format::Pem).await.unwrap().changed);
    assert!(world.path("privateKey.key").symlink_metadata().unwrap().is_file());
}

#[tokio::test]
async fn a_folder_in_a_file_s_place_stops_all_of_it() {
    let world = World::new().await;
    world.age();
    std::fs::remove_file(world.path("fullChainCertificate.crt")).unwrap();
    std::fs::create_dir(world.path("fullChainCertificate.crt")).unwrap();
    let before = world.snapshot();
    assert_eq!(world.fetch(Format::Pem).await.unwrap_err().code, "not_a_folder");
    assert_eq!(world.snapshot(), before);
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_leaves_the_old() {
    let world = World::new().await;
    // The place of a temporary file is taken by what cannot be removed.
    world.age();
    let taken = world.path(".certhook-new-fullChainCertificate.crt");
    std::fs::create_dir(&taken).unwrap();
    let before = world.snapshot();
    assert_eq!(world.fetch(Format::Pem).await.unwrap_err().code, "not_written");
    assert_eq!(world.snapshot(), before);
    // A file where the folders should be.
    std::fs::remove_dir_all(world.home()).unwrap();
    std::fs::write(world.home(), "").unwrap();
    assert_eq!(world.fetch(Format::Pem).await.unwrap_err().code, "not_written");
}

#[tokio::test]
async fn two_do_not_write_at_once() {
    let world = World::new().await;
    world.age();
    let before = world.snapshot();
    let other = platform_lock(&world.home().join(FOLDER));
    assert_eq!(world.fetch(Format::Pem).await.unwrap_err().code, "fetch_busy");
    assert_eq!(world.snapshot(), before);
    drop(other);
    assert!(world.fetch(Format::Pem).await.unwrap().changed);
}

fn platform_lock(folder: &Path) -> std::fs::File {
    crate::platform::lock_folder(folder).unwrap().unwrap()
}

#[tokio::test]
#[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
async fn keys_are_private_whatever_was_there() {
    let world = World::new().await;
    world.age();
    for name in ["privateKey.key", "fullChainCertificate.crt"] {
        #[cfg(unix)]
        let for_all = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666);
        #[cfg(unix)]
        std::fs::set_permissions(world.path(name), for_all).unwrap();
        assert!(world.path(name).exists());
    }
    world.shelf.put("/pfx", ok(world.pair.pfx(PASSWORD)));
    world.fetch(Format::All).await.unwrap();
    for (name, bits) in [
        ("privateKey.key", 0o600),
        ("certificate.pfx", 0o600),
        ("fullChainCertificate.crt", 0o644),
        ("primaryCertificate.crt", 0o644),
    ] {
        assert_eq!(mode(&world.path(name), bits), bits, "{name}");
    }
}

#[cfg(unix)] // users and groups by number
#[tokio::test]
async fn files_and_folder_are_given_to_their_owner() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new().await;
    if !nix::unistd::geteuid().is_root() {
        // Only root may give files away; the others are told so.
        let fetcher = Fetcher::new(world.endpoint, Duration::from_secs(5), Some((0, 0)));
        let outcome = fetcher.fetch(&world.certificate, &world.home(), Format::Pem, Timestamp::now()).await;
        assert_eq!(outcome.unwrap_err().code, "not_written");
        return;
    }
    let fetcher = Fetcher::new(world.endpoint, Duration::from_secs(5), Some((12345, 23456)));
    fetcher.fetch(&world.certificate, &world.home(), Format::Pem, Timestamp::now()).await.unwrap();
    let owner = |path: &Path| {
        let metadata = std::fs::metadata(path).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
    };
    assert_eq!(owner(&world.home().join(FOLDER)), (12345, 23456, 0o700));
    assert_eq!(owner(&world.path("privateKey.key")), (12345, 23456, 0o600));
    assert_eq!(owner(&world.path("fullChainCertificate.crt")), (12345, 23456, 0o644));
    // Who owns its files passes the folder above, and cannot put another in its own folder's place.
    assert_eq!((owner(&world.home()).0, owner(&world.home()).2 & 0o022), (0, 0));
}

#[tokio::test]
async fn what_is_here_is_known_by_hosts_and_end() {
    let mut world = World::new().await;
    let find = |world: &World| here(&world.home(), &world.certificate, Format::Pem);
    assert_eq!(find(&world), Here::Lacks);
    world.age();
    assert_eq!(find(&world), Here::Older);
    world.fetch(Format::Pem).await.unwrap();
    assert_eq!(find(&world), Here::Same);
    assert!(!find(&world).is_wanting());
    // To a day.
    let end = world.certificate.expiry_date.unwrap();
    for (hours, found) in
        [(23, Here::Same), (-23, Here::Same), (25, Here::Older), (-25, Here::Newer), (24 * 60, Here::Older)]
    {
        world.certificate.expiry_date = Some(end + SignedDuration::from_hours(hours));
        assert_eq!(find(&world), found, "{hours} hours");
    }
    world.certificate.expiry_date = None;
    assert_eq!(find(&world), Here::Same);
    world.certificate.expiry_date = Some(end);
    // Other hosts in the same folder.
    let name = std::mem::replace(&mut world.certificate.name, "contoso.com,www.fabrikam.com".into());
    assert_eq!(find(&world), Here::Older);
    world.certificate.name = name;
    // A set that is not whole: what a crash between two renames leaves.
    let full = std::fs::read(world.path("fullChainCertificate.crt")).unwrap();
    for (file, code) in [
        ("privateKey.key", Here::Older),
        ("primaryCertificate.crt", Here::Older),
        ("fullChainCertificate.crt", Here::Older),
    ] {
        let good = std::fs::read(world.path(file)).unwrap();
        let other = world.ca.issue(Order { hosts: &HOSTS, ..Order::default() });
        let text = if file == "privateKey.key" { other.key_pem } else { other.fullchain_pem };
        std::fs::write(world.path(file), text).unwrap();
        assert_eq!(find(&world), code, "{file}");
        std::fs::remove_file(world.path(file)).unwrap();
        assert_eq!(find(&world), Here::Lacks, "{file}");
        std::fs::write(world.path(file), good).unwrap();
        assert_eq!(find(&world), Here::Same, "{file}");
    }
    std::fs::write(world.path("fullChainCertificate.crt"), &full[..full.len() / 2]).unwrap();
    assert_eq!(find(&world), Here::Older);
}
