//! The part of a status that users other than root and certhook's own may see.
//!
//! A tenant can put a link to any path in the place of his certificate, and certhook may read what he may not. So
//! every reason for which a set is not whole has one code here, and no text of ours or of others goes out: not a path,
//! not an error's words, not the names of the subscription's other certificates. Each structure is written out field
//! by field, so that a new field is decided on here before it compiles.

use super::{
    Certificate, Portal, Renewal, Renewed, Report, Served, Server, Site, SiteProblem, Status, Watch,
};
use crate::problem::Problem;

/// The code of a set that is not whole, whatever the reason.
pub const NOT_WHOLE: &str = "not_whole";

/// Codes that tell what is at a path, and the code that stands for them.
const FAMILIES: [(&str, &[&str]); 4] = [
    (
        NOT_WHOLE,
        &[
            "missing",
            "forbidden",
            "not_a_file",
            "too_large",
            "io",
            "not_read",
            "being_written",
            "empty",
            "truncated",
            "malformed",
            "no_certificate",
            "no_key",
            "key_mismatch",
            "wrong_password",
            "bad_password_file",
            "no_secret",
            "bad_secret",
            "changing",
            "not_published",
        ],
    ),
    // The configuration includes files, too.
    ("nginx_config", &["nginx_unread"]),
    // nginx trips over a file that is missing, certhook does not let it open a pipe.
    ("nginx_refused", &["blocked"]),
    // Folders are followed along links.
    ("no_events", &["cannot_watch"]),
];

const MESSAGE: &str = "the details are for root and certhook's own user";
const REMEDY: &str = "run as root: certhook status";
/// In the place of a name or of words that are not for everybody.
const HIDDEN: &str = "-";

impl Status {
    /// The status for users who may not ask the control socket, and for metrics: coarse codes, no messages, no paths.
    pub fn outward(&self) -> Self {
        Self {
            agent: self.agent.clone(),
            portal: self.portal.as_ref().map(|portal| Portal { ..portal.clone() }),
            renewal: self.renewal.as_ref().map(Renewal::outward),
            watch: Watch {
                polled_sites: self.watch.polled_sites,
                problem: self.watch.problem.as_ref().map(hide),
            },
            ledger_problem: self.ledger_problem.as_ref().map(hide),
            metrics_problem: self.metrics_problem.as_ref().map(hide),
            alert_problem: self.alert_problem.as_ref().map(hide),
            report_problem: self.report_problem.as_ref().map(hide),
            renewal_problem: self.renewal_problem.as_ref().map(hide),
            config_problem: self.config_problem.as_ref().map(hide),
            servers: self.servers.iter().map(Server::outward).collect(),
            sites: self.sites.iter().map(Site::outward).collect(),
        }
    }
}

impl Site {
    fn outward(&self) -> Self {
        let Certificate { path: _, fingerprint, hosts, not_after, written_at } = &self.certificate;
        Self {
            name: self.name.clone(),
            server: self.server.clone(),
            state: self.state.clone(),
            certificate: Certificate {
                path: String::new(),
                fingerprint: fingerprint.clone(),
                hosts: hosts.clone(),
                not_after: *not_after,
                written_at: *written_at,
            },
            served: self.served.as_ref().map(|served| Served {
                fingerprint: served.fingerprint.clone(),
                not_after: served.not_after,
                checked_at: served.checked_at,
                evidence: served.evidence,
                // It names sockets by their paths.
                reason: served.reason.as_ref().map(|_| MESSAGE.to_owned()),
            }),
            report: Report {
                state: self.report.state.clone(),
                remote_create_date: self.report.remote_create_date.clone(),
                attempts: self.report.attempts,
                next_attempt_at: self.report.next_attempt_at,
                error: self.report.error.as_ref().map(|_| MESSAGE.to_owned()),
                // The portal's answer decides it, and files do not.
                code: self.report.code.clone(),
                remedy: self.report.remedy.as_ref().map(|_| REMEDY.to_owned()),
            },
            portal: self.portal.clone(),
            problem: self.problem.as_ref().map(of_site),
            problems: self.problems.iter().map(of_site).collect(),
            pending: self.pending.as_ref().map(|_| MESSAGE.to_owned()),
            polled: self.polled.clone(),
        }
    }
}

impl Server {
    fn outward(&self) -> Self {
        Self {
            name: self.name.clone(),
            discover: self.discover,
            sites: self.sites,
            workers: self.workers,
            draining: self.draining,
            reload_at: self.reload_at,
            problem: self.problem.as_ref().map(|problem| hide_as(coarse(&problem.code), problem)),
        }
    }
}

impl Renewal {
    fn outward(&self) -> Self {
        let hidden = |error: &Option<String>| error.as_ref().map(|_| MESSAGE.to_owned());
        let one = |one: &Renewed| Renewed {
            name: HIDDEN.to_owned(),
            state: one.state.clone(),
            error: hidden(&one.error),
        };
        Self {
            asked_at: self.asked_at,
            state: self.state.clone(),
            next_at: self.next_at,
            error: hidden(&self.error),
            certificates: self.certificates.iter().map(one).collect(),
        }
    }
}

