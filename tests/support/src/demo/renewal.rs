//! Three renewals at once, and the timeline of each.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use super::Stop;
use super::host::{Host, Site};
use super::interrupt::{Interrupt, undisturbed};
use super::paper::{Paper, cut};
use crate::ca::Pair;

/// A certificate renewed on disk.
pub(super) struct Renewal<'a> {
    pub(super) site: &'a Site,
    pub(super) pair: Pair,
    /// When the tool began.
    started: Timestamp,
    /// When the tool was done.
    written: Timestamp,
}

/// Renews every site with its tool, all at once. Interrupted, the tools hurry.
pub(super) fn renew<'a>(host: &'a Host, interrupt: &Interrupt) -> Result<Vec<Renewal<'a>>, Stop> {
    let begun = &AtomicUsize::new(0);
    let renew_one = |site: &'a Site| {
        let (pair, (writer, gap)) = (host.renew_at_the_portal(site), site.writer());
        let mut first = true;
        let pause = &mut || {
            // They keep step from their first step on: one has more to compute before it than the others.
            if std::mem::take(&mut first) {
                begun.fetch_add(1, Ordering::Relaxed);
                let in_time = Instant::now() + Duration::from_secs(5);
                while begun.load(Ordering::Relaxed) < host.sites.len() && Instant::now() < in_time {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            interrupt.sleep(gap);
        };
        let written = undisturbed(|| writer.renew_stepwise(&site.layout, &pair, pause))?;
        Ok(Renewal { site, pair, started: wall(written.started), written: wall(written.finished) })
    };
    thread::scope(|scope| {
        let tools: Vec<_> = host.sites.iter().map(|site| scope.spawn(move || renew_one(site))).collect();
        let done = tools.into_iter().map(|tool| tool.join().expect("a tool that comes to its end"));
        done.collect()
    })
}

/// What happened to a site, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moment {
    at: Timestamp,
    event: String,
    detail: String,
}

impl Renewal<'_> {
    /// When certhook had seen it served.
    pub(super) fn served_at(&self, history: &Value) -> Option<Timestamp> {
        self.moments(history).into_iter().find(|moment| moment.event == "served").map(|moment| moment.at)
    }

    /// Whether certhook knows that the portal knows.
    pub(super) fn is_reported(&self, history: &Value) -> bool {
        self.moments(history).iter().any(|moment| moment.event == "reported")
    }

    /// What certhook's history has of it.
    fn moments(&self, history: &Value) -> Vec<Moment> {
        let entries = history.as_array().map(Vec::as_slice).unwrap_or_default();
        let ours = entries.iter().filter(|entry| {
            let leaf = &entry["fingerprint"];
            entry["site"] == self.site.name() && (leaf.is_null() || *leaf == *self.pair.fingerprint)
        });
        let word = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let moment = |entry: &Value| {
            let at = word(entry, "at").parse().ok()?;
            Some(Moment { at, event: word(entry, "event"), detail: word(entry, "detail") })
        };
        ours.filter_map(moment).filter(|moment| moment.at >= self.started).collect()
    }

    /// Prints the timeline, counted from the moment the tool was done.
    pub(super) fn print(&self, paper: &Paper, history: &Value) -> Result<(), Stop> {
        let file = self.site.layout.certificate.file_name().unwrap_or_default().to_string_lossy();
        let mut moments = self.moments(history);
        for moment in &mut moments {
            match moment.event.as_str() {
                // What a tool does after the two files that matter does not hold certhook up.
                "whole" if moment.at < self.written => {
                    moment.detail = "before the tool was quite done".to_owned();
                }
                "reported" => moment.detail.insert_str(0, "remoteCreateDate "),
                _ => {}
            }
        }
        let written = Moment { at: self.written, event: "written".to_owned(), detail: format!("…/{file}") };
        moments.insert(0, written);
        moments.sort_by_key(|moment| moment.at);
        paper.line(&format!(
            "{} {}",
            paper.strong(&format!("{:<14}", self.site.name())),
            self.site.words()
        ))?;
        for Moment { at, event, detail } in moments {
            let after = at.as_millisecond() - self.written.as_millisecond();
            let line = format!("{after:>+7} ms  {}  {event:<9}  {detail}", at.strftime("%H:%M:%S%.3f"));
            paper.line(cut(&line, 80).trim_end())?;
        }
        paper.line("")
    }
}

/// The wall-clock time of a moment of the steady clock, in whole milliseconds as in certhook's history.
fn wall(at: Instant) -> Timestamp {
    let at = Timestamp::now().checked_sub(at.elapsed()).expect("a time within reason");
    Timestamp::from_millisecond(at.as_millisecond()).expect("a time within reason")
}
