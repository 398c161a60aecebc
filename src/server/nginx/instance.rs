//! Which files an instance has: its configuration, its prefix, its logs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::build::Build;
use super::namespaces::{Files, Network};
use super::process::{Master, User};
use crate::config::{self, Address, Endpoint};
use crate::discover::{Found, Instance, LeftOut};
use crate::platform::{self, UntrustedPath};
use crate::problem::{NOT_ON_THIS_HOST, Problem, printable};

/// Configurations and prefixes where nothing else says where they are.
const KNOWN: [(&str, &str); 7] = [
    ("/etc/nginx/nginx.conf", "/etc/nginx"),
    ("/usr/local/nginx/conf/nginx.conf", "/usr/local/nginx"),
    ("/usr/local/openresty/nginx/conf/nginx.conf", "/usr/local/openresty/nginx"),
    ("/etc/angie/angie.conf", "/etc/angie"),
    ("/usr/local/angie/conf/angie.conf", "/usr/local/angie"),
    ("/usr/local/tengine/conf/nginx.conf", "/usr/local/tengine"),
    ("/usr/local/etc/nginx/nginx.conf", "/usr/local/etc/nginx"),
];

/// Where programs are beyond `PATH`, which a service's may be short of.
const PROGRAMS: [&str; 7] = [
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/local/nginx/sbin",
    "/usr/local/openresty/nginx/sbin",
    "/usr/local/openresty/bin",
    "/usr/local/tengine/sbin",
    "/usr/local/angie/sbin",
];

/// The names of the programs, the usual one first.
const NAMES: [&str; 3] = ["nginx", "angie", "openresty"];

/// Returns the program that may be executed: the configured one, or one that packages install. A title only says
/// which of these it is.
///
/// # Errors
/// The program is there, and a user other than root and certhook's own can change it.
pub(super) fn program(
    found_by: &config::Nginx,
    master: Option<&Master>,
) -> Result<Option<PathBuf>, UntrustedPath> {
    if let Some(binary) = &found_by.binary {
        return trusted(binary).map(Some);
    }
    let called = master.and_then(|master| master.title.program());
    let candidates = match (master, called) {
        // Its paths mean other files there.
        (Some(master), _) if master.is_elsewhere() => Vec::new(),
        (Some(_), None) => Vec::new(),
        (Some(_), Some(called)) => {
            let installed = installed(Path::new(called).file_name().and_then(|name| name.to_str()));
            let is_called = |path: &PathBuf| !called.contains('/') || path.as_path() == Path::new(called);
            installed.into_iter().filter(is_called).collect()
        }
        (None, _) => NAMES.into_iter().flat_map(|name| installed(Some(name))).collect(),
    };
    let mut untrusted = None;
    for candidate in candidates.iter().filter(|path| path.is_file()) {
        match trusted(candidate) {
            Ok(program) => return Ok(Some(program)),
            Err(error) => untrusted = untrusted.or(Some(error)),
        }
    }
    untrusted.map_or(Ok(None), Err)
}

fn trusted(program: &Path) -> Result<PathBuf, UntrustedPath> {
    platform::trusted_program(program, &[0, platform::own_user()])
}

/// Returns the program of that name in `PATH` or where programs are, if only root and certhook's own user can change it.
pub(super) fn trusted_in_path(name: &str) -> Option<PathBuf> {
    installed(Some(name)).iter().find_map(|path| trusted(path).ok())
}

/// Whether the arguments of the master may be handed to a program that certhook starts: `-g` can load a module.
pub(super) fn may_pass_arguments(master: &Master) -> bool {
    master.user == User::Root || (master.user == User::Own && !platform::is_root())
}

