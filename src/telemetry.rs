//! Logs: events with fields on standard error, as text or JSON.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

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

/// Begins logging. Only certhook's own events are logged: those of its libraries could hold what a request held.
pub fn begin(level: Level, format: Format) {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let only_ours = Targets::new().with_target("certhook", level);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let colour =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A second call (in tests) changes nothing.
    let begun = match format {
        Format::Text => {
            tracing_subscriber::registry().with(only_ours).with(layer.with_ansi(colour)).try_init()
        }
        Format::Json => {
            tracing_subscriber::registry().with(only_ours).with(layer.json().flatten_event(true)).try_init()
        }
    };
    let _ = begun;
}
