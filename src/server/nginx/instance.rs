//! Which files an instance has: its configuration, its prefix, its logs.

use std::path::{Path, PathBuf};

use super::build::Build;
use super::process::Master;
use crate::config;
use crate::discover::Instance;
use crate::problem::Problem;

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

/// The program: configured, or that of the master, or one that is installed. A user without the right to look
/// into the master's process has its title only.
pub(super) fn program(found_by: &config::Nginx, master: Option<&Master>) -> Option<PathBuf> {
    if found_by.binary.is_some() {
        return found_by.binary.clone();
    }
    match master {
        // Its paths mean other files there.
        Some(master) if master.is_elsewhere() => None,
        Some(master) => master.program().or_else(|| in_path(master.title.program()?)),
        None => ["nginx", "angie", "openresty"].into_iter().find_map(in_path),
    }
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

fn in_path(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_absolute() && path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(PROGRAMS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::super::title::Title;
    use super::*;

    fn master(command: &str) -> Master {
        // No process has this number: nothing but the title can be seen.
        Master { pid: i32::MAX, title: Title::parse(&format!("nginx: master process {command}")).unwrap() }
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
