//! What the configuration says of the sites that it names.

use std::sync::Arc;

use crate::config::Site;

/// In the order of the sites' keys.
pub struct Known(Box<[Arc<Site>]>);

impl Known {
    /// Of these sites.
    pub fn new(sites: &[Arc<Site>]) -> Self {
        let mut sites: Box<[_]> = sites.into();
        sites.sort_by(|a, b| a.ledger_key().cmp(&b.ledger_key()));
        Self(sites)
    }

    /// The site that the ledger has under a key.
    pub(super) fn get(&self, key: &str) -> Option<&Site> {
        let at = self.0.binary_search_by(|site| (*site.ledger_key()).cmp(key)).ok()?;
        Some(&self.0[at])
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    #[cfg_attr(windows, ignore = "its paths are Unix's")]
    fn each_site_is_found_by_its_key() {
        let site = |path: &str, server: &str| {
            format!("[[site]]\ncertificate = \"{path}\"\nverify = [\"a:1\"]\nserver = \"{server}\"\n")
        };
        let sites = [site("/b", "x"), site("/c", "x"), site("/a", "y"), site("/c", "y")].concat();
        let config =
            Config::parse(Path::new("certhook.toml"), &format!("[server.x]\n[server.y]\n{sites}")).unwrap();
        let known = Known::new(&config.sites);
        for (key, line) in [("/a", 11), ("/b", 3), ("/c@x", 7), ("/c@y", 15)] {
            assert_eq!(known.get(key).map(|site| site.line), Some(line), "{key}");
        }
        assert!(known.get("/c").is_none() && known.get("").is_none() && known.get("/d").is_none());
    }
}
