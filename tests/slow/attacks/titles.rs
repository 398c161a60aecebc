//! A process of the tenant's that calls itself an nginx master: nothing of the tenant's is executed or signalled, the
//! real renewal is served, and `check` names the process.

use std::fs;
use std::time::{Duration, Instant};

use certhook_test_support::wire;
use certhook_test_support::writers::Writer;

use super::tenant::{Fake, Tenant, alone, empty, run_as_service, start_as_packaged};
use crate::host::{Extra, Host, PATIENCE};

/// What certhook's configuration says of nginx, beside `discover`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Nothing,
    Config,
    PidFile,
    Binary,
    Prefix,
}

/// How the tenant's process pretends to be nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    /// `nginx: master process /home/x/prog`
    Title,
    /// `… -c FILE`, the configured one where there is such.
    TitleAndConfig,
    /// `… -g load_module /home/x/evil.so;`, with the real program's path.
    Globals,
    /// A program of root's that is set-user-ID, as `passwd`, waits at a prompt.
    Setuid,
    /// A pid file that nginx left has the number of the tenant's process.
    StalePidFile,
}

const TRICKS: [Trick; 5] =
    [Trick::Title, Trick::TitleAndConfig, Trick::Globals, Trick::Setuid, Trick::StalePidFile];

/// Commands that root runs by hand.
const BY_HAND: [&[&str]; 5] =
    [&["check"], &["status", "--json"], &["discover"], &["verify", "--json"], &["sync", "--wait", "10s"]];

macro_rules! table {
    ($($name:ident: $up:literal, $says:ident;)*) => {$(
        #[test]

        fn $name() {
            alone(concat!(module_path!(), "::", stringify!($name)), || Scene::new($up, Says::$says).play());
        }
    )*};
}

table! {
    with_nginx_up_and_six_lines: true, Nothing;
    with_nginx_up_and_config: true, Config;
    with_nginx_up_and_pid_file: true, PidFile;
    with_nginx_up_and_binary: true, Binary;
    with_nginx_up_and_prefix: true, Prefix;
    with_nginx_down_and_six_lines: false, Nothing;
    with_nginx_down_and_config: false, Config;
    with_nginx_down_and_pid_file: false, PidFile;
    with_nginx_down_and_binary: false, Binary;
    with_nginx_down_and_prefix: false, Prefix;
}

/// A host with one site, nginx as its package starts it, and a tenant.
struct Scene {
    host: Host,
    tenant: Tenant,
    up: bool,
    says: Says,
    /// What happened that must not.
    wrong: Vec<String>,
}

impl Scene {
    fn new(up: bool, says: Says) -> Self {
        let extra = Extra { no_portal: true, discovered: true, ..Extra::default() };
        let mut host = Host::with(&[Writer::Lego], extra);
        start_as_packaged(&mut host);
        let tenant = Tenant::new(&host);
        let mut scene = Self { host, tenant, up, says, wrong: Vec::new() };
        // What was served once is to be loaded again after a renewal.
        scene.configure(Trick::Title);
        assert_eq!(scene.host.certhook(&["sync"]).status.code(), Some(0));
        if !up {
            scene.host.nginx.stop();
        }
        scene
    }

    fn play(mut self) {
        let programs = self.host.path().join("programs");
        fs::create_dir(&programs).unwrap();
        empty(programs.to_str().unwrap());
        for trick in TRICKS {
            self.configure(trick);
            let mut fake = self.pretend(trick);
            self.by_hand(trick, &mut fake);
            self.by_service(trick, &mut fake);
        }
        let (up, says) = (if self.up { "up" } else { "down" }, self.says);
        assert!(self.wrong.is_empty(), "nginx {up}, {says:?}:\n{}", self.wrong.join("\n"));
    }

    /// The configuration, with nginx's own test before each reload where that test is what the trick is after.
    fn configure(&self, trick: Trick) {
        let nginx = &self.host.nginx;
        let line = match self.says {
            Says::Nothing => String::new(),
            Says::Config => format!("config = {:?}", nginx.config_path()),
            Says::PidFile => format!("pid_file = {:?}", nginx.pid_file()),
            Says::Binary => format!("binary = {:?}", nginx.binary()),
            Says::Prefix => format!("prefix = {:?}", nginx.prefix()),
        };
        let test = matches!(trick, Trick::TitleAndConfig | Trick::Globals);
        let text = format!(
            "state_dir = {:?}\n[limits]\nchanges_free = 0\n[server.nginx]\nkind = \"nginx\"\ndiscover = true\npre_check = {test}\n{line}\n",
            self.host.state_dir()
        );
        fs::write(self.host.config_path(), text).unwrap();
    }

    fn pretend(&self, trick: Trick) -> Fake {
        let (nginx, tenant) = (&self.host.nginx, &self.tenant);
        let home = tenant.home.display();
        let title = format!("nginx: master process {home}/prog");
        match trick {
            Trick::Title => tenant.fake(&title),
            // With what is configured it is more like the configured one than the real one, whose title has no paths.
            Trick::TitleAndConfig => tenant.fake(&match self.says {
                Says::Config => format!("{title} -c {}", nginx.config_path().display()),
                Says::Prefix => format!("{title} -p {} -c {home}/evil.conf", nginx.prefix().display()),
                _ => format!("{title} -c {home}/evil.conf"),
            }),
            Trick::Globals => {
                let real = nginx.binary();
                tenant
                    .fake(&format!("nginx: master process {} -g load_module {home}/evil.so;", real.display()))
            }
            Trick::Setuid => tenant.fake_of_setuid_program(&self.host.path().join("programs"), &title),
            Trick::StalePidFile => {
                let fake = tenant.fake(&title);
                fs::write("/run/nginx.pid", format!("{}\n", fake.pid())).unwrap();
                if !self.up {
                    fs::write(nginx.pid_file(), format!("{}\n", fake.pid())).unwrap();
                }
                fake
            }
        }
    }

