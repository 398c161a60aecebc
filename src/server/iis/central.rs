//! The Central Certificate Store: a folder of PFX files that are called as their hosts. IIS finds them by itself, a
//! few minutes later.

use std::collections::BTreeSet;
use std::fs::remove_file;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::seal::seal;
use crate::certificate::{Hosts, Material, pfx};
use crate::files;
use crate::platform;
use crate::problem::{Problem, printable};

/// The folder, and what opens its files.
pub struct Shelf {
    /// Often a share that several hosts read.
    pub folder: PathBuf,
    /// That IIS opens them with.
    pub password: Zeroizing<String>,
}

/// What the file for one of a certificate's names is called.
pub fn file_name(name: &str) -> String {
    match name.strip_prefix("*.") {
        Some(domain) => format!("_.{domain}.pfx"),
        None => format!("{name}.pfx"),
    }
}

/// The files of a certificate: for its names that bindings use, and for those that have one already.
pub fn wanted(names: &Hosts, used: &BTreeSet<String>, is_there: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let is_used = |name: &str| {
        used.iter().any(|host| match name.strip_prefix("*.") {
            // A host with a file of its own does not look for the wildcard's.
            Some(domain) => {
                host == name
                    || host.split_once('.').is_some_and(|(_, above)| above == domain)
                        && !names.iter().any(|other| other == host)
            }
            None => host == name,
        })
    };
    // Whatever a certificate names: it is not to lead out of the folder.
    let fits = |name: &&str| !name.contains(['/', '\\', ':']) && !name.contains("..");
    let all = names.iter().filter(fits).map(|name| (name, file_name(name)));
    all.filter(|(name, file)| is_used(name) || is_there(file)).map(|(_, file)| file).collect()
}

impl Shelf {
    /// Whether a file is there.
    pub fn has(&self, file: &str) -> bool {
        self.folder.join(file).is_file()
    }

    /// Puts a certificate under these names; nothing else in the folder is touched. How many were written: those
    /// that hold it already are left as they are.
    ///
    /// # Errors
    /// The first that could not be written; it is as it was.
    pub fn put(&self, material: &Material, names: &BTreeSet<String>) -> Result<usize, Problem> {
        let wrong: Vec<&String> = names.iter().filter(|name| !self.holds(name, material)).collect();
        if wrong.is_empty() {
            return Ok(0);
        }
        let sealed = seal(material, &self.password)?;
        for name in &wrong {
            let path = self.folder.join(name);
            replace(&path, &sealed).map_err(|error| not_written(&path, &error))?;
        }
        Ok(wrong.len())
    }

    fn holds(&self, name: &str, material: &Material) -> bool {
        let Ok(content) = files::read(&self.folder.join(name)) else { return false };
        let opened = pfx::open(&content.bytes, &self.password);
        let held = opened.and_then(|opened| Material::of_pem(&opened.full_chain, &opened.key));
        held.is_ok_and(|held| held.set == material.set)
    }
}

/// Written whole beside it, then renamed: IIS never opens half a file.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // IIS takes what ends in .pfx.
    let new = path.with_file_name(format!("{name}.certhook-new"));
    match remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // IIS reads as a user of its own: the folder's permissions are to count, and its password seals it.
    let mut file = platform::create_new(&new, false)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    drop(file);
    let renamed = written.and_then(|()| std::fs::rename(&new, path));
    if renamed.is_err() {
        // Best effort: the next time removes it too.
        let _ = remove_file(&new);
    }
    renamed
}

fn not_written(path: &Path, error: &std::io::Error) -> Problem {
    let path = printable(&path.display().to_string(), 300);
    let message = format!("{path} in the central store cannot be written: {error}");
    let remedy = "let certhook's user write in that folder, and see that nobody keeps the file open";
    Problem::new("central_store", message, remedy)
}
