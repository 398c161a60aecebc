//! One message: its kind, a number, and JSON. Some hold a key or a secret, so every copy is wiped.

use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::invalid;

/// A message's JSON; wiped when dropped.
pub type Body = Zeroizing<Vec<u8>>;

/// The largest body: the portal's longest list, with room to spare.
const MOST: u32 = 32 << 20;
/// Length, kind and number.
const HEAD: usize = 4 + 1 + 8;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A task: handshakes.
    Handshakes,
    /// A task: of the portal's client.
    Portal,
    /// A task: a file from a link.
    Download,
    /// A task: to let callers of the metrics in.
    Listen,
    /// To let no more callers in.
    Close,
    /// The portal refused a token.
    ForgetToken,
    /// Nothing is asked for some time: connections can close.
    Rest,
    /// A task is not waited for any more.
    Cancel,
    /// A task's outcome.
    Ended,
    /// A client requests the metrics.
    Caller,
    /// What he is given.
    Page,
}

/// By their number in a message, which is their place in the enum.
const KINDS: [Kind; 11] = [
    Kind::Handshakes,
    Kind::Portal,
    Kind::Download,
    Kind::Listen,
    Kind::Close,
    Kind::ForgetToken,
    Kind::Rest,
    Kind::Cancel,
    Kind::Ended,
    Kind::Caller,
    Kind::Page,
];

/// A message.
#[derive(Debug)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// The task, or the caller, that it is about.
    pub number: u64,
    /// What it says.
    pub body: Body,
}

/// Reads the next message; `None` at the end.
///
/// # Errors
/// The system's, or what is no message.
pub async fn read(input: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; HEAD];
    match input.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        outcome => outcome?,
    };
    let [a, b, c, d, kind, number @ ..] = head;
    let length = u32::from_le_bytes([a, b, c, d]);
    let kind = *KINDS.get(usize::from(kind)).ok_or_else(|| invalid("a message of no known kind"))?;
    if length > MOST {
        return Err(invalid("a message that is too long"));
    }
    let mut body = Zeroizing::new(vec![0; length as usize]);
    input.read_exact(&mut body).await?;
    Ok(Some(Frame { kind, number: u64::from_le_bytes(number), body }))
}

/// Writes messages until the last sender or the other end is gone.
pub async fn write_all(mut output: impl AsyncWrite + Unpin, mut frames: mpsc::UnboundedReceiver<Frame>) {
    while let Some(frame) = frames.recv().await {
        let Some(bytes) = bytes(&frame) else {
            tracing::error!(kind = ?frame.kind, "a message is too long to be sent");
            return;
        };
        if output.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

fn bytes(frame: &Frame) -> Option<Body> {
    let length = u32::try_from(frame.body.len()).ok().filter(|length| *length <= MOST)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(HEAD + frame.body.len()));
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.push(frame.kind as u8);
    bytes.extend_from_slice(&frame.number.to_le_bytes());
    bytes.extend_from_slice(&frame.body);
    Some(bytes)
}

/// What a message is to say.
///
/// # Errors
/// It is no JSON: a path that is not UTF-8.
pub fn body(value: &impl Serialize) -> io::Result<Body> {
    // In its full length from the beginning, so that no copy is left behind by growing it.
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value).map_err(invalid)?;
    let mut body = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *body, value).map_err(invalid)?;
    Ok(body)
}

/// What a message says.
///
/// # Errors
/// It says something else.
pub fn content<T: DeserializeOwned>(body: &Body) -> io::Result<T> {
    // serde's own words could repeat a secret.
    serde_json::from_slice(body).map_err(|_| invalid("a message that is not understood"))
}

struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_at_their_numbers() {
        assert!(KINDS.iter().enumerate().all(|(number, kind)| *kind as usize == number));
        assert_eq!(KINDS.last(), Some(&Kind::Page));
    }
}
