//! Who else may get at a file or folder, and the command that ends it. Windows's access lists are judged here, without
//! a call of the system's.

#![cfg_attr(not(windows), allow(dead_code))]

use std::collections::BTreeSet;
use std::path::Path;

/// That others may get at something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// To whom: the mode on Unix, names on Windows.
    pub to: String,
    /// The command that ends it.
    pub remedy: String,
}

pub(super) const THE_SYSTEM: &str = "S-1-5-18";
pub(super) const ADMINISTRATORS: &str = "S-1-5-32-544";
/// Whoever owns the thing, and whoever will own what is made in it.
const OWNER_RIGHTS: &str = "S-1-3-4";
const CREATOR_OWNER: &str = "S-1-3-0";
const EVERYONE: &str = "S-1-1-0";

/// `FILE_READ_DATA`, which is `FILE_LIST_DIRECTORY`, `GENERIC_READ`, `GENERIC_ALL`
const READ: u32 = 1 | 1 << 31 | 1 << 28;
/// `WRITE_DAC`, `WRITE_OWNER`: who may do that may soon do all.
const SEIZE: u32 = 1 << 18 | 1 << 19;
/// `FILE_ADD_FILE`, `FILE_ADD_SUBDIRECTORY`, `FILE_DELETE_CHILD`, `DELETE`, `GENERIC_WRITE`
const CHANGE: u32 = 2 | 4 | 1 << 6 | 1 << 16 | 1 << 30;

/// An entry of an access list that allows something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Whom.
    pub sid: String,
    /// What: an `ACCESS_MASK`.
    pub mask: u32,
    /// It is not for the thing itself, but for what is made in it.
    pub inherit_only: bool,
}

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing {
    /// A file that only its owner, the system and the administrators may read.
    Secret,
    /// A folder in which only they may do anything.
    Folder,
}

/// Who owns it and who looks, as SIDs, and its list; without one everybody may do all.
#[derive(Debug, Clone, Copy)]
pub(super) struct List<'a> {
    pub owner: &'a str,
    pub user: &'a str,
    pub entries: Option<&'a [Entry]>,
}

/// The SIDs of those who may do more than they should. An entry that refuses something is not weighed: what cannot be
/// told from the list alone is told of.
pub(super) fn others(thing: Thing, list: List<'_>) -> BTreeSet<String> {
    let Some(entries) = list.entries else { return BTreeSet::from([EVERYONE.to_owned()]) };
    let is_own = list.owner == list.user;
    let may = |sid: &str| {
        [THE_SYSTEM, ADMINISTRATORS, OWNER_RIGHTS].contains(&sid)
            || match thing {
                Thing::Secret => sid == list.owner || sid == list.user,
                Thing::Folder => sid == CREATOR_OWNER || is_own && sid == list.user,
            }
    };
    let wrong = |entry: &&Entry| match thing {
        Thing::Secret => !entry.inherit_only && entry.mask & (READ | SEIZE) != 0,
        // What is made in it inherits the entry.
        Thing::Folder => entry.mask & (READ | SEIZE | CHANGE) != 0,
    };
    let mut found: BTreeSet<String> =
        entries.iter().filter(wrong).map(|entry| entry.sid.clone()).filter(|sid| !may(sid)).collect();
    // The owner may change the list at any time.
    found.extend((thing == Thing::Folder && !may(list.owner)).then(|| list.owner.to_owned()));
    found
}

