//! `sync`: somebody waits until everything was looked at and came to rest, and the reports were sent.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::Daemon;
use crate::agent::{self, Cause, Event, HOLD, State};
use crate::courier::Order;
use crate::status::Status;

/// One caller of `sync`.
struct Waiter {
    number: u64,
    until: Instant,
    answer: oneshot::Sender<Status>,
    stage: Stage,
}

#[derive(PartialEq, Eq)]
enum Stage {
    /// Until all sites are at rest.
    Sites,
    /// Until the courier has sent what was due.
    Reports,
    /// Nothing any more.
    Done,
}

/// All of them.
pub(super) struct Waiters {
    waiting: Vec<Waiter>,
    next: u64,
    flushed_sender: mpsc::UnboundedSender<u64>,
    flushed: mpsc::UnboundedReceiver<u64>,
}

impl Default for Waiters {
    fn default() -> Self {
        let (flushed_sender, flushed) = mpsc::unbounded_channel();
        Self { waiting: Vec::new(), next: 0, flushed_sender, flushed }
    }
}

impl Waiters {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiter| waiter.until).min()
    }

    /// The next waiter whose reports were sent.
    pub(super) async fn flushed(&mut self) -> Option<u64> {
        self.flushed.recv().await
    }

    /// The loop begins anew: what they waited for is asked for again.
    pub(super) fn begin_anew(&mut self) {
        for waiter in &mut self.waiting {
            // What the earlier courier has still to say of it is passed over.
            self.next += 1;
            waiter.number = self.next;
            waiter.stage = Stage::Sites;
        }
    }

    pub(super) fn mark_flushed(&mut self, number: u64) {
        let is_it = |waiter: &&mut Waiter| waiter.number == number && waiter.stage == Stage::Reports;
        for waiter in self.waiting.iter_mut().filter(is_it) {
            waiter.stage = Stage::Done;
        }
    }
}

impl Daemon {
    /// Begins a pass, of one that only tells of a reload no more than looks; its outcome goes to `answer`.
    pub(super) fn sync(
        &mut self,
        retry: bool,
        reloaded: bool,
        wait: Duration,
        answer: oneshot::Sender<Status>,
    ) {
        if retry {
            self.release_reports();
        }
        if reloaded {
            self.feed(Event::LookAtAll(Cause::Reloaded));
        } else {
            self.look_at_everything();
        }
        self.wait_for_all(wait, answer);
    }

    fn release_reports(&self) {
        if let Err(error) = self.ledger.release_reports(Timestamp::now()) {
            tracing::error!(problem = %error.problem(), "held reports cannot be released");
        }
        if let Some((orders, _)) = &self.courier {
            // It ends only with the loop.
            let _ = orders.send(Order::Retry);
        }
    }

    fn wait_for_all(&mut self, wait: Duration, answer: oneshot::Sender<Status>) {
        let waiters = &mut self.waiters;
        waiters.next += 1;
        let number = waiters.next;
        waiters.waiting.push(Waiter { number, until: Instant::now() + wait, answer, stage: Stage::Sites });
    }

    /// As [`Daemon::sync`], for a caller in this process.
    pub(super) fn sync_locally(&mut self, retry: bool, wait: Duration) -> oneshot::Receiver<Status> {
        let (answer, receiver) = oneshot::channel();
        if retry {
            self.release_reports();
        }
        // All has just been looked at: it is what this process begins with.
        self.wait_for_all(wait, answer);
        receiver
    }

    pub(super) fn answer_waiters(&mut self) {
        if self.waiters.is_empty() {
            return;
        }
        let now = Instant::now();
        // What waits for a server that is spared may do so for hours, as it is meant to.
        let put_off = |site: &agent::Site| {
            let next = self.agent.next_reload(site.server());
            matches!(site.state(), State::Ready) && next.is_some_and(|at| at > now + HOLD)
        };
        let rests = |site: &agent::Site| site.at_rest() || put_off(site);
        let at_rest = !self.servers.are_read() && self.agent.sites().all(|(_, site)| rests(site));
        let courier = self.courier.as_ref().map(|(orders, _)| orders);
        for waiter in &mut self.waiters.waiting {
            if waiter.stage == Stage::Sites && at_rest {
                waiter.stage = Stage::Reports;
                let (number, sender) = (waiter.number, self.waiters.flushed_sender.clone());
                match courier {
                    Some(orders) => {
                        let (done, sent) = oneshot::channel();
                        let _ = orders.send(Order::Flush(done));
                        tokio::spawn(async move {
                            // A courier that ended has nothing more to send.
                            let _ = sent.await;
                            let _ = sender.send(number);
                        });
                    }
                    None => waiter.stage = Stage::Done,
                }
            }
        }
        // While another's pass is under way the outcome is not to be told.
        let over = |waiter: &mut Waiter| {
            (waiter.stage == Stage::Done && at_rest) || waiter.until <= now || waiter.answer.is_closed()
        };
        let finished: Vec<Waiter> = self.waiters.waiting.extract_if(.., over).collect();
        if finished.is_empty() {
            return;
        }
        let status = self.status();
        for waiter in finished {
            let _ = waiter.answer.send(status.clone());
        }
    }
}
