//! Reads that hang (a dead network file system): others go on, until too many threads are lost to them.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// So many at once have others go on. Each keeps one of the threads that cli.rs allows.
const MOST_HANGING: usize = 16;

/// Of the whole process: who begins anew with another configuration has the same threads.
static HANGING: Semaphore = Semaphore::const_new(MOST_HANGING);

/// Returns when `work` ends, or when it takes longer than `patience`; not so while too many do.
pub(super) async fn ended_or_hangs(work: JoinHandle<()>, patience: Duration) {
    ended_or_one_of(&HANGING, work, patience).await;
}

async fn ended_or_one_of(hanging: &'static Semaphore, mut work: JoinHandle<()>, patience: Duration) {
    if timeout(patience, &mut work).await.is_ok() {
        return;
    }
    tokio::select! {
        _ = &mut work => {}
        permit = hanging.acquire() => {
            tokio::spawn(async move {
                let _ = work.await;
                drop(permit);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    static TWO: Semaphore = Semaphore::const_new(2);

    #[tokio::test]
    async fn others_go_on_until_too_many_hang() {
        let hang = || {
            let (end, ended) = oneshot::channel::<()>();
            let work = tokio::spawn(async move {
                let _ = ended.await;
            });
            (end, ended_or_one_of(&TWO, work, Duration::ZERO))
        };
        let ((first, one), (_second, two), (_third, three)) = (hang(), hang(), hang());
        one.await;
        two.await;
        let mut three = Box::pin(three);
        assert!(timeout(Duration::from_millis(50), &mut three).await.is_err(), "it keeps its turn");
        drop(first);
        three.await;
        let (fourth, four) = hang();
        drop(fourth);
        four.await;
    }
}
