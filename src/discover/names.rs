//! Server names on one listener: which server answers for a name, as nginx's hashes of names have it.

use std::collections::{HashMap, HashSet};

use super::regex::Regex;

/// The label that stands for a wildcard's star in a handshake.
pub(super) const STAR: &str = "certhook-probe";

/// The names of one listener. The first server to claim a name has it.
#[derive(Default)]
pub(super) struct Names {
    exact: HashMap<String, usize>,
    /// `*.d` and `.d`, by `d`; whether `d` itself is meant too.
    head: HashMap<String, (usize, bool)>,
    /// `www.example.*`, by `www.example`.
    tail: HashMap<String, usize>,
    /// nginx notes `.d` here as `d`, and so refuses a later `d`.
    taken: HashSet<String>,
    /// In nginx's order: the first that matches counts. `None` for one that is not understood.
    regexes: Vec<(Option<Regex>, usize)>,
}

impl Names {
    /// A server's name; one that another has is ignored, as a whole.
    pub fn claim(&mut self, name: &str, server: usize) {
        if is_regex(name) {
            self.regexes.push((Regex::parse(name), server));
            return;
        }
        if let Some(domain) = name.strip_prefix('.').filter(|domain| !domain.is_empty()) {
            if self.taken.insert(domain.to_owned()) {
                self.head.entry(domain.to_owned()).or_insert((server, true));
            }
        } else if let Some(domain) = name.strip_prefix("*.").filter(|domain| !domain.is_empty()) {
            self.head.entry(domain.to_owned()).or_insert((server, false));
        } else if let Some(stem) = name.strip_suffix(".*").filter(|stem| !stem.is_empty()) {
            self.tail.entry(stem.to_owned()).or_insert(server);
        } else if self.taken.insert(name.to_owned()) {
            self.exact.insert(name.to_owned(), server);
        }
    }

    /// A host name that one of the server's regular expressions matches and that no other server takes.
    pub fn sample(&self, server: usize) -> Option<String> {
        let samples =
            self.regexes.iter().filter(|(_, of)| *of == server).filter_map(|(regex, _)| regex.as_ref());
        let mut hosts = samples.flat_map(|regex| regex.samples()).filter(|host| is_askable(host));
        hosts.find(|host| {
            let first =
                self.regexes.iter().find(|(regex, _)| regex.as_ref().is_none_or(|regex| regex.matches(host)));
            self.owner(host).is_none() && first.is_some_and(|(_, of)| *of == server)
        })
    }

    /// Whose name it is: an exact one, the longest that ends it, the longest that begins it.
    pub fn owner(&self, host: &str) -> Option<usize> {
        if let Some(server) = self.exact.get(host) {
            return Some(*server);
        }
        let ends = host.match_indices('.').map(|(dot, _)| (&host[dot + 1..], false));
        for (domain, whole) in std::iter::once((host, true)).chain(ends) {
            match self.head.get(domain) {
                Some((server, also_domain)) if !whole || *also_domain => return Some(*server),
                _ => {}
            }
        }
        host.rmatch_indices('.').find_map(|(dot, _)| self.tail.get(&host[..dot]).copied())
    }
}

/// What may be asked for a server's names, the best witnesses first: exact names, then what stands for wildcards.
pub(super) fn candidates(names: &[String]) -> Vec<String> {
    let exact = names.iter().filter_map(|name| match name.strip_prefix('.') {
        Some(domain) => Some(domain.to_owned()),
        None => (!is_regex(name) && !name.contains('*')).then(|| name.clone()),
    });
    let wild = names.iter().filter_map(|name| {
        if is_regex(name) {
            None
        } else if let Some(stem) = name.strip_suffix(".*") {
            Some(format!("{stem}.{STAR}"))
        } else {
            let domain = name.strip_prefix("*.").or_else(|| name.strip_prefix('.'))?;
            Some(format!("{STAR}.{domain}"))
        }
    });
    let mut known = HashSet::new();
    exact.chain(wild).filter(|host| is_askable(host) && known.insert(host.clone())).collect()
}

pub(super) fn is_regex(name: &str) -> bool {
    name.starts_with('~')
}

/// Whether a client would send the name: `_`, addresses and the like never come over the wire.
fn is_askable(host: &str) -> bool {
    let fits = |label: &str| {
        let of_letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(of_letters)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host != "_"
        && host.len() <= 253
        && host.split('.').all(fits)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}
