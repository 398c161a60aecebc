//! The network at its worst: meanwhile certificates are reloaded and verified, and in the end it is reported.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use certhook_test_support::ca::{Authority, Order};
use certhook_test_support::portal::{Action, Trouble, What};
use certhook_test_support::writers::Writer;

use crate::host::{Extra, Host, PATIENCE};
use crate::way::{Mode, TlsServer, Way};

/// Requests enough for any number of attempts, and an end to waiting that a test can wait for.
fn patient() -> Extra {
    let portal = "requests_per_week = 10000\ntimeout = \"2s\"".to_owned();
    Extra { portal, portal_allows: Some(10_000), ..Extra::unlimited() }
}

/// Writes the configuration with another endpoint and login.
fn lead(host: &Host, endpoint: &str, login: &str) {
    let direct = host.portal.endpoint();
    let text = host.config_text();
    let text = text.replacen(&format!("endpoint = {direct:?}"), &format!("endpoint = {endpoint:?}"), 1);
    let text = text.replacen(&format!("login = {direct:?}"), &format!("login = {login:?}"), 1);
    std::fs::write(host.config_path(), text).unwrap();
}

/// Renews, and sees that all but the report goes on; the words about the report.
fn renew_in_trouble(host: &mut Host) -> String {
    host.renew(0, Duration::ZERO);
    host.wait_until_served(0);
    let status = host.wait_for("an attempt", |status| !status["sites"][0]["report"]["error"].is_null());
    assert_eq!(status["sites"][0]["report"]["state"], "pending", "{status}");
    assert_eq!(status["sites"][0]["problem"], serde_json::Value::Null, "{status}");
    let verified = host.certhook(&["verify"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    status["sites"][0]["report"]["error"].as_str().unwrap().to_owned()
}

/// Every manner in which a way breaks, and what is told of it.
const BREAKS: [(Mode, &str); 10] = [
    (Mode::Deaf, "did not answer in time"),
    (Mode::Silent, "did not answer in time"),
    (Mode::Drip, "did not answer in time"),
    (Mode::Reset, "broke off"),
    (Mode::Close, "broke off"),
    (Mode::Says(b"\x00\x1b[31m garbage \xff\r\n\r\n"), "broke off"),
    (Mode::Repeats(b"HTTP/1.1 200 OK\r\nX-Endless: ", b"a"), "broke off"),
    (Mode::Repeats(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"), "broke off"),
    (Mode::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n{"), "broke off"),
    (Mode::Says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"), "answer"),
];

#[test]
fn the_way_to_the_portal_breaks_in_every_manner() {
    let mut host = Host::with(&[Writer::RenamePerFile], patient());
    let way = Way::to(host.portal.address());
    lead(&host, &way.url("http"), &host.portal.endpoint());
    host.start_agent_and_settle();
    for (mode, words) in BREAKS {
        let before = host.portal.reports().len();
        way.set(mode.clone());
        let told = renew_in_trouble(&mut host);
        assert!(told.contains("portal") && told.contains(words), "{mode:?}: {told}");
        way.set(Mode::Open);
        host.wait_until_done(0);
        // Slow bytes are of an answer: the portal had taken the report.
        let taken = host.portal.reports().len() - before;
        assert!(taken == 1 || taken > 1 && matches!(mode, Mode::Drip), "{mode:?}: {taken}");
    }
    assert_eq!(host.portal.tokens_issued().len(), 1, "the login service was well all the time");
    host.stop_agent();
}

#[test]
fn the_way_to_the_login_breaks_in_every_manner() {
    let mut host = Host::with(&[Writer::RenamePerFile], patient());
    let way = Way::to(host.portal.address());
    lead(&host, &host.portal.endpoint(), &way.url("http"));
    host.start_agent_and_settle();
    for (mode, words) in BREAKS {
        let before = host.portal.reports().len();
        host.portal.revoke_tokens();
        way.set(mode.clone());
        let told = renew_in_trouble(&mut host);
        assert!(told.contains("login service") && told.contains(words), "{mode:?}: {told}");
        way.set(Mode::Open);
        host.wait_until_done(0);
        assert_eq!(host.portal.reports().len() - before, 1, "{mode:?}");
    }
    host.stop_agent();
}

#[test]
fn a_name_that_does_not_resolve_is_named_and_delays_nothing_else() {
    let mut host = Host::with(&[Writer::RenamePerFile], patient());
    let dead = "https://nonexistent.invalid";
    for (endpoint, login) in [(dead, dead), (dead, &*host.portal.endpoint())] {
        lead(&host, endpoint, login);
        host.start_agent_and_settle();
        let told = renew_in_trouble(&mut host);
        assert!(told.contains("cannot be reached") || told.contains("did not answer in time"), "{told}");
        host.stop_agent();
        host.configure();
        host.start_agent();
        host.wait_until_done(0);
        host.stop_agent();
    }
    assert_eq!(host.portal.reports().len(), 2);
}

/// An authority of the test's that `certhook` is to trust, as an administrator would add it.
fn trusted(host: &mut Host) -> Authority {
    let authority = Authority::new();
    let roots = host.path().join("roots.pem");
    std::fs::write(&roots, authority.root_pem()).unwrap();
    host.set_env("SSL_CERT_FILE", roots.to_str().unwrap());
    authority
}

#[test]
fn a_proxy_that_opens_tls_gets_no_secret() {
    let mut host = Host::with(&[Writer::RenamePerFile], patient());
    let authority = trusted(&mut host);
    let order = |hosts| Order { hosts, ..Order::default() };
    let way = Way::to(host.portal.address());
    way.set(Mode::Close);
    lead(&host, &way.url("https"), &way.url("https"));
    host.start_agent_and_settle();
    for (pair, words) in [
        (Authority::new().issue(order(&["127.0.0.1"])), "UnknownIssuer"),
        (authority.issue(order(&["other.test"])), "not valid for name"),
        (authority.expired(&["127.0.0.1"]), "expired"),
        (certhook_test_support::ca::self_signed(order(&["127.0.0.1"])), "UnknownIssuer"),
    ] {
        way.set(Mode::Tls(TlsServer::new(&pair)));
        way.heard();
        let told = renew_in_trouble(&mut host);
        let named = "the login service shows a certificate that is not trusted here: ";
        assert!(told.contains(named) && told.contains(words), "{told}");
        assert_eq!(way.heard(), "", "something was said on a channel that is not trusted");
    }
    assert!(host.portal.journal().is_empty());
    way.set(Mode::Tls(TlsServer::new(&authority.issue(order(&["127.0.0.1"])))));
    host.wait_until_done(0);
    assert!(way.heard().contains("client_secret="), "the middleman deciphers nothing");
    assert_eq!(host.portal.reports().len(), 1, "four certificates, of which the last counts");
    host.stop_agent();
}

/// A portal that only a proxy knows the address of, by TLS; the proxy and the portal's end.
fn behind_a_proxy(host: &mut Host) -> (Way, Way) {
    let authority = trusted(host);
    let end = Way::to(host.portal.address());
    let pair =
        authority.issue(Order { hosts: &["portal.test", "127.0.0.1", "localhost"], ..Order::default() });
    end.set(Mode::Tls(TlsServer::new(&pair)));
    let proxy = Way::to(end.address());
    proxy.set(Mode::Proxy);
    (proxy, end)
}

#[test]
fn a_proxy_of_the_environment_is_used_and_sees_nothing() {
    let mut host = Host::with(&[Writer::RenamePerFile], patient());
    let (proxy, _end) = behind_a_proxy(&mut host);
    lead(&host, "https://portal.test:8443", "https://portal.test");
    let roots = host.path().join("roots.pem");
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        host.clear_env();
        host.set_env("SSL_CERT_FILE", roots.to_str().unwrap());
        host.set_env(name, &format!("http://user:word@{}", proxy.address()));
        host.start_agent_and_settle();
        host.renew(0, Duration::ZERO);
        host.wait_until_done(0);
        let heard = proxy.heard();
        assert!(heard.contains("CONNECT portal.test:443 ") && heard.contains("CONNECT portal.test:8443 "));
        assert!(heard.to_lowercase().contains("proxy-authorization: basic dxnlcjp3b3jk"), "{name}");
        assert!(!heard.contains("client_secret") && !heard.contains("remoteCreateDate"), "{name}");
        // A proxy that refuses is named, without its password.
        proxy.set(Mode::Says(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"));
        let told = renew_in_trouble(&mut host);
        assert!(told.contains("cannot be reached"), "{told}");
        proxy.set(Mode::Proxy);
        host.wait_until_done(0);
        host.stop_agent();
    }
    assert!(!host.log().contains("user:word"), "the proxy's password is in the log");
}

#[test]
fn what_no_proxy_names_goes_directly_and_so_does_all_that_is_not_ciphered() {
    let mut host = Host::with(&[Writer::RenamePerFile], patient());
    let (proxy, end) = behind_a_proxy(&mut host);
    let roots = host.path().join("roots.pem");
    // An http endpoint is loopback's: a proxy on another host would get the secret in the clear.
    let plain = host.portal.endpoint();
    let named = format!("https://localhost:{}", end.address().port());
    for (url, no_proxy) in [(end.url("https"), "x.test, 127.0.0.1"), (named, "*"), (plain, "")] {
        host.clear_env();
        host.set_env("SSL_CERT_FILE", roots.to_str().unwrap());
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
            host.set_env(name, &format!("http://{}", proxy.address()));
        }
        host.set_env("NO_PROXY", no_proxy);
        lead(&host, &url, &url);
        host.start_agent_and_settle();
        host.renew(0, Duration::ZERO);
        host.wait_until_done(0);
        host.stop_agent();
        assert_eq!(proxy.heard(), "", "{url}");
    }
}

#[test]
fn a_portal_of_ipv6_only_is_reached() {
    let mut host = Host::with(&[Writer::RenamePerFile], patient());
    // Containers often have no IPv6 at all.
    let Ok(way) = Way::between("[::1]:0", host.portal.address()) else { return };
    assert!(way.url("http").starts_with("http://[::1]:"));
    lead(&host, &way.url("http"), &way.url("http"));
    host.start_agent_and_settle();
    way.set(Mode::Close);
    renew_in_trouble(&mut host);
    way.set(Mode::Open);
    host.wait_until_done(0);
    host.stop_agent();
}

/// The agent's peak of memory since the last call, in kB.
pub fn peak(host: &Host) -> u64 {
    let proc = std::path::PathBuf::from(format!("/proc/{}", host.agent_pid()));
    let status = std::fs::read_to_string(proc.join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    // 5 means: begin a new peak.
    std::fs::write(proc.join("clear_refs"), "5").unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn monstrous_answers_are_bounded_refused_and_tried_again() {
    let mut host = Host::with(&[Writer::RenamePerFile], patient());
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    peak(&host);
    let calm = peak(&host);
    let json = |code, body: String| Action::Status {
        code,
        body,
        retry_after: None,
        content_type: Some("application/json".into()),
    };
    // What a parser makes most of, just below the most that is read.
    let objects = |element: &str| {
        format!("[{}{element}]", format!("{element},").repeat(4_000_000 / (element.len() + 1)))
    };
    let tree = objects(r#"{"":0}"#);
    let answers = [
        (What::Report, Action::Huge { bytes: 1 << 30 }),
        (What::Report, Action::Deep { levels: 1_000_000 }),
        (What::Report, json(200, "\"\u{1b}[31m\"".into())),
        (What::Report, json(200, r#"[[[]],{"id":{},"name":[]},{"id":1e400,"name":""}]"#.into())),
        (What::Report, json(200, objects("0"))),
        (What::Report, json(200, objects("[[[[0]]]]"))),
        (What::Report, json(200, tree.clone())),
        (What::Report, json(200, format!(r#"[{{"id":158,"name":"a","expiryDate":{tree}}}]"#))),
        (What::Report, json(500, "x".repeat(8 << 20))),
        (What::Token, Action::Huge { bytes: 1 << 30 }),
        (What::Token, Action::Deep { levels: 1_000_000 }),
        (What::Token, json(200, "5".into())),
        (What::Token, json(200, r#"{"access_token":7,"expires_in":{}}"#.into())),
        (What::Token, json(200, format!(r#"{{"access_token":"a","expires_in":{tree}}}"#))),
    ];
    for (index, (what, action)) in answers.into_iter().enumerate() {
        if what == What::Token {
            host.portal.revoke_tokens();
        }
        // Until it was seen: what comes once passes in 50 ms.
        host.portal.trouble(Trouble::new(action).on(what).until_cleared());
        let before = host.portal.reports().len();
        renew_in_trouble(&mut host);
        host.portal.clear_troubles();
        host.wait_until_done(0);
        assert_eq!(host.portal.reports().len() - before, 1, "answer {index}");
        let risen = peak(&host).saturating_sub(calm);
        assert!(risen < 32 << 10, "answer {index} took {risen} kB");
    }
    host.stop_agent();
}

#[test]
fn a_monstrous_list_is_bounded_too() {
    let mut host = Host::with(&[Writer::RenamePerFile], patient());
    host.start_agent_and_settle();
    let record = host.portal.certificate(158).unwrap();
    for body in [format!("[{}0]", r#"{"":0},"#.repeat(400_000)), "[".repeat(1 << 20)] {
        // A record that is not kept makes it ask for the list.
        host.portal.trouble(
            Trouble::new(Action::Status {
                code: 200,
                body,
                retry_after: None,
                content_type: Some("application/json".into()),
            })
            .on(What::List)
            .times(1),
        );
        host.stop_agent();
        std::fs::remove_dir_all(host.state_dir()).unwrap();
        host.portal.set_certificate(certhook_test_support::portal::Record {
            remote_create_date: None,
            ..record.clone()
        });
        host.start_agent();
        host.wait_for("an agent", |_| true);
        let before = peak(&host);
        host.renew(0, Duration::ZERO);
        host.wait_until_served(0);
        host.wait_until("the list is asked for", || host.portal.troubles().is_empty());
        let risen = peak(&host).saturating_sub(before);
        assert!(risen < 32 << 10, "{risen} kB");
    }
    host.stop_agent();
}

/// An agent with a state folder of its own and one of the host's sites: another host of the subscription.
struct Neighbour(Child);

impl Neighbour {
    fn start(host: &Host, index: usize) -> Self {
        let text = host.config_text();
        let (head, sites) = text.split_once("[[site]]").unwrap();
        let state = host.path().join(format!("state{index}"));
        let head = head.replacen(&format!("{:?}", host.state_dir()), &format!("{state:?}"), 1);
        let site = sites.split("[[site]]").nth(index).unwrap();
        let config = host.path().join(format!("certhook{index}.toml"));
        std::fs::write(&config, format!("{head}[[site]]{site}")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_certhook"));
        command.env_clear().arg("--config").arg(config).arg("run");
        Self(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn hosts_that_were_told_to_wait_alike_come_back_apart() {
    const HOSTS: usize = 5;
    const ASKED: Duration = Duration::from_secs(4);
    let mut host = Host::with(&[Writer::RenamePerFile; HOSTS], patient());
    let agents: Vec<Neighbour> = (0..HOSTS).map(|index| Neighbour::start(&host, index)).collect();
    // Each asks for the list once it has recorded what it found.
    let lists = || host.portal.journal().iter().filter(|entry| entry.what == What::List).count();
    host.wait_until("all agents", || lists() == HOSTS);
    let wait = Action::retry_after(429, ASKED.as_secs());
    host.portal.trouble(Trouble::new(wait).on(What::Report).times(u32::try_from(HOSTS).unwrap()));
    for index in 0..HOSTS {
        host.renew(index, Duration::ZERO);
    }
    host.portal.wait_for_reports(HOSTS, PATIENCE).unwrap();
    drop(agents);
    let mut posts = BTreeMap::<i64, Vec<Instant>>::new();
    for entry in host.portal.journal().iter().filter(|entry| entry.what == What::Report) {
        posts.entry(entry.json()["id"].as_i64().unwrap()).or_default().push(entry.at);
    }
    assert_eq!(posts.len(), HOSTS);
    let waits: Vec<Duration> = posts.values().map(|at| at[1] - at[0]).collect();
    assert!(posts.values().all(|at| at.len() == 2), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait >= ASKED), "{waits:?}");
    // A quarter of the time asked for, by chance: that five fall within a tenth of it is one in two thousand.
    let apart = *waits.iter().max().unwrap() - *waits.iter().min().unwrap();
    assert!(apart > ASKED / 40, "{waits:?}");
}
