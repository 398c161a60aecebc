//! One certificate's way into IIS: make before break.
//!
//! ```text
//! plan ─▶ import ─▶ prove the key ─▶ central store ─▶ new bindings ─▶ records, read back ─▶ (the wire) ─▶ retire
//! ```

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::apply::{Journal, Records, Undone, apply};
use super::central::{self, Put, Shelf};
use super::failure::NOT_THERE;
use super::fallback::{self, Commands};
use super::host_config::Bound;
use super::journal;
use super::plan::{Change, Plan, Wanted, plan};
use super::record::Key;
use super::seal::seal;
use super::store::{Earlier, Kept, Mark, Sealed, Store};
use crate::certificate::{Fingerprint, Leaf, Material, Thumbprint};
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
    /// Where records are kept while they are deleted.
    pub journal: Box<dyn Journal>,
}

/// Where a certificate goes.
pub struct Scene<'a> {
    /// The store's name.
    pub store: &'a str,
    /// What IIS's configuration binds.
    pub bound: &'a [Bound],
    /// The Central Certificate Store.
    pub shelf: Option<&'a Shelf>,
    /// A binding that is named and not there is to be made.
    pub create: bool,
}

/// Whose certificate it is.
pub struct Site<'a> {
    /// The whole set.
    pub material: &'a Material,
    /// The bindings that it names.
    pub bindings: &'a [Binding],
    /// The leaf that certhook last saw served for it.
    pub recorded: Option<Fingerprint>,
    /// The records that other sites name.
    pub taken: &'a BTreeSet<Key>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// So many records show it that did not.
    pub changed: usize,
    /// So many files of the central store were written.
    pub written: usize,
    /// Replaced certificates that certhook did not import: they stay in their store.
    pub left: Vec<Thumbprint>,
    /// What was left as it is, and what may make it vain.
    pub notes: Vec<Problem>,
}

impl Tools {
    /// Installs a certificate for the configured bindings, and for those that have an earlier one.
    ///
    /// # Errors
    /// Why not, or not everywhere; what was there before is still served then.
    pub fn install(&mut self, scene: &Scene<'_>, site: &Site<'_>) -> Result<Installed, Problem> {
        self.recover()?;
        let (material, leaf) = (site.material, &site.material.leaf);
        let kept = self.kept()?;
        let mut earlier = Earlier::than(leaf, &kept, site.recorded);
        earlier.previous.remove(&material.thumbprint);
        let wanted = Wanted {
            bindings: site.bindings,
            names: &leaf.hosts,
            hash: material.thumbprint,
            store: scene.store,
            earlier: &earlier,
            taken: site.taken,
            create: scene.create,
            central: scene.shelf.is_some(),
        };
        let plan = match self.records.list() {
            Ok(records) => plan(&records, scene.bound, &wanted),
            Err(NOT_THERE) => return self.renew_blindly(material, scene.store, &kept, &earlier),
            Err(failure) => return Err(failure.problem("HTTP.sys's records cannot be listed")),
        };
        let files = scene.shelf.map(|shelf| Files::of(shelf, leaf, &plan)).unwrap_or_default();
        if plan.has_no_use() && files.all.is_empty() {
            let why = plan.refused.into_iter().map(|(_, why)| why).chain(plan.notes).next();
            return Err(why.unwrap_or_else(|| no_use(&kept, leaf)));
        }
        if plan.keys().next().is_some() {
            self.bring(material, scene.store, &kept)?;
        }
        let put = match scene.shelf {
            Some(shelf) => shelf.put(material, &files.all, &files.named)?,
            None => Put::default(),
        };
        self.carry_out(&plan, scene, &wanted)?;
        let replaced = plan.changes.iter().filter_map(|change| change.from.hash);
        let left = self.mark_replaced(replaced.collect(), &earlier, &kept);
        outcome(plan, put, left)
    }

    /// Puts back what an interrupted certhook deleted.
    ///
    /// # Errors
    /// Why not.
    pub fn recover(&mut self) -> Result<(), Problem> {
        let back = journal::recover(&mut *self.records, &mut *self.commands, &mut *self.journal)?;
        for key in back {
            tracing::warn!(record = %key, "a record that an interrupted certhook deleted is there again");
        }
        Ok(())
    }

    /// What certhook imported is to go one day; the others are told.
    fn mark_replaced(
        &mut self,
        replaced: BTreeSet<Thumbprint>,
        earlier: &Earlier,
        kept: &[Kept],
    ) -> Vec<Thumbprint> {
        let mut left = Vec::new();
        for hash in replaced.into_iter().filter(|hash| earlier.previous.contains(hash)) {
            let ours: Vec<&Kept> =
                kept.iter().filter(|kept| kept.hash == hash && kept.mark.is_some()).collect();
            if ours.is_empty() {
                left.push(hash);
            }
            for one in ours {
                // Without the mark it stays, and does no harm.
                let _ = self.store.mark(one.store, hash, Mark::Replaced);
            }
        }
        left
    }

