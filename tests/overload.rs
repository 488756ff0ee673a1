//! R2: a flood that wants more memory than there is raises the level of overload; what is shed keeps the process below
//! its limit, health answers meanwhile, and afterwards everything is as before.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/process.rs"]
mod process;

use std::net::SocketAddr;

use client::{Client, field, wait_until};
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

/// Each of them owns nearly a mebibyte of what it does not read: twice the limit in all.
fn clients_that_never_read(driver: &str) {
    const LIMIT: usize = 96;
    let process = start(driver, LIMIT, &[]);
    let address = process.address();
    assert_eq!((health(address), knock(address).0), ((200, 0), 101));
    let mut bystander = Client::native(address);
    let message = client::text_frame(&"x".repeat(60_000));
    let mut flood: Vec<Client> = Vec::new();
    let (mut highest, mut most, mut refused) = (0, 0, 0);
    for _ in 0..2 * LIMIT {
        let mut client = Client::narrow(address, 4096);
        let mut request = Vec::new();
        let key = Key::from_nonce(*b"sixteen byte key");
        handshake::write_request(&mut request, "localhost", "/echo", &key, None, None, &[]);
        client.send(&request);
        if client::status(&client.head()) == 503 {
            refused += 1;
            // Room comes back as the slowest are dropped.
            wait_until("clients are let in again", || health(address).1 < 2);
            continue;
        }
        (0..16).take_while(|_| client.try_send(&message)).count();
        flood.push(client);
        let (status, level) = health(address);
        assert_eq!(status, 200);
        highest = highest.max(level);
        most = most.max(process.resident());
        bystander.text(r#"{"type":"ping"}"#);
        assert_eq!(bystander.json()["type"], "pong", "who reads is served");
    }
    assert!(highest >= 3, "the level rose to {highest} only");
    assert!(refused > 0, "nobody was refused");
    assert!(most < LIMIT * MIB * 5 / 4, "{} MiB of {LIMIT}", most / MIB);
    drop(flood);
    wait_until("it is calm again", || health(address) == (200, 0));
    wait_until("connections are welcome again", || knock(address) == (101, false));
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
