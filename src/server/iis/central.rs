//! The Central Certificate Store: a folder of PFX files that are called as their hosts. IIS finds them by itself, a
//! few minutes later.

use std::collections::BTreeSet;
use std::fs::remove_file;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::seal::seal;
use crate::certificate::{Hosts, Material, pfx};
use crate::files::{self, ReadError};
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

    /// Puts a certificate under these names; nothing else in the folder is touched. A file of another certificate, or
    /// of a later one, stays, unless it is among `named`.
    ///
    /// # Errors
    /// The first that could not be read or written; it is as it was.
    pub fn put(
        &self,
        material: &Material,
        names: &BTreeSet<String>,
        named: &BTreeSet<String>,
    ) -> Result<Put, Problem> {
        let mut put = Put::default();
        let mut wrong = Vec::new();
        for name in names {
            match self.standing(name, material)? {
                Standing::Held => put.held += 1,
                Standing::Free => wrong.push(name),
                Standing::Another(_) if named.contains(name) => wrong.push(name),
                Standing::Another(what) => put.left.push(self.left(name, &what)),
            }
        }
        if wrong.is_empty() {
            return Ok(put);
        }
        let sealed = seal(material, &self.password)?;
        for name in wrong {
            let path = self.folder.join(name);
            replace(&path, &sealed).map_err(|error| not_written(&path, &error))?;
            put.written += 1;
        }
        Ok(put)
    }

    fn standing(&self, name: &str, material: &Material) -> Result<Standing, Problem> {
        let path = self.folder.join(name);
        let content = match files::read(&path) {
            Ok(content) => content,
            Err(ReadError::Missing(_)) => return Ok(Standing::Free),
            // No PFX that IIS could open.
            Err(ReadError::TooLarge(_)) => return Ok(Standing::Another("something else".to_owned())),
            Err(error) => {
                let path = printable(&path.display().to_string(), 300);
                let message =
                    format!("{path} in the central store cannot be read: {}", error.problem().message);
                let remedy = format!(
                    "let {} read and write in that folder, and see that nobody keeps the file open",
                    platform::WORDS.user_there
                );
                return Err(Problem::new("central_store", message, remedy));
            }
        };
        let opened = pfx::open(&content.bytes, &self.password);
        let Ok(held) = opened.and_then(|opened| Material::of_pem(&opened.full_chain, &opened.key)) else {
            return Ok(Standing::Another("what central_store_password_file does not open".to_owned()));
        };
        let (old, new) = (&held.leaf, &material.leaf);
        Ok(if held.set == material.set {
            Standing::Held
        } else if old.hosts != new.hosts {
            Standing::Another(format!("a certificate of {}", printable(&old.hosts.to_string(), 200)))
        } else if old.not_before > new.not_before {
            Standing::Another("a newer certificate of these names".to_owned())
        } else {
            Standing::Free
        })
    }

    fn left(&self, name: &str, what: &str) -> Problem {
        let path = printable(&self.folder.join(name).display().to_string(), 300);
        let message = format!("{path} in the central store holds {what}: it is left as it is");
        let remedy = "if that host is to have the new certificate, name its binding; else nothing";
        Problem::new("other_file", message, remedy)
    }
}

/// What is under a name.
enum Standing {
    /// The very set.
    Held,
    /// Nothing, or an earlier certificate of the same names.
    Free,
    /// Somebody else's, in words.
    Another(String),
}

/// What came of putting it there.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// So many files were written.
    pub written: usize,
    /// So many held it already.
    pub held: usize,
    /// Those that hold something else, and stay.
    pub left: Vec<Problem>,
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
    let remedy = format!(
        "let {} write in that folder, and see that nobody keeps the file open",
        platform::WORDS.user_there
    );
    Problem::new("central_store", message, remedy)
}
