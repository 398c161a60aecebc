//! What a tenant or a program says is read in part: memory stays small, and the loop answers.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use certhook_test_support::nginx::RunMode;
use certhook_test_support::writers::Writer;

use super::tenant::{TENANT, Thing, alone, bind, compile, empty, run_as_service, start_as_packaged};
use crate::host::{Extra, Host, PATIENCE, codes};
use crate::machine::{skip, wait_until};

/// kB. What certhook needs is far below, what it reads here far above.
const MOST_MEMORY: u64 = 200_000;
/// Bytes: the machine that runs the test is not to suffer.
const ADDRESS_SPACE: &str = "--as=3000000000";

/// What is put in a pid file's place.
#[derive(Clone, Copy, Debug)]
enum Pid {
    Pipe,
    EndlessDevice,
    HugeFile,
}

const PIDS: [Pid; 3] = [Pid::Pipe, Pid::EndlessDevice, Pid::HugeFile];

impl Pid {
    fn put(self, path: &Path) {
        let _ = fs::remove_file(path);
        match self {
            Self::Pipe => Thing::Pipe.replace(path),
            Self::EndlessDevice => symlink("/dev/zero", path).unwrap(),
            Self::HugeFile => fs::File::create(path).unwrap().set_len(16 << 30).unwrap(),
        }
    }
}

fn host(says: &str) -> Host {
    let extra = Extra { no_portal: true, discovered: true, ..Extra::default() };
    let mut host = Host::with(&[Writer::AcmeSh], extra);
    start_as_packaged(&mut host);
    let state = host.state_dir();
    let text = format!("state_dir = {state:?}\n[server.nginx]\nkind = \"nginx\"\ndiscover = true\n{says}\n");
    fs::write(host.config_path(), text).unwrap();
    host
}

/// Starts the service, within a limit that no healthy certhook comes near.
fn start(host: &mut Host) {
    run_as_service(host);
    let words = super::tenant::as_service();
    let mut limited = vec!["prlimit", ADDRESS_SPACE];
    limited.extend(words.iter().map(String::as_str));
    host.set_wrapper(&limited);
    host.start_agent();
}

/// The most memory that a process or one of its children ever had, in kB.
fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let own = line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0);
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|child| memory(child.parse().unwrap())).fold(own, u64::max)
}

fn is_small(host: &Host, what: &str) {
    let most = memory(host.agent_pid());
    assert!(most < MOST_MEMORY, "{what}: {most} kB");
}

