//! What an nginx was built with, as it tells itself (`-V`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::ask::ask;
use crate::platform::{self, Signature};

/// It only prints.
const PATIENCE: Duration = Duration::from_secs(5);

/// The parts of `nginx -V` that say where things are. Paths may be relative to the prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Build {
    /// Name and version of the program, and of the nginx it was made from: `Angie`, `nginx`.
    pub(super) versions: Vec<(String, [u32; 3])>,
    pub(super) prefix: PathBuf,
    pub(super) config: PathBuf,
    pub(super) error_log: PathBuf,
    pub(super) pid_file: PathBuf,
}

/// What each program said; one is asked again when its file is another.
#[derive(Debug, Default)]
pub(super) struct Builds(Mutex<BTreeMap<PathBuf, Said>>);

/// What a program said, as the file that it was then.
type Said = (Option<Signature>, Option<Build>);

impl Builds {
    /// Blocking: the program is run for a moment, once.
    pub(super) fn of(&self, program: &Path) -> Option<Build> {
        let signature = platform::signature(program);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, build)) = known.get(program)
            && *of == signature
        {
            return build.clone();
        }
        let said = ask(&[&program.display().to_string(), "-V"], PATIENCE);
        let build = said.and_then(|text| Build::parse(&text));
        known.insert(program.to_owned(), (signature, build.clone()));
        build
    }
}

impl Build {
    fn parse(text: &str) -> Option<Self> {
        let (head, arguments) = text.split_once("configure arguments:")?;
        let versions: Vec<_> = head.lines().flat_map(versions).collect();
        let words = words(arguments);
        let value = |name: &str| {
            let given = words.iter().rev().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            given.map(PathBuf::from)
        };
        let angie = versions.iter().any(|(name, _)| name == "Angie");
        let own = if angie { "angie" } else { "nginx" };
        Some(Self {
            prefix: value("--prefix").unwrap_or_else(|| Path::new("/usr/local").join(own)),
            config: value("--conf-path").unwrap_or_else(|| format!("conf/{own}.conf").into()),
            error_log: value("--error-log-path").unwrap_or_else(|| "logs/error.log".into()),
            pid_file: value("--pid-path").unwrap_or_else(|| format!("logs/{own}.pid").into()),
            versions,
        })
    }

    /// Whether a reload takes over a certificate whose file has the same inode and the same second of writing:
    /// nginx since 1.27.4 (`ssl_object_cache_inheritable`), and what was made from it since.
    pub(super) fn keeps_unchanged(&self) -> bool {
        self.versions.iter().any(|(name, version)| match name.as_str() {
            "nginx" | "openresty" => *version >= [1, 27, 4],
            "Angie" => *version >= [1, 9, 0],
            _ => false,
        })
    }
}

/// `nginx version: openresty/1.27.1.2`; Tengine and Angie have one line for themselves and one for nginx.
fn versions(line: &str) -> Vec<(String, [u32; 3])> {
    let Some((_, told)) = line.split_once(" version: ") else { return Vec::new() };
    let version = |word: &str| {
        let (name, number) = word.trim_matches(['(', ')']).split_once('/')?;
        let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0));
        number
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| (name.to_owned(), std::array::from_fn(|_| parts.next().unwrap_or(0))))
    };
    told.split_whitespace().filter_map(version).collect()
}

/// Words with the quotes that configure puts around some.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '\'' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_s_paths_are_read() {
        let said = "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.22 25 Aug 2026 (running with OpenSSL \
                    3.0.19 27 Jan 2026)\nTLS SNI support enabled\nconfigure arguments: --with-cc-opt='-g -O2 \
                    --prefix=/none -fPIC' --prefix=/usr/share/nginx --conf-path=/etc/nginx/nginx.conf \
                    --error-log-path=stderr --pid-path=/run/nginx.pid --with-http_ssl_module\n";
        let build = Build::parse(said).unwrap();
        assert_eq!(build.prefix, Path::new("/usr/share/nginx"));
        assert_eq!(build.config, Path::new("/etc/nginx/nginx.conf"));
        assert_eq!(build.error_log, Path::new("stderr"));
        assert_eq!(build.pid_file, Path::new("/run/nginx.pid"));
        assert!(!build.keeps_unchanged());
    }

    #[test]
    fn what_is_not_said_is_as_nginx_has_it() {
        let said =
            "nginx version: openresty/1.27.1.2\nconfigure arguments: --prefix=/usr/local/openresty/nginx";
        let build = Build::parse(said).unwrap();
        assert_eq!(build.config, Path::new("conf/nginx.conf"));
        assert_eq!(build.error_log, Path::new("logs/error.log"));
        assert_eq!(Build::parse("no nginx at all"), None);
    }

    #[test]
    fn who_keeps_what_was_loaded() {
        let keeps = |versions: &str| {
            Build::parse(&format!("{versions}\nconfigure arguments: --with-debug")).unwrap().keeps_unchanged()
        };
        for yes in [
            "nginx version: nginx/1.27.4",
            "nginx version: nginx/1.30.6 (Debian)",
            "nginx version: openresty/1.29.2.1",
            "Angie version: Angie/1.9.0\nnginx version: nginx/1.27.4",
            "Angie version: Angie/1.10.2",
        ] {
            assert!(keeps(yes), "{yes}");
        }
        for no in [
            "nginx version: nginx/1.27.3",
            "nginx version: nginx/1.26.3 (Ubuntu)",
            "nginx version: openresty/1.27.1.2",
            "Angie version: Angie/1.8.3\nnginx version: nginx/1.27.3",
            "Tengine version: Tengine/3.1.0\nnginx version: nginx/1.24.0",
            "freenginx version: freenginx/1.29.0",
            "something else",
        ] {
            assert!(!keeps(no), "{no}");
        }
    }
}
