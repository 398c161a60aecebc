//! Metrics as Prometheus' own tool reads them, from a file and from an address, through good and bad times.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use certhook::metrics::{Counters, text};
use certhook::status::Status;
use certhook_test_support::writers::Writer;

use crate::host::{Extra, Host};

/// Runs promtool, with something to read; `None` where there is none.
fn promtool(arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("skipped: there is no promtool here; packaging/tools.sh installs it");
        return None;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// Prometheus takes it, and has nothing to say about it.
fn assert_good(page: &str) {
    if let Some((good, said)) = promtool(&["check", "metrics"], page) {
        assert!(good && said.is_empty(), "{said}\n{page}");
    }
}

/// The value of the first series that begins so.
fn value(page: &str, begin: &str) -> Option<i64> {
    page.lines().find(|line| line.starts_with(begin))?.rsplit_once(' ')?.1.parse().ok()
}

fn with_metrics(lines: &str) -> Extra {
    Extra { portal: format!("[metrics]\n{lines}"), ..Extra::default() }
}

#[test]
fn the_metrics_file_follows_what_happens() {
    let mut host = Host::with(&[Writer::AcmeSh, Writer::Lego], with_metrics("file = \"ROOT/c.prom\""));
    let path = host.path().join("c.prom");
    let page = || std::fs::read_to_string(&path).unwrap_or_default();
    host.start_agent_and_settle();
    host.wait_until("two current sites", || value(&page(), "certhook_sites{state=\"current\"}") == Some(2));
    let first = page();
    assert_good(&first);
    assert_eq!(value(&first, "certhook_installed_total"), Some(0));
    assert_eq!(first.matches("\nssl_probe_success{").count(), 2, "{first}");

    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    host.wait_until("the renewal in the metrics", || {
        let page = page();
        value(&page, "certhook_reports_delivered_total") == Some(1)
            && value(&page, "certhook_portal_requests_used").is_some_and(|used| used > 0)
    });
    let renewed = page();
    assert_good(&renewed);
    assert_eq!(value(&renewed, "certhook_installed_total"), Some(1));
    assert_eq!(value(&renewed, "certhook_reloads_total{server=\"nginx\"}"), Some(1));
    let ends = ["x509_cert_not_after", "ssl_cert_not_after"].map(|name| {
        value(&renewed, &format!("{name}{{site=\"site0.test\""))
            .unwrap_or_else(|| panic!("{name}: {renewed}"))
    });
    assert_eq!(ends[0], ends[1]);

    host.nginx.break_config();
    host.renew(1, Duration::ZERO);
    host.wait_until("the refusal in the metrics", || {
        page().contains("certhook_server_problem{server=\"nginx\",code=\"nginx_refused\"} 1")
    });
    let broken = page();
    assert_good(&broken);
    assert!(
        value(&broken, "certhook_reloads_refused_total{server=\"nginx\"}").is_some_and(|count| count > 0)
    );
    assert_eq!(value(&broken, "certhook_certificate_served{site=\"site1.test\""), Some(0));
    assert_eq!(value(&broken, "certhook_certificate_served{site=\"site0.test\""), Some(1));
    host.nginx.mend_config();
    host.wait_until_done(1);
    host.wait_until("its end in the metrics", || !page().contains("problem{"));

    host.stop_agent();
    let left = page();
    assert_good(&left);
    assert_eq!(value(&left, "certhook_up"), Some(0), "{left}");
    assert!(!left.contains("site0.test"), "of what nobody watches nothing is said\n{left}");
}

/// A file that is read as often as can be is whole each time.
#[test]
fn nobody_reads_half_a_page() {
    let mut host = Host::with(&[Writer::AcmeSh], with_metrics("file = \"ROOT/c.prom\""));
    let path = host.path().join("c.prom");
    host.start_agent_and_settle();
    host.wait_until("the file", || path.exists());
    for _ in 0..3 {
        host.renew(0, Duration::ZERO);
        let fingerprint = host.sites[0].pair.fingerprint.clone();
        host.wait_until("the renewal", || {
            let page = std::fs::read_to_string(&path).unwrap();
            assert!(page.starts_with("# HELP certhook_up ") && page.ends_with('\n'), "{page}");
            assert!(page.contains("certhook_problems_total"), "its last family\n{page}");
            host.agent_status()
                .is_some_and(|status| status["sites"][0]["served"]["fingerprint"] == *fingerprint)
        });
    }
    let beside = std::fs::read_dir(host.path()).unwrap().flatten();
    let left: Vec<_> = beside.filter(|entry| entry.file_name().to_string_lossy().ends_with(".new")).collect();
    assert!(left.len() <= 1, "{left:?}");
    host.stop_agent();
}

fn get(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, page) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200 ").then(|| page.to_owned())
}

#[test]
fn the_metrics_can_be_asked_for_on_this_host() {
    // It is free now; whoever takes it meanwhile is a problem that is told and goes by itself.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut host = Host::with(&[Writer::AcmeSh], with_metrics(&format!("listen = \"{address}\"")));
    host.start_agent_and_settle();
    host.wait_until("an answer", || get(address).is_some());
    let page = get(address).unwrap();
    assert_good(&page);
    assert_eq!(value(&page, "certhook_sites{state=\"current\"}"), Some(1));
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    let page = get(address).unwrap();
    assert_eq!(value(&page, "certhook_installed_total"), Some(1), "what is asked now is so now");
    host.stop_agent();
    assert!(get(address).is_none());
}

