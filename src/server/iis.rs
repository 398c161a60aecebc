//! IIS: a renewed certificate is imported, its bindings' records in HTTP.sys are changed, and nothing is restarted.
//!
//! ```text
//! host_config ─┐
//! records ─────┼─▶ plan ─▶ apply        what is decided is pure; what Windows does stands behind traits
//! store ───────┘          fallback      (store::Store, apply::Records, fallback::Commands)
//! ```
//!
//! IIS's configuration names the bindings, HTTP.sys has their certificates. Only the wire tells what is served.

// Much of it is called by Windows's adapters alone.
#![cfg_attr(not(windows), allow(dead_code))]

mod apply;
mod central;
mod failure;
mod fallback;
mod host_config;
mod install;
mod plan;
mod record;
mod seal;
mod store;
mod system;
#[cfg(test)]
mod tests;
#[cfg(windows)]
mod windows;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::Installing;
use crate::certificate::{Fingerprint, Thumbprint};
use crate::config;
use crate::discover::Found;
use crate::files;
use crate::problem::{Problem, printable};
use central::Shelf;
use host_config::{Bound, HostConfig};
use install::{Installed, Scene, Tools};

/// IIS of this host.
#[derive(Debug, Clone)]
pub(super) struct Iis {
    settings: config::Iis,
    patience: Duration,
}

impl Iis {
    /// `patience` is for each program of Windows's that is run.
    pub(super) fn new(settings: config::Iis, patience: Duration) -> Self {
        Self { settings, patience }
    }

    /// What its configuration binds. Blocking.
    pub(super) fn discover(&self) -> Result<Found, Problem> {
        let (path, config) = self.host_config()?;
        Ok(found(path, config, self.settings.central.is_some()))
    }

    /// Installs one after the other; what one of them fails by stops none of the others. Blocking.
    pub(super) fn install(&self, sites: &[Installing]) -> Vec<Result<(), Problem>> {
        let all = |problem: Problem| sites.iter().map(|_| Err(problem.clone())).collect();
        let ready =
            || Ok((system::tools(self.settings.store, self.patience)?, self.host_config()?.1, self.shelf()?));
        match ready() {
            Ok((mut tools, config, shelf)) => {
                self.install_with(&mut tools, &config.bound, shelf.as_ref(), sites)
            }
            Err(problem) => all(problem),
        }
    }

    fn install_with(
        &self,
        tools: &mut Tools,
        bound: &[Bound],
        shelf: Option<&Shelf>,
        sites: &[Installing],
    ) -> Vec<Result<(), Problem>> {
        let scene = Scene { store: self.settings.store.name(), bound, shelf };
        let one = |site: &Installing| {
            let Installed { changed, written, notes } =
                tools.install(&scene, &site.material, &site.bindings)?;
            let hash = site.material.thumbprint;
            tracing::info!(site = site.label, certificate = %hash, records = changed, files = written, "bound");
            for note in notes {
                tracing::warn!(
                    site = site.label,
                    code = note.code,
                    problem = note.message,
                    remedy = note.remedy,
                    "problem"
                );
            }
            Ok(())
        };
        sites.iter().map(one).collect()
    }

    /// Removes what a proved certificate replaced long enough ago. Blocking.
    pub(super) fn retire(&self, proved: &Fingerprint, now: Timestamp) -> Result<Vec<Thumbprint>, Problem> {
        let Some(after) = self.settings.retire_after else { return Ok(Vec::new()) };
        system::tools(self.settings.store, self.patience)?.retire(proved, after, now)
    }

    /// What stands in the way, without changing anything. Blocking.
    pub(super) fn obstacles(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        match system::tools(self.settings.store, self.patience) {
            Err(problem) => return vec![problem],
            Ok(mut tools) => {
                let records = tools.records.list().map(drop);
                found.extend(
                    records.err().map(|failure| failure.problem("HTTP.sys's records cannot be listed")),
                );
                let store = tools.store.list().map(drop);
                found.extend(
                    store.err().map(|failure| failure.problem("the certificate store cannot be listed")),
                );
            }
        }
        found.extend(self.host_config().err());
        found.extend(self.shelf().err());
        found
    }

    fn host_config(&self) -> Result<(PathBuf, HostConfig), Problem> {
        // Also where it is told: without IIS a configuration says nothing.
        let usual = system::host_config()?;
        let path = self.settings.config.clone().unwrap_or(usual);
        let content = files::read(&path).map_err(|error| error.problem())?;
        let config = host_config::parse(&path, &content.bytes)?;
        Ok((path, config))
    }

    fn shelf(&self) -> Result<Option<Shelf>, Problem> {
        let Some(central) = &self.settings.central else { return Ok(None) };
        let password = central.password_file.as_deref().map(files::password).transpose()?.unwrap_or_default();
        if !central.folder.is_dir() {
            let folder = printable(&central.folder.display().to_string(), 300);
            let message = format!("the central store {folder} is no folder that certhook can see");
            let remedy = "see central_store, and that certhook's user may enter the share";
            return Err(Problem::new("central_store", message, remedy));
        }
        Ok(Some(Shelf { folder: central.folder.clone(), password }))
    }
}

/// What was read, for the roster: bindings, and what cannot be looked after.
fn found(path: PathBuf, config: HostConfig, has_shelf: bool) -> Found {
    let mut found = Found { files: vec![path], left_out: config.left_out, ..Found::default() };
    for Bound { binding, central, place, .. } in config.bound {
        if central && !has_shelf {
            let why =
                "its certificate comes from the central store, and central_store does not name it".to_owned();
            found.left_out.push(crate::discover::LeftOut { place, what: binding.to_string(), why });
        } else {
            found.bindings.push(binding);
        }
    }
    found
}
