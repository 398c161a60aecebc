//! What nginx wrote to the journal, where it has no log file that can be read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ask::{self, Rights};
use super::{instance, words};

/// For an answer of `journalctl`; a large journal is slow.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where to look in the journal: what the masters wrote, and their unit, since a moment.
#[derive(Debug)]
pub(super) struct Journal {
    since: SystemTime,
    pids: Vec<i32>,
    unit: Option<String>,
}

impl Journal {
    pub(super) fn from_now(pids: Vec<i32>, unit: Option<String>) -> Self {
        Self { since: SystemTime::now(), pids, unit }
    }

    /// The words of the `[emerg]` lines; none where there is no journal, or this user may not read it.
    pub(super) async fn emergencies(&self) -> Vec<String> {
        let Some(program) = instance::trusted_in_path("journalctl") else { return Vec::new() };
        let argv = self.argv(program.display().to_string());
        let asked = tokio::task::spawn_blocking(move || ask::run(&argv, PATIENCE, Rights::ReadAll)).await;
        match asked {
            Ok(Ok(ended)) => words::emergencies(&ended.output, None),
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }

    fn argv(&self, program: String) -> Vec<String> {
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut argv = vec![program];
        argv.extend(["--quiet", "--no-pager", "--output=cat"].map(str::to_owned));
        argv.push(format!("--since=@{}.{:06}", since.as_secs(), since.subsec_micros()));
        let unit = self.unit.iter().map(|unit| format!("_SYSTEMD_UNIT={unit}"));
        for (index, wanted) in self.pids.iter().map(|pid| format!("_PID={pid}")).chain(unit).enumerate() {
            argv.extend((index > 0).then(|| "+".to_owned()));
            argv.push(wanted);
        }
        argv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_match_will_do() {
        let since = UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_042);
        let unit = Some("nginx.service".to_owned());
        let argv = Journal { since, pids: vec![7, 8], unit }.argv("journalctl".to_owned());
        let expected =
            ["--since=@1700000000.000042", "_PID=7", "+", "_PID=8", "+", "_SYSTEMD_UNIT=nginx.service"];
        assert_eq!(argv[4..], expected);
    }
}
