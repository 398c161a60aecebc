//! The service: made, started, asked, stopped and removed, as an administrator does it.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use windows_service::service::ServiceAccess;
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use crate::host::{Host, NAME, retried, started};

const EVENT_SOURCE: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\certhook";
const SERVICE: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\certhook";

fn run(words: &[&str]) -> Output {
    started(|| Command::new(words[0]).args(&words[1..]).output())
}

fn value(key: &str, name: &str) -> String {
    String::from_utf8_lossy(&run(&["reg", "query", key, "/v", name]).stdout).into_owned()
}

#[link(name = "advapi32")]
unsafe extern "system" {
    fn ControlService(service: *mut c_void, control: u32, status: *mut [u32; 7]) -> i32;
}

/// `SERVICE_CONTROL_PARAMCHANGE`
fn tell_of_the_change() {
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT).unwrap();
    let service = manager.open_service("certhook", ServiceAccess::PAUSE_CONTINUE).unwrap();
    let mut status = [0; 7];
    // SAFETY: the handle is open, and the status has room for the seven numbers that are written.
    let told = unsafe { ControlService(service.raw_handle().cast(), 6, &raw mut status) };
    assert_ne!(told, 0, "{}", std::io::Error::last_os_error());
}

/// One alone: a host has one service of a name.
#[test]
fn the_service_is_made_started_stopped_and_removed() {
    let host = Host::new();
    let made = host.certhook(&["service", "install"]);
    assert!(made.status.success(), "{made:?}");
    let command = value(SERVICE, "ImagePath");
    for part in ["certhook.exe", " run ", "--config", "certhook.toml"] {
        assert!(command.contains(part), "{command}");
    }
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    if !certhook_test_support::wine::cannot_prove(
        "it knows no delayed start, and no start after a failure that was told",
    ) {
        assert_eq!(said, "", "all of it is known");
    }
    assert!(value(SERVICE, "Start").contains("0x2"), "with the system");
    assert!(value(EVENT_SOURCE, "EventMessageFile").contains("EventCreate.exe"));
    assert!(value(EVENT_SOURCE, "TypesSupported").contains("0x7"));
    let again = host.certhook(&["service", "install"]);
    assert!(again.status.success(), "it may be mended: {again:?}");

    assert!(run(&["sc", "start", "certhook"]).status.success());
    host.wait_for("the service runs", |status| {
        status["agent"]["running"] == true && status["sites"][0]["state"] == "current"
    });
    let pair = host.issue();
    retried(|| std::fs::write(host.key(), &pair.key_pem));
    retried(|| std::fs::write(host.certificate(), &pair.fullchain_pem));
    host.wait_until_done(&pair);

    // Its configuration changes, and it is told so; as `sc control certhook paramchange` does, which wine lacks.
    let config = std::fs::read_to_string(host.config()).unwrap();
    let renamed = config.replace(&format!("name = {NAME:?}"), "name = \"renamed.test\"");
    assert_ne!(renamed, config);
    std::fs::write(host.config(), renamed).unwrap();
    tell_of_the_change();
    host.wait_for("the configuration is read again", |status| status["sites"][0]["name"] == "renamed.test");

    assert!(run(&["sc", "stop", "certhook"]).status.success());
    host.wait_for("the service has ended", |status| status["agent"]["running"] == false);
    let gone = host.certhook(&["service", "uninstall"]);
    assert!(gone.status.success(), "{gone:?}");
    assert!(!value(EVENT_SOURCE, "EventMessageFile").contains("EventCreate.exe"));
    let none = host.certhook(&["service", "uninstall"]);
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    assert!(host.config().exists(), "the configuration stays");
    the_zip_is_installed_and_removed(&host);

    if certhook_test_support::wine::cannot_prove("its event log takes everything and keeps nothing") {
        return;
    }
    let log = run(&[
        "wevtutil",
        "qe",
        "Application",
        "/c:20",
        "/rd:true",
        "/f:text",
        "/q:*[System[Provider[@Name='certhook']]]",
    ]);
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(log.contains("certhook ends") && log.contains("101"), "{log}");
}

const ZIP: [(&str, &str); 6] = [
    ("certhook.toml", include_str!("../../packaging/windows/zip/certhook.toml")),
    ("README.txt", include_str!("../../packaging/windows/zip/README.txt")),
    ("install.cmd", include_str!("../../packaging/windows/zip/install.cmd")),
    ("uninstall.cmd", include_str!("../../packaging/windows/zip/uninstall.cmd")),
    ("hooks/win-acme.cmd", include_str!("../../packaging/windows/zip/hooks/win-acme.cmd")),
    ("hooks/certify.cmd", include_str!("../../packaging/windows/zip/hooks/certify.cmd")),
];

