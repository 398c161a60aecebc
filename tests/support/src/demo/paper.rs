//! What is printed: for a terminal of eighty columns, with colour only where it is wanted.

use std::io::{self, IsTerminal as _, Write as _};

use super::Stop;
use crate::portal::Entry;

/// As wide as a line may be.
const WIDTH: usize = 80;

/// Standard output.
pub(super) struct Paper {
    colour: bool,
}

impl Paper {
    pub(super) fn new() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: io::stdout().is_terminal() && !unwanted }
    }

    pub(super) fn line(&self, words: &str) -> Result<(), Stop> {
        Ok(writeln!(io::stdout().lock(), "{words}")?)
    }

    /// Words that stand out.
    pub(super) fn strong(&self, words: &str) -> String {
        self.painted("1", words)
    }

    /// Words of success.
    pub(super) fn good(&self, words: &str) -> String {
        self.painted("1;32", words)
    }

    fn painted(&self, how: &str, words: &str) -> String {
        if self.colour { format!("\x1b[{how}m{words}\x1b[0m") } else { words.to_owned() }
    }

    /// An entry of the portal's journal: the request and its answer, and the body below.
    pub(super) fn entry(&self, entry: &Entry) -> Result<(), Stop> {
        let answer = entry.status.map_or("no answer".to_owned(), |status| status.to_string());
        let mut line = format!("{:.3}  {} {}  {answer}", entry.time, entry.method, entry.path);
        if let Some(counted) = entry.counted {
            line.push_str(&format!("  {counted} of {} a week", entry.budget));
        }
        self.line(&cut(&line, WIDTH))?;
        for more in [Some(&entry.body), entry.note.as_ref()].into_iter().flatten() {
            if !more.is_empty() {
                self.line(&format!("    {}", cut(more, WIDTH - 4)))?;
            }
        }
        Ok(())
    }
}

/// A text in one line of so many columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.chars().map(printable).take(width).collect();
    if text.chars().count() > width {
        line.pop();
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn long_lines_are_cut() {
        assert_eq!(cut("12345", 5), "12345");
        assert_eq!(cut("123456", 5), "1234…");
        assert_eq!(cut("1\n2\x1b[m", 10), "1 2 [m");
    }
}
