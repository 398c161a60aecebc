//! What is wrong, in the three parts every user-facing error has: a stable code for machines, what and
//! where in words, and what to do about it.

use serde::{Deserialize, Serialize};

/// The code of a listener whose address this host does not have now. It is neither a fault nor well.
pub const NOT_ON_THIS_HOST: &str = "not_on_this_host";

/// The code of a certificate that its server has loaded and that no handshake shows.
pub const UNPROVED: &str = "unproved";

/// Something an administrator should know of. `code` is stable across versions; the words are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable word such as `key_mismatch`; the list stands in the README.
    pub code: String,
    /// What is wrong and where.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    /// A problem from its three parts.
    pub fn new(code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), remedy: remedy.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.remedy)
    }
}

/// Text from outside (a file name, the portal's words, a program's output) made safe for a terminal and
/// a log line: control characters become `\u{..}`, and no more than `most` characters are kept.
pub fn printable(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for (count, c) in text.trim().chars().enumerate() {
        if count == most {
            out.push('…');
            break;
        }
        if c.is_control() || is_bidi(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that reorder the text around them on a terminal.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_a_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\nc", 99), "a\\u{1b}[31mb\\u{a}c");
        assert_eq!(printable("\u{202e}gpj", 99), "\\u{202e}gpj");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(printable("abc", 3), "abc");
    }
}