/// Root's `check` ends, and is small until then.
fn check_ends(host: &Host, what: &str) {
    let mut child = host.spawn(&["check"]);
    let (until, mut most) = (Instant::now() + PATIENCE, 0);
    while child.try_wait().unwrap().is_none() {
        most = most.max(memory(child.id()));
        if Instant::now() > until || most >= MOST_MEMORY {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("check, {what}: it has {most} kB, and does not end");
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn a_configured_pid_file_is_read_in_part() {
    alone(concat!(module_path!(), "::a_configured_pid_file_is_read_in_part"), || {
        for pid in PIDS {
            let what = format!("pid_file is a {pid:?}");
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("pid");
            let mut host = host(&format!("pid_file = {path:?}"));
            fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
            pid.put(&path);
            check_ends(&host, &what);
            start(&mut host);
            host.wait_for(&what, |_| true);
            host.renew(0, Duration::ZERO);
            let wanted = host.sites[0].pair.fingerprint.clone();
            host.wait_for(&what, |status| status["sites"][0]["certificate"]["fingerprint"] == *wanted);
            is_small(&host, &what);
            host.stop_agent();
            leave_places();
        }
    });
}

#[test]
fn a_usual_pid_file_is_read_in_part() {
    alone(concat!(module_path!(), "::a_usual_pid_file_is_read_in_part"), || {
        for pid in PIDS {
            let what = format!("/run/nginx.pid is a {pid:?}");
            let mut host = host("");
            pid.put(Path::new("/run/nginx.pid"));
            check_ends(&host, &what);
            start(&mut host);
            host.wait_until_served(0);
            host.renew(0, Duration::ZERO);
            host.wait_until_served(0);
            is_small(&host, &what);
            host.stop_agent();
            leave_places();
        }
    });
}

#[test]
fn a_huge_command_line_is_read_in_part() {
    alone(concat!(module_path!(), "::a_huge_command_line_is_read_in_part"), || {
        let mut host = host("");
        let program = host.path().join("huge");
        compile("huge.c", &program, &[]);
        let notes = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new(&program);
        command.uid(TENANT).gid(TENANT).stdin(Stdio::null()).stdout(notes.reopen().unwrap());
        let mut huge = command.spawn().unwrap();
        let said = || fs::read_to_string(notes.path()).unwrap();
        wait_until("its command line is huge", || !said().is_empty());
        if said() != "ready\n" {
            skip("a huge command line", "this kernel does not let a user have one");
            huge.wait().unwrap();
            return;
        }
        check_ends(&host, "a huge command line");
        start(&mut host);
        host.wait_until_served(0);
        host.renew(0, Duration::ZERO);
        host.wait_until_served(0);
        is_small(&host, "a huge command line");
        host.stop_agent();
        huge.kill().unwrap();
        huge.wait().unwrap();
    });
}

/// What a program says that is named by `binary`, and how it goes on.
const PROGRAMS: [&str; 3] = [
    "exec yes 'configure arguments: --prefix=/x'",
    "head -c 100000000 /dev/zero | tr '\\0' x; exec yes >&2",
    "echo 'configure arguments: --prefix=/x'; exec sleep 1000 >/dev/null 2>&1",
];

#[test]
fn a_binary_that_says_too_much_or_does_not_end_is_ended() {
    alone(concat!(module_path!(), "::a_binary_that_says_too_much_or_does_not_end_is_ended"), || {
        // Only root can write here.
        empty("/opt");
        for program in PROGRAMS {
            fs::write("/opt/nginx", format!("#!/bin/sh\n{program}\n")).unwrap();
            fs::set_permissions("/opt/nginx", fs::Permissions::from_mode(0o755)).unwrap();
            let mut host = host("");
            let text = fs::read_to_string(host.config_path()).unwrap();
            let (pid_file, config) = (host.nginx.pid_file(), host.nginx.config_path());
            let lines = format!("binary = \"/opt/nginx\"\npid_file = {pid_file:?}\nconfig = {config:?}\n");
            fs::write(host.config_path(), text + &lines).unwrap();
            check_ends(&host, program);
            start(&mut host);
            host.wait_until_served(0);
            host.renew(0, Duration::ZERO);
            host.wait_until_served(0);
            is_small(&host, program);
            host.stop_agent();
            leave_places();
        }
    });
}

#[test]
fn a_journal_without_end_is_read_in_part() {
    alone(concat!(module_path!(), "::a_journal_without_end_is_read_in_part"), || {
        let real = "/usr/bin/journalctl";
        if !Path::new(real).exists() {
            return skip("a journal without end", "there is no journalctl");
        }
        let mut host = host("");
        let asked = host.path().join("asked");
        fs::write(&asked, "").unwrap();
        fs::set_permissions(&asked, fs::Permissions::from_mode(0o666)).unwrap();
        empty("/opt");
        fs::write("/opt/journalctl", format!("#!/bin/sh\necho x >>{}\nexec yes words\n", asked.display()))
            .unwrap();
        fs::set_permissions("/opt/journalctl", fs::Permissions::from_mode(0o755)).unwrap();
        bind(Path::new("/opt/journalctl"), real);
        host.nginx.stop();
        host.nginx.set_mode(RunMode::ForegroundStderr);
        host.nginx.mend_config();
        host.nginx.start_again();
        let text = fs::read_to_string(host.config_path()).unwrap();
        let lines = format!("pid_file = {:?}\n", host.nginx.pid_file());
        fs::write(host.config_path(), text + &lines).unwrap();
        start(&mut host);
        host.wait_until_served(0);
        host.nginx.break_config();
        host.renew(0, Duration::ZERO);
        host.wait_until("the journal is asked", || fs::metadata(&asked).unwrap().len() > 0);
        host.wait_for("the reload is refused", |status| {
            codes(status).iter().any(|code| ["nginx_refused", "not_loaded"].contains(&code.as_str()))
        });
        host.nginx.mend_config();
        host.wait_until_served(0);
        is_small(&host, "a journal without end");
        host.stop_agent();
    });
}

/// Another host may follow.
fn leave_places() {
    for at in ["/run", "/etc/nginx"] {
        crate::machine::run("umount", &["-l", at]).unwrap();
    }
}
