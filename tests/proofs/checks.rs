//! `check` finds each mistake, with its line and its remedy.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use certhook_test_support::writers::Writer;
use serde_json::Value;

use crate::host::{Extra, Host, codes};

/// What `check --json` finds: (line, code, message, remedy) and the exit code.
fn found(host: &Host) -> (Vec<(u64, String, String, String)>, i32) {
    let (value, code) = host.json(&["check", "--json"]);
    (problems(&value), code)
}

fn problems(value: &Value) -> Vec<(u64, String, String, String)> {
    let text = |problem: &Value, key: &str| problem[key].as_str().unwrap().to_owned();
    let all = value.as_array().unwrap().iter();
    all.map(|it| (it["line"].as_u64().unwrap(), text(it, "code"), text(it, "message"), text(it, "remedy")))
        .collect()
}

/// The line that holds `text`, from 1.
fn line_of(host: &Host, text: &str) -> u64 {
    let config = std::fs::read_to_string(host.config_path()).unwrap();
    let index =
        config.lines().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text} in {config}"));
    u64::try_from(index + 1).unwrap()
}

fn expect(host: &Host, place: &str, code: &str, words: &str, exit: i32) {
    let (found, ended) = found(host);
    let [(line, found_code, message, remedy)] = &found[..] else { panic!("{code}: {found:?}") };
    assert_eq!((found_code.as_str(), *line), (code, line_of(host, place)), "{found:?}");
    assert!(message.contains(words) || remedy.contains(words), "{words:?} in {found:?}");
    assert!(!remedy.is_empty());
    assert_eq!(ended, exit, "{found:?}");
    // People see the same.
    let text = String::from_utf8(host.certhook(&["check"]).stdout).unwrap();
    assert!(text.contains(&format!("certhook.toml:{line}: ")) && text.contains(remedy.as_str()), "{text}");
}

