//! The pages and completions that are committed, against the program.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::root;
use crate::files;

/// What is made now of one file.
fn made(name: &str) -> String {
    files().into_iter().find(|(path, _)| *path == name).unwrap().1
}

/// A page's words, without roff's own signs.
fn plain(page: &str) -> String {
    page.replace("\\fB", "").replace("\\fI", "").replace("\\fR", "").replace("\\-", "-")
}

#[test]
fn what_is_committed_is_what_is_made_now() {
    for (name, text) in files() {
        let committed = std::fs::read_to_string(root().join("packaging").join(name)).unwrap_or_default();
        assert!(committed == text, "packaging/{name} is of another day: run make manuals");
    }
}

#[test]
fn every_verb_and_option_is_told_everywhere() {
    let command = certhook::cli::command();
    let page = plain(&made("man/certhook.8"));
    let completions =
        ["completions/certhook.bash", "completions/_certhook", "completions/certhook.fish"].map(made);
    let mut told = 0;
    for verb in command.get_subcommands() {
        let title = format!(".SS \"certhook {}\"", verb.get_name());
        let (_, section) = page.split_once(&title).unwrap_or_else(|| panic!("no {title}"));
        let section = section.split("\n.S").next().unwrap();
        for completion in &completions {
            assert!(completion.contains(verb.get_name()), "{}", verb.get_name());
        }
        for option in verb.get_arguments().filter_map(clap::Arg::get_long) {
            told += 1;
            assert!(section.contains(&format!("--{option}")), "{} --{option}\n{section}", verb.get_name());
            for completion in &completions {
                // fish has the option's name without its dashes.
                assert!(completion.contains(option), "{} --{option}", verb.get_name());
            }
        }
    }
    for option in command.get_arguments().filter_map(clap::Arg::get_long) {
        assert!(page.contains(&format!("\n--{option}")), "--{option}");
    }
    assert!(told >= 10, "the reader of the command line sees nothing");
}

#[test]
fn the_pages_have_the_parts_that_people_look_for() {
    let page = made("man/certhook.8");
    let parts = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "\"EXIT STATUS\"", "FILES"];
    for part in parts.into_iter().chain(["ENVIRONMENT", "SIGNALS", "HOOKS", "EXAMPLES", "\"SEE ALSO\""]) {
        assert!(page.contains(&format!("\n.SH {part}\n")), "{part}");
    }
    for hook in std::fs::read_dir(root().join("hooks")).unwrap().flatten() {
        let name = hook.file_name().into_string().unwrap();
        assert!(name == "common.sh" || plain(&page).contains(&format!(".TP\n{name}\n")), "{name}");
    }
}

#[test]
fn the_pages_are_good_roff_and_fit_a_terminal() {
    for name in ["man/certhook.8", "man/certhook.toml.5"] {
        let page = made(name);
        let Some((told, _)) = mandoc(&["-T", "lint"], &page) else { return };
        assert_eq!(told, "", "{name}");
        let (shown, _) = mandoc(&["-T", "ascii", "-O", "width=78"], &page).unwrap();
        let shown = overstruck(&shown);
        assert!(shown.lines().count() > 150, "{name}: {shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
    }
}

/// What mandoc says of a page; `None` where there is no mandoc.
fn mandoc(arguments: &[&str], page: &str) -> Option<(String, i32)> {
    let mut command = Command::new("mandoc");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let Ok(mut child) = command.spawn() else {
        let _ =
            writeln!(std::io::stderr(), "skipped: there is no mandoc here; packaging/tools.sh installs it");
        return None;
    };
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Some((String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap_or(-1)))
}

/// Bold letters are written twice, one on the other.
fn overstruck(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        match letter {
            '\u{8}' => drop(shown.pop()),
            letter => shown.push(letter),
        }
    }
    shown
}