/// The command that leaves the thing to the system and its administrators, and takes it from `others`.
fn close(path: &Path, thing: Thing, others: &BTreeSet<String>) -> String {
    let full = if thing == Thing::Folder { "(OI)(CI)F" } else { "F" };
    let path = path.display();
    let mut command = format!(
        r#"icacls "{path}" /inheritance:r /grant:r "*{THE_SYSTEM}:{full}" "*{ADMINISTRATORS}:{full}""#
    );
    if !others.is_empty() {
        command.push_str(" /remove");
    }
    for sid in others {
        command.push_str(&format!(r#" "*{sid}""#));
    }
    command
}

/// What to do: also where the thing belongs to one of the others.
pub(super) fn remedy(path: &Path, thing: Thing, owner: &str, others: &BTreeSet<String>) -> String {
    let close = close(path, thing, others);
    if !others.contains(owner) {
        return format!("run in an elevated prompt: {close}");
    }
    let path = path.display();
    format!(r#"run in an elevated prompt: icacls "{path}" /setowner "*{ADMINISTRATORS}", and then: {close}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "S-1-5-21-1-2-3-1001";
    const OTHER: &str = "S-1-5-21-1-2-3-1002";
    const USERS: &str = "S-1-5-32-545";
    const FILE_ALL_ACCESS: u32 = 0x001f_01ff;
    const FILE_GENERIC_READ: u32 = 0x0012_0089;
    /// `FILE_TRAVERSE`, `FILE_READ_ATTRIBUTES`, `SYNCHRONIZE`: to pass through tells nothing.
    const PASS: u32 = 0x0010_00a0;

    fn entry(sid: &str, mask: u32) -> Entry {
        Entry { sid: sid.to_owned(), mask, inherit_only: false }
    }

    fn judged(thing: Thing, owner: &str, more: &[Entry]) -> Vec<String> {
        let mut entries = vec![entry(THE_SYSTEM, FILE_ALL_ACCESS), entry(ADMINISTRATORS, FILE_ALL_ACCESS)];
        entries.extend_from_slice(more);
        others(thing, List { owner, user: USER, entries: Some(&entries) }).into_iter().collect()
    }

    /// What it is, its owner, what its list says beside the usual, and who is found: of a secret, of a folder.
    type Case<'a> = (&'a str, &'a str, Vec<Entry>, &'a [&'a str], &'a [&'a str]);

    #[test]
    fn whoever_may_more_than_he_should_is_found() {
        let inherited = |sid: &str, mask| Entry { inherit_only: true, ..entry(sid, mask) };
        let everyone = &[EVERYONE][..];
        let table: [Case<'_>; 13] = [
            ("system and administrators alone", ADMINISTRATORS, vec![], &[], &[]),
            ("the system's", THE_SYSTEM, vec![], &[], &[]),
            (
                "read by everyone",
                ADMINISTRATORS,
                vec![entry(EVERYONE, FILE_GENERIC_READ)],
                everyone,
                everyone,
            ),
            ("generic rights", ADMINISTRATORS, vec![entry(USERS, 1 << 28)], &[USERS], &[USERS]),
            ("may seize it", ADMINISTRATORS, vec![entry(USERS, 1 << 18)], &[USERS], &[USERS]),
            ("passed through", ADMINISTRATORS, vec![entry(USERS, PASS)], &[], &[]),
            // As %ProgramData% has it, for what is made below.
            ("may make files", ADMINISTRATORS, vec![entry(USERS, 2 | 4)], &[], &[USERS]),
            (
                "for what is made in it",
                ADMINISTRATORS,
                vec![inherited(USERS, FILE_GENERIC_READ)],
                &[],
                &[USERS],
            ),
            ("for its maker", ADMINISTRATORS, vec![inherited(CREATOR_OWNER, FILE_ALL_ACCESS)], &[], &[]),
            ("one's own", USER, vec![entry(USER, FILE_ALL_ACCESS)], &[], &[]),
            ("lent to who looks", ADMINISTRATORS, vec![entry(USER, FILE_ALL_ACCESS)], &[], &[USER]),
            ("another's", OTHER, vec![], &[], &[OTHER]),
            ("another's, and his", OTHER, vec![entry(OTHER, FILE_ALL_ACCESS)], &[], &[OTHER]),
        ];
        for (what, owner, more, of_secret, of_folder) in table {
            assert_eq!(judged(Thing::Secret, owner, &more), of_secret, "{what}: a secret");
            assert_eq!(judged(Thing::Folder, owner, &more), of_folder, "{what}: a folder");
        }
        for thing in [Thing::Secret, Thing::Folder] {
            let list = List { owner: ADMINISTRATORS, user: USER, entries: None };
            assert_eq!(others(thing, list), BTreeSet::from([EVERYONE.to_owned()]), "no list at all");
        }
    }

    #[test]
    fn the_remedy_is_a_whole_command() {
        let none = BTreeSet::new();
        let two = BTreeSet::from([EVERYONE.to_owned(), OTHER.to_owned()]);
        let path = Path::new(r"C:\ProgramData\cert hook");
        assert_eq!(
            remedy(path, Thing::Secret, USER, &none),
            r#"run in an elevated prompt: icacls "C:\ProgramData\cert hook" /inheritance:r /grant:r "*S-1-5-18:F" "*S-1-5-32-544:F""#
        );
        assert_eq!(
            remedy(path, Thing::Folder, OTHER, &two),
            concat!(
                r#"run in an elevated prompt: icacls "C:\ProgramData\cert hook" /setowner "*S-1-5-32-544", and then: "#,
                r#"icacls "C:\ProgramData\cert hook" /inheritance:r /grant:r "*S-1-5-18:(OI)(CI)F" "#,
                r#""*S-1-5-32-544:(OI)(CI)F" /remove "*S-1-1-0" "*S-1-5-21-1-2-3-1002""#
            )
        );
    }
}
