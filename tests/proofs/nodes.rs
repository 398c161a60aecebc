//! nginx in a network or a root of its own: a pair of nodes that share an address, and a chroot.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use certhook_test_support::ca::{Authority, Order, Pair};
use serde_json::Value;
use tempfile::TempDir;

use crate::host::PATIENCE;

const SHARED: &str = "10.99.0.10";

/// Two nodes on one wire, as keepalived has them: the first one is looked after by certhook.
struct Nodes {
    folder: TempDir,
    names: [String; 2],
    agent: Option<Child>,
}

impl Nodes {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("certhook-nodes-").tempdir().unwrap();
        let id = folder.path().file_name().unwrap().to_str().unwrap().trim_start_matches("certhook-nodes-");
        let names = ["a", "b"].map(|node| format!("ch{id}{node}"));
        let nodes = Self { folder, names, agent: None };
        let [a, b] = &nodes.names;
        run("ip", &["netns", "add", a]);
        run("ip", &["netns", "add", b]);
        run("ip", &["-n", a, "link", "add", "w", "type", "veth", "peer", "name", "w", "netns", b]);
        for (node, address) in [(a, "10.99.0.1/24"), (b, "10.99.0.2/24")] {
            run("ip", &["-n", node, "link", "set", "lo", "up"]);
            run("ip", &["-n", node, "link", "set", "w", "up"]);
            run("ip", &["-n", node, "address", "add", address, "dev", "w"]);
            run("ip", &["netns", "exec", node, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind"]);
        }
        nodes
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn install(&self, node: usize, pair: &Pair) {
        for (name, text) in [("key.pem", &pair.key_pem), ("cert.pem", &pair.fullchain_pem)] {
            let path = self.path(&format!("{node}/{name}"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path.with_extension("new"), text).unwrap();
            std::fs::rename(path.with_extension("new"), path).unwrap();
        }
    }

    /// Starts nginx on a node, listening at the shared address, whether the node has it or not.
    fn start_nginx(&self, node: usize) {
        let root = self.path(&format!("{node}"));
        let text = format!(
            "pid {0}/pid; error_log {0}/error.log; worker_processes 1; events {{}} http {{ access_log off;\n\
             server {{ listen {SHARED}:443 ssl; server_name a.test; ssl_certificate cert.pem; ssl_certificate_key key.pem; }} }}",
            root.display()
        );
        std::fs::write(root.join("nginx.conf"), text).unwrap();
        let config = root.join("nginx.conf");
        let log = root.join("error.log");
        let words = ["netns", "exec", &self.names[node], "nginx", "-e", log.to_str().unwrap(), "-c"];
        let status = Command::new("ip")
            .args(words)
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "nginx of node {node} does not start");
    }

    /// Gives the shared address to one node.
    fn hold(&self, node: usize) {
        let address = format!("{SHARED}/32");
        let gone = ["-n", &self.names[1 - node], "address", "del", &address, "dev", "w"];
        let _ = Command::new("ip").args(gone).stderr(Stdio::null()).status();
        run("ip", &["-n", &self.names[node], "address", "add", &address, "dev", "w"]);
        // Whoever knew where it was asks again.
        for node in &self.names {
            run("ip", &["-n", node, "neighbour", "flush", "all"]);
        }
    }

    fn certhook(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[0], env!("CARGO_BIN_EXE_certhook"), "--config"]);
        command.arg(self.path("certhook.toml")).args(arguments).stdin(Stdio::null());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.certhook(arguments).output().unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until `status` is as wanted; its exit code beside it.
    fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> (Value, i32) {
        let until = Instant::now() + PATIENCE;
        loop {
            let output = self.output(&["status", "--json"]);
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let is_told_by_agent = status["agent"]["running"] == self.agent.is_some();
            if is_told_by_agent && wanted(&status["sites"][0]) {
                return (status["sites"][0].clone(), output.status.code().unwrap());
            }
            assert!(Instant::now() < until, "not in time: {what}\n{status:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        for node in 0..2 {
            stop(&self.path(&format!("{node}/pid")));
            let _ = Command::new("ip").args(["netns", "del", &self.names[node]]).status();
        }
    }
}

pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Ends an nginx and its workers.
pub fn stop(pid_file: &Path) {
    let Some(pid) = std::fs::read_to_string(pid_file).ok().and_then(|pid| pid.trim().parse::<i32>().ok())
    else {
        return;
    };
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    let until = Instant::now() + PATIENCE;
    while pid_file.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The children of a process.
fn children(pid_file: &Path) -> Vec<String> {
    let pid = std::fs::read_to_string(pid_file).unwrap();
    let path = format!("/proc/{0}/task/{0}/children", pid.trim());
    std::fs::read_to_string(path).unwrap().split_whitespace().map(str::to_owned).collect()
}

#[test]
fn an_address_of_the_other_node_is_not_asked_until_a_takeover() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: this needs root");
        return;
    }
    let ca = Authority::new();
    let issue = || ca.issue(Order { hosts: &["a.test"], ..Order::default() });
    let mut nodes = Nodes::new();
    let (first, others, second) = (issue(), issue(), issue());
    nodes.install(0, &first);
    nodes.install(1, &others);
    nodes.hold(1);
    nodes.start_nginx(0);
    nodes.start_nginx(1);
    let text = format!(
        "state_dir = {:?}\n[server.nginx]\ndiscover = true\npid_file = {:?}\nconfig = {:?}\nprefix = {:?}\n",
        nodes.path("state"),
        nodes.path("0/pid"),
        nodes.path("0/nginx.conf"),
        nodes.path("0"),
    );
    std::fs::write(nodes.path("certhook.toml"), text).unwrap();
    let (unseen, not_here) =
        (others.fingerprint, |site: &Value| site["problem"]["code"] == "not_on_this_host");

    // Without an agent: neither red nor green.
    let verified = nodes.output(&["verify", "--json"]);
    let verdicts: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((verified.status.code(), &verdicts[0]["ok"]), (Some(0), &Value::Null), "{verdicts:#}");
    assert_eq!(verdicts[0]["problem"]["code"], "not_on_this_host");
    let printed = String::from_utf8(nodes.output(&["verify"]).stdout).unwrap();
    assert!(printed.contains("not here") && !printed.contains('!'), "{printed}");
    assert_eq!(nodes.wait_for("a standby", not_here).1, 0);

    let log = std::fs::File::create(nodes.path("log")).unwrap();
    let agent = nodes.certhook(&["--log-level", "debug", "run"]).stderr(log).spawn().unwrap();
    nodes.agent = Some(agent);
    assert_eq!(nodes.wait_for("the agent of a standby", not_here).1, 0);

    // A renewal is loaded, and nothing is said of it.
    let workers = children(&nodes.path("0/pid"));
    nodes.install(0, &second);
    let until = Instant::now() + PATIENCE;
    while children(&nodes.path("0/pid")).iter().all(|worker| workers.contains(worker)) {
        assert!(Instant::now() < until, "no reload\n{}", nodes.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let (site, _) = nodes.wait_for("the renewal", |site| {
        not_here(site) && site["certificate"]["fingerprint"] == *second.fingerprint
    });
    assert!(site["served"].is_null(), "{site:#}");

    nodes.hold(0);
    let served =
        |site: &Value| site["state"] == "current" && site["served"]["fingerprint"] == *second.fingerprint;
    assert_eq!(nodes.wait_for("the takeover", served).1, 0);
    let history = String::from_utf8(nodes.output(&["history", "--json"]).stdout).unwrap();
    assert!(history.contains(&second.fingerprint) && !history.contains(&unseen), "{history}");

    nodes.hold(1);
    nodes.output(&["sync"]);
    let (site, _) = nodes.wait_for("the address is gone again", not_here);
    assert!(!site.to_string().contains(&unseen), "{site:#}");
    for told in
        [nodes.log(), printed, String::from_utf8(nodes.output(&["history", "--json"]).stdout).unwrap()]
    {
        assert!(!told.contains(&unseen) && !told.contains("stale"), "{told}");
    }
}

/// nginx in a chroot, with the same paths in the jail and on the host.
struct Jail {
    folder: TempDir,
    /// The folder's path in the jail, as the host has it.
    inside: PathBuf,
    port: u16,
    ca: Authority,
    pair: Pair,
}

impl Jail {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("certhook-jail-").tempdir().unwrap();
        let ca = Authority::new();
        let pair = ca.issue(Order { hosts: &["a.test"], ..Order::default() });
        let inside = folder.path().join("jail").join(folder.path().strip_prefix("/").unwrap());
        let port = certhook_test_support::nginx::free_port();
        for root in [folder.path(), &inside] {
            std::fs::create_dir_all(root).unwrap();
            std::fs::write(root.join("cert.pem"), &pair.fullchain_pem).unwrap();
            std::fs::write(root.join("key.pem"), &pair.key_pem).unwrap();
            let text = format!(
                "pid pid; error_log error.log; events {{}} http {{ access_log off;\n\
                 server {{ listen 127.0.0.1:{port} ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem; }} }}"
            );
            std::fs::write(root.join("nginx.conf"), text).unwrap();
        }
        let script = format!(
            "mkdir -p {0}/usr {0}/etc {0}/dev {0}/lib {0}/lib64 {0}/var/lib/nginx {0}/var/log/nginx && \
             mount --bind /usr {0}/usr && mount --bind /lib {0}/lib && mount --bind /lib64 {0}/lib64 && \
             mount --bind /etc {0}/etc && mount --bind /dev {0}/dev && \
             exec chroot {0} nginx -p {1} -e {1}/error.log -c {1}/nginx.conf",
            folder.path().join("jail").display(),
            folder.path().display(),
        );
        run("unshare", &["--mount", "sh", "-c", &script]);
        Self { folder, inside, port, ca, pair }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pid_file(&self) -> PathBuf {
        self.inside.join("pid")
    }

    /// The exit code of a command and all that it prints, with these lines after those of the server.
    fn certhook(&self, more: &str, command: &str) -> (i32, String) {
        let text = format!(
            "state_dir = {:?}\n[server.nginx]\npid_file = {:?}\n{more}",
            self.path("state"),
            self.pid_file()
        );
        std::fs::write(self.path("certhook.toml"), text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_certhook"))
            .arg("--config")
            .arg(self.path("certhook.toml"))
            .arg(command)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code().unwrap(), text)
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        stop(&self.pid_file());
    }
}

/// `chroot` and containers: the paths of their configuration are other files on the host.
#[test]
fn the_paths_of_a_chroot_are_not_answered_from_the_host() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: this needs root");
        return;
    }
    let jail = Jail::start();
    let inside = &jail.inside;
    let unnamed = jail.certhook("discover = true\n", "verify");
    let more = format!("discover = true\nconfig = {:?}\nprefix = {inside:?}\n", inside.join("nginx.conf"));
    let named = jail.certhook(&more, "verify");
    assert!(unnamed.0 == 1 && unnamed.1.contains("runs in a container or a chroot"), "{unnamed:?}");
    assert!(
        named.0 == 0 && named.1.contains(inside.to_str().unwrap()) || named.1.contains("a.test"),
        "{named:?}"
    );
}

/// The log of its title is another file on the host, in which another program writes with the same process's number.
#[test]
fn error_log_of_a_chroot_is_not_read_from_the_host() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: this needs root");
        return;
    }
    let jail = Jail::start();
    let pid = std::fs::read_to_string(jail.pid_file()).unwrap();
    let log = jail.path("error.log");
    let (over, is_over) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        let line = format!("2026/11/29 10:00:00 [emerg] {0}#{0}: words of the host\n", pid.trim());
        while is_over.recv_timeout(Duration::from_millis(5)).is_err() {
            let mut file = std::fs::File::options().create(true).append(true).open(&log).unwrap();
            std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
        }
    });
    // Renewed, and refused for another reason.
    let renewed = jail.ca.issue(Order { hosts: &["a.test"], ..Order::default() });
    assert_ne!(renewed.fingerprint, jail.pair.fingerprint);
    std::fs::write(jail.inside.join("key.pem"), &renewed.key_pem).unwrap();
    std::fs::write(jail.inside.join("cert.pem"), &renewed.fullchain_pem).unwrap();
    std::fs::write(jail.inside.join("nginx.conf"), "sevrer {}").unwrap();
    let more = format!(
        "reload_timeout = \"2s\"\n[[site]]\ncertificate = {:?}\nkey = {:?}\nverify = [\"127.0.0.1:{}\"]\n",
        jail.inside.join("cert.pem"),
        jail.inside.join("key.pem"),
        jail.port,
    );
    // Root reads what nginx itself has opened.
    let (code, as_root) = jail.certhook(&more, "sync");
    // certhook's user may not.
    for file in ["jail", "state", "certhook.toml"] {
        run("chown", &["-R", "65534:65534", jail.path(file).to_str().unwrap()]);
    }
    run("chmod", &["755", jail.path("").to_str().unwrap()]);
    let script = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+kill --ambient-caps=+kill \
                  \"$1\" --config \"$2\" sync 2>&1; exit 0";
    let output = Command::new("sh")
        .args([
            "-c",
            script,
            "sh",
            env!("CARGO_BIN_EXE_certhook"),
            jail.path("certhook.toml").to_str().unwrap(),
        ])
        .output()
        .unwrap();
    let as_user = String::from_utf8(output.stdout).unwrap();
    let _ = over.send(());
    writer.join().unwrap();
    assert!(code == 1 && as_root.contains("sevrer") && !as_root.contains("words of the host"), "{as_root}");
    let is_unread = as_user.contains("not_loaded") && as_user.contains("its error log is not read");
    assert!(is_unread && !as_user.contains("words of the host"), "{as_user}");
}
