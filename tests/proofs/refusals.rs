//! nginx refuses a reload: no report, nginx's own words, and an end without anybody's help.

use std::time::Duration;

use certhook_test_support::writers::Writer;

use crate::host::Host;

#[test]
fn a_refused_reload_is_explained_and_made_good_when_mended() {
    let mut host = Host::new(&[Writer::AcmeSh]);
    host.start_agent_and_settle();
    let old = host.sites[0].pair.fingerprint.clone();
    host.nginx.break_config();
    host.renew(0, Duration::ZERO);
    let status = host.wait_for("the problem", |status| !status["sites"][0]["problem"].is_null());
    // The site itself is well: it is blocked by its server, and that by a line of its configuration.
    let problem = &status["sites"][0]["problem"];
    assert_eq!(problem["code"], "blocked");
    assert_eq!(status["servers"][0]["problem"]["code"], "nginx_refused");
    let words = host.nginx.log().emergencies[0].clone();
    let said = problem["message"].as_str().unwrap();
    let directive =
        words.split("[emerg]").last().unwrap().rsplit_once(": ").map_or(words.as_str(), |(_, tail)| tail);
    assert!(said.contains(directive.trim()), "{said:?} does not repeat {words:?}");
    assert!(said.contains(&host.nginx.config_path().display().to_string()), "{said}");
    assert_eq!(status["sites"][0]["state"], "waiting");
    assert_eq!(status["sites"][0]["served"]["fingerprint"], old);

    let (verdicts, code) = host.json(&["verify", "--json"]);
    assert_eq!(code, 1, "{verdicts}");
    assert_eq!(verdicts[0]["ok"], false);
    let (_, code) = host.json(&["status", "--json"]);
    assert_eq!(code, 1);
    assert_eq!(host.certhook(&["sync", "--wait", "30s"]).status.code(), Some(1));
    assert_eq!(host.served(0), old);
    assert!(host.portal.reports().is_empty(), "nothing is told that is not so");

    host.nginx.mend_config();
    host.wait_until_done(0);
    assert_eq!(host.served(0), host.sites[0].pair.fingerprint);
    assert_eq!(host.portal.reports().len(), 1);
    let (verdicts, code) = host.json(&["verify", "--json"]);
    assert_eq!((code, &verdicts[0]["ok"]), (0, &true.into()));
    let (history, _) = host.json(&["history", "--json", "--site", "site0.test"]);
    let events: Vec<_> =
        history.as_array().unwrap().iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    assert!(events.contains(&"problem") && events.contains(&"well"), "{events:?}");
    host.stop_agent();
}

#[test]
fn nginx_that_is_down_is_waited_for() {
    let mut host = Host::new(&[Writer::Dehydrated]);
    host.start_agent_and_settle();
    host.nginx.stop();
    host.renew(0, Duration::ZERO);
    // The look that the master's end calls for may come before the renewal, and find no listener there.
    host.wait_for("the problem", |status| status["sites"][0]["problem"]["code"] == "not_running");
    host.nginx.start_again();
    host.wait_until_done(0);
    // It came up with the new certificate: there was nothing to reload.
    assert_eq!(host.nginx.log().hups, 0);
    host.stop_agent();
}

#[test]
fn a_process_that_is_no_master_is_never_signalled() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    // The pid file names somebody else: one who would die of a SIGHUP.
    let mut bystander = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    std::fs::write(host.nginx.pid_file(), format!("{}\n", bystander.id())).unwrap();
    host.renew(0, Duration::ZERO);
    let status = host.wait_for("the problem", |status| !status["sites"][0]["problem"].is_null());
    assert_eq!(status["sites"][0]["problem"]["code"], "not_running");
    assert!(bystander.try_wait().unwrap().is_none(), "the bystander was signalled");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    std::fs::write(host.nginx.pid_file(), format!("{}\n", host.nginx.pid())).unwrap();
    host.wait_until_done(0);
    host.stop_agent();
}

#[test]
fn a_user_that_may_not_ask_the_agent_is_told_so() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let mut host = Host::new(&[Writer::Lego]);
    let as_nobody = |host: &Host, arguments: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_certhook")]);
        command.arg("--config").arg(host.config_path()).args(arguments).output().unwrap()
    };
    host.start_agent_and_settle();
    // A reload's hook is not to blame.
    for (arguments, code) in [
        (&["status"][..], 1),
        (&["status", "--json"], 1),
        (&["sync"], 1),
        (&["history"], 1),
        (&["sync", "--reloaded"], 0),
    ] {
        let output = as_nobody(&host, arguments);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains("run it as root, or as certhook's user"), "{arguments:?}: {said}");
        assert!(
            !said.contains("another state_dir") && !said.contains("no agent runs"),
            "{arguments:?}: {said}"
        );
    }
    let output = as_nobody(&host, &["check"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("[agent_closed]") && !said.contains("no agent runs"), "{said}");
    host.stop_agent();
    // Without an agent, too, another folder would be no help.
    let output = as_nobody(&host, &["sync"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("run it as root, or as certhook's user"), "{said}");
    assert!(!said.contains("another state_dir"), "{said}");
}
