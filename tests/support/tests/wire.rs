//! A handshake ends in time, whatever the other side does.

use std::io::Write as _;
use std::net::TcpListener;
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
