//! systemd's journal, in its own protocol: a datagram of fields an entry.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;

const SOCKET: &str = "/run/systemd/journal/socket";

/// A connection to the journal.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// The journal, if it is where this process' standard error goes.
    pub fn of_standard_error() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let (device, inode) = stream.split_once(':')?;
        let file = std::fs::metadata("/proc/self/fd/2").ok()?;
        let is_it = device.parse() == Ok(file.dev()) && inode.parse() == Ok(file.ino());
        is_it.then(Self::open)?.ok()
    }

    fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        // Nobody waits for a journal that hangs.
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// Sends an entry: the names in capitals, the values whatever they are.
    ///
    /// # Errors
    /// The system's: the journal is gone, or takes no more just now.
    pub fn send(&self, fields: &[(String, String)]) -> io::Result<()> {
        let entry = entry(fields);
        match self.socket.send(&entry) {
            // It was restarted: its socket is another.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.socket.connect(SOCKET)?;
                self.socket.send(&entry).map(drop)
            }
            outcome => outcome.map(drop),
        }
    }
}

/// Each value with its length before it, lest a line break in one begins another field.
fn entry(fields: &[(String, String)]) -> Vec<u8> {
    let mut entry = Vec::new();
    for (name, value) in fields {
        entry.extend_from_slice(name.as_bytes());
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        entry.extend_from_slice(value.as_bytes());
        entry.push(b'\n');
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::entry;

    #[test]
    fn a_line_break_in_a_value_begins_no_field() {
        let fields = [("MESSAGE".to_owned(), "a\nPRIORITY=0".to_owned()), ("SITE".to_owned(), String::new())];
        let expected = b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\nSITE\n\0\0\0\0\0\0\0\0\n";
        assert_eq!(entry(&fields), expected);
    }
}
