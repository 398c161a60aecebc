//! Which changes a file system tells of.

use std::path::Path;

use nix::sys::statfs::statfs;

use crate::platform::Tells;

/// Which changes the file system of a path tells of.
pub fn tells(path: &Path) -> Tells {
    // A path that is not there any more is for the caller's next look.
    let Ok(found) = statfs(path) else { return Tells::Nothing };
    // The type is signed, and 32 bits wide on some systems.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the numbers have 32 bits")]
    let kind = found.filesystem_type().0 as u32;
    if SILENT.contains(&kind) {
        Tells::Nothing
    } else if SHARED.contains(&kind) {
        Tells::OwnChanges
    } else {
        Tells::Everything
    }
}

/// File systems whose server or program changes files without a word. The numbers are those of magic.h and of
/// coreutils' `stat`, whose `tail` polls the same ones: NFS, SMB, CIFS, SMB 2, Coda, FUSE, 9P, Ceph, AFS (two), Lustre,
/// GPFS, BeeGFS, PanFS, ACFS, NetWare, IBRIX, and the shared folders of VirtualBox, VMware and Parallels.
const SILENT: [u32; 20] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x7375_7245,
    0x6573_5546,
    0x0102_1997,
    0x00c3_6400,
    0x5346_414f,
    0x6b41_4653,
    0x0bd0_0bd0,
    0x4750_4653,
    0x1983_0326,
    0xaad7_aaea,
    0x6163_6673,
    0x564c,
    0x0131_11a8,
    0x786f_4256,
    0xbacb_acbc,
    0x7c7c_6673,
];

/// File systems that tell of changes made through them and not of those made below them or on another node: overlay,
/// AUFS, GFS2, OCFS2, StorNext, VxFS.
const SHARED: [u32; 6] = [0x794c_7630, 0x6175_6673, 0x0116_1970, 0x7461_636f, 0xbeef_dead, 0xa501_fcf5];
