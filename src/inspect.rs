//! A site's files to a whole set, or why there is none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::agent::{Incomplete, Mark, Seen};
use crate::certificate::{self, Fault, Fingerprint, Key, Material, Part, pfx};
use crate::config::{KeyAt, Site};
use crate::files::{self, ReadError};
use crate::platform;
use crate::problem::{Problem, printable};

/// Between two looks at a file that somebody has for itself alone.
const WRITTEN_SOON: Duration = Duration::from_millis(200);

/// Where a site's set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Leaf and chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: KeyAt,
}

impl Place {
    /// Where a configured site's set is.
    pub fn of(site: &Site) -> Self {
        Self { certificate: site.certificate.clone(), key: site.key.clone() }
    }

    /// The files of it.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.certificate.clone()];
        let other = match &self.key {
            KeyAt::File(key) => Some(key),
            KeyAt::Pfx(password) => password.as_ref(),
            KeyAt::Elsewhere(_) => None,
        };
        files.extend(other.filter(|other| **other != self.certificate).cloned());
        files
    }
}

/// What a certificate's file looks like now to a server that compares; `None` where it is not there.
pub fn mark_of(path: &Path) -> Option<Mark> {
    let metadata = std::fs::metadata(path).ok()?;
    let modified = Timestamp::try_from(metadata.modified().ok()?).unwrap_or(Timestamp::UNIX_EPOCH);
    Some(mark(platform::inode(path, &metadata), modified))
}

/// Reads and judges a set at the time `now`. The key is read after the certificate.
///
/// # Errors
/// [`Incomplete`], with the file at fault.
pub fn inspect(place: &Place, now: Timestamp) -> Result<Seen, Incomplete> {
    let Read { certificate, key } = read(place)?;
    let mark = mark(certificate.inode, write_time(&certificate));
    let bundle = match (&place.key, &key) {
        (KeyAt::Pfx(_), password) => {
            let password = password.as_ref().map_or("", |password| password.as_text());
            pfx::inspect_pfx(&certificate.bytes, password, now)
        }
        (_, Some(key)) => certificate::inspect(&certificate.bytes, Key::Pem(key.as_bytes(&certificate)), now),
        (_, None) => certificate::inspect(&certificate.bytes, Key::Elsewhere, now),
    };
    let bundle = bundle.map_err(|fault| incomplete(place, &fault, now))?;
    let written_at = write_time(&certificate);
    let device = certificate.device;
    Ok(Seen { bundle, written_at, age: between(written_at, now), read_at: now, mark, device })
}

/// The set at `place`, for a server that is given it, if it is still the one that was found whole.
///
/// # Errors
/// That it cannot be read, or is being written anew.
pub fn material(place: &Place, expected: &Fingerprint) -> Result<Material, Problem> {
    let Read { certificate, key } = read(place).map_err(|incomplete| incomplete.problem)?;
    let made = match (&place.key, &key) {
        (KeyAt::Pfx(_), password) => {
            let password = password.as_ref().map_or("", |password| password.as_text());
            pfx::open(&certificate.bytes, password)
                .and_then(|opened| Material::of_pem(&opened.full_chain, &opened.key))
        }
        (_, Some(key)) => Material::of_pem(&certificate.bytes, key.as_bytes(&certificate)),
        (_, None) => Err(Fault::NotPem(Part::Key)),
    };
    match made {
        Ok(material) if material.set == *expected => Ok(material),
        Err(fault @ Fault::Malformed(Part::Key, _)) => Err(problem(place, &fault)),
        _ => Err(Problem::new(
            "changing",
            format!("{} is being written", printable(&place.certificate.display().to_string(), 200)),
            "nothing: it is taken when it is whole again",
        )),
    }
}

/// What a place's files hold.
struct Read {
    certificate: files::Content,
    key: Option<Secret>,
}

/// A key or a password.
enum Secret {
    /// It stands in the certificate's own file.
    Beside,
    Key(files::Content),
    Password(Zeroizing<String>),
}

impl Secret {
    fn as_bytes<'s>(&'s self, certificate: &'s files::Content) -> &'s [u8] {
        match self {
            Self::Beside => &certificate.bytes,
            Self::Key(content) => &content.bytes,
            Self::Password(password) => password.as_bytes(),
        }
    }

    fn as_text(&self) -> &str {
        if let Self::Password(password) = self { password } else { "" }
    }
}

fn read(place: &Place) -> Result<Read, Incomplete> {
    let certificate = files::read(&place.certificate).map_err(unreadable)?;
    let key = match &place.key {
        KeyAt::Elsewhere(_) | KeyAt::Pfx(None) => None,
        KeyAt::File(path) if *path == place.certificate => Some(Secret::Beside),
        KeyAt::File(path) => Some(Secret::Key(files::read(path).map_err(unreadable)?)),
        KeyAt::Pfx(Some(path)) => Some(Secret::Password(files::password(path).map_err(|problem| {
            let after = (problem.code == "being_written").then_some(WRITTEN_SOON);
            Incomplete { problem, after }
        })?)),
    };
    Ok(Read { certificate, key })
}