/// Why a program is not executed, and what to do.
pub(super) fn untrusted_program(error: &UntrustedPath) -> Problem {
    let message = format!(
        "nginx's program is not executed, since another user can change it: {}",
        printable(&error.to_string(), 300)
    );
    let remedy = match error.cure() {
        Some(cure) => format!("run: {cure}; or name another program with binary in its [server.…]"),
        None => "name the program with binary in its [server.…]".to_owned(),
    };
    Problem::new("untrusted_program", message, remedy)
}

/// What the master reads, as its command line, its program and the configuration say.
pub(super) fn instance(
    found_by: &config::Nginx,
    master: Option<&Master>,
    build: Option<&Build>,
) -> Result<Instance, Problem> {
    let option = |name| master.and_then(|master| master.title.option(name)).map(PathBuf::from);
    let given = found_by.config.clone().or_else(|| option("-c"));
    let known = || {
        let there = KNOWN.iter().find(|(config, _)| Path::new(config).is_file());
        there.map(|(config, prefix)| (PathBuf::from(config), PathBuf::from(prefix)))
    };
    let prefix = prefix(found_by, master, build)?;
    let (config, beside) = match (given, build) {
        (Some(given), _) => (given, None),
        (None, Some(build)) => (build.config.clone(), None),
        (None, None) => known().map(|(config, prefix)| (config, Some(prefix))).ok_or_else(unknown)?,
    };
    let beside = || beside.or_else(|| Some(config.parent()?.to_owned()));
    let prefix = prefix.or_else(beside).filter(|prefix| prefix.is_absolute()).ok_or_else(unknown)?;
    let globals = master.and_then(|master| master.title.option("-g"));
    Ok(Instance { config: prefix.join(config), prefix, globals })
}

/// Why the configuration of a master in another root is not read: its path means another file here.
pub(super) fn other_root(master: &Master, config: &Path) -> Problem {
    Problem::new(
        "other_root",
        format!(
            "nginx's master (process {}) runs in a container or a chroot, where {} is another file than here",
            master.pid,
            printable(&config.display().to_string(), 500)
        ),
        "say in its [server.…] with config and prefix where this host has its configuration, or discover = false and \
         name its sites with [[site]]",
    )
}

/// Of a configuration that the administrator names for a master in another root: keeps the certificates that lie
/// beside it or are the same files there.
///
/// # Errors
/// It includes a file that is another one there.
pub(super) fn keep_shared(
    found: &mut Found,
    master: &Master,
    files: &Files,
    config: &Path,
) -> Result<(), Problem> {
    let folder = config.parent().unwrap_or(config);
    let is_shared = |path: &Path| path.starts_with(folder) || files.are_shared(path);
    if let Some(other) = found.files.iter().find(|path| path.is_absolute() && !is_shared(path)) {
        return Err(other_root(master, other));
    }
    let left_out = found.pairs.extract_if(.., |pair| !is_shared(&pair.certificate)).map(|pair| LeftOut {
        place: pair.places[0].clone(),
        what: pair.certificate.display().to_string(),
        why: "nginx runs in a container or a chroot, where this is another file than here".to_owned(),
    });
    found.left_out.extend(left_out);
    Ok(())
}

/// Why an endpoint that nginx's configuration names is not asked now.
pub(super) fn not_here(network: &Network, endpoint: &Endpoint) -> Option<Problem> {
    let Address::Tcp(address) = &endpoint.address else { return None };
    let address: SocketAddr = address.parse().ok()?;
    let (why, remedy) = if !network.is_own() {
        (
            "nginx listens in a network of its own, where certhook is not",
            "say in a [[site]] with verify how this host reaches it",
        )
    } else if !network.has(address.ip()) {
        (
            "this host does not have the address now, and another one that has it is not asked",
            "nothing, where another node has it: certhook asks when this host has it",
        )
    } else {
        return None;
    };
    Some(Problem::new(NOT_ON_THIS_HOST, format!("{endpoint}: {why}"), remedy))
}

