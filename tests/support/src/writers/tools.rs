//! How the tools write: the files, the order and the system calls are theirs.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use jiff::Timestamp;

use super::disk::{PRIVATE, PUBLIC, next_free, point, put, remove, replace};
use super::{Layout, file_name};
use crate::ca::Pair;

/// Password of the vendor client's `certificate.pfx`.
pub const PFX_PASSWORD: &str = "certhook";

pub(super) fn vendor_layout(root: &Path, site: &str) -> Layout {
    let folder = root.join(vendor_folder(site));
    Layout {
        leaf: Some(folder.join("primaryCertificate.crt")),
        chain: Some(folder.join("caBundle.crt")),
        pfx: Some(folder.join("certificate.pfx")),
        ..Layout::of(root, site, folder, "fullChainCertificate.crt", "privateKey.key")
    }
}

/// The vendor client's folder for a certificate name: `a.com, *.a.com` lies in `a-com-san-wcard`.
pub fn vendor_folder(name: &str) -> String {
    let mut hosts = name.split(',').map(str::trim);
    let mut folder = hosts.next().unwrap_or_default().replace("*.", "wcard-").replace('.', "-");
    if let Some(second) = hosts.next() {
        folder.push_str("-san");
        if second.starts_with("www") {
            folder.push_str("-www");
        } else if second.starts_with('*') {
            folder.push_str("-wcard");
        }
    }
    folder
}

pub(super) fn vendor_client(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    let folder = &layout.folder;
    let pfx = pair.pfx(PFX_PASSWORD);
    fs::create_dir_all(folder)?;
    put(&folder.join("certificate.pfx"), pfx, PRIVATE)?;
    pause();
    put(&layout.key, &pair.key_pem, PRIVATE)?;
    pause();
    put(&folder.join("primaryCertificate.crt"), &pair.leaf_pem, PUBLIC)?;
    pause();
    put(&folder.join("caBundle.crt"), &pair.chain_pem, PUBLIC)?;
    pause();
    put(&layout.certificate, &pair.fullchain_pem, PUBLIC)
}

pub(super) fn certbot_layout(root: &Path, site: &str) -> Layout {
    let folder = root.join("live").join(certbot_name(site));
    Layout {
        leaf: Some(folder.join("cert.pem")),
        chain: Some(folder.join("chain.pem")),
        ..Layout::of(root, site, folder, "fullchain.pem", "privkey.pem")
    }
}

/// certbot names the lineage of a wildcard after its domain.
fn certbot_name(site: &str) -> String {
    let name = file_name(site);
    name.strip_prefix("_.").map_or(name.clone(), str::to_owned)
}

pub(super) fn certbot(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    const KINDS: [&str; 4] = ["cert", "privkey", "chain", "fullchain"];
    let name = certbot_name(&layout.site);
    let (live, archive) = (&layout.folder, layout.root.join("archive").join(&name));
    fs::create_dir_all(live)?;
    fs::create_dir_all(&archive)?;
    let version = next_free(|number| archive.join(format!("privkey{number}.pem")));
    let in_archive = |kind: &str| archive.join(format!("{kind}{version}.pem"));
    let link = |kind: &str| live.join(format!("{kind}.pem"));
    let target = |kind: &str| format!("../../archive/{name}/{kind}{version}.pem");
    if version == 1 {
        // The links of a new lineage come before what they point to.
        KINDS.iter().try_for_each(|kind| symlink(target(kind), link(kind)))?;
    }
    put(&in_archive("privkey"), &pair.key_pem, PRIVATE)?;
    put(&in_archive("cert"), &pair.leaf_pem, PUBLIC)?;
    put(&in_archive("chain"), &pair.chain_pem, PUBLIC)?;
    put(&in_archive("fullchain"), &pair.fullchain_pem, PUBLIC)?;

    if version == 1 {
        return Ok(());
    }
    let previous = |kind: &str| live.join(format!("previous_{kind}.pem"));
    for kind in KINDS {
        symlink(fs::canonicalize(link(kind))?, previous(kind))?;
    }
    for kind in KINDS {
        fs::remove_file(link(kind))?;
        pause();
        symlink(target(kind), link(kind))?;
        if kind != "fullchain" {
            pause();
        }
    }
    KINDS.iter().try_for_each(|kind| fs::remove_file(previous(kind)))
}

pub(super) fn acme_sh_layout(root: &Path, site: &str) -> Layout {
    let folder = root.join(file_name(site));
    Layout {
        leaf: Some(folder.join("cert.pem")),
        chain: Some(folder.join("ca.pem")),
        ..Layout::of(root, site, folder, "fullchain.pem", "key.pem")
    }
}

pub(super) fn acme_sh(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    fs::create_dir_all(&layout.folder)?;
    put(&layout.folder.join("cert.pem"), &pair.leaf_pem, PUBLIC)?;
    pause();
    put(&layout.folder.join("ca.pem"), &pair.chain_pem, PUBLIC)?;
    pause();
    put(&layout.key, &pair.key_pem, PRIVATE)?;
    pause();
    put(&layout.certificate, &pair.fullchain_pem, PUBLIC)
}

