//! A host whose IPv6 is switched off, with an nginx that listens on both: what the host cannot have is no silent
//! endpoint.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use certhook_test_support::ca::{Authority, Order, Pair};
use serde_json::Value;
use tempfile::TempDir;

use crate::nodes::{run, stop};

/// A network namespace without IPv6, and an nginx in it.
struct Host {
    folder: TempDir,
    name: String,
    pair: Pair,
}

impl Host {
    fn new(listens: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("certhook-v4-").tempdir().unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap().replace("certhook-v4-", "ch4");
        let pair = Authority::new().issue(Order { hosts: &["a.test"], ..Order::default() });
        let host = Self { folder, name, pair };
        let root = host.folder.path().display();
        std::fs::write(host.path("cert.pem"), &host.pair.fullchain_pem).unwrap();
        std::fs::write(host.path("key.pem"), &host.pair.key_pem).unwrap();
        let text = format!(
            "pid {root}/pid; error_log {root}/error.log; worker_processes 1; events {{}} http {{ access_log off;\n\
             server {{ {listens} server_name a.test; ssl_certificate cert.pem; ssl_certificate_key key.pem; }} }}"
        );
        std::fs::write(host.path("nginx.conf"), text).unwrap();
        run("ip", &["netns", "add", &host.name]);
        run("ip", &["-n", &host.name, "link", "set", "lo", "up"]);
        let off = "for kind in all default lo; do echo 1 >/proc/sys/net/ipv6/conf/$kind/disable_ipv6; done";
        run("ip", &["netns", "exec", &host.name, "sh", "-c", off]);
        let status = host
            .inside("nginx")
            .args(["-e".as_ref(), host.path("error.log").as_os_str(), "-c".as_ref()])
            .arg(host.path("nginx.conf"))
            .status();
        assert!(status.unwrap().success(), "nginx does not start");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The verdicts of `verify`, and its exit code.
    fn verify(&self, more: &str) -> (Value, i32) {
        let text = format!(
            "state_dir = {:?}\n[server.nginx]\ndiscover = true\npid_file = {:?}\nconfig = {:?}\nprefix = {:?}\n{more}",
            self.path("state"),
            self.path("pid"),
            self.path("nginx.conf"),
            self.folder.path(),
        );
        std::fs::write(self.path("certhook.toml"), text).unwrap();
        let output = self
            .inside(env!("CARGO_BIN_EXE_certhook"))
            .arg("--config")
            .arg(self.path("certhook.toml"))
            .args(["verify", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let verdicts = serde_json::from_slice(&output.stdout);
        let verdicts = verdicts.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        (verdicts, output.status.code().unwrap())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        stop(&self.path("pid"));
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// The endpoints of the only verdict: whether each shows the certificate, and whether it is not of this host.
fn found(verdicts: &Value) -> Vec<(&str, bool, bool)> {
    let wire = verdicts[0]["wire"].as_array().unwrap();
    let each = wire
        .iter()
        .map(|one| (one["endpoint"].as_str().unwrap(), one["matches"] == true, one["not_here"] == true));
    each.collect()
}

#[test]
fn an_ipv6_listener_without_ipv6_is_not_silent() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: this needs root");
        return;
    }
    let (seen, missing) = (|endpoint| (endpoint, true, false), |endpoint| (endpoint, false, true));
    for (listens, more, wanted) in [
        ("listen 443 ssl; listen [::]:443 ssl;", "", vec![seen("127.0.0.1:443"), missing("[::1]:443")]),
        ("listen [::]:443 ssl ipv6only=off;", "", vec![seen("127.0.0.1:443"), missing("[::1]:443")]),
        ("listen localhost:443 ssl;", "", vec![seen("127.0.0.1:443")]),
        (
            "listen 443 ssl;",
            "verify = [\"localhost:443\", \"[::1]:443\"]\n",
            vec![seen("localhost:443"), missing("[::1]:443")],
        ),
    ] {
        let host = Host::new(listens);
        let site = match more {
            "" => String::new(),
            verify => format!("[[site]]\ncertificate = {:?}\n{verify}", host.path("cert.pem")),
        };
        let (verdicts, code) = host.verify(&site);
        let mut all = found(&verdicts);
        all.sort_by_key(|(_, _, is_missing)| *is_missing);
        assert_eq!((all, code), (wanted, 0), "{listens} {more}: {verdicts:#}");
    }
}
