//! A host on which nobody has configured certhook: what only looks works all the same.

use std::path::Path;
use std::process::{Command, Output};

use certhook_test_support::writers::Writer;

use crate::host::{Extra, Host};

/// Runs a shell's script where no process is to be seen but its own.
fn alone(script: &str) -> Output {
    Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", script])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap()
}

#[test]
fn without_any_configuration_nginx_is_found_and_verified() {
    if !nix::unistd::geteuid().is_root() || Path::new("/etc/certhook/certhook.toml").exists() {
        println!("skipped: this needs root, and a machine without certhook's configuration");
        return;
    }
    let host = Host::with(&[Writer::Lego, Writer::Certbot], Extra::unlimited());
    let (config, prefix) = (host.nginx.config_path(), host.nginx.prefix().to_owned());
    // One more on the same sockets would not start: this one has ports of its own.
    let text = std::fs::read_to_string(&config).unwrap();
    let port = certhook_test_support::nginx::free_port().to_string();
    let text = text.replace(&host.nginx.port().to_string(), &port);
    let text = text
        .replace(&host.nginx.pid_file().display().to_string(), &prefix.join("own.pid").display().to_string());
    let own = prefix.join("own.conf");
    std::fs::write(&own, text).unwrap();
    let certhook = env!("CARGO_BIN_EXE_certhook");
    let nginx = host.nginx.binary();
    let start = format!(
        "{} -p {} -c {} -e {}/own.log",
        nginx.display(),
        prefix.display(),
        own.display(),
        prefix.display()
    );
    let script = |verb: &str| {
        format!(
            "{start} && until grep -qs 'maste[r] process' /proc/[0-9]*/cmdline; do sleep 0.01; done; \
             {certhook} {verb}; code=$?; {start} -s stop; exit $code"
        )
    };
    let output = alone(&script("verify --json"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let verdicts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> =
        verdicts.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["site0.test", "site1.test"]);
    assert_eq!(verdicts[0]["wire"][0]["endpoint"], format!("127.0.0.1:{port}"));
    let output = alone(&script("discover"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().matches("[[site]]").count(), 2);
    // Everything else wants a configuration, and says so.
    let output = alone(&format!("{certhook} status"));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    // Without nginx there is nothing to verify.
    let output = alone(&format!("{certhook} verify"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("no certificate to verify"));
}