/// As an administrator does it, by Windows's own shell. Whether `icacls` keeps anybody out only Windows knows.
fn the_zip_is_installed_and_removed(host: &Host) {
    if certhook_test_support::wine::version().is_none() {
        println!("SKIPPED install.cmd: it would install certhook on this very Windows");
        return;
    }
    let zip = host.path("the zip");
    std::fs::create_dir_all(zip.join("hooks")).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_certhook"), zip.join("certhook.exe")).unwrap();
    for (name, text) in ZIP {
        std::fs::write(zip.join(name), text.replace('\n', "\r\n")).unwrap();
    }
    let shell = |script: PathBuf| started(|| Command::new("cmd").args(["/d", "/c"]).arg(&script).output());
    let (program, data) = (Path::new(r"C:\Program Files\certhook"), Path::new(r"C:\ProgramData\certhook"));
    for what in ["anew", "over what is there"] {
        let installed = shell(zip.join("install.cmd"));
        let said = String::from_utf8_lossy(&installed.stdout).into_owned();
        // Nothing is configured yet, so nothing is started.
        assert!(installed.status.success() && said.contains("Edit \""), "{what}: {installed:?}");
        for name in ["certhook.exe", "README.txt", "uninstall.cmd", "hooks/win-acme.cmd", "hooks/certify.cmd"]
        {
            assert!(program.join(name).exists(), "{what}: {name}");
        }
        assert!(data.join("certhook.toml").exists(), "{what}");
        assert!(value(SERVICE, "ImagePath").contains(r"C:\Program Files\certhook\certhook.exe"), "{what}");
    }
    let install = || shell(zip.join("install.cmd"));
    an_upgrade_leaves_what_ran_running(host, &zip, &install);
    what_others_have_made_is_refused(data, &install);
    // As an upgrade leaves it that is cut short.
    std::fs::write(program.join("certhook.exe.old"), "").unwrap();
    let removed = shell(program.join("uninstall.cmd"));
    assert!(removed.status.success(), "{removed:?}");
    let left: Vec<_> = std::fs::read_dir(program).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["uninstall.cmd"], "{removed:?}");
    assert!(data.join("certhook.toml").exists(), "the configuration stays");
    let again = shell(program.join("uninstall.cmd"));
    assert!(
        again.status.success() && String::from_utf8_lossy(&again.stdout).contains("There is no"),
        "{again:?}"
    );
    std::fs::remove_dir_all(data).unwrap();
}

/// Also where the new version, or Windows, refuses.
fn an_upgrade_leaves_what_ran_running(host: &Host, zip: &Path, install: &dyn Fn() -> Output) {
    let (program, config) =
        (Path::new(r"C:\Program Files\certhook"), Path::new(r"C:\ProgramData\certhook\certhook.toml"));
    std::fs::copy(host.config(), config).unwrap();
    let said = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let runs = || host.wait_for("the service runs", |status| status["agent"]["running"] == true);
    for what in ["started", "replaced while it runs"] {
        let installed = install();
        assert!(
            installed.status.success() && said(&installed).contains("certhook runs"),
            "{what}: {installed:?}"
        );
        runs();
        assert!(
            !program.join("certhook.exe.new").exists() && !program.join("certhook.exe.old").exists(),
            "{what}"
        );
    }
    std::fs::write(config, "nonsense = 1\n").unwrap();
    let refused = install();
    let told = said(&refused);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(told.contains("refuses C:\\ProgramData") && told.contains("was started again"), "{refused:?}");
    assert!(
        program.join("certhook.exe").exists() && !program.join("certhook.exe.old").exists(),
        "it is back"
    );
    std::fs::copy(host.config(), config).unwrap();
    assert!(install().status.success(), "it runs again, or is left to");
    // What cannot be copied is known before anything is stopped.
    let (exe, away) = (zip.join("certhook.exe"), zip.join("away.exe"));
    std::fs::rename(&exe, &away).unwrap();
    let refused = install();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(said(&refused).contains("nothing was changed"), "{refused:?}");
    runs();
    std::fs::rename(&away, &exe).unwrap();
    run(&["sc", "stop", "certhook"]);
    host.wait_for("the service has ended", |status| status["agent"]["running"] == false);
}

/// wine has no users, but shows what is another Unix user's as another's.
fn what_others_have_made_is_refused(data: &Path, install: &dyn Fn() -> Output) {
    let planted = data.join("state").join("planted.cmd");
    std::fs::create_dir_all(data.join("state")).unwrap();
    std::fs::write(&planted, "rem").unwrap();
    if !is_given_away(&planted) {
        println!("SKIPPED install.cmd: what others own; this user gives no file away");
        return;
    }
    let refused = install();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(told.contains("planted.cmd belongs to") && told.contains("/setowner"), "{refused:?}");
    std::fs::remove_file(&planted).unwrap();
    assert!(install().status.success(), "what it was refused for is gone");
    run(&["sc", "stop", "certhook"]);
}

fn is_given_away(path: &Path) -> bool {
    let prefix = std::env::var("WINEPREFIX").unwrap_or_default();
    let path = path.display().to_string().replace("C:", "").replace('\\', "/");
    let unix = format!("{prefix}/drive_c{path}");
    let words = ["/d", "/c", "start", "/wait", "/unix", "/bin/chown", "12345", &unix];
    Command::new("cmd").args(words).status().is_ok_and(|ended| ended.success())
}
