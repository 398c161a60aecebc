//! Other people's tools as they are: ACME clients that renew from an authority on loopback, and the commands
//! people copy with. One reload, one report and the right time for each renewal.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use certhook_test_support::ca::{Authority, Order};
use certhook_test_support::nginx::{Nginx, NginxSite, free_port};
use certhook_test_support::portal::Record;
use certhook_test_support::writers::{Layout, Writer};

use crate::host::{Extra, Host, PATIENCE, Site, as_the_portal_wants};

/// What is renewed.
const NAME: &str = "renewed.test";

#[test]
fn certbot_renews() {
    // Debian's python3-certbot is all of certbot but its timer.
    let main = "import sys; from certbot.main import main; sys.exit(main())";
    let program = if found("certbot") { &["certbot"][..] } else { &["/usr/bin/python3", "-c", main] };
    if !runs(program, &["--version"]) {
        return missing("certbot");
    }
    renews(|ground, renewal| {
        let at = |name: &str| ground.path(name).display().to_string();
        let mut command = Command::new(program[0]);
        command
            .args(&program[1..])
            .env("REQUESTS_CA_BUNDLE", ground.root())
            .args(["--server", &ground.directory()]);
        command.args(["--config-dir", &at("certbot"), "--work-dir", &at("work"), "--logs-dir", &at("logs")]);
        command.args(["--standalone", "--http-01-address", "127.0.0.1", "--non-interactive"]);
        command.args(["--http-01-port", &ground.challenge_port.to_string()]);
        if renewal {
            command.args(["renew", "--force-renewal", "--no-random-sleep-on-renew"]);
        } else {
            let whose = ["--agree-tos", "--register-unsafely-without-email", "--domain", NAME];
            command.arg("certonly").args(whose).arg("--deploy-hook").arg(hook("certbot"));
        }
        command.env("CERTHOOK", ground.certhook());
        run(&mut command);
        let live = ground.path("certbot/live").join(NAME);
        (live.join("fullchain.pem"), live.join("privkey.pem"))
    });
}

#[test]
fn dehydrated_renews() {
    if !runs(&["dehydrated"], &["--version"]) {
        return missing("dehydrated");
    }
    renews(|ground, renewal| {
        let config = ground.path("dehydrated.conf");
        let lines = [
            format!("CA={:?}", ground.directory()),
            format!("BASEDIR={:?}", ground.path("dehydrated")),
            format!("WELLKNOWN={:?}", ground.challenges()),
            format!("CURL_OPTS=\"--cacert {}\"", ground.root().display()),
            "AUTO_CLEANUP=no".to_owned(),
            format!("HOOK={:?}", hook("dehydrated")),
        ];
        fs::write(&config, lines.join("\n")).unwrap();
        let _web = ground.serve_challenges();
        let dehydrated = || {
            let mut command = Command::new("dehydrated");
            command.arg("--config").arg(&config).env("CERTHOOK", ground.certhook());
            command
        };
        if !renewal {
            fs::create_dir_all(ground.path("dehydrated")).unwrap();
            run(dehydrated().args(["--register", "--accept-terms"]));
        }
        run(dehydrated().args(["--cron", "--force", "--domain", NAME]));
        let folder = ground.path("dehydrated/certs").join(NAME);
        (folder.join("fullchain.pem"), folder.join("privkey.pem"))
    });
}

#[test]
fn lego_renews() {
    if !runs(&["lego"], &["--version"]) {
        return missing("lego");
    }
    renews(|ground, renewal| {
        let mut command = Command::new("lego");
        command.env("LEGO_CA_CERTIFICATES", ground.root()).args([
            "--server",
            &ground.directory(),
            "--accept-tos",
        ]);
        command
            .args(["--email", "somebody@renewed.test", "--domains", NAME, "--path"])
            .arg(ground.path("lego"));
        command.args(["--http", "--http.port", &format!("127.0.0.1:{}", ground.challenge_port)]);
        command.args(if renewal { &["renew", "--days", "9999", "--no-random-sleep"][..] } else { &["run"] });
        command.arg(if renewal { "--renew-hook" } else { "--run-hook" }).arg(hook("lego"));
        command.env("CERTHOOK", ground.certhook());
        run(&mut command);
        let file = |end| ground.path("lego/certificates").join(format!("{NAME}.{end}"));
        (file("crt"), file("key"))
    });
}

/// One of ours, as packages install it.
fn hook(tool: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks").join(tool)
}

/// How often each tool renews.
const RENEWALS: usize = 3;

