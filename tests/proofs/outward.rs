//! What users other than root and certhook's own are told: the status without details, by a socket for a group.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};

use certhook_test_support::writers::Writer;
use serde_json::Value;

use crate::host::{Extra, Host};

const GROUP: u32 = 54_321;
const USER: &str = "--reuid=65534";

/// A host whose agent has a runtime directory, and a database of groups that holds `groups`, in a namespace of its own.
fn host(groups: &str) -> Host {
    let extra = Extra {
        watch: "settle = \"100ms\"\npoll = \"20ms\"".to_owned(),
        site: "report = false".to_owned(),
        ..Extra::default()
    };
    let mut host = Host::with(&[Writer::AcmeSh], extra);
    let (runtime, file) = (host.path().join("run"), host.path().join("group"));
    std::fs::create_dir(&runtime).unwrap();
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(&file, format!("root:x:0:\n{groups}")).unwrap();
    host.set_env("RUNTIME_DIRECTORY", runtime.to_str().unwrap());
    let mount = format!("mount --bind '{}' /etc/group && exec \"$@\"", file.display());
    host.set_wrapper(&["unshare", "--mount", "sh", "-c", &mount, "sh"]);
    host.start_agent_and_settle();
    host
}

fn host_with_group() -> Host {
    host(&format!("certhook-status:x:{GROUP}:\n"))
}

fn socket(host: &Host) -> PathBuf {
    host.path().join("run/status.sock")
}

/// `certhook status` of an ordinary user.
fn status_of_user(host: &Host, groups: &str, arguments: &[&str]) -> Output {
    Command::new("setpriv")
        .args([USER, "--regid=65534", groups, env!("CARGO_BIN_EXE_certhook"), "--config"])
        .arg(host.config_path())
        .arg("status")
        .args(arguments)
        .env_clear()
        .env("RUNTIME_DIRECTORY", host.path().join("run"))
        .output()
        .unwrap()
}

fn member(arguments: &[&str], host: &Host) -> Output {
    status_of_user(host, &format!("--groups={GROUP}"), arguments)
}

fn answer(host: &Host, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket(host)).unwrap();
    let _ = stream.write_all(request);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn members_of_the_group_see_the_status_without_details() {
    let mut host = host_with_group();
    let metadata = socket(&host).symlink_metadata().unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.gid()), (0o660, GROUP));
    // With and without the right to read the configuration.
    for mode in [0o644, 0o600] {
        std::fs::set_permissions(host.config_path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let output = member(&["--json"], &host);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&told["sites"][0]["name"], &told["sites"][0]["state"]),
            (&"site0.test".into(), &"current".into())
        );
        assert!(!String::from_utf8_lossy(&output.stdout).contains('/'), "no path: {output:?}");
        let output = member(&[], &host);
        assert!(
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains("site0.test"),
            "{output:?}"
        );

        let output = status_of_user(&host, "--clear-groups", &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        assert!(said.contains("usermod -aG certhook-status nobody"), "{said}");
    }
    host.stop_agent();
    assert!(!socket(&host).exists());
}

/// A tenant puts links and the like in the place of his certificate, and asks what certhook makes of it.
#[test]
fn what_is_at_a_path_is_told_to_root_alone() {
    let host = host_with_group();
    let path = host.sites[0].layout.certificate.clone();
    let secret = host.path().join("secret");
    std::fs::create_dir_all(secret.join("folder")).unwrap();
    std::fs::write(secret.join("empty"), "").unwrap();
    std::fs::write(secret.join("text"), "a secret").unwrap();
    std::fs::write(secret.join("large"), vec![b'x'; 2 << 20]).unwrap();
    std::fs::write(secret.join("certificate"), &host.issue(0).fullchain_pem).unwrap();
    let mut told = Vec::new();
    for (target, code) in [
        ("nothing", "missing"),
        ("folder", "not_a_file"),
        ("empty", "empty"),
        ("text", "no_certificate"),
        ("large", "too_large"),
        ("certificate", "key_mismatch"),
    ] {
        std::fs::remove_file(&path).unwrap();
        symlink(secret.join(target), &path).unwrap();
        host.wait_for(code, |status| status["sites"][0]["problem"]["code"] == code);
        let mut one = None;
        // What was told a moment ago may be told again.
        host.wait_until("the same outward", || {
            let status: Value = serde_json::from_str(&answer(&host, b"\"status\"\n")).unwrap();
            let is_there = status["sites"][0]["problem"].is_object();
            one = Some(status);
            is_there
        });
        let mut one = one.unwrap();
        assert_eq!(one["sites"][0]["problem"]["code"], "not_whole", "{target}");
        assert!(!one.to_string().contains('/'), "{one}");
        one["sites"][0]["problem"]["since"].take();
        one["sites"][0]["served"]["checked_at"].take();
        told.push(one["sites"][0].clone());
    }
    assert!(told.iter().all(|one| *one == told[0]), "{told:#?}");
}

#[test]
fn the_status_socket_answers_nothing_else_and_nobody_holds_it_up() {
    let host = host_with_group();
    let asked = b"{\"sync\":{\"retry\":true,\"wait_ms\":0}}\n";
    assert_eq!(answer(&host, asked), "", "it is for the control socket");
    assert_eq!(answer(&host, &vec![b'x'; 1 << 20]), "");
    let silent: Vec<_> = (0..40).map(|_| UnixStream::connect(socket(&host)).unwrap()).collect();
    let deaf = UnixStream::connect(socket(&host)).unwrap();
    (&deaf).write_all(b"\"status\"\n").unwrap();
    assert!(answer(&host, b"\"status\"\n").contains("site0.test"));
    drop((silent, deaf));
}

#[test]
fn a_status_socket_that_was_removed_comes_back() {
    let host = host_with_group();
    let before = socket(&host).symlink_metadata().unwrap().ino();
    std::fs::remove_file(socket(&host)).unwrap();
    host.wait_until("another socket", || {
        socket(&host).symlink_metadata().is_ok_and(|found| found.mode() & 0o7777 == 0o660)
    });
    assert!(answer(&host, b"\"status\"\n").contains("site0.test"), "{before}");
}

#[test]
fn without_the_group_the_agent_goes_on_without_the_socket() {
    let mut host = host("");
    assert!(!socket(&host).exists());
    assert_eq!(host.log().matches("there is no status socket").count(), 1, "{}", host.log());
    host.renew(0, std::time::Duration::ZERO);
    host.wait_until_served(0);
    assert_eq!(host.log().matches("there is no status socket").count(), 1, "{}", host.log());
    // Who may not ask at all is told what he was told before there was one.
    let output = status_of_user(&host, "--clear-groups", &[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("run it as root"), "{output:?}");
}
