//! The end that a console asks for.

#![allow(unsafe_code)]

use std::os::windows::process::CommandExt;
use std::time::{Duration, Instant};

use certhook_test_support::wine;

use crate::host::{Host, PATIENCE};

/// Its own group: the break is for it alone, and not for the test.
const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
const CTRL_BREAK_EVENT: u32 = 1;

#[link(name = "kernel32")]
unsafe extern "system" {
    safe fn AllocConsole() -> i32;
    safe fn GenerateConsoleCtrlEvent(event: u32, group: u32) -> i32;
}

#[test]
fn a_break_ends_the_agent_in_good_order() {
    // Where the test has a console already it stays as it is.
    AllocConsole();
    let mut host = Host::new();
    host.start_agent_with(|command| {
        command.creation_flags(CREATE_NEW_PROCESS_GROUP);
    });
    let mut agent = host.take_agent();
    if GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, agent.id()) == 0 {
        let error = std::io::Error::last_os_error();
        agent.kill().unwrap();
        agent.wait().unwrap();
        assert!(wine::cannot_prove("without a display it has no console to send a break by"), "{error}");
        return;
    }
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match agent.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(Instant::now() < until, "it goes on\n{}", host.log()),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "{status}\n{}", host.log());
    assert!(host.log().contains("certhook ends"), "{}", host.log());
    // What it held is free again.
    let synced = host.certhook(&["sync"]);
    assert!(synced.status.success(), "{synced:?}");
    wine::cannot_prove("Ctrl-C reaches every program of a console, the test too: only a break was sent");
}