/// The tool issues, nginx serves, and the tool renews: `tool` gets whether it is a renewal, and says where
/// certificate and key are. Our hook is installed in it; the last renewal is the first at which it finds a certhook.
fn renews(tool: impl Fn(&Acme, bool) -> (PathBuf, PathBuf)) {
    let Some(ground) = Acme::start() else { return missing("pebble") };
    let (certificate, key) = tool(&ground, false);
    let mut host = Host::with(&[], Extra::unlimited());
    let layout = Layout { certificate: certificate.clone(), key, ..Layout::plain(host.path(), NAME) };
    add_site(&mut host, layout);
    host.start_agent_and_settle();
    let before = host.nginx.log().hups;
    for renewal in 1..=RENEWALS {
        let old = fingerprint(&certificate);
        if renewal == RENEWALS {
            ground.install_certhook(&host);
        }
        tool(&ground, true);
        if renewal == RENEWALS {
            let calls = fs::read_to_string(ground.path("calls")).unwrap_or_default();
            assert_eq!(calls, "check --config-only = 0\nsync --wait 60s = 0\n", "what the hook did");
        }
        host.sites[0].pair.fingerprint = fingerprint(&certificate);
        assert_ne!(host.sites[0].pair.fingerprint, old, "it did not renew");
        host.wait_until_done(0);
        assert_once_each(&host, before, renewal, &certificate, "a renewal");
    }
    nothing_more_comes(host, before, RENEWALS);
}

/// Commands that put what is in `new` into `live`, whose certificate nginx serves.
const COMMANDS: [&str; 9] = [
    "cp -p new/fullchain.pem new/privkey.pem live/",
    "cp -a new/. live/",
    "install -m 600 new/privkey.pem live/ && install -m 644 new/fullchain.pem live/",
    "cat new/privkey.pem > live/privkey.pem; cat new/fullchain.pem > live/fullchain.pem",
    "mv new/fullchain.pem live/ && mv new/privkey.pem live/",
    "tar -C new -cf - . | tar -C live -xpf -",
    // Left to itself it skips what is as long and as old as what is there.
    "rsync -t --ignore-times new/fullchain.pem new/privkey.pem live/",
    "dd if=new/fullchain.pem of=live/fullchain.pem bs=100 status=none; cp new/privkey.pem live/",
    "cp -rp live next && cp -p new/* next/ && mv live last && mv next live && rm -r last",
];

#[test]
fn people_copy() {
    let mut host = Host::with(&[], Extra::unlimited());
    let place = |folder: &str| {
        let folder = host.path().join(folder);
        let (certificate, key) = (folder.join("fullchain.pem"), folder.join("privkey.pem"));
        fs::create_dir(&folder).unwrap();
        Layout { certificate, key, folder, ..Layout::plain(host.path(), NAME) }
    };
    let (new, live) = (place("new"), place("live"));
    // Made a while ago, on the machine that renews.
    let made = |host: &Host, at: &Layout| {
        let pair = host.ca.issue(Order { hosts: &[NAME], ..Order::default() });
        Writer::CopyKeepingTimes.renew(at, &pair, Duration::ZERO);
        pair
    };
    made(&host, &live);
    let certificate = live.certificate.clone();
    add_site(&mut host, live);
    host.start_agent_and_settle();
    let before = host.nginx.log().hups;
    let mut renewals = 0;
    for command in COMMANDS {
        if command.starts_with("rsync") && !runs(&["rsync"], &["--version"]) {
            missing("rsync");
            continue;
        }
        host.sites[0].pair = made(&host, &new);
        run(Command::new("sh").args(["-ec", command]).current_dir(host.path()));
        host.wait_until_done(0);
        renewals += 1;
        assert_once_each(&host, before, renewals, &certificate, command);
    }
    nothing_more_comes(host, before, renewals);
}

/// Adds a site whose first certificate another tool has put there, and has nginx serve it.
fn add_site(host: &mut Host, layout: Layout) {
    let id = 158;
    let installed = Some("2026-01-01T00:00:00".to_owned());
    host.portal.add_certificate(Record { remote_create_date: installed, ..Record::new(id, NAME) });
    host.nginx.set_sites(vec![NginxSite::new(&[NAME], &layout.certificate, &layout.key)]);
    host.nginx.hup();
    host.nginx.wait_idle();
    // What it is the tests ask the file.
    let pair = host.ca.issue(Order { hosts: &[NAME], ..Order::default() });
    host.sites.push(Site { name: NAME.to_owned(), id, layout, writer: Writer::CopyKeepingTimes, pair });
    host.configure();
}

/// After so many renewals, of which this was the last.
fn assert_once_each(host: &Host, hups_before: usize, renewals: usize, certificate: &Path, what: &str) {
    let log = host.nginx.log();
    assert_eq!(log.hups - hups_before, renewals, "{what}\n{}", host.log());
    assert_eq!(log.emergencies, [] as [String; 0], "{what}");
    let reports = host.portal.reports();
    assert_eq!(reports.len(), renewals, "{what}: {reports:?}");
    let written = fs::metadata(certificate).and_then(|file| file.modified()).unwrap();
    assert_eq!(reports[renewals - 1].remote_create_date, as_the_portal_wants(written), "{what}");
    assert_eq!(host.served(0), fingerprint(certificate), "{what}");
}