#[test]
fn the_metrics_can_be_asked_for_at_a_socket() {
    use std::os::unix::fs::PermissionsExt;
    let mut host = Host::with(&[Writer::AcmeSh], with_metrics("listen = \"unix:ROOT/metrics.sock\""));
    let path = host.path().join("metrics.sock");
    // What is no socket stays, and the metrics wait.
    std::fs::write(&path, "somebody's").unwrap();
    host.start_agent_and_settle();
    host.wait_for("the problem", |status| status["metrics_problem"]["code"] == "metrics_listen");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's");
    std::fs::remove_file(&path).unwrap();
    let ask = |named: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).ok()?;
        stream.write_all(format!("GET /metrics HTTP/1.1\r\nHost: {named}\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    host.wait_until("an answer", || {
        ask("localhost").is_some_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    });
    assert!(ask("evil.example").unwrap().starts_with("HTTP/1.1 421 "));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o660);
    host.kill_agent();
    assert!(path.exists(), "a dead one is left");
    host.start_agent();
    host.wait_until("an answer", || {
        ask("localhost").is_some_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    });
    host.stop_agent();
    assert!(!path.exists());
}

#[test]
fn metrics_that_cannot_be_given_are_a_problem_that_delays_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let lines = format!("listen = \"{}\"", taken.local_addr().unwrap());
    let mut host = Host::with(&[Writer::AcmeSh], with_metrics(&lines));
    host.start_agent_and_settle();
    host.wait_for("the problem", |status| status["metrics_problem"]["code"] == "metrics_listen");
    let (_, code) = host.json(&["status", "--json"]);
    assert_eq!(code, 1);
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    drop(taken);
    host.wait_for("its end", |status| status["metrics_problem"].is_null());
    host.stop_agent();
}

/// Names come from certificates, paths from nginx's configuration, codes from certhook alone.
#[test]
fn prometheus_takes_whatever_stands_in_a_name() {
    let site = |name: &str, path: &str| {
        serde_json::json!({
            "name": name, "server": name, "state": "waiting",
            "certificate": {"path": path, "fingerprint": "00", "hosts": [], "not_after": "2027-01-01T00:00:00Z",
                            "written_at": "2026-01-01T00:00:00Z"},
            "served": {"fingerprint": "00", "not_after": "2027-01-01T00:00:00Z", "checked_at": "2026-01-01T00:00:00Z"},
            "report": {"state": "held", "remote_create_date": null, "attempts": 4, "next_attempt_at": null,
                       "error": "x"},
            "problem": {"code": "stale", "message": name, "remedy": name, "since": "2026-01-01T00:00:00Z"},
            "pending": null
        })
    };
    let names = [
        "a\"} 1\nup 1\n",
        "\\",
        "\\\"",
        "a\u{0}\r\u{1b}[31m",
        "\u{202e}\u{feff}é💣",
        "",
        "{a=\"b\"}",
        "\u{85}",
    ];
    let long = "x".repeat(70_000);
    let sites: Vec<_> = names
        .iter()
        .copied()
        .chain([long.as_str(), "twin", "twin"])
        .flat_map(|name| [site(name, "/c.pem"), site(name, name)])
        .collect();
    let problem = serde_json::json!({"code": "disk_full", "message": "x", "remedy": "y"});
    let status: Status = serde_json::from_value(serde_json::json!({
        "agent": {"running": true, "pid": 1, "version": "0.1.0"},
        "portal": {"requests_used": 1, "requests_per_week": 50, "requests_left": 49, "next_free_at": null},
        "renewal": {"asked_at": "2026-01-01T00:00:00Z", "state": "done", "next_at": "2026-01-01T00:00:00Z",
                    "error": null, "certificates": []},
        "watch": {"polled_sites": 1, "problem": problem},
        "ledger_problem": problem,
        "servers": names.map(|name| serde_json::json!({
            "name": name, "discover": true, "sites": 1, "workers": 2, "draining": 1, "reload_at": null,
            "problem": {"code": "nginx_refused", "message": name, "remedy": "", "since": "2026-01-01T00:00:00Z"}
        })),
        "sites": sites
    }))
    .unwrap();
    let now = jiff::Timestamp::now();
    let page = text(&status, &Counters::new(now), now);
    assert_good(&page);
    assert_eq!(page.matches("\nx509_cert_not_after{").count(), status.sites.len());
}

#[test]
fn the_example_rules_tell_what_they_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus");
    for (what, file) in [("check", "certhook-alerts.yml"), ("test", "certhook-alerts-test.yml")] {
        let path = folder.join(file);
        let Some((good, said)) = promtool(&[what, "rules", path.to_str().unwrap()], "") else { return };
        assert!(good, "{said}");
    }
    // They name nothing that is not there.
    let rules = std::fs::read_to_string(folder.join("certhook-alerts.yml")).unwrap();
    let sources = ["src/metrics.rs", "src/metrics/counters.rs"]
        .map(|path| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap());
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let named = rules
        .split(|c: char| !is_name(c))
        .filter(|word| ["certhook_", "ssl_", "x509_"].iter().any(|begin| word.starts_with(begin)));
    for name in named {
        assert!(sources.concat().contains(&format!("\"{name}\"")), "{name}");
    }
}
