//! What nginx wrote to its error log since a moment.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::process::Master;

/// So much of what was written since is read.
const MOST_BYTES: u64 = 256 * 1024;

/// An error log, from its end at the time it was opened.
#[derive(Debug)]
pub(super) struct ErrorLog {
    file: File,
    begin: u64,
    seen: u64,
    emergency: bool,
}

impl ErrorLog {
    /// The log of a running master: its standard error is the log it was started with. `None` where that
    /// is no file, or may not be read.
    pub(super) fn of(master: &Master) -> Option<Self> {
        let mut file = crate::platform::open_to_read(&master.standard_error()).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let begin = file.seek(SeekFrom::End(0)).ok()?;
        Some(Self { file, begin, seen: begin, emergency: false })
    }

    /// Whether an `[emerg]` line came; what was read once is not read again.
    pub(super) fn has_emergency(&mut self) -> bool {
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        if !self.emergency && length > self.seen {
            // From the start of what is new, as a line may have been cut.
            self.emergency = self.text().contains("[emerg]");
            self.seen = length;
        }
        self.emergency
    }

    /// The words of the `[emerg]` lines.
    pub(super) fn emergencies(mut self) -> Vec<String> {
        emergencies(&self.text())
    }

    fn text(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self
            .file
            .seek(SeekFrom::Start(self.begin))
            .and_then(|_| (&self.file).take(MOST_BYTES).read_to_end(&mut bytes));
        // A log that cannot be read says nothing; the wire is asked all the same.
        let _ = read;
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The words after `[emerg]`, without nginx's process numbers.
pub(super) fn emergencies(text: &str) -> Vec<String> {
    let words = text.lines().filter_map(|line| line.split_once("[emerg]")).map(|(_, rest)| {
        let rest = rest.trim_start_matches(':').trim();
        match rest.split_once(": ") {
            Some((numbers, words)) if numbers.chars().all(|c| c.is_ascii_digit() || c == '#') => words.trim(),
            _ => rest,
        }
    });
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::emergencies;

    #[test]
    fn words_of_the_log_and_of_the_test() {
        let log = "2026/11/21 19:41:57 [notice] 7#7: signal 1\n\
                   2026/11/21 19:41:57 [emerg] 12#12: unknown directive \"foo\" in /n.conf:3\n";
        assert_eq!(emergencies(log), ["unknown directive \"foo\" in /n.conf:3"]);
        let test = "nginx: [emerg] cannot load certificate \"/a\": BIO_new_file() failed\n";
        assert_eq!(emergencies(test), ["cannot load certificate \"/a\": BIO_new_file() failed"]);
    }
}
