//! A handshake ends in time, whatever the other side does.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use certhook_test_support::nginx::free_port;
use certhook_test_support::wire::{self, Client};

const SHORT: Duration = Duration::from_millis(100);

#[test]
fn silence_and_trickles_end_in_time() {
    let client = Client { timeout: SHORT, ..Client::default() };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("its address").to_string();
    let start = Instant::now();
    client.served(&endpoint, "contoso.com").expect_err("nobody answers");
    assert!((SHORT..SHORT * 20).contains(&start.elapsed()));

    // A handshake record that says it is long and comes a byte at a time, each well within the timeout.
    let server = std::thread::spawn(move || {
        let (_silent, _) = listener.accept().expect("the client before");
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = stream.write_all(&[22, 3, 3, 64, 0, 2, 0, 63, 252]);
        while stream.write_all(&[0]).is_ok() {
            std::thread::sleep(SHORT / 20);
        }
    });
    let start = Instant::now();
    client.served(&endpoint, "contoso.com").expect_err("it never ends");
    assert!((SHORT..SHORT * 20).contains(&start.elapsed()));
    server.join().expect("the server sees the client go");
}

#[test]
fn waiting_in_vain_tells_what_was_there() {
    let endpoint = format!("127.0.0.1:{}", free_port());
    let error = wire::wait_served(&endpoint, "contoso.com", "abc", SHORT).expect_err("nobody listens");
    assert!(error.contains("refused") && error.contains("abc"), "{error}");
}

/// A stream whose every other call is interrupted.
struct Interrupted(TcpStream, bool);

impl Interrupted {
    fn turn(&mut self) -> io::Result<&mut TcpStream> {
        self.1 = !self.1;
        if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(&mut self.0) }
    }
}

impl Read for Interrupted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.turn()?.read(into)
    }
}

impl Write for Interrupted {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.turn()?.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn an_interrupted_handshake_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let server = std::thread::spawn(move || drop(listener.accept().expect("a client")));
    let stream = Interrupted(TcpStream::connect(address).expect("a listener"), false);
    let error = Client::default().served_over(stream, "contoso.com", |_| Ok(())).expect_err("no handshake");
    assert_ne!(error.kind(), io::ErrorKind::Interrupted);
    server.join().expect("it accepted");
}
