//! Words for people.

/// Words for a terminal and a log line: there, short, and without a control character.
pub fn assert_shown(words: &str, most: usize) {
    assert!(!words.trim().is_empty(), "nothing is said");
    assert!(words.chars().count() <= most, "{} characters are too many: {words}", words.chars().count());
    assert!(!words.chars().any(char::is_control), "{words:?}");
}
