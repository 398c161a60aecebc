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
mod journal;
mod plan;
mod record;
mod retire;
mod rivals;
mod seal;
mod shared_config;
mod store;
mod system;
#[cfg(test)]
mod tests;
#[cfg(windows)]
mod windows;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::Installing;
use crate::certificate::{Fingerprint, Leaf, Thumbprint};
use crate::config::{self, Binding};
use crate::discover::Found;
use crate::files::{self, ReadError};
use crate::platform;
use crate::problem::{Problem, printable};
use central::Shelf;
use host_config::{Bound, HostConfig};
use install::{Installed, Scene, Site, Tools};
use record::{Key, Record};
use retire::Retired;
pub use rivals::{Claimant, same_names};
use store::Kept;

/// Of `applicationHost.config`: hosts with thousands of sites have tens of megabytes.
const MOST_OF_CONFIG: u64 = 64 << 20;

/// IIS of this host.
#[derive(Debug, Clone)]
pub(super) struct Iis {
    settings: config::Iis,
    patience: Duration,
    /// Who changes something does it alone.
    turn: Arc<Mutex<()>>,
}

impl Iis {
    /// `patience` is for each program of Windows's that is run.
    pub(super) fn new(settings: config::Iis, patience: Duration) -> Self {
        Self { settings, patience, turn: Arc::default() }
    }

    /// What its configuration binds. Blocking.
    pub(super) fn discover(&self) -> Result<Found, Problem> {
        let (files, config) = self.host_config()?;
        let showing = self.tools().and_then(|mut tools| Showing::of(&mut tools)).ok();
        Ok(found(files, config, self.settings.central.is_some(), showing.as_ref()))
    }

    fn tools(&self) -> Result<Tools, Problem> {
        system::tools(self.settings.store, self.patience, &self.settings.journal)
    }

    /// What its bindings are to show, by HTTP.sys's records: each binding with its certificate, where it has one in a
    /// store of the machine. Blocking.
    pub(super) fn shown(&self) -> Result<Vec<(Binding, Option<Leaf>)>, Problem> {
        let bound = self.host_config()?.1.bound;
        let showing = Showing::of(&mut self.tools()?)?;
        Ok(shown(&bound, &showing))
    }

    /// Puts back what an interrupted certhook deleted. Blocking.
    pub(super) fn recover(&self) -> Result<(), Problem> {
        // Most times there is none.
        if !self.settings.journal.exists() {
            return Ok(());
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.tools()?.recover()
    }

    /// Installs one after the other; what one of them fails by stops none of the others. `all` are the sites that there
    /// are. Blocking.
    pub(super) fn install(&self, sites: &[Installing], all: &[Claimant]) -> Vec<Result<(), Problem>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let for_each = |problem: Problem| sites.iter().map(|_| Err(problem.clone())).collect();
        let ready = || Ok((self.tools()?, self.host_config()?.1, self.shelf()?));
        match ready() {
            Ok((mut tools, config, shelf)) => {
                self.install_with(&mut tools, &config.bound, shelf.as_ref(), (sites, all))
            }
            Err(problem) => for_each(problem),
        }
    }

