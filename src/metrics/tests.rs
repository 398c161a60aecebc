use std::collections::BTreeMap;

use super::*;
use crate::status::samples::{at, server, site, status, trouble};
use crate::status::{Renewal, Renewed};

fn counters() -> Counters {
    Counters::new(at(-10))
}

fn page(status: &Status) -> String {
    text(status, &counters(), at(100))
}

/// The values by their series; panics where the page is not as the format wants it.
fn read(page: &str) -> BTreeMap<String, i64> {
    assert!(page.ends_with('\n'));
    let mut found = BTreeMap::new();
    let mut family = ("", "");
    for line in page.lines() {
        if let Some(head) = line.strip_prefix("# HELP ") {
            family = (head.split_once(' ').expect("help").0, "");
            assert!(!page.split(line).nth(1).unwrap().contains(&format!("# HELP {} ", family.0)), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family.0);
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            family.1 = kind;
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(series.split('{').next().unwrap(), family.0, "{line}");
            assert!(!family.1.is_empty(), "{line}");
            let twice = found.insert(series.to_owned(), value.parse().expect(line));
            assert!(twice.is_none(), "{line} comes twice");
        }
    }
    found
}

const A: &str = r#"site="a.test",server="nginx""#;

#[test]
fn a_site_that_is_well_reads_so() {
    let found = read(&page(&status(&[site("a.test")])));
    let value = |name: &str| found.get(&format!("{name}{{{A}}}")).copied();
    let end = at(90 * 86_400).as_second();
    assert_eq!(value("x509_cert_not_after"), Some(end));
    assert_eq!(value("ssl_cert_not_after"), Some(end));
    assert_eq!(value("ssl_probe_success"), Some(1));
    assert_eq!(value("certhook_certificate_served"), Some(1));
    assert_eq!(value("certhook_report_held"), Some(0));
    assert_eq!(value("certhook_report_pending"), Some(0));
    assert_eq!(found[&format!("certhook_site_state{{{A},state=\"current\"}}")], 1);
    assert_eq!(
        (found["certhook_sites{state=\"current\"}"], found["certhook_sites{state=\"waiting\"}"]),
        (1, 0)
    );
    assert!(!found.keys().any(|series| series.contains("problem{")), "{found:#?}");
    assert_eq!((found["certhook_up"], found["certhook_build_info{version=\"0.1.0\"}"]), (1, 1));
    assert_eq!(found["certhook_start_time_seconds"], at(-10).as_second());
    assert_eq!(found["certhook_status_timestamp_seconds"], at(100).as_second());
    assert_eq!((found["certhook_portal_requests_used"], found["certhook_portal_requests_allowed"]), (3, 50));
    assert_eq!(found["certhook_server_workers{server=\"nginx\",state=\"serving\"}"], 2);
}

#[test]
fn what_is_wrong_is_a_series_with_its_code() {
    let mut all = status(&[site("a.test"), site("b.test"), site("c.test")]);
    // An older one is served.
    all.sites[0].problem = Some(trouble("stale", 5));
    all.sites[0].state = "waiting".to_owned();
    all.sites[0].served.as_mut().unwrap().fingerprint = "0".repeat(64);
    all.sites[0].served.as_mut().unwrap().not_after = Some(at(86_400));
    all.sites[0].report.state = "held".to_owned();
    // Nobody answers, and nobody has asked yet.
    all.sites[1].problem = Some(trouble("unreachable", 5));
    (all.sites[1].served, all.sites[2].served) = (None, None);
    all.sites[2].state = "unknown".to_owned();
    all.servers[0] = server("nginx", Some(trouble("nginx_refused", 5)));
    let problem = |code: &str| Some(Problem::new(code, "x", "y"));
    (all.ledger_problem, all.watch.problem) = (problem("disk_full"), problem("disk_full"));
    let one = |state: &str| Renewed { name: "x".into(), state: state.into(), error: None };
    all.renewal = Some(Renewal {
        asked_at: at(7),
        state: "done".into(),
        next_at: at(8),
        error: None,
        certificates: vec![one("fetched"), one("failed"), one("fetched")],
    });
    let found = read(&page(&all));
    let of = |name: &str, site: &str| found.get(&format!("{name}{{{}}}", A.replace("a.test", site))).copied();
    assert_eq!(of("ssl_cert_not_after", "a.test"), Some(at(86_400).as_second()));
    assert_eq!(of("x509_cert_not_after", "a.test"), Some(at(90 * 86_400).as_second()));
    assert_eq!(of("certhook_certificate_served", "a.test"), Some(0));
    let probes = ["a.test", "b.test", "c.test"].map(|site| of("ssl_probe_success", site));
    assert_eq!(probes, [Some(1), Some(0), None]);
    assert_eq!(of("ssl_cert_not_after", "b.test"), None);
    assert_eq!(of("certhook_report_held", "a.test"), Some(1));
    assert_eq!(found[&format!("certhook_site_problem{{{A},code=\"stale\"}}")], 1);
    assert_eq!(found["certhook_server_problem{server=\"nginx\",code=\"nginx_refused\"}"], 1);
    assert_eq!(found["certhook_problem{code=\"disk_full\"}"], 1);
    assert_eq!(found["certhook_renewal_failed"], 1);
    assert_eq!(found["certhook_renewal_certificates{state=\"fetched\"}"], 2);
    assert_eq!(found["certhook_renewal_asked_timestamp_seconds"], at(7).as_second());
}

