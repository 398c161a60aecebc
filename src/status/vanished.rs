//! Sites that were served, and that their server does not name now since it is gone or cannot be read.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::{Certificate, Report, Site, SiteProblem, Status};
use crate::config::Config;
use crate::ledger::{Ledger, LedgerError};
use crate::problem::{Problem, printable};

/// The longest life of a certificate of a public authority, in days: what was recorded earlier is not expected back.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(398 * 24);
/// So many are named in the problem of their server.
const NAMED: usize = 5;

impl Status {
    /// Adds the sites that the ledger has and `present`, their keys, lacks. Of the servers with a problem, `has_all`
    /// tells by their places which tell of all their sites nevertheless.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn add_vanished(
        &mut self,
        config: &Config,
        ledger: &Ledger,
        present: &HashSet<String>,
        has_all: impl Fn(usize) -> bool,
    ) -> Result<(), LedgerError> {
        let is_open = |index: usize| {
            let server = &self.servers[index];
            server.discover && server.problem.is_some() && !has_all(index)
        };
        let open: Vec<usize> = (0..self.servers.len()).filter(|index| is_open(*index)).collect();
        if open.is_empty() {
            return Ok(());
        }
        let since = Timestamp::now().saturating_sub(MAX_AGE).unwrap_or(Timestamp::MIN);
        let recorded = ledger.recorded_names(since)?;
        for index in open {
            let of_server = |key: &str| match config.servers.len() {
                1 => Some(key.to_owned()),
                _ => key.strip_suffix(&format!("@{}", config.servers[index].name)).map(str::to_owned),
            };
            let gone: Vec<(String, String)> = recorded
                .iter()
                .filter(|(key, _)| !present.contains(key))
                .filter_map(|(key, name)| Some((of_server(key)?, name.clone())))
                .collect();
            self.add_gone(index, &gone);
        }
        Ok(())
    }

    fn add_gone(&mut self, index: usize, gone: &[(String, String)]) {
        let server = &mut self.servers[index];
        let Some(problem) = server.problem.as_mut().filter(|_| !gone.is_empty()) else { return };
        let SiteProblem { message, remedy, since, .. } = problem.clone();
        let named: Vec<String> = gone.iter().take(NAMED).map(|(_, name)| printable(name, 60)).collect();
        let more = gone.len().checked_sub(NAMED).filter(|more| *more > 0);
        let more = more.map(|more| format!(" and {more} more")).unwrap_or_default();
        let (count, are) = match gone.len() {
            1 => ("1 site".to_owned(), "is"),
            several => (format!("{several} sites"), "are"),
        };
        problem.message =
            format!("{message}; {count} that it served {are} not known: {}{more}", named.join(", "));
        let server = server.name.clone();
        self.sites.extend(gone.iter().map(|(path, name)| {
            let words = format!("{server} served it, and does not name it now: {message}");
            let problem = Problem::new("vanished", words, remedy.clone());
            Site {
                name: name.clone(),
                server: server.clone(),
                state: "waiting".to_owned(),
                certificate: Certificate::of(path.as_ref(), None),
                served: None,
                report: Report::none(),
                portal: None,
                problem: Some(SiteProblem::since(&problem, since)),
                problems: Vec::new(),
                pending: None,
                polled: None,
            }
        }));
    }
}
