//! What the command is told.

use jiff::Timestamp;
use serde::Serialize;

use crate::ledger::Case;
use crate::problem::printable;
use crate::status::whole_seconds;

/// Longer words are cut: they come from files, programs and the portal.
const MOST_WORDS: usize = 500;
/// Longer names too.
const MOST_NAME: usize = 200;

/// Bad news or good news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something is wrong.
    Problem,
    /// It is not any more.
    Well,
}

/// One entry of what the command reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Telling {
    /// Which case it is.
    #[serde(skip)]
    pub subject: String,
    /// Bad or good.
    pub state: Kind,
    /// The site, if it is about one.
    pub site: Option<String>,
    /// The server, if it is about one.
    pub server: Option<String>,
    /// The problem's code; of good news the one that was told.
    pub code: String,
    /// What is wrong, or was.
    pub message: String,
    /// What to do; empty where nothing is.
    pub remedy: String,
    /// Since when it is wrong, or was.
    pub since: Timestamp,
}

impl Telling {
    pub(super) fn problem(case: &Case) -> Self {
        let name = |name: &String| (!name.is_empty()).then(|| printable(name, MOST_NAME));
        Self {
            subject: case.subject.clone(),
            state: Kind::Problem,
            site: name(&case.site),
            server: name(&case.server),
            code: case.code.clone(),
            message: printable(&case.message, MOST_WORDS),
            remedy: printable(&case.remedy, MOST_WORDS),
            since: whole_seconds(case.since),
        }
    }

    pub(super) fn well(case: &Case) -> Self {
        let code = case.told.clone().unwrap_or_else(|| case.code.clone());
        let since = whole_seconds(case.begun);
        Self { state: Kind::Well, code, remedy: String::new(), since, ..Self::problem(case) }
    }

    /// Problems before good news; what concerns all before one server, and that before its sites.
    pub(super) fn order(&self) -> impl Ord {
        let of_one = (self.site.is_some(), self.server.is_some());
        (self.state, of_one, self.since, self.subject.clone())
    }
}

/// The first telling, for commands that read no JSON.
pub fn environment(tellings: &[Telling]) -> Vec<(&'static str, String)> {
    let Some(first) = tellings.first() else { return Vec::new() };
    let Telling { site, code, message, remedy, since, .. } = first.clone();
    let state = match first.state {
        Kind::Problem => "problem",
        Kind::Well => "well",
    };
    vec![
        ("CERTHOOK_STATE", state.to_owned()),
        ("CERTHOOK_SITE", site.unwrap_or_default()),
        ("CERTHOOK_SERVER", first.server.clone().unwrap_or_default()),
        ("CERTHOOK_CODE", code),
        ("CERTHOOK_MESSAGE", message),
        ("CERTHOOK_REMEDY", remedy),
        ("CERTHOOK_SINCE", since.to_string()),
        ("CERTHOOK_COUNT", tellings.len().to_string()),
    ]
}
