//! A status in one line, for a service manager's.

use super::{Report, Site, Status};
use crate::problem::printable;

/// At most so many characters, or a little more with the mark of what was cut.
const MOST: usize = 200;
/// A name has so many at most: the next one is to be seen too.
const MOST_NAME: usize = 60;
/// The states, what is well first.
const STATES: [&str; 6] = ["current", "reloading", "verifying", "pending", "waiting", "unknown"];

/// How many sites are how, and what is wrong: `12 sites: 11 current, 1 waiting; fabrikam.com: nginx_refused`.
pub fn summary(status: &Status) -> String {
    let of = |state: &str| status.sites.iter().filter(|site| site.state == state).count();
    let states: Vec<String> = STATES
        .into_iter()
        .map(|state| (of(state), state))
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| format!("{count} {state}"))
        .collect();
    let sites = match status.sites.len() {
        1 => "1 site".to_owned(),
        count => format!("{count} sites"),
    };
    let mut parts = vec![if states.is_empty() { sites } else { format!("{sites}: {}", states.join(", ")) }];
    parts.extend(status.problems().map(|problem| problem.code.clone()));
    // What blocks many sites comes before them.
    let servers = status.servers.iter().map(|server| (&server.name, &server.problem));
    let sites = status.sites.iter().map(|site| (&site.name, &site.problem));
    let named = servers.chain(sites).filter_map(|(name, problem)| Some((name, problem.as_ref()?)));
    parts.extend(named.map(|(name, problem)| format!("{}: {}", printable(name, MOST_NAME), problem.code)));
    parts.extend(status.sites.iter().filter_map(report));
    if status.renewal.as_ref().is_some_and(|renewal| !renewal.is_well()) {
        parts.push("a renewal failed".to_owned());
    }
    printable(&parts.join("; "), MOST)
}

fn report(site: &Site) -> Option<String> {
    let Report { state, error, .. } = &site.report;
    let how = match (state.as_str(), error) {
        ("held", _) => "report held",
        (_, Some(_)) => "report not taken yet",
        _ => return None,
    };
    Some(format!("{}: {how}", printable(&site.name, MOST_NAME)))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{server, site, status, trouble};
    use super::*;
    use crate::problem::Problem;

    #[test]
    fn all_is_said_in_one_line() {
        assert_eq!(summary(&status(&[])), "0 sites");
        assert_eq!(summary(&status(&[site("a.test")])), "1 site: 1 current");
        let waiting = Site {
            state: "waiting".into(),
            problem: Some(trouble("nginx_refused", 5)),
            ..site("fabrikam.com")
        };
        let mut all = status(&[site("a.test"), waiting, site("b.test")]);
        assert_eq!(summary(&all), "3 sites: 2 current, 1 waiting; fabrikam.com: nginx_refused");
        all.sites[0].report.state = "held".into();
        all.sites[2].report = Report { state: "pending".into(), error: Some("x".into()), ..Report::none() };
        all.servers = vec![server("nginx", Some(trouble("nginx_config", 5)))];
        all.ledger_problem = Some(Problem::new("disk_full", "x", "y"));
        assert_eq!(
            summary(&all),
            "3 sites: 2 current, 1 waiting; disk_full; nginx: nginx_config; fabrikam.com: nginx_refused; \
             a.test: report held; b.test: report not taken yet"
        );
    }

    #[test]
    fn names_of_others_stay_tame_and_the_line_short() {
        let evil = format!("a\nSTATUS=fine\u{1b}[31m{}", "x".repeat(5000));
        let sites: Vec<Site> =
            (0..50).map(|_| Site { problem: Some(trouble("stale", 5)), ..site(&evil) }).collect();
        let line = summary(&status(&sites));
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.starts_with("50 sites: 50 current; a\\u{a}STATUS"), "{line}");
        assert!(line.chars().count() <= MOST + 1 && line.matches(": stale").count() >= 2, "{line}");
    }
}
