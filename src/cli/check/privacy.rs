//! What nobody else may get at: certhook's folders, the client secret, the passwords of PFX files.

use std::collections::BTreeMap;
use std::io::ErrorKind::NotFound;
use std::path::Path;

use super::Findings;
use crate::config::{Config, KeyAt, Kind, Portal};
use crate::platform::{self, Exposed};
use crate::problem::Problem;
use crate::roster;

impl Findings<'_> {
    /// Whoever may write there decides what certhook knows and does.
    pub(super) fn folders(&mut self) {
        let mut folders = platform::private_folders();
        folders.push(self.config.state_dir.clone());
        for folder in folders {
            let shown = folder.display();
            match platform::open_to_others(&folder) {
                Ok(None) => self.good.push(format!("the folder {shown} is private")),
                Ok(Some(Exposed { to, remedy })) => {
                    let message = format!("the folder {shown} is open to others ({to})");
                    self.add(0, Problem::new("folder_not_private", message, remedy));
                }
                // It is made private.
                Err(error) if error.kind() == NotFound => {}
                Err(error) => {
                    let message = format!("who may use the folder {shown} cannot be told: {error}");
                    self.add(0, Problem::new("folder_not_private", message, platform::AS_WHOM));
                }
            }
        }
    }

    pub(super) fn secret(&mut self, portal: &Portal) {
        let (path, line) = (&portal.secret.path, portal.secret.line);
        match platform::readable_by_others(path) {
            Ok(None) => self.good.push(format!("the client secret {} is private", path.display())),
            Ok(Some(exposed)) => self.add(line, not_private("client secret", path, exposed)),
            Err(error) => {
                let message = format!("the client secret {} cannot be read: {error}", path.display());
                let code = if error.kind() == NotFound { "secret_missing" } else { "secret_unreadable" };
                let user = platform::WORDS.user;
                let remedy = format!("write the application's secret into it, readable by {user} alone");
                self.add(line, Problem::new(code, message, remedy));
            }
        }
    }

    /// One that cannot be read is told of where its PFX, or the central store, cannot be opened.
    pub(super) fn passwords(&mut self) {
        for (path, line) in passwords(self.config, &self.census.sites) {
            match platform::readable_by_others(&path) {
                Ok(None) => self.good.push(format!("the password {} is private", path.display())),
                Ok(Some(exposed)) => self.add(line, not_private("password", &path, exposed)),
                Err(_) => {}
            }
        }
    }
}

fn not_private(what: &str, path: &Path, Exposed { to, remedy }: Exposed) -> Problem {
    let message = format!("the {what} {} may be read by others ({to})", path.display());
    Problem::new("secret_not_private", message, remedy)
}

/// The files with passwords that the configuration names, each with the first line that does. Several sites may have
/// one.
fn passwords(config: &Config, sites: &[roster::Site]) -> BTreeMap<std::path::PathBuf, usize> {
    let of_servers = config.servers.iter().filter_map(|server| match &server.kind {
        Kind::Iis(iis) => Some((iis.central.as_ref()?.password_file.clone()?, server.line)),
        Kind::Nginx(_) | Kind::Command => None,
    });
    let of_sites = sites.iter().filter_map(|site| match &site.settings.key {
        KeyAt::Pfx(Some(path)) => Some((path.clone(), site.settings.line)),
        _ => None,
    });
    let mut found = BTreeMap::new();
    for (path, line) in of_servers.chain(of_sites) {
        found.entry(path).or_insert(line);
    }
    found
}
