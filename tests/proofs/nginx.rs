//! One nginx among many: found, told in every way, upgraded under load, understood when it refuses.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use certhook::config::Config;
use certhook::server::{Loaded, Refusal, Server};
use certhook_test_support::ca::{Authority, Order, Pair};
use certhook_test_support::nginx::{Builder, Nginx, NginxSite, RunMode, free_port};
use certhook_test_support::wire;
use certhook_test_support::writers::Writer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::{Host, PATIENCE};

const NAME: &str = "site0.test";

/// An nginx with one site, and what its files are written with.
struct Web {
    ca: Authority,
    nginx: Nginx,
    folder: tempfile::TempDir,
}

impl Web {
    fn new(build: impl FnOnce(Builder) -> Builder, more: impl FnOnce(&mut NginxSite)) -> Self {
        let (ca, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        write(folder.path(), &ca.issue(Order { hosts: &[NAME], ..Order::default() }));
        let mut site = NginxSite::new(&[NAME], certificate, key);
        more(&mut site);
        let nginx = build(Nginx::builder().site(site)).start();
        Self { ca, nginx, folder }
    }

    fn plain() -> Self {
        Self::new(|builder| builder, |_| {})
    }

    fn renew(&self) -> Pair {
        let pair = self.ca.issue(Order { hosts: &[NAME], ..Order::default() });
        write(self.folder.path(), &pair);
        pair
    }

    /// `-c` and `-p` of this nginx as configuration.
    fn by_options(&self) -> String {
        format!("config = {:?}\nprefix = {:?}", self.nginx.config_path(), self.nginx.prefix())
    }

    fn by_pid_file(&self) -> String {
        format!("pid_file = {:?}", self.nginx.pid_file())
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Many connections, so that every worker is likely to have taken one.
    fn serves_only(&self, pair: &Pair) -> bool {
        (0..30).all(|_| wire::served(&self.nginx.endpoint(), NAME).unwrap().fingerprint == pair.fingerprint)
    }

    fn pid_in_file(&self) -> Option<i32> {
        std::fs::read_to_string(self.nginx.pid_file()).ok()?.trim().parse().ok()
    }
}

fn write(folder: &Path, pair: &Pair) {
    replace(&folder.join("key.pem"), &pair.key_pem);
    replace(&folder.join("cert.pem"), &pair.fullchain_pem);
}

/// By a rename: newer nginx takes a file that is written twice in one second for unchanged.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

/// A server from the lines of its table.
fn server(lines: &str) -> Server {
    let site = "[[site]]\ncertificate = \"/c.pem\"\nverify = [\"127.0.0.1:1\"]";
    let text = format!("[server.nginx]\n{lines}\n{site}\n");
    let config = Config::parse(Path::new("certhook.toml"), &text).unwrap();
    Server::new(&config.servers[0])
}

fn reload(server: &Server) -> Result<Loaded, Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(server.reload())
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[track_caller]
fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn while_its_program_is_upgraded_the_new_master_is_told() {
    let web = Web::plain();
    let (by_file, by_options) = (server(&web.by_pid_file()), server(&web.by_options()));
    let old = web.nginx.pid();
    let first = by_file.workers().unwrap().serving;
    signal(old, Signal::SIGUSR2);
    until("a new master with workers", || {
        web.pid_in_file().is_some_and(|pid| pid != old) && by_file.workers().unwrap().serving.len() == 4
    });
    let new = web.pid_in_file().unwrap();
    assert!(by_file.workers().unwrap().serving.is_superset(&first), "the old ones serve too");
    assert_eq!(by_file.workers(), by_options.workers());

    for server in [&by_file, &by_options] {
        let (hups, before) = (web.nginx.log().hups, server.workers().unwrap().serving);
        web.renew();
        reload(server).unwrap();
        assert_eq!(web.nginx.log().hups, hups + 1, "the old master is left alone");
        until("new workers of the new master, and the old ones", || {
            let now = server.workers().unwrap();
            let kept: Vec<_> = now.serving.intersection(&before).collect();
            now.serving.len() == 4 && kept.iter().all(|pid| first.contains(pid)) && kept.len() == 2
        });
        // Which is why a reload is not all that is needed.
        let problem = server.upgrading().unwrap();
        assert_eq!(problem.code, "upgrading");
        assert!(problem.remedy.contains(&format!("WINCH {old}")), "{problem}");
        assert_eq!(server.obstacles(), [problem]);
    }
    // Telling the old master would not help: it starts more workers with what it had loaded.
    signal(old, Signal::SIGHUP);
    until("more old workers", || by_file.workers().unwrap().serving.len() == 6);
    assert!(by_file.workers().unwrap().serving.is_superset(&first), "none was replaced");

    // Workers that were sent away stay away.
    signal(old, Signal::SIGWINCH);
    until("the old workers to end", || {
        let workers = by_file.workers().unwrap();
        workers.serving.len() == 2 && workers.draining == 0
    });
    for server in [&by_file, &by_options] {
        let hups = web.nginx.log().hups;
        let pair = web.renew();
        reload(server).unwrap();
        until("the new certificate", || web.serves_only(&pair));
        assert_eq!(web.nginx.log().hups, hups + 1, "only the new master is told");
        assert_eq!((server.upgrading(), server.obstacles()), (None, vec![]));
    }
    until("two workers", || by_file.workers().unwrap().serving.len() == 2);

    signal(old, Signal::SIGQUIT);
    until("the old master to end", || !Path::new(&format!("/proc/{old}")).exists());
    for server in [&by_file, &by_options] {
        let pair = web.renew();
        reload(server).unwrap();
        until("the new certificate", || web.serves_only(&pair));
    }
    signal(new, Signal::SIGQUIT);
    until("nginx to end", || !Path::new(&format!("/proc/{new}")).exists());
    assert_eq!(reload(&by_file).unwrap_err().problem.code, "not_running");
    assert_eq!((by_file.workers(), by_options.workers()), (None, None));
}

#[test]
fn each_of_several_is_found_told_and_read_by_itself() {
    let webs = [Web::plain(), Web::plain()];
    for (index, web) in webs.iter().enumerate() {
        let other = &webs[1 - index];
        let just_config = format!("config = {:?}", web.nginx.config_path());
        for lines in [web.by_options(), web.by_pid_file(), just_config] {
            let server = server(&lines);
            let found = server.discover().unwrap();
            assert!(found.files.contains(&web.nginx.config_path()), "{lines}: {:?}", found.files);
            assert!(!found.files.contains(&other.nginx.config_path()), "{lines}: {:?}", found.files);
            assert_eq!(found.pid_file, Some(web.nginx.pid_file()));
            let (mine, others) = (web.nginx.log().hups, other.nginx.log().hups);
            reload(&server).unwrap();
            assert_eq!((web.nginx.log().hups, other.nginx.log().hups), (mine + 1, others), "{lines}");
        }
    }
    let refusal = reload(&server("config = \"/none/nginx.conf\"")).unwrap_err();
    assert_eq!(refusal.problem.code, "not_running", "{refusal:?}");
    let command = server("kind = \"command\"\nreload = [\"/bin/true\"]");
    assert_eq!(command.discover().unwrap_err().code, "not_discoverable");
    assert_eq!((command.workers(), command.keeps_unchanged()), (None, false));
}

#[test]
fn its_program_tells_where_things_are_and_what_it_keeps() {
    let web = Web::plain();
    let said = Command::new(web.nginx.binary()).arg("-v").output().unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    let number = said.split_once("nginx/").unwrap().1;
    let numbers: Vec<u32> =
        number.split(|c: char| !c.is_ascii_digit()).take(3).map(|part| part.parse().unwrap()).collect();
    let server_now = server(&web.by_pid_file());
    assert_eq!(server_now.keeps_unchanged(), numbers >= vec![1, 27, 4], "{said}");
    // One that is not running: what it will read is known from its program alone.
    let stopped = server(&format!("binary = {:?}\npid_file = \"/none/nginx.pid\"", web.nginx.binary()));
    let found = stopped.discover().unwrap();
    assert_eq!(found.files.first(), Some(&PathBuf::from("/etc/nginx/nginx.conf")), "Debian's");
    // A program that is none of nginx's.
    let other = server("binary = \"/bin/false\"\npid_file = \"/none/nginx.pid\"");
    assert!(!other.keeps_unchanged());
}

#[test]
fn workers_are_counted_by_what_they_do() {
    let plain = free_port();
    let web = Web::new(
        |builder| builder,
        |site| {
            site.listen = vec![format!("127.0.0.1:{} ssl", free_port()), format!("127.0.0.1:{plain}")];
        },
    );
    let server = server(&web.by_pid_file());
    let before = server.workers().unwrap();
    assert_eq!((before.serving.len(), before.draining), (2, 0));
    // A request that does not end keeps its worker.
    let mut client = TcpStream::connect(("127.0.0.1", plain)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    reload(&server).unwrap();
    until("one old worker left", || {
        let now = server.workers().unwrap();
        now.draining == 1 && now.serving.len() == 2 && now.serving.is_disjoint(&before.serving)
    });
    assert_eq!(reload(&server).unwrap().draining, 1);
    drop(client);
    until("no old worker left", || server.workers().unwrap().draining == 0);
}

/// The last workers of one reload are not taken for the first of the next.
#[test]
fn reloads_one_after_the_other_are_told_apart() {
    let web = Web::new(|builder| builder.workers(8), |_| {});
    let server = server(&web.by_pid_file());
    for count in 1..=5 {
        reload(&server).unwrap();
        assert_eq!(web.nginx.log().reloads, count);
    }
}

#[test]
fn the_files_at_fault_are_named() {
    let web = Web::plain();
    let server = server(&web.by_pid_file());
    let good = std::fs::read_to_string(web.key()).unwrap();
    let other = web.ca.issue(Order { hosts: &[NAME], ..Order::default() });
    replace(&web.key(), &other.key_pem);
    let refusal = reload(&server).unwrap_err();
    assert_eq!(refusal.problem.code, "nginx_refused");
    assert!(refusal.problem.message.contains("key values mismatch"), "{refusal:?}");
    assert_eq!(refusal.files, [web.key()], "{refusal:?}");
    std::fs::remove_file(web.key()).unwrap();
    let refusal = reload(&server).unwrap_err();
    assert_eq!(refusal.files, [web.key()], "{refusal:?}");
    assert!(refusal.problem.remedy.contains("key.pem is there"), "{refusal:?}");
    replace(&web.key(), &good);
    web.nginx.break_config();
    let refusal = reload(&server).unwrap_err();
    assert_eq!(refusal.files, [web.nginx.config_path()]);
    let line = std::fs::read_to_string(web.nginx.config_path()).unwrap().lines().count();
    let place = format!("line {line} of {}", web.nginx.config_path().display());
    assert!(refusal.problem.remedy.contains(&place), "{refusal:?}");
    web.nginx.mend_config();
    reload(&server).unwrap();
}

/// A shell's script as `reload`, with `$NGINX` as the command line of this nginx.
fn by_script(web: &Web, script: &str) -> Server {
    let command = web.nginx.command();
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let quoted: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let script = script.replace("$NGINX", &quoted.join(" "));
    server(&format!(
        "{}\nreload_timeout = \"20s\"\nreload = [\"/bin/sh\", \"-c\", {script:?}]",
        web.by_pid_file()
    ))
}

#[test]
fn told_by_a_command_it_is_watched_as_well() {
    let web = Web::plain();
    let polite = by_script(&web, "$NGINX -s reload");
    let deaf = by_script(&web, &format!("kill -HUP {}", web.nginx.pid()));
    let before = polite.workers().unwrap();
    let pair = web.renew();
    reload(&polite).unwrap();
    until("the new certificate", || web.serves_only(&pair));
    assert!(polite.workers().unwrap().serving.is_disjoint(&before.serving));

    web.nginx.break_config();
    for (server, how) in [(&polite, "exit status: 1"), (&deaf, "")] {
        let begun = Instant::now();
        let refusal = reload(server).unwrap_err();
        assert_eq!(refusal.problem.code, "nginx_refused", "{refusal:?}");
        assert!(refusal.problem.message.contains("certhook_made_this_broken"), "{refusal:?}");
        assert!(refusal.problem.message.contains(how), "{refusal:?}");
        assert_eq!(refusal.files, [web.nginx.config_path()]);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
    web.nginx.mend_config();
    reload(&deaf).unwrap();

    let refusal = reload(&by_script(&web, "echo not today; exit 7")).unwrap_err();
    assert_eq!(refusal.problem.code, "reload_command");
    assert!(refusal.problem.message.contains("not today"), "{refusal:?}");
    // It says that all is well, and nginx heard nothing.
    let idle = server(&format!("{}\nreload_timeout = \"1s\"\nreload = [\"/bin/true\"]", web.by_pid_file()));
    assert_eq!(reload(&idle).unwrap_err().problem.code, "not_loaded");
}

#[test]
fn a_command_may_start_it_anew() {
    let web = Web::plain();
    let pid_file = web.nginx.pid_file();
    let script =
        format!("$NGINX -s stop; while test -e '{}'; do sleep 0.02; done; exec $NGINX", pid_file.display());
    let restart = by_script(&web, &script);
    let (old, pair) = (web.nginx.pid(), web.renew());
    let outcome = reload(&restart);
    // It is no child of the test's nginx, and must not outlive it.
    until("a new master", || web.pid_in_file().is_some_and(|pid| pid != old));
    let new = web.pid_in_file().unwrap();
    let served = web.serves_only(&pair);
    signal(new, Signal::SIGTERM);
    until("nginx to end", || !Path::new(&format!("/proc/{new}")).exists());
    outcome.unwrap();
    assert!(served);
}

/// A folder of stand-ins for systemd's programs; each writes its arguments down.
fn stand_ins(host: &Host) -> PathBuf {
    let folder = host.path().join("bin");
    std::fs::create_dir(&folder).unwrap();
    let calls = folder.join("calls");
    // As Debian's unit: what it says of its own goes to its standard error.
    let nginx = host.nginx.command();
    let mut words: Vec<_> = [nginx.get_program()].into_iter().chain(nginx.get_args()).collect();
    let log = words.iter().position(|word| *word == "-e").unwrap();
    words.drain(log..log + 2);
    let nginx: Vec<String> = words.iter().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let write = |name: &str, script: String| {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\necho \"{name} $*\" >>'{}'\n{script}\n", calls.display()))
            .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let pid_file = host.nginx.pid_file();
    write(
        "systemctl",
        format!(
            "case $* in *show*) cat '{}';; *reload*) {} -s reload 2>>'{}' || {{ echo 'Job for nginx.service \
             failed.' >&2; exit 1; }};; esac",
            pid_file.display(),
            nginx.join(" "),
            folder.join("journal").display(),
        ),
    );
    write("journalctl", format!("cat '{}'", folder.join("journal").display()));
    folder
}

#[test]
fn told_by_systemd_and_known_by_its_unit() {
    let mut host = Host::new(&[Writer::AcmeSh]);
    let folder = stand_ins(&host);
    host.set_env("PATH", &format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display()));
    let pid_file = format!("pid_file = {:?}", host.nginx.pid_file());
    let text = host.config_text().replace(&pid_file, "unit = \"nginx-front\"\nreload = \"systemd\"");
    std::fs::write(host.config_path(), text).unwrap();
    host.start_agent_and_settle();
    for _ in 0..2 {
        host.renew(0, Duration::ZERO);
        host.wait_until_done(0);
    }
    let calls = || std::fs::read_to_string(folder.join("calls")).unwrap();
    let count = |word: &str| calls().lines().filter(|line| line.contains(word)).count();
    assert_eq!(count("reload -- nginx-front.service"), 2, "{}", calls());
    assert_eq!(count("show"), 1, "asked once: {}", calls());

    // systemctl says only that it failed; nginx's words are in the journal.
    host.nginx.break_config();
    host.renew(0, Duration::ZERO);
    let status = host.wait_for("the problem", |status| !status["sites"][0]["problem"].is_null());
    let problem = &status["sites"][0]["problem"];
    assert_eq!(problem["code"], "blocked", "{problem}");
    assert_eq!(status["servers"][0]["problem"]["code"], "nginx_refused", "{status}");
    let message = problem["message"].as_str().unwrap();
    assert!(message.contains("certhook_made_this_broken") && message.contains("exit status: 1"), "{message}");
    assert!(calls().contains("_SYSTEMD_UNIT=nginx-front.service"), "{}", calls());
    host.nginx.mend_config();
    host.wait_until_done(0);
    host.stop_agent();
}

#[test]
fn where_it_logs_to_its_standard_error_the_journal_is_asked() {
    let mut host = Host::new(&[Writer::AcmeSh]);
    // Its standard error is a pipe, as in a unit with daemon off.
    let sites = host.sites.iter().map(|site| {
        NginxSite::new(&[site.name.as_str()], site.layout.certificate.clone(), site.layout.key.clone())
    });
    host.nginx = Nginx::builder().sites(sites).mode(RunMode::ForegroundStderr).start();
    host.configure();
    let folder = stand_ins(&host);
    std::os::unix::fs::symlink(host.nginx.error_log_path(), folder.join("journal")).unwrap();
    host.set_env("PATH", &format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display()));
    host.start_agent_and_settle();
    host.nginx.break_config();
    host.renew(0, Duration::ZERO);
    let begun = Instant::now();
    let status = host.wait_for("the problem", |status| !status["sites"][0]["problem"].is_null());
    let problem = &status["sites"][0]["problem"];
    assert_eq!(problem["code"], "blocked", "{problem}");
    assert_eq!(status["servers"][0]["problem"]["code"], "nginx_refused", "{status}");
    assert!(problem["message"].as_str().unwrap().contains("certhook_made_this_broken"), "{problem}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let calls = std::fs::read_to_string(folder.join("calls")).unwrap();
    assert!(calls.contains(&format!("_PID={}", host.nginx.pid())), "{calls}");
    host.nginx.mend_config();
    std::fs::remove_file(folder.join("journal")).unwrap();
    host.wait_until_done(0);
    host.stop_agent();
}

/// A user that may signal and read, and nothing else: it sees a master's title, but neither its program nor
/// its standard error.
#[test]
fn two_capabilities_are_enough() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let mut host = Host::new(&[Writer::Certbot]);
    let state = host.state_dir();
    std::fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(65534), Some(65534)).unwrap();
    std::os::unix::fs::chown(host.path().join("client_secret"), Some(65534), Some(65534)).unwrap();
    std::fs::set_permissions(host.nginx.error_log_path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let capabilities = ["--inh-caps=-all,+kill,+dac_read_search", "--ambient-caps=+kill,+dac_read_search"];
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let bounds = "--bounding-set=-all,+kill,+dac_read_search";
    host.set_wrapper(&[&user[..], &capabilities, &[bounds]].concat());
    let (problems, code) = host.json(&["check", "--json"]);
    assert_eq!(code, 0, "{problems}");
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    assert!(host.log().contains("reloaded"), "{}", host.log());

    host.nginx.break_config();
    host.renew(0, Duration::ZERO);
    let begun = Instant::now();
    let status = host.wait_for("the problem", |status| !status["sites"][0]["problem"].is_null());
    let problem = &status["sites"][0]["problem"];
    assert_eq!(problem["code"], "blocked", "{problem}");
    assert_eq!(status["servers"][0]["problem"]["code"], "nginx_refused", "{status}");
    assert!(problem["message"].as_str().unwrap().contains("certhook_made_this_broken"), "{problem}");
    assert!(begun.elapsed() < Duration::from_secs(15), "from the log, not by a test: {:?}", begun.elapsed());
    host.nginx.mend_config();
    host.wait_until_done(0);
    host.stop_agent();
}
