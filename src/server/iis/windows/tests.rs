//! The adapters against what stands for Windows: under wine its certificate stores are real, HTTP.sys and the programs
//! are those of `tests/windows/fakes`.

mod flow;
mod programs;
mod records;
mod store;

use std::path::{Path, PathBuf};

use certhook_test_support::ca::{Authority, KeyType, Order, Pair, Validity};
use certhook_test_support::wine;
use jiff::SignedDuration;
use tempfile::TempDir;

use super::HttpSys;
use super::store::MachineStore;
use crate::certificate::{Material, Thumbprint};
use crate::config;

/// Where `packaging/windows/prefix.sh` puts them.
const FAKES: &str = r"C:\fakes";
/// What certhook notes at a certificate.
const PROPERTIES: &str =
    "it forgets a certificate's properties that it does not know, as certhook's own mark";

/// A fake in a folder of its own, in which it keeps what it is told; `None` where there are none.
fn fake(name: &str, put_as: &[&str]) -> Option<TempDir> {
    let from = Path::new(FAKES).join(name);
    if !from.exists() {
        let test = std::thread::current().name().unwrap_or("?").to_owned();
        println!("SKIPPED {test}: there is no {}: packaging/windows/fakes.sh makes it", from.display());
        return None;
    }
    let folder = tempfile::Builder::new().prefix("certhook ").tempdir().unwrap();
    for name in put_as {
        let to = folder.path().join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&from, to).unwrap();
    }
    Some(folder)
}

/// HTTP.sys, with or without the call that updates.
struct Service {
    folder: TempDir,
    service: HttpSys,
    name: &'static str,
}

impl Service {
    fn new(updates: bool) -> Option<Self> {
        let name = if updates { "httpapi.dll" } else { "httpapi-old.dll" };
        // Two of one name in one process would be taken for one.
        let own = format!("{}-{name}", fastrand::u64(..));
        let folder = fake(name, &[&own])?;
        let own: &'static str = own.leak();
        let service = HttpSys::of(&folder.path().join(own)).unwrap();
        Some(Self { folder, service, name: own })
    }

    fn beside(&self, end: &str) -> PathBuf {
        self.folder.path().join(format!("{}.records{end}", self.name))
    }

    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.beside(".log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// From here on. Not removed: a program that another test starts may have it open for a moment.
    fn forget(&self) {
        std::fs::write(self.beside(".log"), "").unwrap();
    }

    /// The change of that number from now on fails.
    fn fail(&self, number: usize, code: u32) {
        std::fs::write(self.beside(".fail"), format!("{number} {code}")).unwrap();
    }
}

/// wine knows no other keys.
fn issue(authority: &Authority, hosts: &[&str], days_ago: i64) -> Pair {
    let valid = Validity {
        from: SignedDuration::from_hours(-24 * days_ago),
        to: SignedDuration::from_hours(24 * 60),
    };
    authority.issue(Order { hosts, key: KeyType::Rsa2048, valid, ..Order::default() })
}

fn material(pair: &Pair) -> Material {
    Material::of_pem(pair.fullchain_pem.as_bytes(), pair.key_pem.as_bytes()).unwrap()
}

fn hash_of(pair: &Pair) -> Thumbprint {
    Thumbprint::of(&pair.leaf_der)
}

/// Whose keys are not used where that is wine.
fn machine_store(name: config::Store) -> MachineStore {
    MachineStore { name, proves: wine::version().is_none() }
}