fn coarse(code: &str) -> &str {
    FAMILIES.iter().find(|(_, members)| members.contains(&code)).map_or(code, |(family, _)| family)
}

fn of_site(problem: &SiteProblem) -> SiteProblem {
    match problem.code.as_str() {
        // Other sites of its server are blocked because of one; that tells nothing about the one.
        code @ "blocked" => hide_as(code, problem),
        code => hide_as(coarse(code), problem),
    }
}

fn hide(problem: &Problem) -> Problem {
    Problem::new(coarse(&problem.code), MESSAGE, REMEDY)
}

fn hide_as(code: &str, problem: &SiteProblem) -> SiteProblem {
    SiteProblem::since(&Problem::new(code, MESSAGE, REMEDY), problem.since)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{at, server, site, status, trouble};
    use super::*;
    use crate::agent::Evidence;

    const SECRET: &str = "/root/secret";

    /// A status in which every text that may hold a path or a word of others holds one.
    fn full(code: &str) -> Status {
        let problem = || Problem::new(code, SECRET, SECRET);
        let site_problem = || Some(SiteProblem::since(&problem(), at(5)));
        let mut one = site("a.test");
        one.certificate.path = SECRET.to_owned();
        (one.problem, one.pending) = (site_problem(), Some(SECRET.to_owned()));
        let reason = Some(SECRET.to_owned());
        one.served = one.served.map(|served| Served { evidence: Evidence::Load, reason, ..served });
        one.problems = site_problem().into_iter().chain(site_problem()).collect();
        (one.report.state, one.report.error) = ("held".to_owned(), Some(SECRET.to_owned()));
        (one.report.code, one.report.remedy) = (Some("http_400".to_owned()), Some(SECRET.to_owned()));
        let mut all = status(&[one]);
        all.servers = vec![server("nginx", site_problem())];
        all.renewal = Some(Renewal {
            asked_at: at(1),
            state: "done".to_owned(),
            next_at: at(2),
            error: Some(SECRET.to_owned()),
            certificates: vec![Renewed {
                name: SECRET.to_owned(),
                state: "failed".to_owned(),
                error: Some(SECRET.to_owned()),
            }],
        });
        all.watch.problem = Some(problem());
        for place in [&mut all.ledger_problem, &mut all.metrics_problem] {
            *place = Some(problem());
        }
        for place in [&mut all.alert_problem, &mut all.config_problem] {
            *place = Some(problem());
        }
        for place in [&mut all.report_problem, &mut all.renewal_problem] {
            *place = Some(problem());
        }
        all
    }

    #[test]
    fn no_path_and_no_word_goes_out() {
        let all = full("nginx_refused");
        let told = serde_json::to_string(&all.outward()).unwrap();
        assert!(serde_json::to_string(&all).unwrap().matches(SECRET).count() >= 28);
        assert!(!told.contains("secret"), "{told}");
        assert!(told.contains("a.test") && told.contains("nginx_refused"), "{told}");
    }

    #[test]
    fn what_is_at_a_path_reads_alike_whatever_it_is() {
        let told = |code: &str| {
            let mut one = site("a.test");
            (one.state, one.problem) = ("pending".to_owned(), Some(trouble(code, 5)));
            one.pending = Some(format!("{code}: /root/x"));
            status(&[one]).outward()
        };
        for code in FAMILIES[0].1 {
            assert_eq!(told(code), told("missing"), "{code}");
            assert_eq!(told(code).sites[0].problem.as_ref().unwrap().code, NOT_WHOLE);
        }
        assert_ne!(told("expired"), told("missing"));
        let of_server = |code: &str| {
            let mut all = status(&[]);
            all.servers = vec![server("nginx", Some(trouble(code, 5)))];
            all.outward()
        };
        assert_eq!(of_server("blocked"), of_server("nginx_refused"));
        assert_eq!(of_server("nginx_unread"), of_server("nginx_config"));
    }

    #[test]
    fn what_is_well_stays_so_and_what_is_not_too() {
        assert_eq!(status(&[]).outward(), status(&[]));
        assert!(status(&[site("a.test")]).outward().is_well());
        let all = full("stale");
        for spoil in 0..11 {
            let mut some = status(&[site("a.test")]);
            match spoil {
                0 => some.sites[0].problem.clone_from(&all.sites[0].problem),
                1 => some.sites[0].report = all.sites[0].report.clone(),
                2 => some.servers.clone_from(&all.servers),
                3 => some.renewal.clone_from(&all.renewal),
                4 => some.watch.clone_from(&all.watch),
                5 => some.ledger_problem.clone_from(&all.ledger_problem),
                6 => some.metrics_problem.clone_from(&all.metrics_problem),
                7 => some.alert_problem.clone_from(&all.alert_problem),
                8 => some.report_problem.clone_from(&all.report_problem),
                9 => some.renewal_problem.clone_from(&all.renewal_problem),
                _ => some.config_problem.clone_from(&all.config_problem),
            }
            assert!(!some.outward().is_well(), "{spoil}");
        }
    }
}