#[test]
fn names_from_outside_stay_in_their_labels_and_apart() {
    let evil = "a\"} 1\nup 1\\\u{1b}\u{202e}é";
    let all = status(&[site(evil), site(evil), site(evil)]);
    let text = page(&all);
    let found = read(&text);
    let series: Vec<&String> = found.keys().filter(|series| series.starts_with("x509_")).collect();
    assert_eq!(series.len(), 3, "{series:#?}");
    let name = r#"site="a\"} 1\\u{a}up 1\\\\u{1b}\\u{202e}é"#;
    for end in ["\",", " (2)\",", " (3)\","] {
        let one = format!("{name}{end}");
        assert!(series.iter().any(|series| series.contains(&one)), "{one} {series:#?}");
    }
    assert!(!text.contains("\nup 1") && !text.contains(|c: char| c.is_control() && c != '\n'));
}

#[test]
fn events_are_counted_by_the_loop_and_in_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = crate::ledger::Ledger::open(folder.path()).unwrap();
    let counters = counters();
    counters.reloaded("nginx");
    counters.reloaded("nginx");
    counters.reload_refused("nginx");
    for event in ["served", "renewal_failed", "renewal_refused", "report_failed", "whole"] {
        ledger.note(&crate::ledger::Entry::new(at(1), "/c", event)).unwrap();
        counters.read(&ledger).unwrap();
    }
    let mut all = status(&[]);
    all.servers.push(server("haproxy", None));
    let found = read(&text(&all, &counters, at(2)));
    let count = |name: &str| found[name];
    assert_eq!(count("certhook_reloads_total{server=\"nginx\"}"), 2);
    assert_eq!(count("certhook_reloads_refused_total{server=\"nginx\"}"), 1);
    assert_eq!(count("certhook_reloads_total{server=\"haproxy\"}"), 0, "a count begins with nought");
    assert_eq!(count("certhook_installed_total"), 1);
    assert_eq!(count("certhook_renewals_failed_total"), 2);
    assert_eq!(count("certhook_report_attempts_failed_total"), 1);
    assert_eq!(count("certhook_reports_delivered_total"), 0);
}

#[test]
fn without_a_portal_nothing_is_said_of_reports() {
    let mut all = status(&[site("a.test")]);
    all.portal = None;
    let found = read(&page(&all));
    assert!(!found.keys().any(|series| series.contains("report_held{") || series.contains("portal")));
    assert_eq!(read(&farewell()), BTreeMap::from([("certhook_up".to_owned(), 0)]));
}

mod calls {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    /// An endpoint on a thread of its own.
    fn endpoint(page: Option<&'static str>) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                super::serve(crate::metrics::Listener::Tcp(listener), move || async move {
                    page.map(str::to_owned)
                })
                .await;
            });
        });
        address
    }

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        // Whoever is refused early may find the other end closed.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn only_the_page_is_given_and_only_to_be_read() {
        let address = endpoint(Some("up 1\n"));
        let get = |target: &str| ask(address, &format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = get("/metrics");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nup 1\n"), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
        assert!(get("/metrics?x=1").starts_with("HTTP/1.1 200 "));
        assert!(get("/").starts_with("HTTP/1.1 404 "));
        assert!(get("/metrics/../etc/passwd").starts_with("HTTP/1.1 404 "));
        let body = "x".repeat(100_000);
        let post =
            format!("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{body}");
        let refused = ask(address, &post);
        assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 405 "), "{refused}");
        assert!(ask(address, "DELETE /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").contains("allow: GET"));
        let long = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: {body}\r\n\r\n");
        assert!(!ask(address, &long).starts_with("HTTP/1.1 200 "));
        assert!(!ask(address, "\u{16}\u{3}\u{1}no HTTP\r\n\r\n").starts_with("HTTP/1.1 200 "));
        assert!(get("/metrics").starts_with("HTTP/1.1 200 "), "it goes on");
        assert!(ask(endpoint(None), "GET /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 503 "));
    }

    /// A page of somebody else's, whose name he has lead to loopback, must not read the metrics.
    #[test]
    fn a_name_of_somebody_else_s_is_not_answered() {
        let address = endpoint(Some("up 1\n"));
        for (request, status) in [
            ("GET /metrics HTTP/1.1\r\nHost: evil.example:9321\r\n\r\n", "421"),
            ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421"),
            ("GET /metrics HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", "421"),
            ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", "421"),
            ("GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "421"),
            ("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9321\r\n\r\n", "200"),
            ("GET http://localhost/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "200"),
            ("GET /metrics HTTP/1.0\r\n\r\n", "200"),
        ] {
            let answer = ask(address, request);
            assert_eq!(answer.split(' ').nth(1), Some(status), "{request} {answer}");
        }
    }

    #[test]
    fn whoever_says_nothing_holds_nobody_up_for_long() {
        let address = endpoint(Some("up 1\n"));
        let silent: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
        // The next one's turn comes when their patience is over.
        let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        drop(silent);
    }
}

#[test]
fn a_page_tells_no_path_and_not_what_is_at_one() {
    let told = |code: &str| {
        let mut all = status(&[site("a.test")]);
        all.sites[0].certificate.path = "/root/secret".to_owned();
        (all.sites[0].problem, all.sites[0].state) = (Some(trouble(code, 5)), "pending".to_owned());
        page(&all)
    };
    assert!(told("missing").contains("code=\"not_whole\"") && !told("missing").contains("/root"));
    for code in ["not_a_file", "empty", "forbidden", "key_mismatch"] {
        assert_eq!(told(code), told("missing"), "{code}");
    }
}
