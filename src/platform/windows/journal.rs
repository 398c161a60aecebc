//! The event log of Windows, for a service: nobody sees its standard error.

#![allow(unsafe_code)]

use std::io;
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    RegisterEventSourceW, ReportEventW,
};

use super::{service, wide};

/// Under which name, and in `Application`.
pub(super) const SOURCE: &str = "certhook";
/// A line may be so long.
const MOST: usize = 16_000;

/// Numbers of events by their words. They are for filters and alarms, and never change; what is not here has the
/// number of its level: 1 tells, 2 warns, 3 is an error. Problems of all kinds are 200 to 202, with their code.
const NUMBERS: [(&str, u32); 16] = [
    ("certhook runs", 100),
    ("certhook ends", 101),
    ("the configuration was read again", 102),
    ("the configuration cannot be taken over", 103),
    ("reloading", 110),
    ("reloaded", 111),
    ("served and recorded", 112),
    ("reported", 120),
    ("report held", 121),
    ("report not delivered", 122),
    ("the portal has scheduled renewals", 130),
    ("fetched", 131),
    ("not fetched", 132),
    ("problem", 200),
    ("well again", 201),
    ("file events were lost; everything is looked at", 210),
];

/// A way into the event log.
#[derive(Debug)]
pub struct Journal {
    source: HANDLE,
}

// SAFETY: the handle stands for no memory, and the calls that take it may come from any thread.
unsafe impl Send for Journal {}
// SAFETY: as above.
unsafe impl Sync for Journal {}

impl Drop for Journal {
    fn drop(&mut self) {
        // SAFETY: it is open, and closed once.
        unsafe { DeregisterEventSource(self.source) };
    }
}

impl Journal {
    /// The event log, if this process is a service.
    pub fn of_standard_error() -> Option<Self> {
        service::is_one().then(Self::open)?.ok()
    }

    pub(super) fn open() -> io::Result<Self> {
        let name = wide(SOURCE);
        // SAFETY: the name ends with a zero.
        let source = unsafe { RegisterEventSourceW(null(), name.as_ptr()) };
        if source.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self { source }) }
    }

    /// Sends an entry, of which the line tells all that its fields tell.
    ///
    /// # Errors
    /// The system's.
    pub fn send(&self, fields: &[(String, String)]) -> io::Result<()> {
        let (kind, number, line) = entry(fields);
        let line = wide(line);
        // SAFETY: there is one text, which ends with a zero, and no data.
        let done = unsafe {
            let texts = [line.as_ptr()];
            ReportEventW(self.source, kind, 0, number, null_mut(), 1, 0, texts.as_ptr(), null())
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Its kind, its number, and what is said.
fn entry(fields: &[(String, String)]) -> (u16, u32, String) {
    let field =
        |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| value.as_str());
    let (kind, level) = match field("PRIORITY") {
        "3" => (EVENTLOG_ERROR_TYPE, 3),
        "4" => (EVENTLOG_WARNING_TYPE, 2),
        _ => (EVENTLOG_INFORMATION_TYPE, 1),
    };
    // The words come first, and then ` name=value`.
    let line = field("MESSAGE");
    let is =
        |words: &str| line.strip_prefix(words).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    // The longest that fits: one may begin as another does.
    let known = NUMBERS.iter().filter(|(words, _)| is(words)).max_by_key(|(words, _)| words.len());
    // A zero would end the text.
    let text = line.chars().filter(|c| *c != '\0').take(MOST).collect();
    (kind, known.map_or(level, |(_, number)| *number), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str, priority: &str) -> Vec<(String, String)> {
        [("MESSAGE", line), ("PRIORITY", priority)].map(|(name, value)| (name.into(), value.into())).into()
    }

    #[test]
    fn events_have_their_numbers_whatever_their_fields() {
        for (line, priority, expected) in [
            ("reloaded server=haproxy milliseconds=12", "6", (EVENTLOG_INFORMATION_TYPE, 111)),
            ("problem site=a.test code=key_mismatch", "4", (EVENTLOG_WARNING_TYPE, 200)),
            ("report held site=a.test", "4", (EVENTLOG_WARNING_TYPE, 121)),
            ("reported site=a.test", "6", (EVENTLOG_INFORMATION_TYPE, 120)),
            ("problems of another kind", "3", (EVENTLOG_ERROR_TYPE, 3)),
            ("something new", "4", (EVENTLOG_WARNING_TYPE, 2)),
        ] {
            let (kind, number, said) = entry(&fields(line, priority));
            assert_eq!(((kind, number), said.as_str()), (expected, line));
        }
        assert_eq!(entry(&fields("a\0b", "6")).2, "ab");
    }

    /// Else a number would be of words that nobody says any more.
    #[test]
    fn every_number_is_of_words_that_the_sources_say() {
        let mut numbers: Vec<u32> = NUMBERS.iter().map(|(_, number)| *number).collect();
        numbers.dedup();
        assert!(numbers.len() == NUMBERS.len() && numbers.is_sorted());
        let (mut sources, mut folders) = (String::new(), vec![format!("{}/src", env!("CARGO_MANIFEST_DIR"))]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path.display().to_string());
                } else if !path.ends_with("windows/journal.rs") {
                    sources.push_str(&std::fs::read_to_string(path).unwrap());
                }
            }
        }
        for (words, _) in NUMBERS {
            assert!(sources.contains(&format!("\"{words}\"")), "{words}");
        }
    }
}
