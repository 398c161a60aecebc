use std::time::{Duration, Instant};

use super::super::super::fallback::{self, Commands as _, command_line};
use super::super::super::plan::Change;
use super::super::super::record::{Key, Parameters, Record};
use super::super::commands::Programs;
use super::*;
use crate::config::Binding;

const MINUTE: Duration = Duration::from_secs(60);

fn programs(patience: Duration) -> Option<(TempDir, Programs)> {
    let folder = fake("program.exe", &["netsh.exe", r"inetsrv\appcmd.exe"])?;
    let programs = Programs::new(folder.path(), patience);
    Some((folder, programs))
}

fn lines(folder: &TempDir, below: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.path().join(below).join("lines")).unwrap_or_default();
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn programs_get_their_words_as_they_are_written() {
    let Some((folder, mut programs)) = programs(MINUTE) else { return };
    let binding = Binding::parse("My Shop/*:443:shop.test").unwrap();
    let (old, new) = (Thumbprint([0xab; 20]), Thumbprint([0xcd; 20]));
    let key = Key::SniHost("shop.test".to_owned(), 443);
    let parameters = Parameters {
        ctl_identifier: Some("Our \"best\" issuers".to_owned()),
        flags: 2,
        ..Parameters::default()
    };
    let from = Record { parameters, ..Record::new(key, old, "My") };
    let change = Change { to: from.with(new, "My"), from };
    let by_appcmd = [
        fallback::renew(old, new),
        fallback::bind("My Shop", &binding, true),
        fallback::unbind("My Shop", &binding),
    ];
    let by_netsh = [
        fallback::update(&change).unwrap(),
        fallback::add(&change.to).unwrap(),
        fallback::delete(&change.to.key),
    ];
    for words in by_appcmd.iter().chain(&by_netsh) {
        programs.run(words).unwrap();
    }
    let expected = |all: &[Vec<String>]| all.iter().map(|words| command_line(words)).collect::<Vec<_>>();
    assert_eq!(lines(&folder, "inetsrv"), expected(&by_appcmd));
    assert_eq!(lines(&folder, ""), expected(&by_netsh));
    assert_eq!(
        lines(&folder, "inetsrv")[1],
        "appcmd set site \"/site.name:My Shop\" /+bindings.[protocol='https',bindingInformation='*:443:shop.test',sslFlags='1']"
    );
    let update = &lines(&folder, "")[0];
    assert!(
        update.contains("\"sslctlidentifier=Our \\\"best\\\" issuers\" clientcertnegotiation=enable"),
        "{update}"
    );
}

#[test]
fn a_program_that_fails_is_told_with_its_words() {
    let Some((folder, mut programs)) = programs(MINUTE) else { return };
    std::fs::write(folder.path().join("fail"), "The parameter is incorrect.").unwrap();
    let problem = programs.run(&words(&["netsh", "http", "show sslcert"])).unwrap_err();
    for part in ["netsh http \"show sslcert\"", "5", "The parameter is incorrect."] {
        assert!(problem.message.contains(part), "{problem}");
    }
}

#[test]
fn a_program_that_does_not_end_is_ended() {
    let Some((folder, mut programs)) = programs(Duration::from_millis(500)) else { return };
    std::fs::write(folder.path().join("slow"), "").unwrap();
    let begun = Instant::now();
    let problem = programs.run(&words(&["netsh", "http"])).unwrap_err();
    assert!(problem.message.contains("did not end"), "{problem}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_program_that_is_not_there_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let mut programs = Programs::new(folder.path(), MINUTE);
    let problem = programs.run(&words(&["appcmd", "list"])).unwrap_err();
    assert!(problem.message.contains("there is no"), "{problem}");
    assert!(problem.remedy.contains("IIS Management"), "{problem}");
}
