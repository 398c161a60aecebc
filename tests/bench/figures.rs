//! What a process costs, and rows of a table.

use std::collections::BTreeMap;
use std::time::Duration;

/// What a process has cost so far, by `/proc`; children are not in it.
pub struct Cost {
    /// MiB.
    pub resident: f64,
    /// MiB; pages that are shared count in part.
    pub proportional: f64,
    /// Of each thread that lives: milliseconds on a processor, and how often it went to sleep again.
    threads: BTreeMap<String, (f64, f64)>,
    /// Milliseconds on a processor of all threads, ended ones too; in steps of 10.
    all: f64,
}

impl Cost {
    pub fn of(pid: u32) -> Self {
        let rollup = read(&format!("/proc/{pid}/smaps_rollup"));
        let mut threads = BTreeMap::new();
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).expect("a running process").flatten() {
            let task = task.path().display().to_string();
            let spent = read(&format!("{task}/schedstat"));
            let run =
                spent.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e6;
            let wakes = field(&read(&format!("{task}/status")), "voluntary_ctxt_switches:");
            threads.insert(task, (run, wakes));
        }
        let stat = read(&format!("/proc/{pid}/stat"));
        // After the name, which may have anything in it: utime and stime are the 12th and 13th.
        let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        let all = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10.0;
        let (resident, proportional) = (field(&rollup, "Rss:") / 1024.0, field(&rollup, "Pss:") / 1024.0);
        Self { resident, proportional, threads, all }
    }

    /// Milliseconds on a processor, and wake-ups, since then.
    pub fn since(&self, before: &Self) -> (f64, f64) {
        let mut sum = (0.0, 0.0);
        for (task, (run, wakes)) in &self.threads {
            let (run_before, wakes_before) = before.threads.get(task).copied().unwrap_or_default();
            sum = (sum.0 + run - run_before, sum.1 + wakes - wakes_before);
        }
        // What threads took that have ended is told by the process alone.
        let ended = self.all - before.all;
        (if ended > sum.0 + 10.0 { ended } else { sum.0 }, sum.1)
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// A row of the table.
pub struct Row {
    what: String,
    unit: &'static str,
    values: Vec<f64>,
}

impl Row {
    pub const HEAD: &str = "| | min | median | max | |\n|---|--:|--:|--:|---|";

    pub fn of(what: &str, unit: &'static str) -> Self {
        Self { what: what.to_owned(), unit, values: Vec::new() }
    }

    pub fn value(mut self, value: f64) -> Self {
        self.values.push(value);
        self
    }

    /// In milliseconds.
    pub fn times(mut self, times: &[Duration]) -> Self {
        self.values.extend(times.iter().map(|time| time.as_secs_f64() * 1e3));
        self
    }

    pub fn print(mut self) {
        self.values.sort_by(f64::total_cmp);
        let Self { what, unit, values } = self;
        let (min, median, max) = (values[0], values[values.len() / 2], values[values.len() - 1]);
        println!("| {what} | {min:.1} | {median:.1} | {max:.1} | {unit} |");
    }
}
