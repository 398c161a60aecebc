//! Each writer passes through the states that the real tool does, and ends with a whole set.

#![allow(clippy::disallowed_methods, reason = "what it reads is its own")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use certhook_test_support::ca::{self, Authority, KeyType, Pair};
use certhook_test_support::nginx::{Nginx, NginxSite};
use certhook_test_support::wire;
use certhook_test_support::writers::{
    self, How, Layout, Order, PFX_PASSWORD, Style, Writer, vendor_folder, write_pair, write_pair_stepwise,
};

fn issue(authority: &Authority) -> Pair {
    authority.issue(ca::Order::default())
}

/// `o`ld, `n`ew, in `p`art, or not there (`-`).
fn state(path: &Path, old: &str, new: &str) -> char {
    match fs::read_to_string(path) {
        Err(_) => '-',
        Ok(text) if text == old => 'o',
        Ok(text) if text == new => 'n',
        Ok(text) => {
            assert!(new.starts_with(&text), "neither old nor new: {}", path.display());
            'p'
        }
    }
}

/// Certificate and key, as the server's configuration names them.
fn states(layout: &Layout, old: &Pair, new: &Pair) -> String {
    let certificate = state(&layout.certificate, &old.fullchain_pem, &new.fullchain_pem);
    String::from_iter([certificate, state(&layout.key, &old.key_pem, &new.key_pem)])
}

/// Every file below a folder, with what it holds; links followed.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            files.extend(tree(&entry));
        } else {
            files.insert(entry.display().to_string(), fs::read(&entry).unwrap_or_default());
        }
    }
    files
}

#[test]
fn every_writer_passes_through_its_tools_states() {
    // Certificate and key at each pause; every one begins at `oo` and ends at `nn`.
    let table: [(Writer, &[&str]); 16] = [
        (Writer::VendorClient, &["oo", "on", "on", "on"]),
        (Writer::Certbot, &["oo", "oo", "o-", "on", "on", "on", "-n"]),
        (Writer::AcmeSh, &["oo", "oo", "on"]),
        (Writer::Dehydrated, &["oo", "on", "on", "nn"]),
        (Writer::Lego, &["no", "no", "nn"]),
        (Writer::RenamePerFile, &["on"]),
        (Writer::SpiffeHelper, &["no", "nn"]),
        (Writer::Certwarden, &["on"]),
        (Writer::Kubernetes, &["oo", "oo"]),
        (Writer::CopyKeepingTimes, &["on"]),
        (Writer::Rsync, &["no"]),
        (Writer::Tar, &["-o", "no", "n-"]),
        (Writer::SlowCopy, &["po", "no"]),
        (Writer::CutAfterLeaf, &["on", "pn"]),
        (Writer::ReplacedFolder, &["oo", "--"]),
        (Writer::MovedLink, &["oo"]),
    ];
    assert_eq!(table.map(|(writer, _)| writer), Writer::ALL);
    let authority = Authority::new();
    for (writer, expected) in table {
        let root = tempfile::tempdir().expect("a folder");
        let layout = writer.layout(root.path(), "contoso.com");
        let mut old = issue(&authority);
        writer.install(&layout, &old);
        assert_eq!(states(&layout, &old, &old), "oo", "{writer:?} installed");
        // Twice: what the first leaves behind must not be in the second's way.
        for _ in 0..2 {
            let (new, mut seen) = (issue(&authority), Vec::new());
            writer.renew_stepwise(&layout, &new, &mut || {
                seen.push(states(&layout, &old, &new));
            });
            assert_eq!(seen, expected, "{writer:?}");
            assert_eq!(states(&layout, &old, &new), "nn", "{writer:?}");
            old = new;
        }
    }
}

#[test]
fn the_other_files_are_written_too_and_no_litter_is_left() {
    let authority = Authority::new();
    for writer in Writer::ALL {
        let root = tempfile::tempdir().expect("a folder");
        let layout = writer.layout(root.path(), "contoso.com");
        writer.install(&layout, &issue(&authority));
        let before = tree(&layout.folder);
        let pair = issue(&authority);
        writer.renew(&layout, &pair, Duration::ZERO);
        let read = |path: &Path| fs::read_to_string(path).expect("a file");
        for (path, text) in [(&layout.leaf, &pair.leaf_pem), (&layout.chain, &pair.chain_pem)] {
            path.iter().for_each(|path| assert_eq!(&read(path), text, "{writer:?}: {}", path.display()));
        }
        assert_eq!(layout.pfx.is_some(), writer == Writer::VendorClient);
        for name in tree(&layout.folder).keys() {
            let expected = before.contains_key(name) || name.contains("..") || writer == Writer::Dehydrated;
            assert!(expected, "{writer:?} leaves {name}");
        }
        let beside: Vec<_> =
            tree(root.path()).into_keys().filter(|name| name.contains("/.contoso")).collect();
        assert!(beside.is_empty(), "{writer:?} leaves {beside:?}");
    }
}

