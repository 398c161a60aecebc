//! Secrets reach no log, no ledger, no output and no command line, whatever goes wrong.

use std::path::Path;
use std::time::Duration;

use certhook_test_support::portal::{Action, Trouble, What};
use certhook_test_support::writers::Writer;

use crate::host::Host;

fn files_below(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => files_below(&entry.path(), found),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

#[test]
fn secrets_stay_where_they_are() {
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    // The portal and the login repeat, in their errors, what they were sent.
    let token = host.portal.tokens_issued()[0].clone();
    let secret = host.portal.client_secret();
    let parrot = |code| Action::Status {
        code,
        body: format!("refused: {token} {secret}"),
        retry_after: None,
        content_type: Some("text/plain".into()),
    };
    host.portal.trouble(Trouble::new(parrot(500)).on(What::Report).times(1));
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    host.portal.trouble(Trouble::new(Action::RefuseToken).on(What::Report).times(2));
    host.portal.trouble(Trouble::new(parrot(401)).on(What::Token).times(1));
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    host.portal.trouble(Trouble::new(parrot(400)).on(What::Report).times(1));
    host.renew(0, Duration::ZERO);
    let status = host.wait_for("held", |status| status["sites"][0]["report"]["state"] == "held");
    let words = status["sites"][0]["report"]["error"].as_str().unwrap();
    assert!(words.contains("refused: [secret] [secret]"), "{words}");

    let command_line = std::fs::read(format!("/proc/{}/cmdline", host.agent_pid())).unwrap();
    let mut places = vec![("command line".to_owned(), command_line)];
    for arguments in
        [&["status"][..], &["status", "--json"], &["history"], &["check", "--online"], &["verify"]]
    {
        let output = host.certhook(&[&["--log-level", "trace"], arguments].concat());
        places.push((format!("{arguments:?}"), [output.stdout, output.stderr].concat()));
    }
    host.stop_agent();
    let mut files = vec![host.log_path()];
    files_below(&host.state_dir(), &mut files);
    assert!(files.len() >= 3, "{files:?}");
    places.extend(files.into_iter().map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())));

    let key = &host.sites[0].pair.key_pem;
    let key_line = key.lines().nth(1).unwrap().to_owned();
    let mut secrets = vec![("client secret", secret), ("private key", key_line)];
    secrets.extend(host.portal.tokens_issued().into_iter().map(|token| ("token", token)));
    assert!(secrets.len() >= 4);
    for (place, bytes) in &places {
        for (what, secret) in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "the {what} is in {place}");
        }
    }
    // The search can find something.
    assert!(host.log().contains("site0.test"));
}

#[test]
fn no_core_dump_and_nobody_else_reads_the_state() {
    use std::os::unix::fs::PermissionsExt;
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", host.agent_pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&host.state_dir()), 0o700);
    for name in ["ledger.db", "control.sock", "lock"] {
        assert_eq!(mode(&host.state_dir().join(name)), 0o600, "{name}");
    }
    host.stop_agent();
}
