//! What a process sees: which files its paths mean, and which addresses its network has. All of it can be read without
//! rights on the process.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A host with thousands of containers, or of addresses, has less.
const MAX_FILE: u64 = 16 << 20;

/// A route of IPv6 to an address of the host's own.
const LOCAL_ROUTE: u32 = 0x8000_0000;

/// What engines put into the names of their cgroups.
const CONTAINERS: [&str; 8] =
    ["docker", "libpod", "lxc", "kubepods", "containerd", "crio", "machine.slice", "garden"];

/// The mounts of a process, beside certhook's own.
#[derive(Debug)]
pub(super) struct Files {
    own: Vec<Mount>,
    /// `None` where they cannot be read.
    theirs: Option<Vec<Mount>>,
    in_container: bool,
}

#[derive(Debug)]
struct Mount {
    /// The number of the file system.
    device: String,
    /// The directory of the file system that is mounted.
    root: PathBuf,
    point: PathBuf,
}

impl Files {
    /// Reads the mounts of a process.
    pub(super) fn of(pid: i32) -> Self {
        let cgroup = read(&format!("/proc/{pid}/cgroup")).unwrap_or_default();
        Self {
            own: read("/proc/self/mountinfo").map(|text| mounts(&text)).unwrap_or_default(),
            theirs: read(&format!("/proc/{pid}/mountinfo")).ok().map(|text| mounts(&text)),
            in_container: CONTAINERS.iter().any(|name| cgroup.contains(name)),
        }
    }

    /// Whether an absolute path means the same file to the process as to certhook.
    pub(super) fn are_shared(&self, path: &Path) -> bool {
        let Some(theirs) = &self.theirs else { return !self.in_container };
        let is_same = |path: &Path| {
            let own = location(&self.own, path);
            // Where certhook's own root cannot be seen there is nothing to compare.
            own.is_none() || own == location(theirs, path)
        };
        is_same(path) && path.canonicalize().map_or(true, |real| is_same(&real))
    }
}

/// The mounts of a `mountinfo`.
fn mounts(text: &str) -> Vec<Mount> {
    let of = |line: &str| {
        let mut fields = line.split(' ').skip(2);
        let (device, root, point) = (fields.next()?.to_owned(), fields.next()?, fields.next()?);
        Some(Mount { device, root: unescape(root), point: unescape(point) })
    };
    text.lines().filter_map(of).collect()
}

/// Where a path is: a file system, and a path in it. Of a chroot that is no mount point nothing is known.
fn location<'m>(mounts: &'m [Mount], path: &Path) -> Option<(&'m str, PathBuf)> {
    let covering = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    // Of mounts upon each other the last one is seen.
    let mount = covering.max_by_key(|mount| mount.point.components().count())?;
    Some((&mount.device, mount.root.join(path.strip_prefix(&mount.point).ok()?)))
}

/// Blanks, tabs, line feeds and backslashes are octal in `mountinfo`.
fn unescape(text: &str) -> PathBuf {
    let codes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    PathBuf::from(codes.iter().fold(text.to_owned(), |text, (code, meant)| text.replace(code, meant)))
}

/// The addresses of a process's network namespace.
pub(super) struct Network {
    /// The process shares certhook's network namespace.
    is_own: bool,
    /// Ranges of addresses, by their first address and their length; `None` where they cannot be read.
    local: Option<Vec<(IpAddr, u8)>>,
}

impl Network {
    /// Reads the addresses of a process's network namespace, or of certhook's own.
    pub(super) fn of(pid: Option<i32>) -> Self {
        let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
        let (v4, v6) =
            (read(&format!("/proc/{process}/net/fib_trie")), format!("/proc/{process}/net/ipv6_route"));
        let local = v4.ok().map(|text| {
            let mut local = of_trie(&text);
            // A host without IPv6 lacks the file.
            local.extend(of_routes(&read(&v6).unwrap_or_default()));
            local
        });
        Self { is_own: has_own_network(&process), local }
    }

    /// Whether the process shares certhook's network namespace.
    pub(super) fn is_own(&self) -> bool {
        self.is_own
    }

    /// Whether an address is the host's; `true` where that cannot be seen.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let Some(local) = &self.local else { return true };
        local.iter().any(|(first, length)| match (first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let shift = 32_u32.saturating_sub(u32::from(*length));
                let part = |address: u32| address.checked_shr(shift).unwrap_or(0);
                part(first.to_bits()) == part(address.to_bits())
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let shift = 128_u32.saturating_sub(u32::from(*length));
                let part = |address: u128| address.checked_shr(shift).unwrap_or(0);
                part(first.to_bits()) == part(address.to_bits())
            }
            _ => false,
        })
    }
}

