//! Statuses for tests, in which all is well.

use super::*;

/// Seconds after some moment.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

pub(crate) fn trouble(code: &str, since: i64) -> SiteProblem {
    SiteProblem::since(&Problem::new(code, format!("because of {code}"), "mend it"), at(since))
}

pub(crate) fn site(name: &str) -> Site {
    let leaf = Fingerprint::of(name.as_bytes()).to_string();
    Site {
        name: name.to_owned(),
        server: "nginx".to_owned(),
        state: "current".to_owned(),
        certificate: Certificate {
            path: format!("/etc/ssl/{name}/fullchain.pem"),
            fingerprint: Some(leaf.clone()),
            hosts: vec![name.to_owned()],
            not_after: Some(at(90 * 86_400)),
            written_at: Some(at(0)),
        },
        served: Some(Served {
            fingerprint: leaf,
            not_after: Some(at(90 * 86_400)),
            checked_at: at(1),
            evidence: Evidence::Handshake,
            reason: None,
        }),
        report: Report { state: "delivered".to_owned(), ..Report::none() },
        portal: Some("known".to_owned()),
        problem: None,
        problems: Vec::new(),
        pending: None,
        polled: None,
    }
}

pub(crate) fn server(name: &str, problem: Option<SiteProblem>) -> Server {
    Server {
        name: name.to_owned(),
        discover: true,
        sites: 1,
        workers: Some(2),
        draining: Some(0),
        reload_at: None,
        problem,
    }
}

pub(crate) fn status(sites: &[Site]) -> Status {
    Status {
        agent: Agent { running: true, pid: Some(412), version: Some("0.1.0".to_owned()) },
        portal: Some(Portal {
            requests_used: 3,
            requests_per_week: 50,
            requests_left: 47,
            next_free_at: None,
        }),
        renewal: None,
        watch: Watch::default(),
        ledger_problem: None,
        metrics_problem: None,
        alert_problem: None,
        report_problem: None,
        renewal_problem: None,
        config_problem: None,
        servers: vec![server("nginx", None)],
        sites: sites.to_vec(),
    }
}
