//! The folder of a certificate, named by the vendor's rule. The name comes from outside and becomes a path.

use std::collections::HashMap;

use crate::portal::Certificate;
use crate::problem::{Problem, printable};

/// A longer name of a folder is refused: no file system takes more than 255, and a host name in the wild has less.
const LONGEST: usize = 100;

/// `contoso-com`, `wcard-contoso-com`, `contoso-com-san-www`.
///
/// # Errors
/// A name that no certificate has: it might lead elsewhere.
pub(super) fn folder(name: &str) -> Result<String, Problem> {
    let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | ',' | ' '));
    if name.contains(odd) {
        return Err(refused(name, "it holds characters that no host name has"));
    }
    let mut hosts = name.split(',').map(str::trim);
    let first = hosts.next().unwrap_or_default();
    let (wildcard, first) = match first.strip_prefix("*.") {
        Some(rest) => ("wcard-", rest),
        None => ("", first),
    };
    let san = match hosts.next() {
        None => "",
        Some(second) if second.starts_with("www") => "-san-www",
        Some(second) if second.starts_with('*') => "-san-wcard",
        Some(_) => "-san",
    };
    if !first.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        return Err(refused(name, "it does not begin as a host name does"));
    }
    if first.contains(['*', ' ']) {
        return Err(refused(name, "its first host name is none"));
    }
    let folder = format!("{wildcard}{}{san}", first.replace('.', "-"));
    if folder.len() > LONGEST {
        return Err(refused(name, "it is too long"));
    }
    Ok(folder)
}

/// The folder of each certificate, in their order. Where several would have one, the first that the portal ever
/// had (by its number) gets it.
pub fn folders<'c>(certificates: impl IntoIterator<Item = &'c Certificate>) -> Vec<Result<String, Problem>> {
    let all: Vec<(&Certificate, Result<String, Problem>)> =
        certificates.into_iter().map(|certificate| (certificate, folder(&certificate.name))).collect();
    let mut owners: HashMap<String, &Certificate> = HashMap::new();
    for (certificate, folder) in &all {
        let Ok(folder) = folder else { continue };
        // There are file systems that do not tell upper from lower case.
        let owner = owners.entry(folder.to_ascii_lowercase()).or_insert(certificate);
        if certificate.id < owner.id {
            *owner = certificate;
        }
    }
    let judge = |(certificate, folder): (&Certificate, Result<String, Problem>)| {
        let folder = folder?;
        match owners.get(&folder.to_ascii_lowercase()) {
            Some(owner) if owner.id != certificate.id => Err(taken(certificate, owner, &folder)),
            _ => Ok(folder),
        }
    };
    all.into_iter().map(judge).collect()
}

fn taken(certificate: &Certificate, owner: &Certificate, folder: &str) -> Problem {
    let (name, other) = (printable(&certificate.name, 120), printable(&owner.name, 120));
    Problem::new(
        "same_folder",
        format!("{name} would have the folder {folder}, which is {other}'s"),
        "fetch it by its name with another --into",
    )
}

fn refused(name: &str, why: &str) -> Problem {
    let message = format!("the portal's name {:?} cannot be a folder's: {why}", printable(name, 120));
    Problem::new("bad_name", message, "see the certificate's name at the portal")
}