/// A write time beyond the calendar is taken as 1970: it is a number to report, no more.
fn write_time(content: &files::Content) -> Timestamp {
    Timestamp::try_from(content.modified).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn mark(inode: u64, written_at: Timestamp) -> Mark {
    // Downwards, as a server does that knows seconds only.
    let second = written_at.as_nanosecond().div_euclid(1_000_000_000);
    Mark { inode, second: i64::try_from(second).unwrap_or_default() }
}

fn unreadable(error: ReadError) -> Incomplete {
    // Nothing tells that somebody closed it.
    let after = matches!(error, ReadError::BeingWritten(_)).then_some(WRITTEN_SOON);
    Incomplete { problem: error.problem(), after }
}

fn incomplete(place: &Place, fault: &Fault, now: Timestamp) -> Incomplete {
    let after = match fault {
        Fault::NotYetValid(from) => Some(between(now, *from) + Duration::from_secs(1)),
        _ => None,
    };
    Incomplete { problem: problem(place, fault), after }
}

fn problem(place: &Place, fault: &Fault) -> Problem {
    let key = match &place.key {
        KeyAt::File(path) => path.as_path(),
        KeyAt::Elsewhere(name) => Path::new(name),
        KeyAt::Pfx(_) => place.certificate.as_path(),
    };
    let path = match fault.part() {
        Some(Part::Key) => key,
        _ => &place.certificate,
    };
    // Only a path that is shown as it is can be typed.
    let shown = path.to_str().filter(|path| printable(path, 200) == **path);
    let conversion = shown.and_then(|path| fault.conversion(path));
    let path = printable(&path.display().to_string(), 200);
    let message = match fault {
        Fault::KeyMismatch if !matches!(place.key, KeyAt::Pfx(_)) => {
            format!(
                "the key {} does not belong to the certificate {path}",
                printable(&key.display().to_string(), 200)
            )
        }
        _ => format!("{path}: {fault}"),
    };
    let remedy = conversion.map_or_else(|| fault.remedy().to_owned(), |line| format!("convert it: {line}"));
    Problem::new(fault.code(), message, remedy)
}

/// Zero where `later` is not later.
fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use certhook_test_support::ca::{Authority, Order};

    use super::*;

    #[test]
    #[cfg_attr(windows, ignore = "openssl is asked, which is no program of Windows'")]
    fn a_pfx_is_read_with_the_password_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (pfx, password) = (folder.path().join("a.pfx"), folder.path().join("password"));
        let authority = Authority::new();
        let (pair, other) = (authority.issue(Order::default()), authority.issue(Order::default()));
        let place = Place { certificate: pfx.clone(), key: KeyAt::Pfx(Some(password.clone())) };
        assert_eq!(place.files(), [pfx.clone(), password.clone()]);
        let look = || inspect(&place, Timestamp::now()).map_err(|incomplete| incomplete.problem);
        let code = || look().map_or_else(|problem| problem.code, |_| "whole".to_owned());
        assert_eq!(code(), "missing");
        std::fs::write(&pfx, pair.pfx("pass word ")).unwrap();
        assert_eq!(code(), "missing", "its password is");
        for written in ["pass word ", "pass word \n", "pass word \r\n"] {
            std::fs::write(&password, written).unwrap();
            assert_eq!(look().unwrap().bundle.leaf.fingerprint.to_string(), pair.fingerprint, "{written:?}");
        }
        let set = look().unwrap().bundle.set;
        assert_eq!(material(&place, &set).unwrap().leaf.fingerprint.to_string(), pair.fingerprint);
        for (written, expected) in [
            (b"pass word".to_vec(), "wrong_password"),
            (b"pass word \n\n".to_vec(), "wrong_password"),
            (Vec::new(), "wrong_password"),
            (b"\xff\xfep\0".to_vec(), "bad_password_file"),
            (vec![b'x'; 1025], "bad_password_file"),
        ] {
            std::fs::write(&password, &written).unwrap();
            let problem = look().unwrap_err();
            assert_eq!(problem.code, expected, "{problem}");
            assert!(!problem.to_string().contains("pass word"), "{problem}");
        }
        std::fs::write(&password, "pass word ").unwrap();
        let whole = std::fs::read(&pfx).unwrap();
        std::fs::write(&pfx, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(code(), "truncated");
        assert_eq!(material(&place, &set).unwrap_err().code, "changing");
        std::fs::write(&pfx, other.pfx("pass word ")).unwrap();
        assert_eq!(code(), "whole");
        assert_eq!(material(&place, &set).unwrap_err().code, "changing", "it is another set by now");
        // Without a file for it the password is empty.
        let place = Place { certificate: pfx.clone(), key: KeyAt::Pfx(None) };
        std::fs::write(&pfx, pair.pfx("")).unwrap();
        assert!(place.files() == [pfx] && inspect(&place, Timestamp::now()).is_ok());
    }

    #[test]
    fn pem_files_are_material_too() {
        let folder = tempfile::tempdir().unwrap();
        let pair = Authority::new().issue(Order::default());
        let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        std::fs::write(&certificate, &pair.fullchain_pem).unwrap();
        std::fs::write(&key, &pair.key_pem).unwrap();
        let apart = Place { certificate: certificate.clone(), key: KeyAt::File(key) };
        let set = inspect(&apart, Timestamp::now()).unwrap().bundle.set;
        assert_eq!(material(&apart, &set).unwrap().certificates.len(), 2);
        std::fs::write(&certificate, format!("{}{}", pair.fullchain_pem, pair.key_pem)).unwrap();
        let one = Place { certificate: certificate.clone(), key: KeyAt::File(certificate) };
        assert_eq!(material(&one, &set).unwrap().set, inspect(&one, Timestamp::now()).unwrap().bundle.set);
    }
}
