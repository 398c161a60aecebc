//! Secrets and files as Windows' programs write them.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::windows::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

use crate::host::{Host, retried};

/// All that others may do with an open file: read, write, remove.
const SHARED: u32 = 7;

fn protect(host: &Host, input: &[u8]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certhook"));
    command.args(["service", "protect"]).arg(host.path("client_secret"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn a_protected_secret_is_used_as_it_was_typed() {
    let host = Host::new();
    assert!(host.certhook(&["sync"]).status.success());
    let secret = host.portal.client_secret();
    let (code, said) = protect(&host, format!("\u{feff}{secret}\r\n").as_bytes());
    assert_eq!(code, Some(0), "{said}");
    let written = std::fs::read_to_string(host.path("client_secret")).unwrap();
    assert!(written.starts_with("dpapi:") && !written.contains(&secret) && !said.contains(&secret));
    let pair = host.issue();
    std::fs::write(host.key(), &pair.key_pem).unwrap();
    std::fs::write(host.certificate(), &pair.fullchain_pem).unwrap();
    let synced = host.certhook(&["sync"]);
    assert!(synced.status.success(), "{synced:?}");
    assert_eq!(host.portal.reports().len(), 1);
    // What is unfit leaves the good one as it is.
    for input in [&b""[..], b"\xff\xfes\0"] {
        let (code, said) = protect(&host, input);
        assert_eq!(code, Some(1), "{said}");
    }
    assert_eq!(std::fs::read_to_string(host.path("client_secret")).unwrap(), written);
}

#[test]
fn a_file_that_its_writer_lets_others_read_is_waited_for_too() {
    let mut host = Host::new();
    host.start_agent();
    let pair = host.issue();
    retried(|| std::fs::write(host.key(), &pair.key_pem));
    let mut writer =
        retried(|| OpenOptions::new().write(true).truncate(true).share_mode(SHARED).open(host.certificate()));
    // Whole, but who has it open may have more to write.
    writer.write_all(pair.fullchain_pem.as_bytes()).unwrap();
    host.wait_for("it is seen", |status| {
        host.log().contains("being_written") && status["sites"][0]["state"] == "pending"
    });
    drop(writer);
    host.wait_until_done(&pair);
    assert_eq!(host.portal.reports().len(), 1);
}
