//! Commands that the administrator configures run without the service's capabilities.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use certhook_test_support::writers::Writer;

use super::tenant::{alone, run_as_service};
use crate::host::{Extra, Host};

/// Notes its own capabilities, and whether it can read a file that is only root's.
fn script(host: &Host) -> String {
    let root = host.path().display();
    format!(
        "{{ grep ^Cap /proc/self/status; if cat {root}/secret >/dev/null 2>&1; then echo SECRET; fi; echo end; }} \
         >>{root}/notes"
    )
}

/// Makes the file that is only root's, and the one that the service's commands write.
fn prepare(host: &Host) {
    for (name, mode) in [("secret", 0o600), ("notes", 0o666)] {
        let path = host.path().join(name);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Asserts that a command ran, and with no rights; what it noted is forgotten.
fn ran_without_rights(host: &Host, what: &str) {
    let path = host.path().join("notes");
    let notes = || fs::read_to_string(&path).unwrap();
    host.wait_until(&format!("{what} ran"), || notes().contains("end\n"));
    let notes = notes();
    let held: Vec<&str> = notes
        .lines()
        .filter(|line| ["CapInh", "CapPrm", "CapEff", "CapAmb"].iter().any(|set| line.starts_with(set)))
        .filter(|line| !line.ends_with("0000000000000000"))
        .collect();
    assert!(notes.contains("CapAmb:"), "{what}: {notes}");
    assert!(held.is_empty(), "{what} has capabilities: {held:?}");
    assert!(!notes.contains("SECRET"), "{what} read a file that is only root's");
    fs::write(path, "").unwrap();
}

fn host(top: &str) -> Host {
    let extra = Extra { no_portal: true, top: top.into(), ..Extra::default() };
    Host::with(&[Writer::AcmeSh], extra)
}

#[test]
fn a_reload_command_of_nginx_has_no_capabilities() {
    alone(concat!(module_path!(), "::a_reload_command_of_nginx_has_no_capabilities"), || {
        let mut host = host("");
        prepare(&host);
        let line =
            format!("reload = [\"/bin/sh\", \"-c\", {:?}]\nverify_timeout = \"1s\"\n[[site]]", script(&host));
        let text = host.config_text().replace("[[site]]", &line);
        fs::write(host.config_path(), text).unwrap();
        run_as_service(&mut host);
        host.start_agent_and_settle();
        host.renew(0, Duration::ZERO);
        ran_without_rights(&host, "the reload command of nginx");
    });
}

#[test]
fn a_command_server_has_no_capabilities() {
    alone(concat!(module_path!(), "::a_command_server_has_no_capabilities"), || {
        let mut host = host("");
        prepare(&host);
        host.use_command_server(&script(&host), "");
        run_as_service(&mut host);
        host.start_agent_and_settle();
        host.renew(0, Duration::ZERO);
        ran_without_rights(&host, "a command server");
    });
}

#[test]
fn an_alert_command_has_no_capabilities() {
    alone(concat!(module_path!(), "::an_alert_command_has_no_capabilities"), || {
        let mut host = host("");
        prepare(&host);
        let alert = format!(
            "[alert]\ncommand = [\"/bin/sh\", \"-c\", {:?}]\nafter = \"100ms\"\n[watch]",
            script(&host)
        );
        let text = host.config_text().replace("[watch]", &alert);
        fs::write(host.config_path(), text).unwrap();
        run_as_service(&mut host);
        host.start_agent_and_settle();
        host.nginx.break_config();
        host.renew(0, Duration::ZERO);
        ran_without_rights(&host, "the alert command");
    });
}

#[test]
fn systemctl_has_no_capabilities() {
    alone(concat!(module_path!(), "::systemctl_has_no_capabilities"), || {
        let real = "/usr/bin/systemctl";
        if !std::path::Path::new(real).exists() {
            return crate::machine::skip("systemctl's capabilities", "there is no systemctl");
        }
        let mut host = host("");
        prepare(&host);
        let fake = host.path().join("systemctl");
        fs::write(&fake, format!("#!/bin/sh\n{}\n", script(&host))).unwrap();
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
        super::tenant::bind(&fake, real);
        let text =
            host.config_text().replace("[[site]]", "reload = \"systemd\"\nverify_timeout = \"1s\"\n[[site]]");
        fs::write(host.config_path(), text).unwrap();
        run_as_service(&mut host);
        host.start_agent_and_settle();
        host.renew(0, Duration::ZERO);
        ran_without_rights(&host, "systemctl");
    });
}
