//! Secrets reach no log, no ledger, no output and no command line, whatever goes wrong.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certhook_test_support::ca::{KeyForm, KeyType, Order};
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

/// What an agent has in memory that it can write to: heaps and stacks.
fn memory(pid: u32) -> Vec<Vec<u8>> {
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let writable =
        maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw")));
    let ranges = writable.map(|line| {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap())
    });
    let read = |(from, to): (u64, u64)| {
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // It may have gone since.
        memory.read_exact_at(&mut bytes, from).ok().map(|()| bytes)
    };
    ranges.filter_map(read).collect()
}

fn has(memory: &[Vec<u8>], needle: &[u8]) -> bool {
    let begins = |bytes: &[u8], at: usize| bytes[at..].starts_with(needle);
    memory.iter().any(|bytes| (0..bytes.len()).any(|at| bytes[at] == needle[0] && begins(bytes, at)))
}

/// Bytes that only the private key has, and the base64 text of some of them within one line.
fn needles(key_pem: &str) -> [Vec<u8>; 2] {
    let lines: Vec<&str> = key_pem.lines().filter(|line| !line.starts_with('-')).collect();
    let text = lines.concat();
    let der = STANDARD.decode(&text).unwrap();
    // The number of an EC key on P-256; of an RSA key what is in the middle, behind the public part.
    let number = der.windows(2).position(|window| window == [0x04, 0x20]).map(|at| at + 2);
    let at = if der.len() < 200 { number.unwrap() } else { der.len() / 2 };
    let (from, to) = (at.div_ceil(3) * 4, (at + 32) / 3 * 4);
    let cut = (from / 64 + 1) * 64;
    let part = if cut >= to {
        from..to
    } else if cut - from >= to - cut {
        from..cut
    } else {
        cut..to
    };
    assert!(part.len() >= 16, "{part:?}");
    [der[at..at + 24].to_vec(), text.as_bytes()[part].to_vec()]
}

#[test]
fn no_key_is_left_in_memory_after_reading() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root may read the agent's memory");
        return;
    }
    let mut host = Host::new(&[Writer::Lego]);
    host.start_agent_and_settle();
    let table = [
        (KeyType::EcdsaP256, KeyForm::Pkcs8),
        (KeyType::EcdsaP256, KeyForm::Traditional),
        (KeyType::Rsa2048, KeyForm::Pkcs8),
        (KeyType::Rsa2048, KeyForm::Traditional),
    ];
    for (key, form) in table {
        let name = host.sites[0].name.clone();
        let mut pair = host.ca.issue(Order { hosts: &[name.as_str()], key, ..Order::default() });
        pair.key_pem = pair.key_as(form);
        let site = &mut host.sites[0];
        site.writer.renew(&site.layout, &pair, Duration::ZERO);
        site.pair = pair;
        host.wait_until_done(0);
        let [der, text] = needles(&host.sites[0].pair.key_pem);
        let left = || {
            let memory = memory(host.agent_pid());
            assert!(has(&memory, name.as_bytes()), "the search finds something");
            (has(&memory, &text), has(&memory, &der))
        };
        // A late event may have it read once more just now.
        let last = (0..10).map(|_| left()).find(|left| *left == (false, false)).unwrap_or_else(left);
        assert_eq!(last, (false, false), "text and bytes of the {key:?} key, {form:?}, in memory");
    }
    host.stop_agent();
}
