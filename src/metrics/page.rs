//! The text format, in which nothing from outside can end a line or a label.

use std::fmt::Write as _;

use crate::problem::printable;

/// Longer values are cut: series are kept for long by whoever reads them.
const MOST_VALUE: usize = 200;

/// A page of metrics, family by family.
#[derive(Default)]
pub(super) struct Page(String);

/// One family: its head is written with its first value.
pub(super) struct Family<'p> {
    page: &'p mut String,
    head: Option<(&'static str, &'static str)>,
    name: &'static str,
}

impl Page {
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        Family { page: &mut self.0, head: Some(("gauge", help)), name }
    }

    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        Family { page: &mut self.0, head: Some(("counter", help)), name }
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Writing into a text never fails.
    pub(super) fn value(&mut self, labels: &[(&str, &str)], value: i64) {
        let name = self.name;
        if let Some((kind, help)) = self.head.take() {
            let _ = writeln!(self.page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        self.page.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.page, "{before}{label}=\"{}\"", quoted(value));
        }
        let _ = writeln!(self.page, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// What becomes of a text from outside before it is quoted.
pub(super) fn tame(text: &str) -> String {
    printable(text, MOST_VALUE)
}

fn quoted(text: &str) -> String {
    tame(text).replace('\\', "\\\\").replace('"', "\\\"")
}
