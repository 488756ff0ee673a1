//! W12: subscribers that never read are closed with 3008, cost a bounded amount of memory, and take nothing from
//! those who read.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/process.rs"]
mod process;

use std::io::Read;

use client::{Client, DEADLINE, Received};
use highper_wire::dialect::native;
use highper_wire::ws::{Kind, encoder};
use process::Process;

const READERS: usize = 180;
const SLOW: usize = 20;
/// 320 publications of 64 KiB are 20 MiB.
const PUBLICATIONS: u64 = 320;
const DATA_BYTES: usize = 64 * 1024;
/// Published before the readers are waited for: far less than an outbox holds.
const BATCH: u64 = 4;
/// What one outbox may hold (REALTIME_OUTBOX_BYTES).
const OUTBOX_BYTES: usize = 1 << 20;

#[test]
fn w12_on_io_uring() {
    slow_readers_are_closed_and_the_others_lose_nothing("uring");
}

#[test]
fn w12_on_epoll() {
    slow_readers_are_closed_and_the_others_lose_nothing("epoll");
}

fn slow_readers_are_closed_and_the_others_lose_nothing(driver: &str) {
    let process = Process::start(&[
        ("REALTIME_IO_DRIVER", driver),
        ("WEBSOCKET_COMPRESSION", "false"),
        // Who reads late is still told why, so the slow ones may stall for as long as this test takes.
        ("REALTIME_WRITE_TIMEOUT", "600"),
        ("REALTIME_RECEIVE_BUFFERS", "64"),
    ]);
    let address = process.address();
    let subscribe = |mut client: Client| {
        client.join("news");
        client
    };
    let mut readers: Vec<Client> = (0..READERS).map(|_| subscribe(Client::native(address))).collect();
    let mut slow: Vec<Client> = (0..SLOW).map(|_| subscribe(narrow(&process))).collect();
    let mut publisher = Client::open(address, "/ws");
    let from = publisher.json()["connection"].as_str().unwrap().to_owned();
    let data = format!("\"{}\"", "x".repeat(DATA_BYTES - 2));
    let request = format!(r#"{{"type":"publish","channel":"news","data":{data},"id":1}}"#);
    let before = process.resident();
    let mut most = 0;
    let mut buffer = vec![0; frame(1, &data, &from).len() + 8];
    for first in (1..=PUBLICATIONS).step_by(BATCH as usize) {
        let batch = first..first + BATCH;
        for offset in batch.clone() {
            publisher.text(&request);
            assert_eq!(publisher.json()["offset"], offset);
        }
        most = most.max(process.resident());
        for reader in &mut readers {
            for offset in batch.clone() {
                let expected = frame(offset, &data, &from);
                let received = &mut buffer[..expected.len()];
                reader.stream().set_read_timeout(Some(DEADLINE)).unwrap();
                reader.stream().read_exact(received).expect("a reader gets everything");
                assert!(*received == expected, "publication {offset} is not what was published");
            }
        }
    }
    let grown = most.saturating_sub(before);
    assert!(grown < SLOW * OUTBOX_BYTES, "{grown} bytes more for {SLOW} slow readers");
    for client in &mut slow {
        let (received, code) = client.until_close();
        assert_eq!(code, 3008);
        assert!(received.len() < PUBLICATIONS as usize, "it was closed before the end");
        for (message, offset) in received.iter().zip(1..) {
            let start = format!(r#"{{"type":"message","channel":"news","offset":{offset},"#);
            let Received::Text(text) = message else { panic!("{message:?}") };
            assert!(text.starts_with(&start), "no hole before the end");
        }
    }
}

/// A client of the native dialect whose kernel takes little for it.
fn narrow(process: &Process) -> Client {
    let mut client = Client::narrow(process.address(), 64 * 1024);
    client.upgrade("/ws", None);
    assert_eq!(client.json()["type"], "welcome");
    client
}

/// A publication as it must lie on the wire, byte for byte.
fn frame(offset: u64, data: &str, from: &str) -> Vec<u8> {
    let (mut text, mut frame) = (Vec::new(), Vec::new());
    native::message(&mut text, "news", offset, data.as_bytes(), from, None);
    encoder::message(&mut frame, Kind::Text, &text);
    frame
}