    fn install_with(
        &self,
        tools: &mut Tools,
        bound: &[Bound],
        shelf: Option<&Shelf>,
        (sites, all): (&[Installing], &[Claimant]),
    ) -> Vec<Result<(), Problem>> {
        let (store, create) = (self.settings.store.name(), self.settings.create_bindings);
        let scene = Scene { store, bound, shelf, create };
        let one = |site: &Installing| {
            rivalled(site, all, bound)?;
            let (bindings, recorded) = (&site.bindings, site.recorded);
            let taken = taken(&site.others, bound);
            let wanted = Site { material: &site.material, bindings, recorded, taken: &taken };
            let Installed { changed, written, left, notes } = tools.install(&scene, &wanted)?;
            let hash = site.material.thumbprint;
            tracing::info!(site = site.label, certificate = %hash, records = changed, files = written, "bound");
            for certificate in left {
                tracing::info!(site = site.label, %certificate, "replaced, and left in its store: it was not imported by certhook");
            }
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
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let ftp = self.host_config()?.1.ftp;
        let Retired { removed, left } = self.tools()?.retire(proved, &ftp, after, now)?;
        for certificate in left {
            tracing::warn!(%certificate, "a replaced certificate stays in its store: FTP, or another store's entry, uses it or its key");
        }
        Ok(removed)
    }

    /// What stands in the way, without changing anything. Blocking.
    pub(super) fn obstacles(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        match self.tools() {
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

    /// What it says, and the files that were read for it.
    fn host_config(&self) -> Result<(Vec<PathBuf>, HostConfig), Problem> {
        // Also where it is told: without IIS a configuration says nothing.
        let usual = system::host_config()?;
        match &self.settings.config {
            Some(path) => Ok((vec![path.clone()], read(path)?)),
            None => follow(&usual, |name| std::env::var(name).ok()),
        }
    }

    fn shelf(&self) -> Result<Option<Shelf>, Problem> {
        let Some(central) = &self.settings.central else { return Ok(None) };
        let password = central.password_file.as_deref().map(files::password).transpose()?.unwrap_or_default();
        if !central.folder.is_dir() {
            let folder = printable(&central.folder.display().to_string(), 300);
            let message = format!("the central store {folder} is no folder that certhook can see");
            let remedy =
                format!("see central_store, and that {} may enter the share", platform::WORDS.user_there);
            return Err(Problem::new("central_store", message, remedy));
        }
        Ok(Some(Shelf { folder: central.folder.clone(), password }))
    }
}

/// What HTTP.sys shows, as far as the machine's stores tell.
struct Showing {
    records: Vec<Record>,
    kept: Vec<Kept>,
}

impl Showing {
    fn of(tools: &mut Tools) -> Result<Self, Problem> {
        let records = tools.records.list();
        let records = records.map_err(|failure| failure.problem("HTTP.sys's records cannot be listed"))?;
        Ok(Self { records, kept: tools.kept()? })
    }

    fn certificate(&self, bound: &Bound) -> Option<&Kept> {
        let key = Key::of(&bound.binding, bound.sni);
        let hash = self.records.iter().find(|record| record.key == key)?.hash?;
        let of_it = || self.kept.iter().filter(move |kept| kept.hash == hash);
        // Of two copies one may have no note.
        of_it().find(|kept| kept.mark.is_some()).or_else(|| of_it().next())
    }
}

fn shown(bound: &[Bound], showing: &Showing) -> Vec<(Binding, Option<Leaf>)> {
    let leaf = |bound| showing.certificate(bound).map(|kept| kept.leaf.clone());
    // Of the central store, the host's file has the word.
    let of_records = bound.iter().filter(|bound| !bound.central);
    of_records.map(|bound| (bound.binding.clone(), leaf(bound))).collect()
}

/// The records that other sites name.
fn taken(others: &[Binding], bound: &[Bound]) -> BTreeSet<Key> {
    others.iter().map(|binding| host_config::key_of(binding, bound)).collect()
}

/// Refuses a site that would take turns with another.
fn rivalled(site: &Installing, all: &[Claimant], bound: &[Bound]) -> Result<(), Problem> {
    let mine = Claimant {
        key: site.label.clone(),
        label: all.iter().find(|other| other.key == site.label).map_or(&site.label, |own| &own.label).clone(),
        leaf: site.material.leaf.clone().into(),
        bindings: site.bindings.clone(),
    };
    same_names(&mine, all).or_else(|| rivals::same_record(&mine, all, bound)).map_or(Ok(()), Err)
}

fn read(path: &Path) -> Result<HostConfig, Problem> {
    let content = files::read_beside_writers(path, MOST_OF_CONFIG).map_err(|error| {
        let shown = printable(&path.display().to_string(), 300);
        let own = "see that it is IIS's own file and that IIS itself can read it";
        match error {
            ReadError::TooLarge(..) => {
                let message = format!("{shown} is larger than {} MB", MOST_OF_CONFIG >> 20);
                Problem::new("iis_config", message, own)
            }
            ReadError::NotAFile(_) => {
                Problem::new("iis_config", format!("{shown} is not a regular file"), own)
            }
            error => error.problem(),
        }
    })?;
    host_config::parse(path, &content.bytes)
}

/// The configuration at its usual place, or where the file beside it says that it is shared from.
fn follow(
    usual: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(Vec<PathBuf>, HostConfig), Problem> {
    let redirection = usual.with_file_name(shared_config::NAME);
    let target = match files::read_beside_writers(&redirection, files::MOST_BYTES) {
        Ok(content) => shared_config::target(&redirection, &content.bytes, variable)?,
        Err(error) if error.problem().code == "missing" => None,
        Err(error) => return Err(error.problem()),
    };
    match target {
        // It is named also where it is not there: it may come.
        None => Ok((vec![usual.to_owned(), redirection], read(usual)?)),
        Some(target) => {
            let config = read(&target);
            let config =
                config.map_err(|problem| shared_config::unreadable(&redirection, &target, &problem))?;
            Ok((vec![target, redirection], config))
        }
    }
}

/// What was read, for the roster: bindings, and what cannot be looked after.
fn found(files: Vec<PathBuf>, config: HostConfig, has_shelf: bool, showing: Option<&Showing>) -> Found {
    let mut found = Found { files, left_out: config.left_out, ..Found::default() };
    for bound in config.bound {
        if bound.central && !has_shelf {
            let why =
                "its certificate comes from the central store, and central_store does not name it".to_owned();
            let (place, what) = (bound.place, bound.binding.to_string());
            found.left_out.push(crate::discover::LeftOut { place, what, why });
        } else {
            let shows = match showing.map(|showing| showing.certificate(&bound)) {
                None => config::Shows::Unknown,
                Some(None) => config::Shows::Nothing,
                Some(Some(kept)) => config::Shows::Certificate {
                    origin: config::Origin::new(&kept.leaf.hosts, &kept.leaf.issuer),
                    ours: kept.mark.is_some(),
                },
            };
            found.bindings.push(config::Bound { binding: bound.binding, shows });
        }
    }
    found
}
