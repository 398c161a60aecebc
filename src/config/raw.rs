//! TOML tables with lines: takes keys out one by one, and what is left over is unknown.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::{Config, Mistake, Mistakes};
use crate::problem::{Problem, printable};

/// A mistake's words are cut after so many characters: keys and values come from the file.
const MOST_WORDS: usize = 400;

/// The code of what TOML refuses.
const TOML: &str = "toml";

/// A value with the line it stands on.
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

/// An entry of `verify`: an address, or a table of one with the names to ask for there.
pub(super) struct Ask {
    pub(super) at: At<String>,
    pub(super) hosts: Option<Vec<String>>,
}

/// The text, and the mistakes found in it so far.
pub(super) struct File<'t> {
    path: PathBuf,
    text: &'t str,
    /// Where lines end.
    ends: Vec<usize>,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'t> File<'t> {
    pub(super) fn new(path: &Path, text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Self { path: path.to_owned(), text, ends, mistakes: RefCell::default() }
    }

    /// The top of the file; where TOML itself refuses it, only that is told.
    pub(super) fn top(&self) -> Section<'_, 't> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let line = error.span().map_or(0, |span| self.line(&span));
            self.mistake(line, TOML, error.message().trim().replace('\n', ", "), "mend the line");
        }
        Section::new(self, String::new(), 0, table.into_inner())
    }

    pub(super) fn mistake(
        &self,
        line: usize,
        code: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let clean = |words: String| printable(&words, MOST_WORDS);
        let problem = Problem::new(code, clean(message.into()), clean(remedy.into()));
        self.mistakes.borrow_mut().push(Mistake { path: self.path.clone(), line, problem });
    }

    pub(super) fn finish(self, config: Option<Config>) -> Result<Config, Mistakes> {
        let mut mistakes = self.mistakes.into_inner();
        // What TOML could not read is missing from its tables, and would be told as mistakes that are none.
        if mistakes.iter().any(|mistake| mistake.problem.code == TOML) {
            mistakes.retain(|mistake| mistake.problem.code == TOML);
        }
        mistakes.sort_by_key(|mistake| mistake.line);
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => Err(Mistakes(mistakes)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn line(&self, span: &Range<usize>) -> usize {
        1 + self.ends.partition_point(|end| *end < span.start)
    }
}

/// One table.
pub(super) struct Section<'f, 't> {
    file: &'f File<'t>,
    /// As an administrator writes it: `[portal]`, `[[site]]`; empty for the top.
    title: String,
    /// The line it begins on.
    pub(super) line: usize,
    table: DeTable<'t>,
    known: RefCell<BTreeSet<&'static str>>,
}

impl<'f, 't> Section<'f, 't> {
    fn new(file: &'f File<'t>, title: String, line: usize, table: DeTable<'t>) -> Self {
        Self { file, title, line, table, known: RefCell::default() }
    }

    /// Whether nothing stands in it.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether the key is there, be its value right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn take(&mut self, key: &'static str) -> Option<(usize, DeValue<'t>)> {
        self.known.borrow_mut().insert(key);
        let value = self.table.remove(key)?;
        Some((self.file.line(&value.span()), value.into_inner()))
    }

    fn wrong_type(&self, line: usize, key: &str, wanted: &str, found: &DeValue<'_>) {
        let message = format!("{key} must be {wanted}, not {}", article(found.type_str()));
        self.file.mistake(line, "wrong_type", message, format!("write {key} as {wanted}"));
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<At<String>> {
        match self.take(key)? {
            (line, DeValue::String(text)) if !text.trim().is_empty() => {
                Some(At { value: text.into_owned(), line })
            }
            (line, DeValue::String(_)) => {
                self.file.mistake(
                    line,
                    "empty_value",
                    format!("{key} is empty"),
                    "give it a value, or leave the line out",
                );
                None
            }
            (line, other) => {
                self.wrong_type(line, key, "text in quotes", &other);
                None
            }
        }
    }

    /// A string, or the number 0, which is returned as a string too.
    pub(super) fn string_or_zero(&mut self, key: &'static str) -> Option<At<String>> {
        let zero = |value: &DeValue<'_>| matches!(value, DeValue::Integer(digits) if digits.as_str() == "0");
        if !self.table.get(key).is_some_and(|value| zero(value.get_ref())) {
            return self.string(key);
        }
        let (line, _) = self.take(key)?;
        Some(At { value: "0".to_owned(), line })
    }

    /// A string that must be there.
    pub(super) fn required(&mut self, key: &'static str, example: &str) -> Option<At<String>> {
        if !self.has(key) {
            self.known.borrow_mut().insert(key);
            let message = format!("{} has no {key}", self.title);
            self.file.mistake(
                self.line,
                "missing_key",
                message,
                format!("add a line like {key} = {example}"),
            );
            return None;
        }
        self.string(key)
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<At<bool>> {
        match self.take(key)? {
            (line, DeValue::Boolean(value)) => Some(At { value, line }),
            (line, other) => {
                self.wrong_type(line, key, "true or false", &other);
                None
            }
        }
    }

    pub(super) fn integer(&mut self, key: &'static str, range: Range<i64>) -> Option<At<i64>> {
        let (line, value) = self.take(key)?;
        let DeValue::Integer(digits) = &value else {
            self.wrong_type(line, key, "a whole number", &value);
            return None;
        };
        match i64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(value) if range.contains(&value) => Some(At { value, line }),
            _ => {
                let wanted = format!("between {} and {}", range.start, range.end - 1);
                self.file.mistake(
                    line,
                    "out_of_range",
                    format!("{key} must be {wanted}"),
                    "write such a number",
                );
                None
            }
        }
    }

    /// Whether the key is exactly this word; then it is taken.
    pub(super) fn says(&mut self, key: &'static str, word: &str) -> bool {
        let said = self.table.get(key).and_then(|value| value.get_ref().as_str()) == Some(word);
        if said {
            self.take(key);
        }
        said
    }

    pub(super) fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        let Some(At { value, line }) = self.string(key) else { return default };
        match duration(&value) {
            Some(found) if !found.is_zero() => found,
            _ => {
                let message = format!("{key} = {value:?} is not a duration");
                self.file.mistake(
                    line,
                    "bad_duration",
                    message,
                    "write it like \"10s\", \"30m\", \"6h\" or \"4d\"",
                );
                default
            }
        }
    }

    /// A duration that may be longer than the others, and has bounds of whole days.
    pub(super) fn days(
        &mut self,
        key: &'static str,
        default: Duration,
        least: Duration,
        most: Duration,
    ) -> Duration {
        let Some(At { value, line }) = self.string(key) else { return default };
        let days = |duration: Duration| duration.as_secs() / 86_400;
        match any_duration(&value) {
            Some(found) if (least..=most).contains(&found) => found,
            Some(_) => {
                let message = format!("{key} must be between \"{}d\" and \"{}d\"", days(least), days(most));
                self.file.mistake(line, "out_of_range", message, "write such a duration");
                default
            }
            None => {
                let message = format!("{key} = {value:?} is not a duration");
                self.file.mistake(
                    line,
                    "bad_duration",
                    message,
                    format!("write it like \"{}d\"", days(default)),
                );
                default
            }
        }
    }

    pub(super) fn strings(&mut self, key: &'static str) -> Option<At<Vec<String>>> {
        let (line, value) = self.take(key)?;
        let DeValue::Array(items) = &value else {
            self.wrong_type(line, key, "a list like [\"…\"]", &value);
            return None;
        };
        let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
        match texts.collect::<Option<Vec<_>>>() {
            Some(value) if !value.is_empty() => Some(At { value, line }),
            Some(_) => {
                self.file.mistake(
                    line,
                    "empty_value",
                    format!("{key} is an empty list"),
                    "name at least one, or leave the line out",
                );
                None
            }
            None => {
                self.wrong_type(line, key, "a list of texts", &value);
                None
            }
        }
    }

    /// A list of addresses, each a text or `{ at = "…", hosts = ["…"] }`.
    pub(super) fn asks(&mut self, key: &'static str) -> Option<Vec<Ask>> {
        let Some(DeValue::Array(items)) = self.table.get(key).map(|value| value.get_ref()) else {
            return self.strings(key).map(|_| Vec::new());
        };
        if !items.iter().any(|item| item.get_ref().is_table()) {
            let At { value, line } = self.strings(key)?;
            return Some(
                value.into_iter().map(|value| Ask { at: At { value, line }, hosts: None }).collect(),
            );
        }
        let (line, DeValue::Array(items)) = self.take(key)? else { return None };
        let mut asks = Vec::new();
        for item in items {
            match item.into_inner() {
                DeValue::String(text) => {
                    asks.push(Some(Ask { at: At { value: text.into_owned(), line }, hosts: None }));
                }
                DeValue::Table(table) => {
                    let mut section =
                        Section::new(self.file, format!("{key} of {}", self.title), line, table);
                    let at = section.required("at", "\"127.0.0.1:443\"");
                    let hosts = section.strings("hosts").map(|at| at.value);
                    section.close();
                    asks.push(at.map(|at| Ask { at, hosts }));
                }
                other => {
                    self.wrong_type(line, key, "a list of addresses", &other);
                    asks.push(None);
                }
            }
        }
        asks.into_iter().collect()
    }

    /// A key whose value may be a text or a list of texts.
    pub(super) fn string_or_strings(&mut self, key: &'static str) -> Option<At<Vec<String>>> {
        match self.table.get(key).map(|value| value.get_ref()) {
            Some(DeValue::Array(_)) => self.strings(key),
            // Absent ones too: from here on the key is known.
            _ => self.string(key).map(|At { value, line }| At { value: vec![value], line }),
        }
    }

    /// A table below this one.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'f, 't>> {
        let (line, value) = self.take(key)?;
        match value {
            DeValue::Table(table) => Some(Section::new(self.file, format!("[{key}]"), line, table)),
            other => {
                self.wrong_type(line, key, &format!("a table [{key}]"), &other);
                None
            }
        }
    }

    /// The tables `[key.NAME]` with their names, in the file's order.
    pub(super) fn named(&mut self, key: &'static str) -> Vec<(String, Section<'f, 't>)> {
        let Some(mut parent) = self.section(key) else { return Vec::new() };
        let mut found = Vec::new();
        for (name, value) in std::mem::take(&mut parent.table) {
            let line = self.file.line(&value.span());
            let name = name.into_inner().into_owned();
            match value.into_inner() {
                DeValue::Table(table) => {
                    found.push((line, Section::new(self.file, format!("[{key}.{name}]"), line, table), name));
                }
                other => self.wrong_type(line, &name, &format!("a table [{key}.{name}]"), &other),
            }
        }
        found.sort_by_key(|(line, ..)| *line);
        found.into_iter().map(|(_, section, name)| (name, section)).collect()
    }

    /// The tables `[[key]]`; `None` where something else stands there.
    pub(super) fn list(&mut self, key: &'static str) -> Option<Vec<Section<'f, 't>>> {
        let Some((line, value)) = self.take(key) else { return Some(Vec::new()) };
        let DeValue::Array(items) = value else {
            self.wrong_type(line, key, &format!("written as [[{key}]]"), &value);
            return None;
        };
        let mut found = Vec::new();
        for item in items {
            let line = self.file.line(&item.span());
            match item.into_inner() {
                DeValue::Table(table) => {
                    found.push(Section::new(self.file, format!("[[{key}]]"), line, table));
                }
                other => {
                    self.wrong_type(line, key, &format!("written as [[{key}]]"), &other);
                    return None;
                }
            }
        }
        Some(found)
    }

    /// Ends the reading of this table: every key not asked for is unknown.
    pub(super) fn close(self) {
        for (key, _) in &self.table {
            let name = key.get_ref().as_ref();
            let place = match self.title.as_str() {
                "" => "at the top of the file".to_owned(),
                title => format!("in {title}"),
            };
            let known = self.known.borrow();
            let nearest = known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, name), *known))
                .min()
                .filter(|(distance, known)| *distance <= known.len().div_ceil(2));
            let remedy = match nearest {
                Some((_, nearest)) => format!("did you mean {nearest}?"),
                None => format!("known are: {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            let line = self.file.line(&key.span());
            let name = printable(name, 60);
            self.file.mistake(line, "unknown_key", format!("unknown key \"{name}\" {place}"), remedy);
        }
    }
}

fn article(kind: &str) -> String {
    match kind {
        "integer" | "array" => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

/// `10s`, `30m`, `6h`, `4d`, `250ms`: a whole number and one unit.
pub(super) fn duration(text: &str) -> Option<Duration> {
    any_duration(text).filter(|all| *all <= Duration::from_secs(366 * 86_400))
}

/// As [`duration`], however long.
fn any_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..split].parse().ok()?;
    let milliseconds = match &text[split..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}
