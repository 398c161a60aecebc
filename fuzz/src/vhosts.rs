//! nginx's configuration.

use std::fs;
use std::path::Path;

use super::shown::assert_shown;
use certhook::config::{Endpoint, KeyAt};
use certhook::discover::{self, Found, Instance, Place};

/// Where the texts go, which are separated by NULs; the first may include the others.
const FILES: [&str; 3] = ["nginx.conf", "more.conf", "d/one.conf"];

/// Any text has pairs that can be asked for, what is left out with its reason, or a problem in nginx's words.
pub fn vhosts(data: &[u8]) {
    if leaves_the_folder(data) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::create_dir(folder.join("d")).expect("a folder");
    let mut texts = data.splitn(FILES.len(), |byte| *byte == 0);
    for file in FILES {
        if let Some(text) = texts.next() {
            fs::write(folder.join(file), text).expect("a file");
        }
    }
    let instance = Instance { config: folder.join(FILES[0]), prefix: folder.to_owned(), globals: None };
    let found = discover::nginx(&instance);
    judge(&found);
    assert_eq!(found, discover::nginx(&instance), "not the same again");
}

/// Other files of this machine, and names that are looked up: nothing to do with the text.
fn leaves_the_folder(data: &[u8]) -> bool {
    let is_blank =
        |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'\\' | b'{' | b';');
    let follows = |word: &[u8], away: fn(&[u8]) -> bool| {
        data.windows(word.len()).enumerate().filter(|(_, found)| *found == word).any(|(at, _)| {
            let rest = &data[at + word.len()..];
            let blanks = rest.iter().take_while(|byte| is_blank(byte)).count();
            away(&rest[blanks..])
        })
    };
    let is_name = |rest: &[u8]| {
        let known = [&b"unix:"[..], b"localhost"].iter().any(|known| rest.starts_with(known));
        !known && rest.first().is_some_and(|byte| !matches!(byte, b'0'..=b'9' | b'*' | b'['))
    };
    data.windows(2).any(|two| two == b"..")
        || follows(b"include", |rest| rest.first().is_some_and(|byte| *byte == b'/'))
        || follows(b"listen", is_name)
}

fn judge(found: &Found) {
    for pair in &found.pairs {
        assert!(pair.certificate.is_absolute(), "{pair:?}");
        assert!(!matches!(&pair.key, KeyAt::File(key) if !key.is_absolute()), "{pair:?}");
        assert!(!pair.asks.is_empty() && !pair.places.is_empty(), "{pair:?}");
        for ask in &pair.asks {
            assert_eq!(Endpoint::parse(&ask.endpoint.to_string()).as_ref(), Some(&ask.endpoint), "{pair:?}");
        }
        pair.places.iter().for_each(|place| stands(place, found));
    }
    let mut certificates: Vec<&Path> = found.pairs.iter().map(|pair| pair.certificate.as_path()).collect();
    certificates.sort_unstable();
    assert!(certificates.is_sorted_by(|a, b| a < b), "one certificate twice: {certificates:?}");
    for left_out in &found.left_out {
        assert_shown(&left_out.what, 4001);
        assert_shown(&left_out.why, 4001);
        stands(&left_out.place, found);
    }
    if let Some(problem) = &found.problem {
        assert_shown(&problem.code, 40);
        assert_shown(&problem.message, 4001);
        assert_shown(&problem.remedy, 4001);
    }
}

/// Somebody can look there.
fn stands(place: &Place, found: &Found) {
    assert!(found.files.contains(&place.file), "{place} of {:?}", found.files);
    let text = fs::read(&place.file).expect("a file that was read");
    let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
    assert!((1..=lines).contains(&place.line), "{place} of {lines} lines");
}
