//! R2: a flood that wants more memory than there is raises the level of overload; what is shed keeps the process below
//! its limit, health answers meanwhile, and afterwards everything is as before.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/process.rs"]
mod process;

use std::net::SocketAddr;
use std::time::Duration;

use client::{Client, Received, field, wait_until};
use highper_wire::ws::handshake::{Key, client as handshake};
use process::Process;
use serde_json::Value;

const MIB: usize = 1 << 20;

/// A server with its memory limit in MiB.
fn start(driver: &str, limit: usize, more: &[(&str, &str)]) -> Process {
    let limit = limit.to_string();
    let mut variables = vec![
        ("REALTIME_IO_DRIVER", driver),
        ("REALTIME_RECEIVE_BUFFERS", "64"),
        ("REALTIME_WRITE_TIMEOUT", "600"),
        ("WEBSOCKET_COMPRESSION", "false"),
        ("REALTIME_MEMORY_LIMIT_MB", &limit),
    ];
    variables.extend(more);
    Process::start(&variables)
}

fn health(address: SocketAddr) -> (u16, u64) {
    let mut client = Client::connect(address);
    client.send(b"GET /realtime/health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = client.answer();
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    (answer.status, body["overload_level"].as_u64().unwrap())
}

/// The status of an opening handshake, and whether it says when to come back.
fn knock(address: SocketAddr) -> (u16, bool) {
    let mut client = Client::connect(address);
    let mut request = Vec::new();
    let key = Key::from_nonce(*b"sixteen byte key");
    handshake::write_request(&mut request, "localhost", "/ws", &key, None, None, &[]);
    client.send(&request);
    let head = client.head();
    (client::status(&head), field(&head, "retry-after").is_some())
}

#[test]
fn r2_clients_that_never_read_on_io_uring() {
    clients_that_never_read("uring");
}

#[test]
fn r2_clients_that_never_read_on_epoll() {
    clients_that_never_read("epoll");
}

/// Each of them leaves 12 MiB unread, of which the kernel holds some: several times the limit in all.
fn clients_that_never_read(driver: &str) {
    const LIMIT: usize = 96;
    // Else the total of all outboxes closes the slowest before memory is short.
    let own = [("REALTIME_OUTBOX_BYTES", "16M"), ("REALTIME_OUTBOX_TOTAL_BYTES", "1G")];
    let process = start(driver, LIMIT, &own);
    let address = process.address();
    assert_eq!((health(address), knock(address).0), ((200, 0), 101));
    let mut bystander = Client::native(address);
    let message = client::text_frame(&"x".repeat(60_000));
    let mut flood: Vec<Client> = (0..LIMIT / 2)
        .map(|_| {
            let mut client = Client::narrow(address, 4096);
            client.upgrade("/echo", None);
            client
        })
        .collect();
    let (mut highest, mut most, mut refused) = (0, 0, 0);
    for client in &mut flood {
        (0..210).take_while(|_| client.try_send(&message)).count();
        let (status, level) = health(address);
        assert_eq!(status, 200);
        highest = highest.max(level);
        most = most.max(process.resident());
        if level >= 2 {
            // It may fall meanwhile.
            let (status, comes_back) = knock(address);
            assert_eq!(comes_back, status == 503);
            refused += usize::from(status == 503);
        }
        bystander.text(r#"{"type":"ping"}"#);
        assert_eq!(bystander.json()["type"], "pong", "who reads is served");
    }
    assert!(highest >= 3, "the level rose to {highest} only");
    assert!(refused > 0, "nobody was refused");
    assert!(most < LIMIT * MIB * 5 / 4, "{} MiB of {LIMIT}", most / MIB);
    let codes: Vec<u16> = flood.iter_mut().filter_map(close_code).collect();
    assert!(!codes.is_empty() && codes.iter().all(|code| *code == 1013), "{codes:?}");
    drop(flood);
    wait_until("it is calm again", || health(address) == (200, 0));
    wait_until("connections are welcome again", || knock(address) == (101, false));
}

/// The code that a client was closed with, if it was. It reads what the server still owes it.
fn close_code(client: &mut Client) -> Option<u16> {
    loop {
        match client.next_within(Duration::from_millis(200))? {
            Received::Close(code, _) => return Some(code),
            Received::End => return None,
            Received::Text(_) | Received::Binary(_) | Received::Ping(_) | Received::Pong(_) => {}
        }
    }
}

#[test]
fn r2_more_history_than_memory() {
    const LIMIT: usize = 96;
    let process =
        start("auto", LIMIT, &[("REALTIME_HISTORY_SIZE", "100000"), ("REALTIME_HISTORY_BYTES", "1G")]);
    let address = process.address();
    let mut publisher = Client::native(address);
    let data = "x".repeat(32 * 1024);
    let (mut highest, mut most) = (0, 0);
    for number in 0..6 * 1024 {
        let channel = number % 16;
        publisher
            .text(&format!(r#"{{"type":"publish","channel":"c-{channel}","data":"{data}","id":{number}}}"#));
        assert_eq!(publisher.json()["type"], "ack");
        if number % 16 == 0 {
            let (status, level) = health(address);
            assert_eq!(status, 200);
            highest = highest.max(level);
            most = most.max(process.resident());
        }
    }
    assert!(highest >= 2, "the level rose to {highest} only");
    assert!(most < LIMIT * MIB * 5 / 4, "{} MiB of {LIMIT}", most / MIB);
    wait_until("there is memory again", || health(address).1 < 2);
}
