//! What nginx wrote to its error logs since a moment.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::words;

/// So much is read at once.
const MOST_BYTES: u64 = 256 * 1024;
/// A longer line is cut.
const MOST_LINE: usize = 8 * 1024;
/// More lines say nothing new.
const MOST_KEPT: usize = 16;

/// The error logs that could be opened, each from its end at that time.
#[derive(Debug)]
pub(super) struct ErrorLogs {
    logs: Vec<ErrorLog>,
    /// Whose lines count; everybody's if `None`.
    writers: Option<Vec<i32>>,
    emergencies: Vec<String>,
}

#[derive(Debug)]
struct ErrorLog {
    file: File,
    identity: (u64, u64),
    /// The beginning of a line that was not finished when it was read.
    begun: Vec<u8>,
}

impl ErrorLogs {
    /// Those of `paths` that are files and may be read, each once.
    pub(super) fn open<'p>(paths: impl IntoIterator<Item = &'p Path>, writers: Option<Vec<i32>>) -> Self {
        let mut logs: Vec<ErrorLog> = Vec::new();
        for log in paths.into_iter().filter_map(ErrorLog::open) {
            if logs.iter().all(|other| other.identity != log.identity) {
                logs.push(log);
            }
        }
        Self { logs, writers, emergencies: Vec::new() }
    }

    /// Whether there is none to read.
    pub(super) fn is_blind(&self) -> bool {
        self.logs.is_empty()
    }

    /// The words of the `[emerg]` lines since the logs were opened. What was read once is not read again.
    pub(super) fn emergencies(&mut self) -> &[String] {
        for log in &mut self.logs {
            for words in words::emergencies(&log.new_lines(), self.writers.as_deref()) {
                if self.emergencies.len() < MOST_KEPT && !self.emergencies.contains(&words) {
                    self.emergencies.push(words);
                }
            }
        }
        &self.emergencies
    }
}

impl ErrorLog {
    fn open(path: &Path) -> Option<Self> {
        let mut file = crate::platform::open_to_read(path).ok()?;
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        file.seek(SeekFrom::End(0)).ok()?;
        Some(Self { file, identity: (metadata.dev(), metadata.ino()), begun: Vec::new() })
    }

    fn new_lines(&mut self) -> String {
        let mut bytes = std::mem::take(&mut self.begun);
        // A log that cannot be read says nothing; the wire is asked all the same.
        let _ = (&self.file).take(MOST_BYTES).read_to_end(&mut bytes);
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.begun = bytes.split_off(whole);
        // A line without an end is no line of a log.
        self.begun.truncate(MOST_LINE);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_new_whole_lines_of_the_master_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.log");
        std::fs::write(&path, "2026/11/21 19:41:56 [emerg] 12#12: of yesterday\n").unwrap();
        let link = folder.path().join("link.log");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let paths = [path.as_path(), &link, folder.path(), Path::new("/none")];
        let mut logs = ErrorLogs::open(paths, Some(vec![12]));
        assert!(!logs.is_blind());
        let mut writer = File::options().append(true).open(&path).unwrap();
        write!(writer, "2026/11/21 19:41:57 [emerg] 12#12: of to").unwrap();
        assert_eq!(logs.emergencies(), [] as [&str; 0]);
        write!(writer, "day\n2026/11/21 19:41:57 [emerg] 99#99: of nginx -t\n").unwrap();
        assert_eq!(logs.emergencies(), ["of today"]);
        assert_eq!(logs.emergencies(), ["of today"]);
        assert!(ErrorLogs::open([folder.path()], None).is_blind());
    }
}
