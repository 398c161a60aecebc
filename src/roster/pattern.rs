//! A `[[site]]` whose paths hold a `*` stands for every certificate that is there, and that will be.

use std::path::{Path, PathBuf};

use crate::config::{self, KeyAt};
use crate::discover;

/// The sites that `site` stands for; the folders that were listed are added to `folders`.
pub(super) fn expand(site: &config::Site, folders: &mut Vec<PathBuf>) -> Vec<config::Site> {
    let (paths, listed) = discover::matching(&site.certificate);
    folders.extend(listed);
    paths.into_iter().filter_map(|path| one(site, path)).collect()
}

fn one(site: &config::Site, path: PathBuf) -> Option<config::Site> {
    let stars = captures(&site.certificate, &path)?;
    let key = match &site.key {
        KeyAt::File(pattern) => KeyAt::File(fill(pattern, &stars)),
        KeyAt::Pfx(Some(pattern)) => KeyAt::Pfx(Some(fill(pattern, &stars))),
        elsewhere => elsewhere.clone(),
    };
    Some(config::Site { certificate: path, key, ..site.clone() })
}

/// What each star of the pattern stands for in the path.
fn captures(pattern: &Path, path: &Path) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for (pattern, part) in pattern.iter().zip(path.iter()) {
        let (pattern, part) = (pattern.to_str()?, part.to_str()?);
        if let Some((before, after)) = pattern.split_once('*') {
            found.push(part.strip_prefix(before)?.strip_suffix(after)?.to_owned());
        }
    }
    Some(found)
}

fn fill(pattern: &Path, stars: &[String]) -> PathBuf {
    let mut stars = stars.iter();
    let part = |part: &std::ffi::OsStr| match part.to_str() {
        Some(text) if text.contains('*') => {
            text.replacen('*', stars.next().map_or("*", String::as_str), 1).into()
        }
        _ => part.to_owned(),
    };
    pattern.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_beside_its_certificate() {
        let stars = captures(Path::new("/ssl/*/x-*.pem"), Path::new("/ssl/a.test/x-1.pem")).unwrap();
        assert_eq!(stars, ["a.test", "1"]);
        assert_eq!(fill(Path::new("/keys/*/*.key"), &stars), Path::new("/keys/a.test/1.key"));
        assert_eq!(captures(Path::new("/ssl/*.pem"), Path::new("/ssl/x.crt")), None);
    }
}
