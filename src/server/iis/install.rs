//! One certificate's way into IIS: make before break.
//!
//! ```text
//! plan ─▶ import ─▶ prove the key ─▶ central store ─▶ new bindings ─▶ records, read back ─▶ (the wire) ─▶ retire
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::apply::{Records, Undone, apply};
use super::central::{self, Shelf};
use super::failure::{Failure, NOT_THERE};
use super::fallback::{self, Commands};
use super::host_config::Bound;
use super::plan::{Change, Plan, Wanted, plan};
use super::seal::seal;
use super::store::{Kept, Mark, Sealed, Store};
use crate::certificate::{Fingerprint, Material, Thumbprint};
use crate::config::Binding;
use crate::problem::Problem;

/// What a system has to do it with.
pub struct Tools {
    /// The certificate store that is configured.
    pub store: Box<dyn Store>,
    /// HTTP.sys's records.
    pub records: Box<dyn Records>,
    /// Windows's programs.
    pub commands: Box<dyn Commands>,
}

/// Where a certificate goes.
pub struct Scene<'a> {
    /// The store's name.
    pub store: &'a str,
    /// What IIS's configuration binds.
    pub bound: &'a [Bound],
    /// The Central Certificate Store.
    pub shelf: Option<&'a Shelf>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// So many records show it that did not.
    pub changed: usize,
    /// So many files of the central store were written.
    pub written: usize,
    /// What may make it vain.
    pub notes: Vec<Problem>,
}

impl Tools {
    /// Installs a certificate for the configured bindings, and for those that have an earlier one.
    ///
    /// # Errors
    /// Why not, or not everywhere; what was there before is still served then.
    pub fn install(
        &mut self,
        scene: &Scene<'_>,
        material: &Material,
        bindings: &[Binding],
    ) -> Result<Installed, Problem> {
        let kept = self.kept()?;
        let mut previous: BTreeSet<Thumbprint> =
            kept.iter().filter(|kept| kept.is_earlier_than(&material.leaf)).map(|kept| kept.hash).collect();
        previous.remove(&material.thumbprint);
        let wanted = Wanted {
            bindings,
            names: &material.leaf.hosts,
            hash: material.thumbprint,
            store: scene.store,
            previous: &previous,
            central: scene.shelf.is_some(),
        };
        let plan = match self.records.list() {
            Ok(records) => plan(&records, scene.bound, &wanted),
            Err(NOT_THERE) => return self.renew_blindly(material, &previous),
            Err(failure) => return Err(failure.problem("HTTP.sys's records cannot be listed")),
        };
        let files = scene
            .shelf
            .map(|shelf| central::wanted(&material.leaf.hosts, &plan.central, |file| shelf.has(file)));
        let files = files.unwrap_or_default();
        if plan.has_no_use() && files.is_empty() {
            return Err(plan
                .refused
                .into_iter()
                .next()
                .map_or_else(|| no_use(&kept, material), |(_, why)| why));
        }
        if plan.keys().next().is_some() {
            self.bring(material)?;
        }
        let written = match scene.shelf {
            Some(shelf) => shelf.put(material, &files)?,
            None => 0,
        };
        self.carry_out(&plan, scene, &wanted)?;
        // What it is no longer shown by is to go one day.
        for old in plan.changes.iter().filter_map(|change| change.from.hash).collect::<BTreeSet<_>>() {
            if previous.contains(&old) {
                // Without the mark it stays, and does no harm.
                let _ = self.store.mark(old, Some(Mark::Replaced));
            }
        }
        match plan.refused.into_iter().next() {
            Some((_, why)) => Err(why),
            None => {
                let changed = plan.changes.len() + plan.additions.len();
                Ok(Installed { changed, written, notes: plan.notes })
            }
        }
    }

    fn kept(&mut self) -> Result<Vec<Kept>, Problem> {
        self.store.list().map_err(|failure| failure.problem("the certificate store cannot be listed"))
    }

    /// Has the certificate in the store with a key that can be used. It is in nobody's way there.
    fn bring(&mut self, material: &Material) -> Result<(), Problem> {
        let password = Zeroizing::new(passphrase());
        let sealed = Sealed { pfx: seal(material, &password)?, password, hash: material.thumbprint };
        self.store
            .import(&sealed)
            .map_err(|failure| failure.problem("the certificate cannot be imported"))?;
        // It may have come again in place of one that certhook meant to remove.
        let _ = self.store.mark(material.thumbprint, None);
        self.store.prove(material.thumbprint).map_err(|failure| {
            let problem = failure.problem("the imported certificate cannot be used");
            Problem { code: "key_unusable".to_owned(), ..problem }
        })
    }

    fn carry_out(&mut self, plan: &Plan, scene: &Scene<'_>, wanted: &Wanted<'_>) -> Result<(), Problem> {
        let mut made = Vec::new();
        for (binding, sni) in &plan.bindings {
            let Some(site) = binding.site() else { continue };
            if let Err(problem) = self.commands.run(&fallback::bind(site, binding, *sni)) {
                self.unbind(&made);
                return Err(problem);
            }
            made.push((site, binding));
        }
        let done = match apply(plan, &mut *self.records) {
            Ok(()) => Ok(()),
            Err(Undone { not_there: true, .. }) => self.by_programs(plan, scene, wanted),
            Err(undone) => Err(undone.problem),
        };
        if done.is_err() {
            self.unbind(&made);
        }
        done
    }

    fn unbind(&mut self, made: &[(&str, &Binding)]) {
        for (site, binding) in made {
            // A binding too many shows no certificate, and is used when all is tried again.
            let _ = self.commands.run(&fallback::unbind(site, binding));
        }
    }

