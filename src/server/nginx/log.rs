//! What nginx wrote to its error log since a moment.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::process::Master;

/// So much is read at once.
const MOST_BYTES: u64 = 256 * 1024;
/// A longer line is cut.
const MOST_LINE: usize = 8 * 1024;
/// More lines say nothing new.
const MOST_KEPT: usize = 16;

/// An error log, from its end at the time it was opened.
#[derive(Debug)]
pub(super) struct ErrorLog {
    file: File,
    /// The beginning of a line that was not finished when it was read.
    begun: Vec<u8>,
    emergencies: Vec<String>,
}

impl ErrorLog {
    /// The log of a running master: its standard error is the log it was started with. `None` where that
    /// is no file, or may not be read.
    pub(super) fn of(master: &Master) -> Option<Self> {
        let mut file = crate::platform::open_to_read(&master.standard_error()).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        file.seek(SeekFrom::End(0)).ok()?;
        Some(Self { file, begun: Vec::new(), emergencies: Vec::new() })
    }

    /// The words of the `[emerg]` lines since the log was opened. What was read once is not read again.
    pub(super) fn emergencies(&mut self) -> &[String] {
        let mut bytes = std::mem::take(&mut self.begun);
        // A log that cannot be read says nothing; the wire is asked all the same.
        let _ = (&self.file).take(MOST_BYTES).read_to_end(&mut bytes);
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.begun = bytes.split_off(whole);
        // A line without an end is no line of a log.
        self.begun.truncate(MOST_LINE);
        let room = MOST_KEPT.saturating_sub(self.emergencies.len());
        self.emergencies.extend(emergencies(&String::from_utf8_lossy(&bytes)).into_iter().take(room));
        &self.emergencies
    }
}

/// The words of `[emerg]` lines, of a log or of nginx's test. The level stands in one place only: what a client
/// sends can appear in the words of other lines.
pub(super) fn emergencies(text: &str) -> Vec<String> {
    text.lines().filter_map(emergency).map(str::to_owned).collect()
}

fn emergency(line: &str) -> Option<&str> {
    if let Some(of_test) = line.strip_prefix("nginx: [emerg] ") {
        return Some(of_test.trim());
    }
    // 2026/11/21 19:41:57 [emerg] 12#12: words
    let (time, rest) = line.split_at_checked(TIME.len())?;
    let fits = |(c, form): (char, char)| if form == '0' { c.is_ascii_digit() } else { c == form };
    let words = rest.strip_prefix(" [emerg] ").filter(|_| time.chars().zip(TIME.chars()).all(fits))?;
    Some(words.split_once(": ").map_or(words, |(_, words)| words).trim())
}

/// How nginx writes the time.
const TIME: &str = "0000/00/00 00:00:00";

#[cfg(test)]
mod tests {
    use super::emergencies;

    #[test]
    fn words_of_the_log_and_of_the_test() {
        let log = "2026/11/21 19:41:57 [notice] 7#7: signal 1\n\
                   2026/11/21 19:41:57 [emerg] 12#12: unknown directive \"foo\" in /n.conf:3\n";
        assert_eq!(emergencies(log), ["unknown directive \"foo\" in /n.conf:3"]);
        let hostile = "2026/11/21 19:41:57 [error] 12#12: *5 open() \"/var/www/[emerg] 1#1: pwned\" failed\n\
                       2026/11/21 19:41:57 [info] x [emerg] 1#1: pwned\n[emerg] pwned\n";
        assert_eq!(emergencies(hostile), [] as [String; 0]);
        let test = "nginx: [emerg] cannot load certificate \"/a\": BIO_new_file() failed\n";
        assert_eq!(emergencies(test), ["cannot load certificate \"/a\": BIO_new_file() failed"]);
    }
}
