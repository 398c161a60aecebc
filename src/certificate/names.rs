//! Host names of certificates, and the portal's names made of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

/// Host names in their order, lower case, international ones as A-labels. Two are equal when their *sets* are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Hosts(Arc<str>);

/// Between two of them: no name has it.
const BETWEEN: char = '\n';

impl Hosts {
    /// From a portal's name: host names joined by commas, with or without white space around them.
    pub fn from_portal_name(name: &str) -> Self {
        Self::collect(name.split(',').map(str::to_owned))
    }

    pub(super) fn of(x509: &X509Certificate<'_>) -> Self {
        let names = x509.subject_alternative_name().ok().flatten();
        let from_extension =
            names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
                GeneralName::DNSName(host) => Some((*host).to_owned()),
                GeneralName::IPAddress(bytes) => address(bytes),
                _ => None,
            });
        let found = Self::collect(from_extension);
        if !found.0.is_empty() {
            return found;
        }
        let common = x509.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        Self::collect(common.map(str::to_owned))
    }

    fn collect(names: impl Iterator<Item = String>) -> Self {
        let mut seen = BTreeSet::new();
        let end = |c: char| c == '.' || c.is_whitespace();
        let cleaned = names.map(|name| canonical(name.trim().trim_end_matches(end)));
        let is_name = |name: &String| !name.is_empty() && !name.contains(BETWEEN);
        let all: Vec<String> = cleaned.filter(|name| is_name(name) && seen.insert(name.clone())).collect();
        Self(all.join(&BETWEEN.to_string()).into())
    }

    /// The names in the certificate's order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(BETWEEN).filter(|name| !name.is_empty())
    }

    /// Whether a client that asks for `host` is content with these names. A wildcard stands for one label; a
    /// binding's own wildcard is only covered by the same.
    pub fn cover(&self, host: &str) -> bool {
        let host = canonical(host.trim_end_matches('.'));
        let above = host.split_once('.').map(|(_, above)| above);
        let covers =
            |name: &str| name == host || name.strip_prefix("*.").is_some_and(|domain| above == Some(domain));
        self.iter().any(covers)
    }

    /// Whether there is no name at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Hosts {
    fn eq(&self, other: &Self) -> bool {
        let set = |hosts: &Self| hosts.0.split(BETWEEN).map(str::to_owned).collect::<BTreeSet<_>>();
        self.0 == other.0 || (self.0.len() == other.0.len() && set(self) == set(other))
    }
}

impl Eq for Hosts {}

impl std::hash::Hash for Hosts {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // Each name is there once.
        let mut names: Vec<&str> = self.iter().collect();
        names.sort_unstable();
        names.hash(state);
    }
}

/// Joined by commas, as the portal names a certificate.
impl std::fmt::Display for Hosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.replace(BETWEEN, ","))
    }
}

/// Returns the form in which two spellings of a host name are the same: lower case, `xn--…` for `ü…`. What is no
/// international name stays what it is.
fn canonical(name: &str) -> String {
    let ascii = match name.is_ascii() {
        true => None,
        false => idna::domain_to_ascii_cow(name.as_bytes(), idna::AsciiDenyList::EMPTY).ok(),
    };
    ascii.map_or_else(|| name.to_ascii_lowercase(), |name| name.trim_end_matches('.').to_owned())
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(core::net::Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(core::net::Ipv6Addr::from(sixteen).to_string())
}

#[cfg(test)]
mod tests {
    use super::Hosts;

    #[test]
    fn a_wildcard_covers_one_label() {
        let names = Hosts::from_portal_name("contoso.com,*.contoso.com");
        for host in ["contoso.com", "WWW.contoso.com", "*.contoso.com", "a.contoso.com."] {
            assert!(names.cover(host), "{host}");
        }
        for host in ["a.b.contoso.com", "com", "", "*.com", "xcontoso.com", "fabrikam.com"] {
            assert!(!names.cover(host), "{host}");
        }
        assert!(!Hosts::from_portal_name("www.contoso.com").cover("*.contoso.com"));
    }

    #[test]
    fn spellings_of_an_international_name_are_equal() {
        let of = Hosts::from_portal_name;
        let wire = of("xn--mller-kva.example,*.xn--mller-kva.example");
        for portal in [
            "m\u{fc}ller.example,*.m\u{fc}ller.example",
            "M\u{dc}LLER.Example, *.M\u{dc}LLER.example",
            // Decomposed, and with the ideographic full stop.
            "mu\u{308}ller.example,*.m\u{fc}ller\u{3002}example",
            "XN--MLLER-KVA.example.,*.xn--mller-kva.example",
        ] {
            assert_eq!(of(portal), wire, "{portal}");
            let set = std::collections::HashSet::from([wire.clone()]);
            assert!(set.contains(&of(portal)), "{portal}");
        }
        for other in
            ["muller.example,*.muller.example", "m\u{fc}ller.example", "mueller.example,*.mueller.example"]
        {
            assert_ne!(of(other), wire, "{other}");
        }
        assert!(wire.cover("www.m\u{fc}ller.example") && wire.cover("M\u{dc}LLER.example"));
        assert!(!wire.cover("www.muller.example"));
        // What no such name can be stays what it is, and equals itself alone.
        for odd in ["\u{fffd}.test", "a_b.test", "xn--\u{fc}.test", "\u{202e}x.test"] {
            assert_eq!(of(odd), of(odd), "{odd}");
            assert_ne!(of(odd), of("x.test"), "{odd}");
            assert_eq!(of(odd).iter().count(), 1, "{odd}");
        }
    }

    #[test]
    fn names_are_compared_as_sets() {
        let of = Hosts::from_portal_name;
        assert_eq!(of("contoso.com,www.contoso.com"), of("WWW.contoso.com , contoso.com. ."));
        assert_ne!(of("contoso.com"), of("contoso.com,*.contoso.com"));
        assert_ne!(of("a.com,b.com"), of("a.com,c.com"));
        assert!(of(" , ").is_empty());
        let all = std::collections::HashSet::from([of("a.com,b.com"), of("c.com")]);
        assert!(all.contains(&of("b.com,a.com,b.com")) && !all.contains(&of("a.com")));
    }
}
