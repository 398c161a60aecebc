//! The command line, from the command that `--help` prints.

use clap::{Arg, ArgAction, Command};
use roff::{Inline, Roff, bold, italic, roman};

use crate::page::words;

/// One line a verb.
pub fn synopsis(command: &Command, roff: &mut Roff) {
    for (index, verb) in verbs(command).enumerate() {
        if index > 0 {
            roff.control("br", []);
        }
        let mut line = vec![bold(format!("{} {}", command.get_name(), verb.get_name()))];
        for arg in own(verb) {
            line.push(roman(" ["));
            line.extend(spelled(arg));
            line.push(roman("]"));
        }
        roff.text(line);
    }
}

/// What every verb takes.
pub fn global_options(command: &Command, roff: &mut Roff) {
    for arg in command.get_arguments() {
        option(arg, roff);
    }
}

/// Each verb with its own options.
pub fn commands(command: &Command, roff: &mut Roff) {
    for verb in verbs(command) {
        let title = format!("{} {}", command.get_name(), verb.get_name());
        roff.control("SS", [title.as_str()]);
        let about = verb.get_long_about().or(verb.get_about()).map(ToString::to_string).unwrap_or_default();
        for (index, paragraph) in about.split("\n\n").enumerate() {
            if index > 0 {
                roff.control("PP", []);
            }
            words(&sentence(paragraph), roff);
        }
        for arg in own(verb) {
            option(arg, roff);
        }
    }
}

/// Without clap's own `help`.
fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| verb.get_name() != "help")
}

/// Those that are not for every verb.
fn own(verb: &Command) -> impl Iterator<Item = &Arg> {
    let is_help = |arg: &Arg| matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpLong);
    verb.get_arguments().filter(move |arg| !arg.is_global_set() && !arg.is_hide_set() && !is_help(arg))
}

fn option(arg: &Arg, roff: &mut Roff) {
    roff.control("TP", []).text(spelled_out(arg));
    let mut told = vec![match arg.get_action() {
        // clap's own words speak of the other form.
        ArgAction::Help => "Print help, with `-h` in brief.".to_owned(),
        _ => sentence(&arg.get_help().map(ToString::to_string).unwrap_or_default()),
    }];
    let values = arg.get_possible_values();
    if arg.get_action().takes_values() && !values.is_empty() {
        let each = values.iter().map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({})", value.get_name(), lower(&help.to_string())),
            None => format!("`{}`", value.get_name()),
        });
        told.push(format!("One of {}.", each.collect::<Vec<_>>().join(", ")));
    }
    let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy());
    let defaults = defaults.collect::<Vec<_>>().join(", ");
    if arg.get_action().takes_values() && !defaults.is_empty() {
        told.push(match arg.get_env() {
            Some(name) => {
                format!("Without it `{}` of the environment is used, else `{defaults}`.", name.display())
            }
            None => format!("Without it: `{defaults}`."),
        });
    }
    words(&told.join(" "), roff);
}

/// As in a synopsis: `--wait TIME`.
fn spelled(arg: &Arg) -> Vec<Inline> {
    let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    match (arg.get_long(), value) {
        (None, value) => vec![italic(format!("{} ...", value.unwrap_or_default()))],
        (Some(long), Some(value)) if arg.get_action().takes_values() => {
            vec![bold(format!("--{long}")), roman(" "), italic(value)]
        }
        (Some(long), _) => vec![bold(format!("--{long}"))],
    }
}

/// With its short name, where it has one.
fn spelled_out(arg: &Arg) -> Vec<Inline> {
    let short = arg.get_short().map(|short| [bold(format!("-{short}")), roman(", ")]);
    short.into_iter().flatten().chain(spelled(arg)).collect()
}

fn sentence(text: &str) -> String {
    let text = text.replace('\n', " ");
    if text.ends_with(['.', ']', '?']) { text } else { format!("{text}.") }
}

fn lower(text: &str) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
