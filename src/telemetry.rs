//! Logs: events with fields on standard error, as text or JSON; under systemd in the journal, with its fields.

mod journal;

use std::io::IsTerminal;
use std::sync::OnceLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::platform::Journal;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// What certhook cannot do its work with.
    Error,
    /// What somebody should look at.
    Warn,
    /// Every change of a site's state.
    Info,
    /// Every decision.
    Debug,
    /// Every event and action.
    Trace,
}

/// The level and the format of this process, which the second process gets as arguments.
static ASKED: OnceLock<(Level, Option<Format>)> = OnceLock::new();

/// Arguments that have another process of certhook log as this one does.
pub fn arguments() -> Vec<String> {
    let Some((level, format)) = ASKED.get() else { return Vec::new() };
    let word = |value: Option<PossibleValue>| value.map(|value| value.get_name().to_owned());
    let level = word(level.to_possible_value()).map(|level| ["--log-level".to_owned(), level]);
    let format = word(format.and_then(|format| format.to_possible_value()));
    let format = format.map(|format| ["--log-format".to_owned(), format]);
    [level, format].into_iter().flatten().flatten().collect()
}

/// Begins logging. Only certhook's own events are logged: those of its libraries could hold what a request held.
/// Without a format it is text, or, where standard error is systemd's journal, the journal's own.
pub fn begin(level: Level, format: Option<Format>) {
    let _ = ASKED.set((level, format));
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let only_ours = Targets::new().with_target("certhook", level);
    let registry = tracing_subscriber::registry().with(only_ours);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let colour = may_colour(&std::io::stderr());
    let journal = if format.is_none() { Journal::of_standard_error() } else { None };
    // A second call (in tests) changes nothing.
    let _ = match (format, journal) {
        (Some(Format::Json), _) => registry.with(layer.json().flatten_event(true)).try_init(),
        (None, Some(journal)) => registry.with(journal::Layer::new(journal)).try_init(),
        _ => registry.with(layer.with_ansi(colour)).try_init(),
    };
}

/// Whether colours are welcome there: on a terminal, unless `NO_COLOR` is set.
pub fn may_colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
