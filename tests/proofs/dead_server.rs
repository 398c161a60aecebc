//! An nginx that is gone, or one too many, is told at once and by every command.

use std::process::Command;

use certhook_test_support::writers::Writer;
use serde_json::Value;

use crate::host::{Extra, Host, codes};

fn exits(host: &Host) -> Vec<i32> {
    let run = |arguments: &&[&str]| host.certhook(arguments).status.code().unwrap();
    [&["status"][..], &["check"], &["verify"], &["sync", "--wait", "30s"]].iter().map(run).collect()
}

fn server_code(status: &Value) -> &str {
    status["servers"][0]["problem"]["code"].as_str().unwrap_or_default()
}

fn hosts() -> [Host; 2] {
    let extra = || Extra { watch: "poll = \"1s\"\nrescan = \"1h\"".into(), ..Extra::default() };
    let discovered = Extra { discovered: true, ..extra() };
    [Host::with(&[Writer::Lego], extra()), Host::with(&[Writer::Lego], discovered)]
}

#[test]
fn the_end_of_a_master_is_noticed_when_it_happens() {
    for mut host in hosts() {
        host.start_agent_and_settle();
        assert_eq!(exits(&host), [0; 4]);
        host.nginx.stop();
        // Nobody has asked for a status.
        host.wait_until("its end is noticed", || host.log().contains("a master of nginx has ended"));
        let status = host.agent_status().unwrap();
        assert_eq!(server_code(&status), "not_running", "{status}");
        let status = host.wait_for("the site", |status| !status["sites"][0]["problem"].is_null());
        assert_eq!(status["sites"][0]["problem"]["code"], "unreachable", "{status}");
        assert_eq!(exits(&host), [1; 4]);
        host.nginx.start_again();
        host.wait_for("all is well", |status| {
            codes(status).is_empty() && status["sites"][0]["state"] == "current"
        });
        assert_eq!(exits(&host), [0; 4]);
        // It is waited for again.
        host.nginx.stop();
        let ends = || host.log().matches("a master of nginx has ended").count();
        host.wait_until("its second end is noticed", || ends() == 2);
        host.nginx.start_again();
        host.stop_agent();
    }
}

/// Its sites are not known then, and that is not well.
#[test]
fn an_nginx_that_is_gone_before_the_start_is_told_with_and_without_an_agent() {
    for mut host in hosts() {
        host.start_agent_and_settle();
        host.stop_agent();
        host.nginx.stop();
        let (status, code) = host.json(&["status", "--json"]);
        assert_eq!((server_code(&status), code), ("not_running", 1), "{status}");
        assert_eq!(exits(&host), [1; 4]);
        host.start_agent();
        let status = host.wait_for("an agent", |status| !server_code(status).is_empty());
        assert_eq!(server_code(&status), "not_running", "{status}");
        assert_eq!(exits(&host), [1; 4]);
        host.nginx.start_again();
        host.wait_for("all is well", |status| codes(status).is_empty() && !status["sites"][0].is_null());
        host.stop_agent();
    }
}

/// Runs a script as the first process of a namespace, in which there are no other masters. Its folder is `$1`,
/// certhook `$2`, the site's folder `$3`.
fn alone(host: &Host, script: &str) -> String {
    let site = host.sites[0].layout.certificate.parent().unwrap();
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc", script, "sh"])
        .arg(host.path())
        .arg(env!("CARGO_BIN_EXE_certhook"))
        .arg(site)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn a_second_master_that_no_server_names_is_told_until_each_is_named() {
    let host = Host::with(&[Writer::Lego], Extra { no_portal: true, ..Extra::default() });
    let site = &host.sites[0].layout;
    for (name, more) in [
        ("a", format!("ssl_certificate {:?}; ssl_certificate_key {:?};", site.certificate, site.key)),
        ("b", String::new()),
    ] {
        let folder = host.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let listen = format!("unix:{}", folder.join("socket").display());
        let ssl = if more.is_empty() { "" } else { " ssl" };
        // Where a package's nginx has it: that one is found without a word of the configuration.
        let pid =
            if name == "a" { "/run/nginx.pid".to_owned() } else { folder.join("pid").display().to_string() };
        let text = format!(
            "pid {pid}; error_log {0}/log; events {{}} http {{ access_log off; \
             server {{ listen {listen}{ssl}; server_name site0.test; {more} }} }}",
            folder.display()
        );
        std::fs::write(folder.join("nginx.conf"), text).unwrap();
    }
    let config = |name: &str, server: &str| {
        let text = format!("state_dir = {:?}\n{server}", host.path().join(name));
        let path = host.path().join(format!("{name}.toml"));
        std::fs::write(&path, text).unwrap();
    };
    config("any", "[server.web]\ndiscover = true\n");
    config("one", "[server.web]\ndiscover = true\npid_file = \"/run/nginx.pid\"\n");
    let script = r#"
        mount -t tmpfs none /run
        certhook=$2
        code() { set +e; "$certhook" --config "$1/$2.toml" $3 >"$1/out" 2>&1; echo "$2 $3 $?"; set -e; }
        nginx -p "$1/a" -e "$1/a/log" -c "$1/a/nginx.conf"
        code "$1" any check; code "$1" one check
        "$certhook" --config "$1/any.toml" run 2>"$1/agent.log" &
        timeout 60 sh -c 'until "$1" --config "$2/any.toml" status >/dev/null 2>&1; do sleep 0.1; done' sh "$2" "$1"
        nginx -p "$1/b" -e "$1/b/log" -c "$1/b/nginx.conf"
        code "$1" any status; grep -o several_masters "$1/out" | head -n 1
        code "$1" any check; grep -o several_masters "$1/out" | head -n 1
        kill $!; wait
        code "$1" any status; grep -o several_masters "$1/out" | head -n 1
        code "$1" one check
    "#;
    let text = alone(&host, script);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "any check 0",
            "one check 0",
            "any status 1",
            "several_masters",
            "any check 1",
            "several_masters",
            "any status 1",
            "several_masters",
            "one check 0"
        ],
        "{}",
        std::fs::read_to_string(host.path().join("out")).unwrap()
    );
}

/// A folder that the agent's mounts close to it, and that `check` may write in.
#[test]
fn a_download_folder_that_the_agent_cannot_write_is_told() {
    let portal = "[renewal]\nevery = \"4d\"\nfetch_into = \"ROOT/rcl\"".to_owned();
    let mut host = Host::with(&[Writer::Lego], Extra { portal, ..Extra::default() });
    let folder = host.path().join("rcl");
    std::fs::create_dir(&folder).unwrap();
    let close = format!(
        "mount --bind '{0}' '{0}' && mount -o remount,bind,ro '{0}' && exec \"$@\"",
        folder.display()
    );
    host.set_wrapper(&["unshare", "--mount", "sh", "-c", &close, "sh"]);
    host.start_agent_and_settle();
    let status = host.wait_for("the problem", |status| !status["renewal_problem"].is_null());
    assert_eq!(status["renewal_problem"]["code"], "fetch_into", "{status}");
    assert!(status["renewal_problem"]["remedy"].as_str().unwrap().contains("ReadWritePaths="), "{status}");
    // Outside of it all is well, but for what the agent says.
    host.set_wrapper(&[]);
    for arguments in ["status", "check"] {
        let output = host.certhook(&[arguments]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}: {text}");
        assert!(text.contains(&folder.display().to_string()) && text.contains("ReadWritePaths="), "{text}");
    }
    host.stop_agent();
    host.start_agent_and_settle();
    host.wait_for("its end", |status| status["renewal_problem"].is_null());
    host.stop_agent();
}
