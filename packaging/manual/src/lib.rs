//! certhook's manual pages and completions, each made from one source: the pages' verbs and options and the
//! completions from what `--help` says, the pages' keys from the sample configuration, and what is neither from
//! the texts beside this file.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "what it reads is its own"))]

mod page;
mod sample;
mod verbs;

#[cfg(test)]
mod tests;

use clap_complete::Shell;

/// The sample configuration, as it is shipped.
const SAMPLE: &str = include_str!("../../certhook.toml");

/// Every file by its path below `packaging`, with what stands in it.
pub fn files() -> Vec<(&'static str, String)> {
    let mut command = certhook::cli::command();
    command.build();
    let version = command.get_version().unwrap_or_default();
    let program = page::render(include_str!("../text/certhook.8.txt"), version, |part, roff| match part {
        "synopsis" => verbs::synopsis(&command, roff),
        "options" => verbs::global_options(&command, roff),
        "commands" => verbs::commands(&command, roff),
        other => panic!("certhook.8.txt has no {{{other}}}"),
    });
    let sample = sample::Sample::parse(SAMPLE);
    let file = page::render(include_str!("../text/certhook.toml.5.txt"), version, |part, roff| match part {
        "beginning" => page::blocks(&sample.beginning, roff),
        "keys" => sample.keys(roff),
        other => panic!("certhook.toml.5.txt has no {{{other}}}"),
    });
    vec![
        ("man/certhook.8", program),
        ("man/certhook.toml.5", file),
        ("completions/certhook.bash", completion(Shell::Bash)),
        ("completions/_certhook", completion(Shell::Zsh)),
        ("completions/certhook.fish", completion(Shell::Fish)),
    ]
}

fn completion(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut certhook::cli::command(), "certhook", &mut text);
    String::from_utf8(text).expect("completions are text")
}