fn edit(host: &Host, from: &str, to: &str) {
    let config = host.config_text();
    assert!(config.contains(from), "{from} in {config}");
    std::fs::write(host.config_path(), config.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_good_host_has_no_problem() {
    let host = Host::new(&[Writer::Certbot]);
    let (found, code) = found(&host);
    assert_eq!((found.len(), code), (0, 0), "{found:?}");
    let text = String::from_utf8(host.certhook(&["check", "--online"]).stdout).unwrap();
    assert!(text.contains("the portal lists 1 certificate") && text.ends_with("all is well\n"), "{text}");
}

/// It has another user and a sandbox: what is possible for whoever runs the command may not be for it.
#[test]
fn what_the_agent_cannot_do_is_told_too() {
    let mut host = Host::new(&[Writer::Certbot]);
    host.start_agent_and_settle();
    assert_eq!(found(&host), (vec![], 0));
    host.set_vhost("broken", Some("sevrer {}"));
    host.renew(0, std::time::Duration::ZERO);
    host.wait_for("the refusal", |status| !codes(status).is_empty());
    let (found, code) = found(&host);
    let told = found.iter().find(|(_, code, ..)| code == "nginx_refused");
    assert!(
        told.is_some_and(|(_, _, message, _)| message.starts_with("the agent says of nginx: ")),
        "{found:?}"
    );
    assert_eq!(code, 1);
    host.stop_agent();
}

#[test]
fn metrics_and_alerts_that_cannot_work_are_told_of() {
    let host = Host::new(&[Writer::Certbot]);
    let with = |metrics: &str, alert: &str| {
        let more = format!("[metrics]\nfile = {metrics:?}\n[alert]\ncommand = [{alert:?}]\n");
        std::fs::write(host.config_path(), format!("{}\n{more}", host.config_text())).unwrap();
        let (found, code) = found(&host);
        let codes: Vec<String> = found.iter().map(|(_, code, ..)| code.clone()).collect();
        let lines: Vec<u64> = found.iter().map(|(line, ..)| *line).collect();
        (codes.join(" "), lines, code)
    };
    let file = host.path().join("certhook.prom").display().to_string();
    assert_eq!(with(&file, "/bin/true"), (String::new(), vec![], 0));
    let (codes, lines, code) = with("/none/certhook.prom", "/bin/none");
    assert_eq!((codes.as_str(), code), ("metrics_file alert_command", 1));
    assert_eq!(lines, [line_of(&host, "[metrics]"), line_of(&host, "[alert]")]);
}

#[test]
fn every_mistake_has_its_line_and_remedy() {
    let mut host = Host::new(&[Writer::Lego]);

    edit(&host, "certificate = ", "certificat = \"/x\"\ncertificate = ");
    expect(&host, "certificat = ", "unknown_key", "did you mean certificate?", 2);

    let endpoint = host.portal.endpoint();
    edit(&host, &format!("endpoint = {endpoint:?}"), "endpoint = \"http://portal.example\"");
    expect(&host, "endpoint = ", "bad_url", "https://", 2);

    edit(&host, "verify = ", "# verify = ");
    expect(&host, "[[site]]", "no_verify", "verify = [\"127.0.0.1:443\"]", 2);

    host.configure();
    let secret = host.path().join("client_secret");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    expect(&host, "client_secret_file", "secret_not_private", "chmod 0600", 1);

    host.configure();
    let hidden = host.path().join("hidden");
    std::fs::rename(&secret, &hidden).unwrap();
    expect(&host, "client_secret_file", "secret_missing", "write the application's secret", 2);
    std::fs::rename(&hidden, &secret).unwrap();

    let certificate = host.sites[0].layout.certificate.clone();
    std::fs::rename(&certificate, &hidden).unwrap();
    expect(&host, "[[site]]", "missing", &certificate.display().to_string(), 2);
    std::fs::rename(&hidden, &certificate).unwrap();

    let other = host.issue(0);
    let key = std::fs::read(&host.sites[0].layout.key).unwrap();
    std::fs::write(&host.sites[0].layout.key, other.key_pem).unwrap();
    expect(&host, "[[site]]", "key_mismatch", "does not belong", 1);
    std::fs::write(&host.sites[0].layout.key, key).unwrap();

    host.nginx.stop();
    let (found, code) = found(&host);
    let codes: Vec<_> = found.iter().map(|(line, code, ..)| (*line, code.as_str())).collect();
    let (server, site) = (line_of(&host, "[server.nginx]"), line_of(&host, "[[site]]"));
    assert_eq!((codes, code), (vec![(server, "not_running"), (site, "unreachable")], 1));
    host.nginx.start_again();
    assert_eq!(found_codes(&host), [] as [String; 0]);
}

fn found_codes(host: &Host) -> Vec<String> {
    found(host).0.into_iter().map(|(_, code, ..)| code).collect()
}

#[test]
fn all_mistakes_are_told_at_once() {
    let extra = Extra {
        watch: "settle = 30\nrescann = \"1h\"".into(),
        server: "discover = 1".into(),
        ..Extra::default()
    };
    let host = Host::with(&[Writer::Lego], extra);
    let (found, code) = found(&host);
    let codes: Vec<_> = found.iter().map(|(_, code, ..)| code.as_str()).collect();
    assert_eq!((codes, code), (vec!["wrong_type", "unknown_key", "wrong_type"], 2), "{found:?}");
    // Every other command says the same and does nothing.
    let output = host.certhook(&["sync"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 3);
    assert!(!host.state_dir().exists());
}

#[test]
fn a_user_that_may_not_signal_nginx_is_told() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let host = Host::new(&[Writer::Lego]);
    let state = host.state_dir();
    std::fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(65534), Some(65534)).unwrap();
    let output = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            env!("CARGO_BIN_EXE_certhook"),
            "--config",
        ])
        .arg(host.config_path())
        .args(["check", "--json"])
        .output()
        .unwrap();
    let value: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let found = problems(&value);
    let mine =
        found.iter().find(|(_, code, ..)| code == "may_not_signal").unwrap_or_else(|| panic!("{found:?}"));
    assert_eq!(mine.0, line_of(&host, "[server.nginx]"));
    assert!(mine.3.contains("CAP_KILL"), "{mine:?}");
    // The key is root's alone.
    assert!(found.iter().any(|(_, code, ..)| code == "forbidden"), "{found:?}");
}