    /// IIS's own program first, which knows all of a record; then `netsh` for what is left.
    fn by_programs(&mut self, plan: &Plan, scene: &Scene<'_>, wanted: &Wanted<'_>) -> Result<(), Problem> {
        // It changes every binding of a certificate: only those that are all to be changed.
        for old in plan.changes.iter().filter_map(|change| change.from.hash).collect::<BTreeSet<_>>() {
            if wanted.previous.contains(&old) {
                // What it did is seen in the records.
                let _ = self.commands.run(&fallback::renew(old, wanted.hash));
            }
        }
        let left = self.again(scene, wanted)?;
        for change in &left.changes {
            self.by_netsh(change)?;
        }
        for line in left.additions.iter().filter_map(fallback::add) {
            self.commands.run(&line)?;
        }
        let left = self.again(scene, wanted)?;
        match left
            .changes
            .iter()
            .map(|change| &change.from.key)
            .chain(left.additions.iter().map(|new| &new.key))
            .next()
        {
            None => Ok(()),
            Some(key) => {
                let message = format!("appcmd and netsh ended well, and {key} has not got the certificate");
                Err(Problem::new(
                    "not_changed",
                    message,
                    "bind it in the IIS manager by hand, and see what it says",
                ))
            }
        }
    }

    /// What cannot be changed in place is deleted and added, and put back where that fails.
    fn by_netsh(&mut self, change: &Change) -> Result<(), Problem> {
        let key = &change.from.key;
        let lines = [fallback::update(change), fallback::add(&change.to), fallback::add(&change.from)];
        let [Some(update), Some(add), Some(add_again)] = lines else {
            let message = format!("the record of {key} says more than netsh can keep");
            return Err(Problem::new(
                "not_changed",
                message,
                "bind the certificate in the IIS manager by hand",
            ));
        };
        if self.commands.run(&update).is_ok() {
            return Ok(());
        }
        self.commands.run(&fallback::delete(key))?;
        self.commands.run(&add).map_err(|problem| match self.commands.run(&add_again) {
            Ok(()) => problem,
            Err(_) => {
                let message = format!("{}; NOT as before: {key}", problem.message);
                let remedy = "bind the certificate in the IIS manager by hand";
                Problem::new("not_restored", message, remedy)
            }
        })
    }

    fn again(&mut self, scene: &Scene<'_>, wanted: &Wanted<'_>) -> Result<Plan, Problem> {
        let records = self.records.list();
        let records = records.map_err(|failure| failure.problem("HTTP.sys's records cannot be read back"))?;
        Ok(plan(&records, scene.bound, wanted))
    }

    /// Where the records cannot be seen at all: only the wire tells what came of it.
    fn renew_blindly(
        &mut self,
        material: &Material,
        previous: &BTreeSet<Thumbprint>,
    ) -> Result<Installed, Problem> {
        self.bring(material)?;
        for old in previous {
            self.commands.run(&fallback::renew(*old, material.thumbprint))?;
        }
        Ok(Installed { changed: previous.len(), ..Installed::default() })
    }

    /// After the wire has shown the leaf: what it replaced is kept for `after`, and removed then if nobody uses it.
    /// Which ones were removed.
    ///
    /// # Errors
    /// Why nothing, or not all, was removed.
    pub fn retire(
        &mut self,
        proved: &Fingerprint,
        after: Duration,
        now: Timestamp,
    ) -> Result<Vec<Thumbprint>, Problem> {
        let kept = self.kept()?;
        let Some(new) = kept.iter().find(|kept| kept.leaf.fingerprint == *proved) else {
            return Ok(Vec::new());
        };
        let old: Vec<_> = kept
            .iter()
            .filter(|kept| kept.is_earlier_than(&new.leaf))
            .filter_map(|kept| Some((kept.hash, kept.mark?)))
            .collect();
        if old.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |failure: Failure| failure.problem("a replaced certificate cannot be retired");
        let records = self.records.list().map_err(failed)?;
        let mut removed = Vec::new();
        for (hash, mark) in old {
            let in_use = records.iter().any(|record| record.hash == Some(hash));
            match mark {
                // Somebody went back to it.
                _ if in_use => self.store.mark(hash, None).map_err(failed)?,
                Mark::Replaced => self.store.mark(hash, Some(Mark::Proved(now))).map_err(failed)?,
                Mark::Proved(at)
                    if Duration::try_from(now.duration_since(at)).is_ok_and(|age| age >= after) =>
                {
                    self.store.remove(hash).map_err(failed)?;
                    removed.push(hash);
                }
                Mark::Proved(_) => {}
            }
        }
        Ok(removed)
    }
}

/// For the one moment between sealing and importing.
fn passphrase() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(32).collect()
}

fn no_use(kept: &[Kept], material: &Material) -> Problem {
    let leaf = &material.leaf;
    let newer = |kept: &&Kept| kept.leaf.hosts == leaf.hosts && kept.leaf.not_before > leaf.not_before;
    if let Some(newer) = kept.iter().find(newer) {
        let message =
            format!("the store has a newer certificate of these names, {}: it is not replaced", newer.hash);
        return Problem::new(
            "newer_in_store",
            message,
            "see which program renews it; name the bindings to have this one",
        );
    }
    let message = format!(
        "no binding of IIS has an earlier certificate of {}",
        crate::problem::printable(&leaf.hosts.to_string(), 200)
    );
    let remedy = "name the bindings that are to have it: bindings = [\"SITE/*:443:HOST\"]; certhook discover prints them";
    Problem::new("no_binding", message, remedy)
}
