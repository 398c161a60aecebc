//! The portal simulator as a program.

#![allow(clippy::disallowed_methods, reason = "what it reads is its own")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

#[test]
fn prints_its_address_and_then_its_journal() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_portal-simulator"))
        .args(["--certificate", "id=158,name=contoso.com,expires=2026-12-31T00:00:00"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    let endpoint = lines.next().unwrap();
    let address = endpoint.strip_prefix("http://").unwrap();
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("/simulator/certificates").contains(r#""name":"contoso.com""#));
    assert!(ask("/api/v2/CertificateList").starts_with("HTTP/1.1 401 "));
    let line = lines.next().unwrap();
    assert!(line.contains("  GET /api/v2/CertificateList  401  Unauthorized."), "{line}");
    program.kill().unwrap();
    program.wait().unwrap();
}

#[test]
fn prints_downloads_too() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_portal-simulator"))
        .args(["--certificate", "id=158,name=contoso.com,expires=2026-12-31T00:00:00,downloads=yes"])
        .args(["--renewal-takes", "0", "--renew-within", "10000", "--link-lifetime", "60"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    let endpoint = lines.next().unwrap();
    let get = |url: &str| {
        let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /{path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let listed = get(&format!("{endpoint}/simulator/certificates"));
    let link = listed.split_once("\"privateKeyUri\":\"").unwrap().1.split_once('"').unwrap().0;
    assert!(get(link).contains("BEGIN PRIVATE KEY"));
    let line = lines.next().unwrap();
    assert!(line.starts_with("download  ") && line.ends_with("sig=…  200"), "{line}");
    program.kill().unwrap();
    program.wait().unwrap();
}
