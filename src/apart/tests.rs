//! The first process's end, with a test at the other one.

use tokio::io::{AsyncWriteExt, DuplexStream};

use super::*;

/// The other end, and the first process's own.
fn pair() -> (Apart, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    (Apart::over(ours, async { "it was a test".to_owned() }), theirs)
}

async fn next(other: &mut DuplexStream) -> Frame {
    read(other).await.unwrap().expect("a message")
}

async fn say(other: &mut DuplexStream, kind: Kind, number: u64, said: &impl Serialize) {
    let (sender, frames) = mpsc::unbounded_channel();
    sender.send(Frame { kind, number, body: body(said).unwrap() }).unwrap();
    drop(sender);
    write_all(other, frames).await;
}

#[tokio::test]
async fn each_answer_reaches_who_asked() {
    let (apart, mut other) = pair();
    let ask = |text: &'static str| {
        let apart = apart.clone();
        tokio::spawn(async move { apart.ask::<String>(Kind::Portal, &text).await })
    };
    let (one, two) = (ask("one"), ask("two"));
    let asked = [next(&mut other).await, next(&mut other).await];
    for frame in asked.iter().rev() {
        assert_eq!(frame.kind, Kind::Portal);
        let said: String = content(&frame.body).unwrap();
        say(&mut other, Kind::Ended, frame.number, &format!("answer to {said}")).await;
    }
    assert_eq!(one.await.unwrap(), Ok("answer to one".to_owned()));
    assert_eq!(two.await.unwrap(), Ok("answer to two".to_owned()));
}

#[tokio::test]
async fn what_nobody_waits_for_is_cancelled() {
    let (apart, mut other) = pair();
    let asking = tokio::spawn({
        let apart = apart.clone();
        async move { apart.ask::<()>(Kind::Handshakes, &()).await }
    });
    let begun = next(&mut other).await;
    asking.abort();
    let cancelled = next(&mut other).await;
    assert_eq!((cancelled.kind, cancelled.number), (Kind::Cancel, begun.number));
    // The answer may have been under way.
    say(&mut other, Kind::Ended, begun.number, &()).await;
    let asking = apart.ask::<u8>(Kind::Handshakes, &());
    let answering = async {
        let begun = next(&mut other).await;
        say(&mut other, Kind::Ended, begun.number, &7).await;
    };
    assert_eq!(tokio::join!(asking, answering).0, Ok(7));
}

#[tokio::test]
async fn its_end_is_told_to_everybody_who_waits_or_comes_later() {
    let (apart, mut other) = pair();
    let asking = tokio::spawn({
        let apart = apart.clone();
        async move { apart.ask::<()>(Kind::Portal, &()).await }
    });
    next(&mut other).await;
    drop(other);
    let problem = apart.ended().await;
    assert_eq!(problem.code, "network_process");
    assert!(problem.message.contains("it was a test"), "{problem}");
    assert_eq!(asking.await.unwrap().unwrap_err().code, "network_process");
    assert_eq!(apart.ask::<()>(Kind::Portal, &()).await.unwrap_err(), problem);
}

#[tokio::test]
async fn what_is_no_message_is_the_end() {
    let too_long = [&u32::MAX.to_le_bytes()[..], &[0; 9]].concat();
    let of_no_kind = [&[0; 4][..], &[99; 9]].concat();
    for (bytes, expected) in [(too_long, "too long"), (of_no_kind, "no known kind")] {
        let (apart, mut other) = pair();
        other.write_all(&bytes).await.unwrap();
        let problem = apart.ended().await;
        assert!(problem.message.contains(expected), "{problem}");
    }
}

#[tokio::test]
async fn an_answer_of_another_shape_is_an_error_that_repeats_nothing() {
    let (apart, mut other) = pair();
    let asking = apart.ask::<u8>(Kind::Portal, &());
    let answering = async {
        let begun = next(&mut other).await;
        say(&mut other, Kind::Ended, begun.number, &"s3cret").await;
    };
    let problem = tokio::join!(asking, answering).0.unwrap_err();
    assert!(!problem.message.contains("s3cret"), "{problem}");
}

#[tokio::test]
async fn callers_that_nobody_expects_are_sent_away() {
    let (apart, mut other) = pair();
    say(&mut other, Kind::Caller, 5, &()).await;
    let answer = next(&mut other).await;
    assert_eq!((answer.kind, answer.number), (Kind::Page, 5));
    assert_eq!(content::<Option<String>>(&answer.body).unwrap(), None);
    let mut callers = apart.callers();
    say(&mut other, Kind::Caller, 6, &()).await;
    assert_eq!(callers.recv().await, Some(6));
    apart.answer(6, Some("page"));
    assert_eq!(content::<Option<String>>(&next(&mut other).await.body).unwrap().as_deref(), Some("page"));
}
