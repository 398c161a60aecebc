//! What certhook costs on a host with many sites: its start, its memory, its rest, a queue of reports after an
//! outage. Prints a table; asserts nothing, for a machine's figures are its own.
//!
//! ```text
//! cargo bench --bench host                    all of it
//! cargo bench --bench host -- start 10000     one of start, rest, queue; with so many sites or reports
//! CERTHOOK=/path/to/certhook …                of another build
//! ```

#![allow(clippy::disallowed_methods, reason = "what it reads is its own")]

mod figures;
mod ground;

use std::time::{Duration, Instant};

use figures::{Cost, Row};
use ground::Ground;

const USUAL: usize = 1000;
const MANY: usize = 10_000;
const REST: Duration = Duration::from_secs(60);
/// Reports that an outage left.
const QUEUED: usize = 1000;
const STARTS: usize = 5;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = words.first().map_or("all", String::as_str);
    let count = words.get(1).and_then(|word| word.parse().ok());
    println!("{}", Row::HEAD);
    if matches!(wanted, "all" | "start") {
        for sites in count.map_or(vec![USUAL, MANY], |count| vec![count]) {
            start(sites);
        }
    }
    if matches!(wanted, "all" | "rest") {
        rest(count.unwrap_or(USUAL));
    }
    if matches!(wanted, "all" | "queue") {
        queue(count.unwrap_or(QUEUED));
    }
}

/// From the start of the program until a change is noticed (nginx gets its signal), beside the floor: another
/// program that watches every folder and reads every file once.
fn start(sites: usize) {
    let mut ground = Ground::new(sites);
    ground.settle_once();
    let (mut floors, mut times) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        floors.push(ground.watch_and_read_all());
        let pairs = ground.pairs_of_last();
        let begun = Instant::now();
        ground.start();
        ground.renew_last_until_signalled(&pairs);
        times.push(begun.elapsed());
        ground.wait_until_current();
        ground.stop();
    }
    Row::of(&format!("start, {sites} sites: a change is noticed"), "ms").times(&times).print();
    Row::of(&format!("start, {sites} sites: every folder watched, every file read"), "ms")
        .times(&floors)
        .print();
    ground.start();
    ground.wait_until_current();
    ground.wait_until_calm();
    let cost = Cost::of(ground.pid());
    Row::of(&format!("start, {sites} sites: resident"), "MiB").value(cost.resident).print();
    Row::of(&format!("start, {sites} sites: PSS"), "MiB").value(cost.proportional).print();
    ground.stop();
}

/// A minute of nothing, after ten reports.
fn rest(sites: usize) {
    let mut ground = Ground::new(sites);
    ground.settle_once();
    ground.start();
    ground.wait_until_current();
    for _ in 0..10 {
        ground.renew_last();
    }
    ground.wait_until_calm();
    let before = Cost::of(ground.pid());
    std::thread::sleep(REST);
    let after = Cost::of(ground.pid());
    let row = |what: &str, unit| Row::of(&format!("rest, {sites} sites: {what}"), unit);
    let (run, wakes) = after.since(&before);
    row("processor time in a minute", "ms").value(run).print();
    row("wake-ups in a minute", "").value(wakes).print();
    row("resident after ten reports", "MiB").value(after.resident).print();
    row("PSS after ten reports", "MiB").value(after.proportional).print();
    ground.stop();
}

/// Reports that wait for a portal which is back.
fn queue(reports: usize) {
    let mut ground = Ground::new(reports);
    ground.settle_once();
    ground.portal_away(true);
    ground.start();
    ground.wait_until_current();
    ground.renew_all();
    let row = |what: &str, unit| Row::of(&format!("queue, {reports} reports: {what}"), unit);
    row("status", "ms").times(&ground.status_times()).print();
    row("the ledger before", "MiB").value(ground.ledger_size()).print();
    ground.portal_away(false);
    let begun = Instant::now();
    ground.release_reports();
    ground.wait_until_reported(reports);
    row("drained", "s").value(begun.elapsed().as_secs_f64()).print();
    row("the same requests by a client that does nothing else", "s")
        .value(ground.floor_of_requests(reports))
        .print();
    row("status", "ms").times(&ground.status_times()).print();
    row("the ledger after", "MiB").value(ground.ledger_size()).print();
    row("resident", "MiB").value(Cost::of(ground.pid()).resident).print();
    ground.stop();
}
