//! What is wrong is red in every command that can see it, with an agent and without: exit codes and words.

use std::process::Command;

use certhook_test_support::ca::{Authority, Order, Validity};
use certhook_test_support::writers::Writer;

use crate::host::{Extra, Host};

const COMMANDS: [&[&str]; 4] = [&["status"], &["check"], &["check", "--online"], &["verify"]];

/// Runs the commands and asserts their exit codes, in the order of [`COMMANDS`], and that each that is not 0 prints the
/// words. What they print is shown with `--nocapture`.
fn expect(host: &Host, what: &str, exits: [i32; 4], words: &[&str]) {
    for (command, exit) in COMMANDS.iter().zip(exits) {
        let output = host.certhook(command);
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        println!("# {what}\n$ certhook {}; echo $?\n{text}{:?}\n", command.join(" "), output.status.code());
        assert_eq!(output.status.code(), Some(exit), "{what}: {command:?}: {text}");
        for word in words.iter().filter(|_| exit != 0) {
            assert!(text.contains(word), "{what}: {command:?}: {word}: {text}");
        }
    }
}

#[test]
fn chain_fault_is_red_in_every_command() {
    let extra = Extra { watch: "settle = \"500ms\"".into(), ..Extra::unlimited() };
    let mut host = Host::with(&[Writer::Lego], extra);
    let (root, old) = (Authority::new(), Authority::with_intermediate(Validity::EXPIRED));
    host.start_agent_and_settle();
    let order = || Order { hosts: &["site0.test"], ..Order::default() };
    let (alone, expired) = (root.issue(order()), old.issue(order()));
    for (text, pair, code, words) in [
        (&alone.leaf_pem, &alone, "incomplete_chain", "does not send the certificate of"),
        (&expired.fullchain_pem, &expired, "expired_chain", "sends the intermediate certificate"),
    ] {
        let layout = &host.sites[0].layout;
        std::fs::write(&layout.key, &pair.key_pem).unwrap();
        std::fs::write(&layout.certificate, text).unwrap();
        host.wait_for("the chain's fault", |status| {
            let site = &status["sites"][0];
            site["state"] == "current" && site["problem"]["code"] == code
        });
        expect(&host, &format!("{code}, with an agent"), [1; 4], &[words]);
    }
    host.kill_agent();
    expect(&host, "expired_chain, without an agent", [1; 4], &["sends the intermediate certificate"]);
}

#[test]
fn sites_of_an_nginx_that_is_gone_are_named() {
    let extra = Extra { discovered: true, watch: "poll = \"1s\"".into(), ..Extra::default() };
    let mut host = Host::with(&[Writer::Lego, Writer::Lego], extra);
    host.start_agent_and_settle();
    host.nginx.stop();
    host.wait_for("its end", |status| status["servers"][0]["problem"]["code"] == "not_running");
    host.wait_for("its sites", |status| status["sites"][0]["problem"]["code"] == "unreachable");
    expect(&host, "a dead nginx, with its agent", [1; 4], &[]);
    host.stop_agent();
    expect(&host, "a dead nginx, without an agent", [1; 4], &["nginx is not running"]);
    // Its configuration is no longer known: only the ledger has its sites.
    for is_running in [false, true] {
        if is_running {
            host.start_agent();
            host.wait_until("an agent", || host.agent_status().is_some());
        }
        let (status, code) = host.json(&["status", "--json"]);
        assert_eq!((code, &status["agent"]["running"]), (1, &is_running.into()), "{status}");
        let server = status["servers"][0]["problem"]["message"].as_str().unwrap();
        assert!(server.contains("2 sites that it served are not known: site0.test, site1.test"), "{server}");
        for (site, name) in ["site0.test", "site1.test"].iter().enumerate() {
            let told = &status["sites"][site];
            assert_eq!((&told["name"], &told["problem"]["code"]), (&(*name).into(), &"vanished".into()));
        }
    }
    expect(&host, "a dead nginx, after the agent's restart", [1; 4], &["nginx is not running"]);
    host.nginx.start_again();
    host.wait_for("all is well", |status| {
        status["servers"][0]["problem"].is_null()
            && status["sites"]
                .as_array()
                .is_some_and(|sites| sites.len() == 2 && sites.iter().all(|site| site["state"] == "current"))
    });
    expect(&host, "nginx is back", [0; 4], &[]);
    host.stop_agent();
}

#[test]
fn download_folder_that_only_the_agent_cannot_write_is_red() {
    let portal = "[renewal]\nevery = \"4d\"\nfetch_into = \"ROOT/rcl\"".to_owned();
    let mut host = Host::with(&[Writer::Lego], Extra { portal, ..Extra::default() });
    let folder = host.path().join("rcl").display().to_string();
    std::fs::create_dir(&folder).unwrap();
    let close =
        format!("mount --bind '{folder}' '{folder}' && mount -o remount,bind,ro '{folder}' && exec \"$@\"");
    host.set_wrapper(&["unshare", "--mount", "sh", "-c", &close, "sh"]);
    host.start_agent_and_settle();
    host.wait_for("the problem", |status| !status["renewal_problem"].is_null());
    host.set_wrapper(&[]);
    // What is served is as it should be.
    expect(&host, "fetch_into in the agent's sandbox", [1, 1, 1, 0], &[&folder, "ReadWritePaths="]);
    host.stop_agent();
}

/// In a process namespace, in which there are no other masters.
#[test]
fn second_master_that_no_server_names_is_red() {
    let host = Host::with(&[Writer::Lego], Extra { no_portal: true, ..Extra::default() });
    let layout = &host.sites[0].layout;
    let ssl = format!("ssl_certificate {:?}; ssl_certificate_key {:?};", layout.certificate, layout.key);
    for (name, pid, server) in [
        (
            "a",
            "/run/nginx.pid".to_owned(),
            format!("listen unix:FOLDER/socket ssl; server_name site0.test; {ssl}"),
        ),
        ("b", "FOLDER/pid".to_owned(), "listen unix:FOLDER/socket;".to_owned()),
    ] {
        let folder = host.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!(
            "pid {pid}; error_log FOLDER/log; events {{}} http {{ access_log off; server {{ {server} }} }}"
        );
        let text = text.replace("FOLDER", &folder.display().to_string());
        std::fs::write(folder.join("nginx.conf"), text).unwrap();
    }
    let config = host.path().join("any.toml");
    let text = format!("state_dir = {:?}\n[server.web]\ndiscover = true\n", host.path().join("any"));
    std::fs::write(&config, text).unwrap();
    let script = r#"
        mount -t tmpfs none /run
        nginx -p "$1/a" -e "$1/a/log" -c "$1/a/nginx.conf"
        nginx -p "$1/b" -e "$1/b/log" -c "$1/b/nginx.conf"
        for words in status check "check --online" verify; do
            echo "\$ certhook $words; echo \$?"
            set +e; "$2" --config "$1/any.toml" $words 2>&1; echo "exit $?"; set -e
        done
    "#;
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc", script, "sh"])
        .arg(host.path())
        .arg(env!("CARGO_BIN_EXE_certhook"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    println!("# a second master that no server names, without an agent\n{text}");
    let exits: Vec<&str> = text.lines().filter(|line| line.starts_with("exit ")).collect();
    assert_eq!(exits, ["exit 1"; 4], "{text}");
    assert_eq!(text.matches("another master of nginx runs, which no server").count(), 4, "{text}");
}