/// Whatever was late has come.
fn nothing_more_comes(mut host: Host, hups_before: usize, renewals: usize) {
    let (status, code) = host.json(&["sync", "--json"]);
    assert_eq!(code, 0, "{status}");
    host.nginx.wait_idle();
    assert_eq!((host.nginx.log().hups - hups_before, host.portal.reports().len()), (renewals, renewals));
    host.stop_agent();
}

/// Debian's pebble, with a name server for which every name is 127.0.0.1.
struct Acme {
    folder: tempfile::TempDir,
    port: u16,
    /// Where it looks for http-01 answers.
    challenge_port: u16,
    programs: Vec<Child>,
}

impl Acme {
    /// `None` where there is no pebble.
    fn start() -> Option<Self> {
        if !found("pebble") || !found("pebble-challtestsrv") {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("certhook-acme-").tempdir().unwrap();
        // nginx's workers read the challenges as another user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut acme = Self { folder, port: free_port(), challenge_port: free_port(), programs: Vec::new() };
        let ca = Authority::new();
        let own = ca.issue(Order { hosts: &["127.0.0.1"], ..Order::default() });
        fs::write(acme.root(), ca.root_pem()).unwrap();
        fs::write(acme.path("pebble.crt"), own.fullchain_pem).unwrap();
        fs::write(acme.path("pebble.key"), own.key_pem).unwrap();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", acme.port),
            "certificate": acme.path("pebble.crt"),
            "privateKey": acme.path("pebble.key"),
            "httpPort": acme.challenge_port,
            // Ninety days, as the simulated portal's records have.
            "certificateValidityPeriod": 90 * 24 * 3600,
        }});
        fs::write(acme.path("pebble.json"), config.to_string()).unwrap();
        let (names, manage) = (free_port(), free_port());
        let mut server = Command::new("pebble-challtestsrv");
        server.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        server.args(["-dns01", &format!("127.0.0.1:{names}"), "-management", &format!("127.0.0.1:{manage}")]);
        acme.spawn(&mut server, manage);
        let mut server = Command::new("pebble");
        // It looks at once, and takes every nonce: its tests of clients are not wanted here.
        server.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0");
        server.arg("-config").arg(acme.path("pebble.json"));
        server.args(["-dnsserver", &format!("127.0.0.1:{names}")]);
        let port = acme.port;
        acme.spawn(&mut server, port);
        Some(acme)
    }

    /// Starts a program and waits until it listens.
    fn spawn(&mut self, command: &mut Command, port: u16) {
        let log = || fs::File::options().append(true).create(true).open(self.path("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log()).stderr(log()).spawn().unwrap();
        self.programs.push(child);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || fs::read_to_string(self.path("log")).unwrap();
            assert!(Instant::now() < until, "{command:?} does not listen\n{}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What its own certificate is to be verified with.
    fn root(&self) -> PathBuf {
        self.path("root.pem")
    }

    fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// What the hooks take for certhook.
    fn certhook(&self) -> PathBuf {
        self.path("certhook")
    }

    /// From here on it is there, for the agent of `host`, and its calls and their exit codes are noted.
    fn install_certhook(&self, host: &Host) {
        let script = format!(
            "#!/bin/sh\nCERTHOOK_CONFIG={:?} {:?} \"$@\"\ncode=$?\necho \"$* = $code\" >>{:?}\nexit $code\n",
            host.config_path(),
            env!("CARGO_BIN_EXE_certhook"),
            self.path("calls")
        );
        fs::write(self.certhook(), script).unwrap();
        fs::set_permissions(self.certhook(), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The folder of a tool that does not answer challenges itself.
    fn challenges(&self) -> PathBuf {
        self.path("challenges")
    }

    /// Answers for such a tool, as a web host does.
    fn serve_challenges(&self) -> Nginx {
        fs::create_dir_all(self.challenges()).unwrap();
        let (port, folder) = (self.challenge_port, self.challenges());
        let location = format!("location /.well-known/acme-challenge/ {{ alias {}/; }}", folder.display());
        Nginx::builder().http_extra(&format!("server {{ listen 127.0.0.1:{port}; {location} }}")).start()
    }
}

impl Drop for Acme {
    fn drop(&mut self) {
        for program in &mut self.programs {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

/// Runs a command, which must succeed.
fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}

fn runs(program: &[&str], arguments: &[&str]) -> bool {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(arguments).stdin(Stdio::null());
    command.output().is_ok_and(|output| output.status.success())
}

fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A tool that could be installed must be; else its test says that it is skipped.
fn missing(tool: &str) {
    assert!(
        !(found("apt-get") && nix::unistd::geteuid().is_root()),
        "there is no {tool} here: run packaging/tools.sh"
    );
    // Not captured, as what is printed would be.
    let _ = writeln!(std::io::stderr(), "skipped: there is no {tool} here, and no way to install it");
}

/// Of a file's first certificate, as openssl tells it.
fn fingerprint(certificate: &Path) -> String {
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(certificate);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, hexadecimal) = text.trim().split_once('=').unwrap_or_else(|| panic!("{certificate:?}: {text}"));
    hexadecimal.replace(':', "").to_lowercase()
}
