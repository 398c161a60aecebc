//! The hooks that the zip has for programs that renew, by Windows's own shell.

use std::process::{Command, Output, Stdio};

use crate::host::{Host, started};

const HOOKS: [(&str, &str); 2] = [
    ("win-acme.cmd", include_str!("../../packaging/windows/zip/hooks/win-acme.cmd")),
    ("certify.cmd", include_str!("../../packaging/windows/zip/hooks/certify.cmd")),
];

/// As `package.sh` puts it into the zip.
fn run(host: &Host, (name, text): (&str, &str), certhook: &str) -> Output {
    let hook = host.path(name);
    std::fs::write(&hook, text.replace('\n', "\r\n")).unwrap();
    let mut command = Command::new("cmd");
    command.args(["/d", "/c"]).arg(&hook).stdin(Stdio::null());
    command.env("CERTHOOK", certhook).env("CERTHOOK_CONFIG", host.config());
    started(|| command.output())
}

#[test]
fn a_hook_is_harmless_without_certhook_and_without_a_configuration() {
    let host = Host::new();
    std::fs::write(host.config(), "").unwrap();
    for hook in HOOKS {
        for certhook in [r"C:\none\certhook.exe", env!("CARGO_BIN_EXE_certhook")] {
            let output = run(&host, hook, certhook);
            assert_eq!(output.status.code(), Some(0), "{hook:?} {certhook}: {output:?}");
        }
    }
    assert_eq!(host.portal.reports().len(), 0);
}

#[test]
fn a_hook_has_certhook_look_at_once() {
    for (count, hook) in HOOKS.into_iter().enumerate() {
        let host = Host::new();
        assert!(host.certhook(&["sync"]).status.success());
        let pair = host.issue();
        std::fs::write(host.key(), &pair.key_pem).unwrap();
        std::fs::write(host.certificate(), &pair.fullchain_pem).unwrap();
        let output = run(&host, hook, env!("CARGO_BIN_EXE_certhook"));
        assert_eq!(output.status.code(), Some(0), "{count}: {output:?}");
        assert_eq!((host.served(), host.portal.reports().len()), (pair.fingerprint, 1));
    }
}
