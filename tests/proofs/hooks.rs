//! The hooks of other tools, with a certhook that only writes down what it is asked: as each tool calls them, and
//! harmless where certhook is absent or not configured.

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A certificate's name that does harm where it is taken for more than a name.
const EVIL: &str = "it's \"one\" $(touch harmed) `touch harmed`; touch harmed & -x *";

fn hooks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks")
}

/// A hook, and how its tool calls it.
struct Call {
    hook: &'static str,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

/// As the tools call for a certificate of this name.
fn calls(name: &str) -> [Call; 5] {
    let at = |end: &str| format!("/somewhere/{name}/{end}");
    let deploy = ["deploy_cert", name, &at("key"), &at("cert"), &at("fullchain"), &at("chain"), "1600000000"];
    let told = |hook, environment: &[(&'static str, String)]| Call {
        hook,
        arguments: Vec::new(),
        environment: environment.to_vec(),
    };
    let asked = |hook, arguments: &[&str]| Call {
        hook,
        arguments: arguments.iter().map(ToString::to_string).collect(),
        environment: Vec::new(),
    };
    [
        told(
            "certbot",
            &[("RENEWED_LINEAGE", at("live")), ("RENEWED_DOMAINS", format!("{name} www.{name}"))],
        ),
        told(
            "acme.sh",
            &[
                ("Le_Domain", name.to_owned()),
                ("CERT_PATH", at("cert")),
                ("CERT_KEY_PATH", at("key")),
                ("CA_CERT_PATH", at("ca")),
                ("CERT_FULLCHAIN_PATH", at("fullchain")),
            ],
        ),
        told(
            "lego",
            &[
                ("LEGO_CERT_DOMAIN", name.to_owned()),
                ("LEGO_CERT_PATH", at("crt")),
                ("LEGO_CERT_KEY_PATH", at("key")),
            ],
        ),
        asked("dehydrated", &deploy),
        asked("rcl", &[name]),
    ]
}

/// A folder with a certhook that says something, ends as it is told, and writes down its arguments.
struct Fake {
    folder: tempfile::TempDir,
}

impl Fake {
    /// `check` and `sync` are what it ends with.
    fn new(check: i32, sync: i32) -> Self {
        let folder = tempfile::Builder::new().prefix("certhook's \"own\" $HOME ").tempdir().unwrap();
        let script = format!(
            "#!/bin/sh\necho \"$*\" >>\"${{0%/*}}/calls\"\necho \"$1 out\"; echo \"$1 err\" >&2\n\
             case $1 in check) exit {check};; sync) exit {sync};; esac\n"
        );
        let program = folder.path().join("certhook");
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// The hook's command, in this folder.
    fn command(&self, hook: &Path) -> Command {
        let mut command = Command::new(hook);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("CERTHOOK", self.folder.path().join("certhook"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, call: &Call) -> Output {
        let Call { hook, arguments, environment } = call;
        let environment = environment.iter().map(|(name, value)| (*name, value));
        self.command(&hooks().join(hook)).args(arguments).envs(environment).output().unwrap()
    }

    /// What it was asked since the last time.
    fn asked(&self) -> String {
        let path = self.folder.path().join("calls");
        let asked = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        asked
    }
}

#[track_caller]
fn assert_silent(output: &Output, what: &str) {
    assert_eq!(output.status.code(), Some(0), "{what}: {output:?}");
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{what}: {output:?}");
}

#[test]
fn a_hook_has_certhook_look_and_says_nothing_when_all_is_well() {
    let fake = Fake::new(0, 0);
    for call in calls("contoso.com") {
        let hook = call.hook;
        assert_silent(&fake.run(&call), hook);
        assert_eq!(fake.asked(), "check --config-only\nsync --wait 60s\n", "{hook}");
    }
}

#[test]
fn a_failure_is_told_with_the_tool_and_the_certificate() {
    for code in [1, 2, 77] {
        let fake = Fake::new(0, code);
        for call in calls("contoso.com") {
            let hook = call.hook;
            let output = fake.run(&call);
            let told = String::from_utf8(output.stderr).unwrap();
            let first = told.lines().next().unwrap();
            assert!(first.contains(hook) && first.contains("contoso.com"), "{hook}: {told}");
            assert!(first.contains(&format!("exit code {code}")), "{hook}: {told}");
            assert!(told.contains("sync out\nsync err"), "{hook}: {told}");
            assert!(output.stdout.is_empty(), "{hook}");
            // dehydrated would leave out the certificates that are still to come.
            let passed_on = if hook == "dehydrated" { 0 } else { code };
            assert_eq!(output.status.code(), Some(passed_on), "{hook}");
        }
    }
}

#[test]
fn without_certhook_a_hook_does_nothing() {
    let fake = Fake::new(0, 1);
    std::fs::remove_file(fake.folder.path().join("certhook")).unwrap();
    for call in calls("contoso.com") {
        let hook = call.hook;
        assert_silent(&fake.run(&call), hook);
    }
}

#[test]
fn where_nothing_is_configured_yet_a_hook_does_nothing() {
    let fake = Fake::new(1, 1);
    for call in calls("contoso.com") {
        let hook = call.hook;
        assert_silent(&fake.run(&call), hook);
        assert_eq!(fake.asked(), "check --config-only\n", "{hook}");
    }
    // A wrong configuration is not none: `sync` says what is wrong with it.
    let fake = Fake::new(2, 2);
    for call in calls("contoso.com") {
        let hook = call.hook;
        assert!(!fake.run(&call).stderr.is_empty(), "{hook}");
    }
}

#[test]
fn certhook_is_found_on_the_path_where_it_is_not_in_its_place() {
    // Where a package is installed its certhook goes first.
    if Path::new("/usr/bin/certhook").exists() {
        return;
    }
    let fake = Fake::new(0, 0);
    let path = format!("{}:/usr/bin:/bin", fake.folder.path().display());
    let output =
        fake.command(&hooks().join("rcl")).env_remove("CERTHOOK").env("PATH", path).output().unwrap();
    assert_silent(&output, "rcl");
    assert_eq!(fake.asked(), "check --config-only\nsync --wait 60s\n");
}

#[test]
fn what_else_dehydrated_asks_for_is_passed_over() {
    let fake = Fake::new(0, 1);
    let operations = [
        "deploy_challenge",
        "clean_challenge",
        "sync_cert",
        "deploy_ocsp",
        "unchanged_cert",
        "invalid_challenge",
        "request_failure",
        "generate_csr",
        "startup_hook",
        "exit_hook",
        "this_hookscript_is_broken__dehydrated_is_working_fine__please_ignore_unknown_hooks_in_your_script",
        "",
    ];
    for operation in operations {
        let arguments = vec![operation.to_owned(), "contoso.com".to_owned()];
        let call = Call { hook: "dehydrated", arguments, environment: Vec::new() };
        assert_silent(&fake.run(&call), operation);
    }
    let call = Call { hook: "dehydrated", arguments: Vec::new(), environment: Vec::new() };
    assert_silent(&fake.run(&call), "no operation");
    assert_eq!(fake.asked(), "");
}

#[test]
fn a_name_is_only_a_name() {
    let fake = Fake::new(0, 1);
    for call in calls(EVIL) {
        let hook = call.hook;
        let told = String::from_utf8(fake.run(&call).stderr).unwrap();
        assert!(told.contains(EVIL), "{hook}: {told}");
        assert_eq!(fake.asked(), "check --config-only\nsync --wait 60s\n", "{hook}");
        assert!(!fake.folder.path().join("harmed").exists(), "{hook}");
    }
    // Nothing is said of the certificate.
    for call in calls("contoso.com").iter().filter(|call| call.hook != "dehydrated") {
        let call = Call { hook: call.hook, arguments: Vec::new(), environment: Vec::new() };
        assert_eq!(fake.run(&call).status.code(), Some(1), "{}", call.hook);
    }
}

/// What packages put into `/etc/certhook/hooks`, which outlives a removal.
#[test]
fn a_guard_is_its_hook_and_nothing_without_it() {
    let folder = tempfile::Builder::new().prefix("certhook-guard").tempdir().unwrap();
    let (guard, hook) = (folder.path().join("guard"), folder.path().join("dehydrated"));
    let text = include_str!("../../packaging/guard");
    let script = text.replace("/usr/lib/certhook/hooks/@HOOK@", hook.to_str().unwrap());
    let runnable = |path: &Path, text: &str| {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    runnable(&guard, &script);
    let broken =
        "this_hookscript_is_broken__dehydrated_is_working_fine__please_ignore_unknown_hooks_in_your_script";
    assert_silent(&Command::new(&guard).arg(broken).output().unwrap(), "no hook");
    runnable(&hook, "#!/bin/sh\nprintf '%s|' \"$@\"\nexit 7\n");
    let output = Command::new(&guard).args(["deploy_cert", EVIL, ""]).output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("deploy_cert|{EVIL}||"));
}

/// As it stands in certbot's folder of deploy hooks.
#[test]
fn a_link_to_a_hook_is_the_hook() {
    let fake = Fake::new(0, 0);
    let link = fake.folder.path().join("a link");
    symlink(hooks().join("certbot"), &link).unwrap();
    assert_silent(&fake.command(&link).output().unwrap(), "a link");
    assert_eq!(fake.asked(), "check --config-only\nsync --wait 60s\n");
}

#[test]
fn the_hooks_are_good_shell() {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(hooks()).unwrap().flatten().map(|entry| entry.path()).collect();
    files.sort();
    let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["acme.sh", "certbot", "common.sh", "dehydrated", "lego", "rcl"]);
    for file in &files {
        for shell in [&["/bin/sh", "-n"][..], &["bash", "--posix", "-n"]] {
            let output = Command::new(shell[0]).args(&shell[1..]).arg(file).output().unwrap();
            assert_silent(&output, &format!("{shell:?} {}", file.display()));
        }
        let may_be_run = std::fs::metadata(file).unwrap().permissions().mode() & 0o111 == 0o111;
        assert_eq!(may_be_run, !file.ends_with("common.sh"), "{}", file.display());
    }
    match Command::new("shellcheck").arg("-x").args(&files).output() {
        Ok(output) => assert_silent(&output, &String::from_utf8_lossy(&output.stdout)),
        Err(_) => {
            let _ = writeln!(
                std::io::stderr(),
                "skipped: there is no shellcheck here; packaging/tools.sh installs it"
            );
        }
    }
}
