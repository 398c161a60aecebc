//! The sample configuration: the one source of what there is to say of each key.
//!
//! A line that begins with `#` and no space is a key or its table, commented out. What follows two spaces and
//! another `#` says how it stands to its default: nothing is the default itself, `default: VALUE` shows another
//! value, `example` has no default, and `or` is another form of the line above.

use roff::{Roff, bold, roman};

use crate::page::words;

/// The whole file.
pub struct Sample {
    /// The words before the first key, without their signs.
    pub beginning: String,
    /// The lines that configure, with the words before them.
    pub entries: Vec<Entry>,
}

/// Words, and the table or the keys they are of.
pub struct Entry {
    /// In one line.
    pub words: String,
    /// At least one.
    pub lines: Vec<Line>,
}

/// A table or a key.
#[derive(Debug, Clone)]
pub struct Line {
    /// Without its signs: `[watch]`, `poll = "10s"`.
    pub text: String,
    /// What it says of its default.
    pub note: Note,
}

/// How a value stands to its key's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It is the default.
    Default,
    /// This is the default.
    Differs(String),
    /// There is none.
    Example,
    /// Another form of the line above.
    Or,
}

impl Sample {
    /// Reads the file's text.
    ///
    /// # Panics
    /// If a line is neither words nor a commented key.
    pub fn parse(text: &str) -> Self {
        let mut blocks =
            text.split("\n\n").map(|block| block.trim_matches('\n')).filter(|block| !block.is_empty());
        let bare = |line: &str| line.strip_prefix("# ").or_else(|| line.strip_prefix('#')).map(str::to_owned);
        let beginning = blocks.next().expect("a beginning").lines();
        let beginning: Vec<_> = beginning.map(|line| bare(line).expect("a comment")).collect();
        let entries = blocks.map(|block| {
            let is_words = |line: &&str| line.starts_with("# ");
            let words: Vec<_> = block.lines().take_while(is_words).filter_map(bare).collect();
            let lines = block.lines().skip(words.len()).map(Line::parse).collect();
            Entry { words: words.join(" "), lines }
        });
        Self { beginning: beginning.join("\n"), entries: entries.collect() }
    }

    /// Every key, table by table, as a page's sections.
    pub fn keys(&self, roff: &mut Roff) {
        roff.control("SS", ["At the top of the file"]);
        for Entry { words: told, lines } in &self.entries {
            if let [table] = &lines[..]
                && table.is_table()
            {
                roff.control("SS", [table.text.as_str()]);
                words(told, roff);
                continue;
            }
            for (index, line) in lines.iter().enumerate() {
                roff.control(if index == 0 { "TP" } else { "TQ" }, []);
                let note = match &line.note {
                    Note::Default | Note::Or => String::new(),
                    Note::Differs(default) => format!("  (default: {default})"),
                    Note::Example => "  (example)".to_owned(),
                };
                roff.text([bold(&line.text), roman(note)]);
            }
            words(told, roff);
        }
    }
}

impl Line {
    fn parse(line: &str) -> Self {
        let text = line.strip_prefix('#').filter(|text| !text.starts_with(' '));
        let text = text.unwrap_or_else(|| panic!("neither words nor a key: {line}"));
        let (text, note) = match text.split_once("  # ") {
            None => (text, Note::Default),
            Some((text, "example")) => (text, Note::Example),
            Some((text, "or")) => (text, Note::Or),
            Some((text, note)) => match note.strip_prefix("default: ") {
                Some(default) => (text, Note::Differs(default.to_owned())),
                None => panic!("a note is example, or, default: VALUE; not {note}"),
            },
        };
        Self { text: text.to_owned(), note }
    }

    /// Whether it is a table's.
    pub fn is_table(&self) -> bool {
        self.text.starts_with('[')
    }
}