/// Where the master began to write its errors; `None` for its standard error.
pub(super) fn first_log(master: &Master, build: Option<&Build>, prefix: &Path) -> Option<PathBuf> {
    let given = master.title.option("-e").map(PathBuf::from);
    let log = given.or_else(|| build.map(|build| build.error_log.clone()))?;
    let is_file = log != Path::new("stderr") && !log.to_string_lossy().starts_with("syslog:");
    is_file.then(|| prefix.join(log))
}

fn prefix(
    found_by: &config::Nginx,
    master: Option<&Master>,
    build: Option<&Build>,
) -> Result<Option<PathBuf>, Problem> {
    if found_by.prefix.is_some() {
        return Ok(found_by.prefix.clone());
    }
    let Some((master, given)) = master.and_then(|master| Some((master, master.title.option("-p")?))) else {
        return Ok(build.map(|build| build.prefix.clone()));
    };
    // Relative to the folder it was started in.
    let whole = master.folder().map(|folder| folder.join(&given)).or_else(|| Some(PathBuf::from(&given)));
    whole.filter(|prefix| prefix.is_absolute()).map(Some).ok_or_else(|| {
        Problem::new(
            "no_nginx",
            format!("nginx was started with the prefix {given}, relative to a folder this user cannot see"),
            "say prefix = \"/…\" in its [server.…]",
        )
    })
}

fn unknown() -> Problem {
    Problem::new(
        "no_nginx",
        "which configuration nginx reads is not known",
        "start nginx, or say binary, or config and prefix, in its [server.…]",
    )
}

/// Where packages and administrators install a program of that name.
fn installed(name: Option<&str>) -> Vec<PathBuf> {
    let Some(name) = name else { return Vec::new() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(PROGRAMS.map(PathBuf::from));
    folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(command: &str) -> Master {
        // No process has this number: nothing but the title can be seen.
        Master::with_title(i32::MAX, &format!("nginx: master process {command}"))
    }

    fn build() -> Build {
        Build {
            prefix: "/usr/share/nginx".into(),
            config: "/etc/nginx/nginx.conf".into(),
            error_log: "logs/error.log".into(),
            ..Build::default()
        }
    }

    #[test]
    fn paths_are_resolved_as_nginx_does() {
        let none = config::Nginx::default();
        let of = |command: &str| instance(&none, Some(&master(command)), Some(&build()));
        let found = of("/usr/sbin/nginx -g daemon on; master_process on;").unwrap();
        assert_eq!(found.config, Path::new("/etc/nginx/nginx.conf"));
        assert_eq!(found.prefix, Path::new("/usr/share/nginx"));
        assert_eq!(found.globals.as_deref(), Some("daemon on; master_process on;"));
        let found = of("nginx -p /srv/a/ -c conf/n.conf").unwrap();
        assert_eq!((found.config, found.prefix), ("/srv/a/conf/n.conf".into(), "/srv/a/".into()));
        assert_eq!(of("nginx -p a").unwrap_err().code, "no_nginx");
        // With -c alone and nothing known of the program, its folder is the best guess.
        let found = instance(&none, Some(&master("nginx -c /srv/b/n.conf")), None).unwrap();
        assert_eq!((found.config, found.prefix), ("/srv/b/n.conf".into(), "/srv/b".into()));
        let said = config::Nginx {
            config: Some("/srv/c/n.conf".into()),
            prefix: Some("/srv/c".into()),
            ..Default::default()
        };
        let found = instance(&said, None, None).unwrap();
        assert_eq!((found.config, found.prefix), ("/srv/c/n.conf".into(), "/srv/c".into()));
    }

    #[test]
    fn the_first_log_is_where_nginx_was_told_to() {
        let log = |command: &str| first_log(&master(command), Some(&build()), Path::new("/p"));
        assert_eq!(log("nginx"), Some("/p/logs/error.log".into()));
        assert_eq!(log("nginx -e e.log"), Some("/p/e.log".into()));
        assert_eq!(log("nginx -e stderr"), None);
    }
}