    /// Root's commands, while no agent runs.
    fn by_hand(&mut self, trick: Trick, fake: &mut Fake) {
        self.host.set_wrapper(&[]);
        for words in BY_HAND {
            self.host.renew(0, Duration::ZERO);
            let what = format!("{trick:?}, root by hand, {}", words[0]);
            let output = self.host.certhook(words);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            self.harmed(&what, fake);
            if ["several_masters", "masters of nginx are running"].iter().any(|words| text.contains(words)) {
                self.wrong.push(format!("{what}: several_masters"));
            }
            match words[0] {
                "check" => self.names(&what, &text, fake.pid()),
                "discover" if !text.contains(self.host.sites[0].layout.certificate.to_str().unwrap()) => {
                    self.wrong.push(format!(
                        "{what}: the real site is not found: {}",
                        shown(&text, &output.stderr)
                    ));
                }
                "sync" if self.up && (!output.status.success() || !self.is_served()) => {
                    let why = shown(&text, &output.stderr);
                    self.wrong.push(format!("{what}: the real renewal is not served: {why}"));
                }
                _ => {}
            }
        }
    }

    /// `check` names the process once.
    fn names(&mut self, what: &str, text: &str, pid: u32) {
        let named = text
            .lines()
            .filter(|line| line.contains("untrusted_process") && line.contains(&format!("process {pid} ")));
        let named = named.count();
        if named != 1 {
            self.wrong
                .push(format!("{what}: the process {pid} is named {named} times: {}", shown(text, &[])));
        }
    }

    /// A renewal while the service runs; where nginx is down, it is started afterwards and renewed once more.
    fn by_service(&mut self, trick: Trick, fake: &mut Fake) {
        let what = format!("{trick:?}, service");
        run_as_service(&mut self.host);
        self.host.start_agent();
        self.host.wait_for("a first look", |_| true);
        if !self.up {
            let well = self.renew_while_down(&what, fake);
            self.host.nginx.start_again();
            if well {
                self.wait_until_served(&format!("{what}, nginx started"), fake);
            }
        }
        self.host.renew(0, Duration::ZERO);
        self.wait_until_served(&what, fake);
        if !self.up {
            self.host.nginx.stop();
        }
        self.harmed(&what, fake);
        // What hangs is ended at once.
        self.host.kill_agent();
    }

    /// Whether the renewal is noticed, and nobody is told to reload.
    fn renew_while_down(&mut self, what: &str, fake: &mut Fake) -> bool {
        self.host.renew(0, Duration::ZERO);
        let until = Instant::now() + PATIENCE;
        loop {
            if self.harmed(what, fake) {
                return false;
            }
            let status = self.host.agent_status().unwrap_or_default();
            let noticed =
                status["sites"][0]["certificate"]["fingerprint"] == *self.host.sites[0].pair.fingerprint;
            if noticed && !status["servers"][0]["problem"].is_null() {
                return true;
            }
            if Instant::now() > until {
                self.wrong.push(format!("{what}: nothing is said of nginx, which is down: {status}"));
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_until_served(&mut self, what: &str, fake: &mut Fake) {
        let until = Instant::now() + PATIENCE;
        loop {
            if self.harmed(what, fake) {
                return;
            }
            let status = self.host.agent_status().unwrap_or_default();
            let problem = status["servers"][0]["problem"]["code"].as_str().unwrap_or_default();
            let wanted = &self.host.sites[0].pair.fingerprint;
            let recorded = status["sites"][0]["served"]["fingerprint"] == **wanted;
            match recorded && self.is_served() {
                true => return,
                false if problem == "several_masters" || Instant::now() > until => {
                    self.wrong.push(format!("{what}: the real renewal is not served: {problem}"));
                    return;
                }
                false => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn is_served(&self) -> bool {
        let site = &self.host.sites[0];
        let served = wire::served(&self.host.nginx.endpoint(), &site.name);
        served.is_ok_and(|served| served.fingerprint == site.pair.fingerprint)
    }

    /// Notes what of the tenant's was executed or signalled.
    fn harmed(&mut self, what: &str, fake: &mut Fake) -> bool {
        let executed = self.tenant.executed();
        let signals = fake.signals();
        let before = self.wrong.len();
        if !executed.is_empty() {
            self.wrong.push(format!("{what}: EXECUTED: {executed:?}"));
        }
        if !signals.is_empty() {
            self.wrong.push(format!("{what}: SIGNALLED: {signals:?}"));
        }
        self.wrong.len() > before
    }
}

fn shown(text: &str, errors: &[u8]) -> String {
    format!("{text}{}", String::from_utf8_lossy(errors)).replace('\n', " | ").chars().take(400).collect()
}