pub(super) fn dehydrated_layout(root: &Path, site: &str) -> Layout {
    let folder = root.join(file_name(site));
    Layout {
        leaf: Some(folder.join("cert.pem")),
        chain: Some(folder.join("chain.pem")),
        ..Layout::of(root, site, folder, "fullchain.pem", "privkey.pem")
    }
}

pub(super) fn dehydrated(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    let folder = &layout.folder;
    fs::create_dir_all(folder)?;
    // Its names end in Unix seconds; two renewals of a test may fall into one.
    let now = Timestamp::now().as_second().unsigned_abs();
    let stamp = now + next_free(|more| folder.join(format!("cert-{}.pem", now + more)));
    let name = |kind: &str| format!("{kind}-{stamp}.pem");
    put(&folder.join(name("privkey")), &pair.key_pem, PRIVATE)?;
    put(&folder.join(name("cert")), &pair.leaf_pem, PRIVATE)?;
    put(&folder.join(name("chain")), &pair.chain_pem, PRIVATE)?;
    put(&folder.join(name("fullchain")), &pair.fullchain_pem, PRIVATE)?;
    for kind in ["privkey", "chain", "fullchain", "cert"] {
        pause();
        point(&folder.join(format!("{kind}.pem")), name(kind))?;
    }
    Ok(())
}

pub(super) fn lego_layout(root: &Path, site: &str) -> Layout {
    let (folder, name) = (root.join("certificates"), file_name(site));
    Layout {
        chain: Some(folder.join(format!("{name}.issuer.crt"))),
        ..Layout::of(root, site, folder, &format!("{name}.crt"), &format!("{name}.key"))
    }
}

pub(super) fn lego(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    let beside = |end: &str| layout.folder.join(format!("{}{end}", layout.name()));
    fs::create_dir_all(&layout.folder)?;
    put(&layout.certificate, &pair.fullchain_pem, PRIVATE)?;
    pause();
    put(&beside(".issuer.crt"), &pair.chain_pem, PRIVATE)?;
    pause();
    put(&layout.key, &pair.key_pem, PRIVATE)?;
    pause();
    put(&beside(".json"), format!("{{\n\t\"domain\": \"{}\"\n}}", layout.site), PRIVATE)
}

pub(super) fn rename_per_file(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    fs::create_dir_all(&layout.folder)?;
    replace(&layout.key, &pair.key_pem, PRIVATE, None)?;
    pause();
    replace(&layout.certificate, &pair.fullchain_pem, PUBLIC, None)
}

pub(super) fn spiffe_helper_layout(root: &Path, site: &str) -> Layout {
    let folder = root.join(file_name(site));
    Layout {
        chain: Some(folder.join("svid_bundle.pem")),
        ..Layout::of(root, site, folder, "svid.pem", "svid_key.pem")
    }
}

pub(super) fn spiffe_helper(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    fs::create_dir_all(&layout.folder)?;
    put(&layout.certificate, &pair.fullchain_pem, PUBLIC)?;
    pause();
    put(&layout.key, &pair.key_pem, PRIVATE)?;
    pause();
    put(&layout.folder.join("svid_bundle.pem"), &pair.chain_pem, PUBLIC)
}

pub(super) fn certwarden_layout(root: &Path, site: &str) -> Layout {
    Layout::of(root, site, root.join(file_name(site)), "certchain.pem", "key.pem")
}

pub(super) fn certwarden(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    fs::create_dir_all(&layout.folder)?;
    put(&layout.key, &pair.key_pem, PRIVATE)?;
    pause();
    put(&layout.certificate, &pair.fullchain_pem, PUBLIC)
}

pub(super) fn kubernetes_layout(root: &Path, site: &str) -> Layout {
    Layout::of(root, site, root.join(file_name(site)), "tls.crt", "tls.key")
}

pub(super) fn kubernetes(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    let folder = &layout.folder;
    fs::create_dir_all(folder)?;
    let data = folder.join("..data");
    let old = fs::canonicalize(&data).ok();
    let new = Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
    fs::create_dir(folder.join(&new))?;
    put(&folder.join(&new).join("tls.crt"), &pair.fullchain_pem, PUBLIC)?;
    pause();
    put(&folder.join(&new).join("tls.key"), &pair.key_pem, PUBLIC)?;
    pause();
    let temporary = folder.join("..data_tmp");
    symlink(&new, &temporary)?;
    fs::rename(temporary, &data)?;
    for name in ["tls.crt", "tls.key"] {
        if old.is_none() {
            remove(&folder.join(name))?;
            symlink(Path::new("..data").join(name), folder.join(name))?;
        }
    }
    old.map_or(Ok(()), fs::remove_dir_all)
}
