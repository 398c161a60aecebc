//! A real nginx of another user is told to reload only where the configuration names that user.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use certhook_test_support::nginx::{LogSummary, free_port};
use certhook_test_support::wire;
use certhook_test_support::writers::Writer;

use super::tenant::{alone, bind, give, run_as_service};
use crate::host::{Extra, Host, PATIENCE};
use crate::machine::{run, wait_until};

const DEPLOY: u32 = 64_124;

/// An nginx whose master is the user `deploy`, with the only site.
struct Scene {
    host: Host,
    prefix: PathBuf,
    endpoint: String,
}

impl Scene {
    fn new(user: &str) -> Self {
        let extra = Extra { no_portal: true, discovered: true, ..Extra::default() };
        let mut host = Host::with(&[Writer::AcmeSh], extra);
        let prefix = host.path().join("deploy");
        fs::create_dir(&prefix).unwrap();
        // It starts with the test's own nginx for a pattern, which ends then.
        let endpoint = format!("127.0.0.1:{}", free_port());
        let text = fs::read_to_string(host.nginx.config_path()).unwrap();
        let text = text
            .replace(&host.nginx.endpoint(), &endpoint)
            .replace(host.nginx.prefix().to_str().unwrap(), prefix.to_str().unwrap());
        fs::write(prefix.join("nginx.conf"), text).unwrap();
        host.nginx.stop();
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let with_deploy = host.path().join("passwd");
        fs::write(&with_deploy, format!("{passwd}deploy:x:{DEPLOY}:{DEPLOY}::/nonexistent:/bin/sh\n"))
            .unwrap();
        bind(&with_deploy, "/etc/passwd");
        for path in [&prefix, &host.path().join("ssl")] {
            run("chown", &["-R", &format!("{DEPLOY}:{DEPLOY}"), path.to_str().unwrap()]).unwrap();
        }
        give(&prefix, DEPLOY);
        let scene = Self { host, prefix, endpoint };
        scene.start();
        let text = format!(
            "state_dir = {:?}\n[server.nginx]\nkind = \"nginx\"\ndiscover = true\npid_file = {:?}\nconfig = {:?}\n\
             prefix = {:?}\n{user}\n",
            scene.host.state_dir(),
            scene.prefix.join("nginx.pid"),
            scene.prefix.join("nginx.conf"),
            scene.prefix
        );
        fs::write(scene.host.config_path(), text).unwrap();
        scene
    }

    fn start(&self) {
        let (id, prefix) = (DEPLOY.to_string(), self.prefix.to_str().unwrap());
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(self.host.nginx.binary());
        command.args([
            "-p",
            prefix,
            "-c",
            &format!("{prefix}/nginx.conf"),
            "-e",
            &format!("{prefix}/error.log"),
        ]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        wait_until("deploy's nginx serves", || self.served().is_some());
    }

    fn served(&self) -> Option<String> {
        wire::served(&self.endpoint, &self.host.sites[0].name).ok().map(|served| served.fingerprint)
    }

    fn hups(&self) -> usize {
        LogSummary::of(&fs::read_to_string(self.prefix.join("error.log")).unwrap()).hups
    }
}

#[test]
fn an_nginx_of_another_user_is_not_signalled() {
    alone(concat!(module_path!(), "::an_nginx_of_another_user_is_not_signalled"), || {
        let mut scene = Scene::new("");
        let found = scene.host.certhook(&["check"]);
        scene.host.renew(0, Duration::ZERO);
        scene.host.certhook(&["sync", "--wait", "1s"]);
        assert_eq!(scene.hups(), 0, "root's sync SIGNALLED it");
        run_as_service(&mut scene.host);
        scene.host.start_agent();
        scene.host.renew(0, Duration::ZERO);
        let until = Instant::now() + PATIENCE;
        loop {
            assert_eq!(scene.hups(), 0, "the service SIGNALLED it");
            let status = scene.host.agent_status().unwrap_or_default();
            let noticed =
                status["sites"][0]["certificate"]["fingerprint"] == *scene.host.sites[0].pair.fingerprint;
            if noticed && !status["servers"][0]["problem"].is_null() {
                break;
            }
            assert!(Instant::now() < until, "nothing is said of it: {status}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let text = String::from_utf8_lossy(&found.stdout);
        let pid = fs::read_to_string(scene.prefix.join("nginx.pid")).unwrap();
        assert!(text.contains("untrusted_process") && text.contains(pid.trim()), "{text}");
        assert!(text.contains("deploy") || text.contains(&DEPLOY.to_string()), "its user is named: {text}");
        scene.host.stop_agent();
    });
}

#[test]
fn an_nginx_of_the_configured_user_is_reloaded() {
    alone(concat!(module_path!(), "::an_nginx_of_the_configured_user_is_reloaded"), || {
        let mut scene = Scene::new("user = \"deploy\"");
        let served = |scene: &Scene| scene.served().as_ref() == Some(&scene.host.sites[0].pair.fingerprint);
        scene.host.certhook(&["sync"]);
        scene.host.renew(0, Duration::ZERO);
        let output = scene.host.certhook(&["sync"]);
        assert!(output.status.success() && served(&scene), "{output:?}");
        run_as_service(&mut scene.host);
        scene.host.start_agent();
        scene.host.wait_until_served(0);
        scene.host.renew(0, Duration::ZERO);
        scene.host.wait_until_served(0);
        assert!(served(&scene));
        scene.host.stop_agent();
    });
}