#[test]
fn write_times_are_those_of_the_file_with_the_leaf() {
    let authority = Authority::new();
    for writer in Writer::ALL {
        let root = tempfile::tempdir().expect("a folder");
        let layout = writer.layout(root.path(), "contoso.com");
        writer.install(&layout, &issue(&authority));
        let written = writer.renew(&layout, &issue(&authority), Duration::from_micros(10));
        let file = fs::canonicalize(&layout.certificate).expect("a file");
        let mtime = fs::symlink_metadata(file).and_then(|file| file.modified()).expect("a write time");
        assert_eq!(written.leaf_file_mtime, mtime);
        let age = SystemTime::now().duration_since(mtime).unwrap_or_default();
        let kept = matches!(writer, Writer::CopyKeepingTimes | Writer::Rsync | Writer::Tar);
        assert_eq!(age > Duration::from_secs(3600), kept, "{writer:?}: {age:?}");
        assert!(written.started < written.finished);
    }
}

#[test]
fn sites_share_a_root_without_harm() {
    let authority = Authority::new();
    for writer in Writer::ALL {
        let root = tempfile::tempdir().expect("a folder");
        let sites = ["contoso.com", "www.contoso.com", "fabrikam.com,*.fabrikam.com", "*.example.org"];
        let layouts = sites.map(|site| writer.layout(root.path(), site));
        let mut pairs = layouts.each_ref().map(|_| issue(&authority));
        for (layout, pair) in layouts.iter().zip(&pairs) {
            writer.install(layout, pair);
        }
        pairs[2] = issue(&authority);
        writer.renew(&layouts[2], &pairs[2], Duration::ZERO);
        for (layout, pair) in layouts.iter().zip(&pairs) {
            assert_eq!(states(layout, pair, pair), "oo", "{writer:?} {}", layout.site);
        }
    }
}

#[test]
fn nginx_serves_what_every_writer_wrote() {
    let authority = Authority::new();
    let root = tempfile::tempdir().expect("a folder");
    let layouts: Vec<_> = Writer::ALL
        .iter()
        .enumerate()
        .map(|(number, writer)| {
            let site = format!("site{number}.example.test");
            (writer, writer.layout(&root.path().join(format!("{number}")), &site))
        })
        .collect();
    for (writer, layout) in &layouts {
        writer.install(layout, &issue(&authority));
    }
    let sites =
        layouts.iter().map(|(_, layout)| NginxSite::new(&[&layout.site], &layout.certificate, &layout.key));
    let nginx = Nginx::builder().sites(sites).start();
    let renewed: Vec<_> = layouts
        .iter()
        .map(|(writer, layout)| {
            let pair = issue(&authority);
            writer.renew(layout, &pair, Duration::ZERO);
            (layout, pair)
        })
        .collect();
    nginx.hup();
    nginx.wait_for_reloads(1, Duration::from_secs(15)).expect("a reload");
    nginx.wait_idle();
    assert_eq!(nginx.log().emergencies, [""; 0]);
    for (layout, pair) in renewed {
        let served = wire::served(&nginx.endpoint(), &layout.site).expect("a handshake");
        assert_eq!(served.fingerprint, pair.fingerprint, "{layout:?}");
    }
}

#[test]
fn any_style_writes_any_pair() {
    let authority = Authority::new();
    for how in [How::InPlace, How::Rename, How::Links] {
        for (order, keep_key, between) in [
            (Order::KeyFirst, false, &["on"][..]),
            (Order::CertificateFirst, false, &["no"]),
            (Order::KeyFirst, true, &[]),
            (Order::CertificateFirst, true, &[]),
        ] {
            let style = Style { order, how, keep_key, ..Style::default() };
            let root = tempfile::tempdir().expect("a folder");
            let layout = Layout::plain(root.path(), "contoso.com");
            let old = issue(&authority);
            write_pair(&layout, &old, Style { keep_key: false, ..style });
            let reuse_key = Some(&old).filter(|_| keep_key);
            let new = authority.issue(ca::Order { reuse_key, ..ca::Order::default() });
            let mut seen = Vec::new();
            write_pair_stepwise(&layout, &new, style, &mut || {
                seen.push(states(&layout, &old, &new));
            });
            assert_eq!(seen, between, "{style:?}");
            assert_eq!(states(&layout, &new, &new), "oo", "{style:?}");
        }
    }
}

#[test]
fn a_slow_copy_takes_as_many_pauses_as_it_has_pieces() {
    let authority = Authority::new();
    let root = tempfile::tempdir().expect("a folder");
    let layout = Writer::SlowCopy.layout(root.path(), "contoso.com");
    let pair = authority.issue(ca::Order { key: KeyType::Rsa2048, ..ca::Order::default() });
    let mut pauses = 0;
    Writer::SlowCopy.renew_stepwise(&layout, &pair, &mut || pauses += 1);
    let pieces = |text: &str| text.len().div_ceil(1024);
    assert_eq!(pauses, pieces(&pair.fullchain_pem) + pieces(&pair.key_pem) - 1);
}

#[test]
fn the_vendors_folder_names() {
    for (name, folder) in [
        ("contoso.com", "contoso-com"),
        ("*.contoso.com", "wcard-contoso-com"),
        ("contoso.com,www.contoso.com", "contoso-com-san-www"),
        ("contoso.com, *.contoso.com", "contoso-com-san-wcard"),
        ("contoso.com,fabrikam.com", "contoso-com-san"),
        ("*.contoso.com,contoso.com", "wcard-contoso-com-san"),
    ] {
        assert_eq!(vendor_folder(name), folder, "{name}");
    }
    let root = Path::new("/etc/ssl/rclcertbot");
    let layout = writers::Writer::VendorClient.layout(root, "contoso.com");
    assert_eq!(layout.certificate, root.join("contoso-com/fullChainCertificate.crt"));
    assert!(!PFX_PASSWORD.is_empty());
}