/// A file below `net` has another number in each network namespace.
fn has_own_network(process: &str) -> bool {
    let number =
        |process: &str| std::fs::metadata(format!("/proc/{process}/net/dev")).ok().map(|file| file.ino());
    match (number("self"), number(process)) {
        (Some(own), Some(other)) => own == other,
        _ => true,
    }
}

/// The ranges of `fib_trie` that are local: below each address its lengths, with what they are.
fn of_trie(text: &str) -> Vec<(IpAddr, u8)> {
    let mut local = Vec::new();
    let mut address = None;
    for line in text.lines().map(str::trim) {
        if let Some(leaf) = line.strip_prefix("|-- ") {
            address = leaf.parse::<Ipv4Addr>().ok();
        } else if let (Some(address), Some(length)) = (address, line.strip_suffix(" host LOCAL")) {
            let length = length.strip_prefix('/').and_then(|length| length.parse().ok());
            local.extend(length.map(|length| (IpAddr::V4(address), length)));
        }
    }
    local.sort_unstable();
    local.dedup();
    local
}

/// The ranges of `ipv6_route` that are local.
fn of_routes(text: &str) -> Vec<(IpAddr, u8)> {
    let of = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
        let first = u128::from_str_radix(fields.first()?, 16).ok()?;
        let length = u8::from_str_radix(fields.get(1)?, 16).ok()?;
        (flags & LOCAL_ROUTE != 0).then(|| (IpAddr::V6(first.into()), length))
    };
    text.lines().filter_map(of).collect()
}

fn read(path: &str) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    crate::platform::open_to_read(path.as_ref())?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_same_where_mounts_are() {
        let host =
            "27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 8:1 / /srv/my\\040data rw - ext4 /dev/sdb rw\n";
        let shared = |theirs: &str, path: &str| {
            let files = Files { own: mounts(host), theirs: Some(mounts(theirs)), in_container: false };
            files.are_shared(Path::new(path))
        };
        let config = "/none/etc/nginx.conf";
        // A service in a sandbox has the same root, mounted anew and read-only.
        let sandbox = format!("{host}90 27 254:0 /none /none ro - ext4 /dev/vda rw\n");
        assert!(shared(host, config) && shared(&sandbox, config));
        assert!(!shared("", config), "a chroot");
        assert!(
            !shared("97 74 254:0 /srv/jail / rw - ext4 /dev/vda rw\n", config),
            "a chroot on a mount point"
        );
        let container =
            "9 8 0:55 / / rw - overlay overlay rw\n10 9 8:1 /c /none/etc/certs rw - ext4 /dev/sdb rw\n";
        assert!(!shared(container, config));
        assert!(!shared(container, "/none/etc/certs/a.pem") && shared(host, "/srv/my data/a.pem"));
        let bound =
            "9 8 0:55 / / rw - overlay overlay rw\n10 9 254:0 /none/etc /none/etc rw - ext4 /dev/vda rw\n";
        assert!(shared(bound, config), "mounted from the host at the same path");
    }

    #[test]
    fn local_addresses_are_read_with_their_lengths() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.0.0.5\n        \
                    /32 host LOCAL\n     |-- 10.77.0.0\n        /16 host LOCAL\n     |-- 10.0.0.255\n        \
                    /32 link BROADCAST\n     |-- 127.0.0.0\n        /8 host LOCAL\n";
        let routes = "fd000000000000000000000000000000 40 0 00 0 00000100 00000001 00000000 00000001     eth0\n\
                      00000000000000000000000000000001 80 0 00 0 00000000 00000004 00000000 80200001       lo\n\
                      20010db8000000000000000000000000 40 0 00 0 00000000 00000004 00000000 80200001       lo\n";
        let mut local = of_trie(trie);
        local.extend(of_routes(routes));
        let network = Network { is_own: true, local: Some(local) };
        let has = |address: &str| network.has(address.parse().unwrap());
        for address in ["10.0.0.5", "10.77.3.4", "127.0.0.9", "::1", "2001:db8::7"] {
            assert!(has(address), "{address}");
        }
        for address in ["10.0.0.6", "10.78.0.1", "10.0.0.255", "8.8.8.8", "fd00::1", "2001:db9::1"] {
            assert!(!has(address), "{address}");
        }
        assert!(Network { is_own: true, local: None }.has([8, 8, 8, 8].into()));
    }

    #[test]
    fn this_process_shares_what_it_sees() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(Files::of(own).are_shared(Path::new("/etc/passwd")));
        let network = Network::of(Some(own));
        assert!(
            network.is_own() && network.has([127, 0, 0, 1].into()) && !network.has([192, 0, 2, 1].into())
        );
    }
}
