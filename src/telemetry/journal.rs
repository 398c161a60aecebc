//! Events as entries of systemd's journal: the line that people read, and each field by its name in capitals
//! (`journalctl SITE=contoso.com`).

use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::Context;

use crate::platform::Journal;

/// Writes every event to the journal.
pub(super) struct Layer(Journal);

impl Layer {
    pub(super) fn new(journal: Journal) -> Self {
        Self(journal)
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let fields = words.entry(*event.metadata().level());
        if let Err(error) = self.0.send(&fields) {
            use std::io::Write;
            // Standard error is the journal's too; where that is gone as well nobody can be told.
            let _ = writeln!(std::io::stderr(), "{} (journal: {error})", fields[0].1);
        }
    }
}

/// What an event says.
#[derive(Default)]
struct Words {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.fields.push((name, value.to_owned())),
        }
    }
}

impl Words {
    /// The line first.
    fn entry(self, level: Level) -> Vec<(String, String)> {
        // As syslog counts: 3 is an error, 7 is for debugging.
        let priority = match level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        let line =
            self.fields.iter().fold(self.message, |line, (name, value)| format!("{line} {name}={value}"));
        let mut entry = vec![
            ("MESSAGE".to_owned(), line),
            ("PRIORITY".to_owned(), priority.to_string()),
            ("SYSLOG_IDENTIFIER".to_owned(), "certhook".to_owned()),
        ];
        entry.extend(self.fields.into_iter().map(|(name, value)| (name.to_ascii_uppercase(), value)));
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_all_that_the_fields_say() {
        let fields = vec![("site", "a.example".to_owned()), ("attempt", "2".to_owned())];
        let entry = Words { message: "reloaded".to_owned(), fields }.entry(Level::WARN);
        let entry: Vec<(&str, &str)> =
            entry.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [
            ("MESSAGE", "reloaded site=a.example attempt=2"),
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "certhook"),
            ("SITE", "a.example"),
            ("ATTEMPT", "2"),
        ];
        assert_eq!(entry, expected);
    }
}
