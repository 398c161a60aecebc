//! What nginx's error log tells of its reloads.

/// Counts from an error log on level `notice`.
///
/// A reload leaves two lines: `signal 1 (SIGHUP) received from PID, reconfiguring` when the signal comes, and
/// `reconfiguring` alone when the master acts on it. Signals that come close together are acted on once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSummary {
    /// Reloads the master acted on, failed ones included.
    pub reloads: usize,
    /// Reloads that loaded the configuration and started new workers.
    pub loads: usize,
    /// Reload signals the master received.
    pub hups: usize,
    /// Lines of level `emerg`, whole.
    pub emergencies: Vec<String>,
    /// Emergencies that say that a key does not belong to its certificate.
    pub key_mismatches: usize,
}

impl LogSummary {
    /// Reads the text of an error log; a last line without its end is not counted yet.
    pub fn of(text: &str) -> Self {
        let mut summary = Self::default();
        let mut reloading = false;
        for line in whole_lines(text) {
            match Line::of(line) {
                Line::Signal => summary.hups += 1,
                Line::Acted => {
                    summary.reloads += 1;
                    reloading = true;
                }
                Line::NewWorkers => summary.loads += usize::from(std::mem::take(&mut reloading)),
                Line::Emergency => {
                    summary.emergencies.push(line.to_owned());
                    summary.key_mismatches += usize::from(line.contains("key values mismatch"));
                    reloading = false;
                }
                Line::Other => {}
            }
        }
        summary
    }
}

/// Whether every signal was acted on, and every reload has ended, well or badly.
pub(super) fn settled(text: &str) -> bool {
    let mut settled = true;
    for line in whole_lines(text) {
        match Line::of(line) {
            Line::Signal | Line::Acted => settled = false,
            Line::NewWorkers | Line::Emergency => settled = true,
            Line::Other => {}
        }
    }
    settled && (text.is_empty() || text.ends_with('\n'))
}

enum Line {
    Signal,
    Acted,
    NewWorkers,
    Emergency,
    Other,
}

impl Line {
    fn of(line: &str) -> Self {
        match line {
            _ if line.contains("[emerg]") => Self::Emergency,
            _ if line.contains("signal 1 (SIGHUP) received") => Self::Signal,
            _ if line.ends_with(": reconfiguring") => Self::Acted,
            _ if line.ends_with(": start worker processes") => Self::NewWorkers,
            _ => Self::Other,
        }
    }
}

fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From nginx 1.22.1: a reload that is signalled twice and loads, then one that does not.
    const LOG: &str = "\
2026/11/21 19:36:10 [notice] 39#39: start worker processes
2026/11/21 19:36:10 [notice] 39#39: start worker process 40
2026/11/21 19:36:10 [notice] 39#39: signal 1 (SIGHUP) received from 27, reconfiguring
2026/11/21 19:36:10 [notice] 39#39: signal 1 (SIGHUP) received from 28, reconfiguring
2026/11/21 19:36:10 [notice] 39#39: reconfiguring
2026/11/21 19:36:10 [notice] 39#39: using the \"epoll\" event method
2026/11/21 19:36:10 [notice] 39#39: start worker processes
2026/11/21 19:36:10 [notice] 39#39: start worker process 49
2026/11/21 19:36:10 [notice] 40#40: gracefully shutting down
2026/11/21 19:36:11 [notice] 39#39: signal 1 (SIGHUP) received from 27, reconfiguring
2026/11/21 19:36:11 [notice] 39#39: reconfiguring
2026/11/21 19:36:11 [emerg] 39#39: SSL_CTX_use_PrivateKey(\"/k.pem\") failed (SSL: error:0B080074:x509 \
certificate routines:X509_check_private_key:key values mismatch)
";

    #[test]
    fn counts_signals_reloads_and_failures() {
        let summary = LogSummary::of(LOG);
        assert_eq!((summary.hups, summary.reloads, summary.loads), (3, 2, 1));
        assert_eq!((summary.emergencies.len(), summary.key_mismatches), (1, 1));
        assert!(settled(LOG));
    }

    #[test]
    fn a_reload_under_way_is_not_settled() {
        for end in
            ["received from 28, reconfiguring\n", "39#39: reconfiguring\n", "using the \"epoll\" event"]
        {
            let at = LOG.find(end).expect("in the log") + end.len();
            assert!(!settled(&LOG[..at]), "{end}");
        }
    }
}
