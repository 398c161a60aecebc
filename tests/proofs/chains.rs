//! What listeners send beside the leaf, judged by `verify` and `check` with their exit codes.

use std::path::Path;

use certhook_test_support::ca::{Authority, Order, Pair, Validity, self_signed};
use certhook_test_support::writers::Writer;

use crate::host::{Extra, Host};

/// Puts a certificate and its key in place, has nginx load them and waits until they are served.
fn serve(host: &Host, text: &str, pair: &Pair) {
    let replace = |path: &Path, text: &str| {
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, path).unwrap();
    };
    let layout = &host.sites[0].layout;
    replace(&layout.key, &pair.key_pem);
    replace(&layout.certificate, text);
    host.nginx.hup();
    host.wait_until("it is served", || host.served(0) == pair.fingerprint);
    host.nginx.wait_idle();
}

#[test]
fn chain_faults_decide_the_exit_codes() {
    let mut host = Host::with(&[Writer::Lego], Extra { no_portal: true, ..Extra::default() });
    let (good, old, private) =
        (Authority::new(), Authority::with_intermediate(Validity::EXPIRED), Authority::new());
    let roots = host.path().join("roots.pem");
    std::fs::write(&roots, format!("{}{}", good.root_pem(), old.root_pem())).unwrap();
    host.set_env("SSL_CERT_FILE", roots.to_str().unwrap());
    host.set_env("SSL_CERT_DIR", host.path().join("nowhere").to_str().unwrap());
    let order = || Order { hosts: &["site0.test"], ..Order::default() };
    let pairs = [
        good.issue(order()),
        good.issue(order()),
        good.issue(order()),
        old.issue(order()),
        private.issue(order()),
    ];
    let alone = self_signed(order());
    let [whole, without, wrong, expired, unknown] = &pairs;
    let with = |pair: &Pair, chain: &str| format!("{}{chain}", pair.leaf_pem);
    // What is sent, how `CHAIN` says it, and the code of the problem.
    for (what, text, pair, column, code) in [
        ("all", whole.fullchain_pem.clone(), whole, "yes", None),
        ("the leaf alone", with(without, ""), without, "no", Some("incomplete_chain")),
        ("another's intermediate", with(wrong, &unknown.chain_pem), wrong, "no", Some("incomplete_chain")),
        ("an old intermediate", expired.fullchain_pem.clone(), expired, "expired", Some("expired_chain")),
        ("a private authority", unknown.fullchain_pem.clone(), unknown, "?", None),
        ("self-signed", alone.leaf_pem.clone(), &alone, "yes", None),
    ] {
        serve(&host, &text, pair);
        let (verdicts, exit) = host.json(&["verify", "--json"]);
        let exits = i32::from(code.is_some());
        assert_eq!((&verdicts[0]["problem"]["code"], exit), (&code.into(), exits), "{what}: {verdicts}");
        let table = String::from_utf8(host.certhook(&["verify"]).stdout).unwrap();
        assert_eq!(table.lines().nth(1).unwrap().split_whitespace().last(), Some(column), "{what}: {table}");
        let (status, exit) = host.json(&["status", "--json"]);
        let told = &status["sites"][0]["problem"]["code"];
        // Nothing has recorded the site yet, which is not well either.
        assert_eq!((told, exit), (&code.into(), 1), "{what}: {status}");
        let (problems, exit) = host.json(&["check", "--json"]);
        assert_eq!((&problems[0]["code"], exit), (&code.into(), exits), "{what}: {problems}");
    }
}

/// A host whose trusted root is that of `trusted` alone.
fn trust(host: &mut Host, trusted: &Authority) {
    let roots = host.path().join("roots.pem");
    std::fs::write(&roots, trusted.root_pem()).unwrap();
    host.set_env("SSL_CERT_FILE", roots.to_str().unwrap());
    host.set_env("SSL_CERT_DIR", host.path().join("nowhere").to_str().unwrap());
}

#[test]
fn agent_tells_of_a_chain_until_it_is_fixed() {
    let extra = Extra { no_portal: true, watch: "settle = \"500ms\"".into(), ..Extra::unlimited() };
    let mut host = Host::with(&[Writer::Lego], extra);
    let good = host.issue(0);
    let root = Authority::new();
    trust(&mut host, &root);
    let old = Authority::with_intermediate(Validity::EXPIRED);
    let order = || Order { hosts: &["site0.test"], ..Order::default() };
    let (pair, expired) = (root.issue(order()), old.issue(order()));
    serve(&host, &good.fullchain_pem, &good);
    host.start_agent_and_settle();
    assert_eq!(host.certhook(&["status"]).status.code(), Some(0));
    for (text, pair, code) in
        [(&pair.leaf_pem, &pair, "incomplete_chain"), (&expired.fullchain_pem, &expired, "expired_chain")]
    {
        serve(&host, text, pair);
        let status = host.wait_for("the chain's fault", |status| {
            let site = &status["sites"][0];
            site["state"] == "current" && site["problem"]["code"] == code
        });
        let site = &status["sites"][0];
        assert!(site["served"]["fingerprint"] == *pair.fingerprint && site["problems"].is_null(), "{site}");
        for command in ["status", "check", "verify"] {
            let output = host.certhook(&[command]);
            let text = String::from_utf8(output.stdout).unwrap();
            assert_eq!(output.status.code(), Some(1), "{command}: {text}");
            assert!(text.contains(site["problem"]["remedy"].as_str().unwrap()), "{command}: {text}");
        }
        let history = String::from_utf8(host.certhook(&["history"]).stdout).unwrap();
        assert!(history.contains(code), "{history}");
    }
    // The same leaf with all of its chain.
    serve(&host, &pair.leaf_pem, &pair);
    host.wait_for("a fault", |status| status["sites"][0]["problem"]["code"] == "incomplete_chain");
    serve(&host, &pair.fullchain_pem, &pair);
    host.wait_for("its end", |status| {
        status["sites"][0]["state"] == "current" && status["sites"][0]["problem"].is_null()
    });
    assert_eq!(host.certhook(&["status"]).status.code(), Some(0));
    host.stop_agent();
}
