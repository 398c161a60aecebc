//! What somebody may have put where the service of Windows, which is the system, takes its orders from. Judged here,
//! without a call of the system's.

#![cfg_attr(not(windows), allow(dead_code))]

use std::path::Path;

use super::exposed::{ADMINISTRATORS, THE_SYSTEM};

/// What was seen of a file or folder, links not followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    /// A SID.
    pub owner: &'a str,
    /// It leads elsewhere: a link, a junction or another reparse point.
    pub leads_elsewhere: bool,
    /// How many names the file has.
    pub names: u32,
}

/// Where it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The folder itself.
    Top,
    /// Somewhere below.
    Below,
}

/// Why it is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planted {
    /// Whoever made it had another folder taken for it.
    LeadsElsewhere,
    /// Who may write under its other name writes here.
    OtherNames,
    /// It belongs to none who is trusted.
    Foreign,
}

/// What is wrong with it. The `administrator` is who installs, where an elevated one does.
pub(super) fn planted(place: Place, seen: Seen<'_>, administrator: Option<&str>) -> Option<Planted> {
    let is_trusted = [THE_SYSTEM, ADMINISTRATORS].contains(&seen.owner) || administrator == Some(seen.owner);
    match (place, seen) {
        (Place::Top, Seen { leads_elsewhere: true, .. }) => Some(Planted::LeadsElsewhere),
        _ if !is_trusted => Some(Planted::Foreign),
        (_, Seen { names: 2.., .. }) => Some(Planted::OtherNames),
        _ => None,
    }
}

/// What is said of it, and what to do. The `owner` is a name.
pub(super) fn refusal(folder: &Path, path: &Path, why: Planted, owner: &str) -> String {
    let what = match why {
        Planted::LeadsElsewhere => "is a link or a junction".to_owned(),
        Planted::OtherNames => "is a file with other names elsewhere (hard links)".to_owned(),
        Planted::Foreign => {
            format!("belongs to {owner}, who is neither SYSTEM nor an administrator that installs")
        }
    };
    let path = path.display();
    format!("{path} {what}: the service would obey what others have put there. {}", remedy(folder, why))
}

/// What is said where it cannot even be looked at, and what to do.
pub(super) fn unseen(folder: &Path, path: &Path, error: &std::io::Error) -> String {
    let path = path.display();
    format!("whose {path} is cannot be told: {error}. {}", remedy(folder, Planted::Foreign))
}

fn remedy(folder: &Path, why: Planted) -> String {
    let folder = folder.display();
    match why {
        Planted::LeadsElsewhere => {
            format!(r#"Remove it, in an elevated prompt: rmdir "{folder}"; then install again"#)
        }
        Planted::OtherNames => format!(
            "Look at what is in {folder}, move that file away, copy it back if it is yours, and install again"
        ),
        Planted::Foreign => format!(
            concat!(
                "Move {folder} away; or look at all that is in it, and where it is yours, run in an elevated prompt: ",
                r#"icacls "{folder}" /setowner "*{administrators}" /T, and then: icacls "{folder}" /reset /T; "#,
                "then install again"
            ),
            folder = folder,
            administrators = ADMINISTRATORS
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "S-1-5-21-1-2-3-1001";
    const OTHER: &str = "S-1-5-21-1-2-3-1002";

    #[test]
    fn what_others_may_have_made_is_refused() {
        use Planted::{Foreign, LeadsElsewhere, OtherNames};
        let seen = |owner| Seen { owner, leads_elsewhere: false, names: 1 };
        let link = |owner| Seen { leads_elsewhere: true, ..seen(owner) };
        let linked = |owner| Seen { names: 2, ..seen(owner) };
        // What, who installs, of the folder, of what is below.
        let table = [
            ("the system's", seen(THE_SYSTEM), None, None, None),
            ("the administrators'", seen(ADMINISTRATORS), None, None, None),
            ("the installing administrator's", seen(USER), Some(USER), None, None),
            ("one's own, who is none", seen(USER), None, Some(Foreign), Some(Foreign)),
            ("another's", seen(OTHER), Some(USER), Some(Foreign), Some(Foreign)),
            ("a link", link(ADMINISTRATORS), Some(USER), Some(LeadsElsewhere), None),
            ("another's link", link(OTHER), Some(USER), Some(LeadsElsewhere), Some(Foreign)),
            ("of two names", linked(THE_SYSTEM), None, Some(OtherNames), Some(OtherNames)),
            ("another's, of two names", linked(OTHER), None, Some(Foreign), Some(Foreign)),
        ];
        for (what, seen, administrator, of_top, of_below) in table {
            assert_eq!(planted(Place::Top, seen, administrator), of_top, "{what}: the folder");
            assert_eq!(planted(Place::Below, seen, administrator), of_below, "{what}: below");
        }
    }

    #[test]
    fn the_refusal_names_the_path_and_the_commands() {
        let folder = Path::new(r"C:\ProgramData\certhook");
        let path = Path::new(r"C:\ProgramData\certhook\certhook.toml");
        assert_eq!(
            refusal(folder, path, Planted::Foreign, r"HOST\eve"),
            concat!(
                r"C:\ProgramData\certhook\certhook.toml belongs to HOST\eve, who is neither SYSTEM nor an ",
                "administrator that installs: the service would obey what others have put there. ",
                r"Move C:\ProgramData\certhook away; or look at all that is in it, and where it is yours, run in ",
                r#"an elevated prompt: icacls "C:\ProgramData\certhook" /setowner "*S-1-5-32-544" /T, and then: "#,
                r#"icacls "C:\ProgramData\certhook" /reset /T; then install again"#
            )
        );
        let link = refusal(folder, folder, Planted::LeadsElsewhere, "");
        assert!(link.contains("is a link") && link.contains(r#"rmdir "C:\ProgramData\certhook""#), "{link}");
        let linked = refusal(folder, path, Planted::OtherNames, "");
        assert!(
            linked.contains("certhook.toml is a file with other names") && linked.contains("move"),
            "{linked}"
        );
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let unseen = unseen(folder, path, &denied);
        assert!(unseen.contains("certhook.toml") && unseen.contains("/setowner"), "{unseen}");
    }
}