    pub(super) fn kept(&mut self) -> Result<Vec<Kept>, Problem> {
        self.store.list().map_err(|failure| failure.problem("the certificate store cannot be listed"))
    }

    /// Has the certificate in the store with a key that can be used, and its chain. It is in nobody's way there.
    fn bring(&mut self, material: &Material, store: &str, kept: &[Kept]) -> Result<(), Problem> {
        for authority in material.authorities() {
            // Also where the leaf is there already: a client is sent what Windows finds of the chain.
            self.store
                .add_authority(authority)
                .map_err(|failure| failure.problem("the certificate's chain cannot be added to CA"))?;
        }
        let hash = material.thumbprint;
        let password = Zeroizing::new(passphrase());
        let sealed = Sealed { pfx: seal(material, &password)?, password, hash };
        let is_new = self
            .store
            .import(&sealed)
            .map_err(|failure| failure.problem("the certificate cannot be imported"))?;
        if is_new {
            // Without it certhook never removes it.
            let _ = self.store.mark(store, hash, Mark::Imported);
        }
        // It may have come again in place of one that certhook meant to remove.
        for back in kept.iter().filter(|kept| kept.hash == hash && kept.mark.is_some()) {
            let _ = self.store.mark(back.store, hash, Mark::Imported);
        }
        self.store.prove(hash).map_err(|failure| {
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
        let done = match apply(plan, &mut *self.records, &mut *self.journal) {
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
        let records = self.records.list();
        let records = records.map_err(|failure| failure.problem("HTTP.sys's records cannot be listed"))?;
        let stays = |hash: &Thumbprint| {
            let mut of_it = records.iter().filter(|record| record.hash == Some(*hash));
            of_it.any(|record| !plan.changes.iter().any(|change| change.from.key == record.key))
        };
        let replaced: BTreeSet<_> = plan.changes.iter().filter_map(|change| change.from.hash).collect();
        // It changes every binding of a certificate: only those that are all to be changed.
        for old in replaced.into_iter().filter(|old| wanted.earlier.previous.contains(old) && !stays(old)) {
            // What it did is seen in the records.
            let _ = self.commands.run(&fallback::renew(old, wanted.hash));
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
        self.journal.keep(std::slice::from_ref(&change.from))?;
        self.commands.run(&fallback::delete(key))?;
        let added = self.commands.run(&add);
        if let Err(problem) = &added
            && self.commands.run(&add_again).is_err()
        {
            // It stays kept for the next start.
            let message = format!("{}; NOT as before: {key}", problem.message);
            let remedy = "bind the certificate in the IIS manager by hand";
            return Err(Problem::new("not_restored", message, remedy));
        }
        self.journal.keep(&[])?;
        added
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
        store: &str,
        kept: &[Kept],
        earlier: &Earlier,
    ) -> Result<Installed, Problem> {
        self.bring(material, store, kept)?;
        for old in &earlier.previous {
            self.commands.run(&fallback::renew(*old, material.thumbprint))?;
        }
        Ok(Installed { changed: earlier.previous.len(), ..Installed::default() })
    }
}

/// The central store's files that a certificate is for.
#[derive(Default)]
struct Files {
    all: BTreeSet<String>,
    /// Those of the bindings that the site names.
    named: BTreeSet<String>,
}

impl Files {
    fn of(shelf: &Shelf, leaf: &Leaf, plan: &Plan) -> Self {
        Self {
            all: central::wanted(&leaf.hosts, &plan.central, |file| shelf.has(file)),
            named: central::wanted(&leaf.hosts, &plan.named_central, |_| false),
        }
    }
}

/// What is told of it.
fn outcome(plan: Plan, put: Put, replaced_and_left: Vec<Thumbprint>) -> Result<Installed, Problem> {
    let is_nowhere = plan.keys().next().is_none() && put.written + put.held == 0;
    let changed = plan.changes.len() + plan.additions.len();
    let mut refused = plan.refused.into_iter().map(|(_, why)| why);
    let mut left = put.left.into_iter();
    let why = refused.next().or_else(|| if is_nowhere { left.next() } else { None });
    match why {
        Some(why) => Err(why),
        None => Ok(Installed {
            changed,
            written: put.written,
            left: replaced_and_left,
            notes: plan.notes.into_iter().chain(left).collect(),
        }),
    }
}

/// For the one moment between sealing and importing.
fn passphrase() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(32).collect()
}

fn no_use(kept: &[Kept], leaf: &Leaf) -> Problem {
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
