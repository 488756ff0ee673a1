//! W12, W13: subscribers that never read are closed with 3008, cost a bounded amount of memory, and take nothing from
//! those who read; so are those who lag for too long, those who owe most when it is too much in all, and those who take
//! nothing at all.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/process.rs"]
mod process;
#[path = "common/server.rs"]
mod server;

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use client::{Client, DEADLINE, Received, wait_until};
use highper_realtime::config::{Bounds, ByteCap, ByteSize, ChannelRules, Shards, SlowConsumer, Value};
use highper_wire::dialect::native;
use highper_wire::ws::{Kind, encoder};
use process::Process;
use server::{TestServer, each_driver_at_once};

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
    let mut slow: Vec<Client> = (0..SLOW).map(|_| subscribe(narrow(address))).collect();
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

#[test]
fn w12_who_lags_for_too_long_is_closed_unless_what_waits_may_be_lost() {
    each_driver_at_once(|driver| {
        let server = TestServer::start(driver, |config| {
            config.outbox_bytes = ByteSize::new(64 << 20);
            config.outbox_soft_bytes = ByteSize::new(256 * 1024);
            config.outbox_soft_time = Duration::from_secs(1);
            config.write_timeout = Duration::from_secs(600);
            for (prefix, slow_consumer) in
                [("o:", SlowConsumer::DropOldest), ("l:", SlowConsumer::LatestOnly)]
            {
                config
                    .namespaces
                    .insert(prefix, ChannelRules { slow_consumer, ..ChannelRules::default() })
                    .unwrap();
            }
        });
        let lag = |channel: &str| {
            let mut client = narrow(server.address());
            client.join(channel);
            let before = server.sum(|shard| shard.queued_bytes);
            let mut publisher = Client::native(server.address());
            let data = "x".repeat(DATA_BYTES);
            // Four times the soft limit, or what one channel lets wait.
            let is_lagging = || match channel.starts_with("l:") {
                true => server.sum(|shard| shard.counters.conflated) > 0,
                false => server.sum(|shard| shard.queued_bytes) > before + (1 << 20),
            };
            // On a machine that is busy it may be closed before it owes that much.
            let closed = server.sum(|shard| shard.counters.slow);
            while !is_lagging() && server.sum(|shard| shard.counters.slow) == closed {
                publisher
                    .text(&format!(r#"{{"type":"publish","channel":"{channel}","data":"{data}","id":1}}"#));
                assert_eq!(publisher.json()["type"], "ack");
            }
            client
        };
        let slow = || server.sum(|shard| shard.counters.slow);
        let mut spared = [lag("o:1"), lag("l:1")];
        for round in 1..=3 {
            let mut client = lag("closed");
            wait_until("who lags is closed", || slow() == round);
            assert_eq!(client.until_close().1, 3008);
        }
        // They have lagged for longer than any of those.
        for client in &mut spared {
            assert!(matches!(client.next(), Received::Text(_)));
        }
        assert_eq!(slow(), 3);
    });
}

#[test]
fn w12_who_owes_most_is_closed_when_all_owe_too_much() {
    const TOTAL: u64 = 4 << 20;
    each_driver_at_once(|driver| {
        let server = TestServer::start(driver, |config| {
            config.shards = Shards::Count(1.try_into().unwrap());
            config.outbox_bytes = ByteSize::new(256 << 20);
            config.outbox_soft_bytes = ByteSize::new(256 << 20);
            config.outbox_total_bytes = ByteCap::parse(&TOTAL.to_string(), &Bounds::ANY).unwrap();
            config.write_timeout = Duration::from_secs(600);
        });
        // What many wait for counts once: together they owe far more than the limit.
        let mut subscribers: Vec<Client> = (0..8).map(|_| narrow(server.address())).collect();
        subscribers.iter_mut().for_each(|client| client.join("shared"));
        let mut publisher = Client::native(server.address());
        let data = "x".repeat(DATA_BYTES);
        let mut published = 0;
        while server.sum(|shard| shard.queued_bytes) < 2 * TOTAL {
            published += 1;
            publisher.text(&format!(r#"{{"type":"publish","channel":"shared","data":"{data}","id":1}}"#));
            assert_eq!(publisher.json()["offset"], published);
        }
        assert_eq!(server.sum(|shard| shard.counters.slow), 0);
        let mut greedy = narrow_at(server.address(), "/echo");
        let mut sent = 0;
        while server.sum(|shard| shard.counters.slow) == 0 {
            sent += usize::from(greedy.try_send(&client::frame(0x82, data.as_bytes())));
        }
        wait_until("there is room again", || server.sum(|shard| shard.held_bytes) <= TOTAL);
        let (echoed, code) = greedy.until_close();
        assert!(code == 3008 && echoed.len() < sent, "{code}: {} of {sent}", echoed.len());
        for client in &mut subscribers {
            for offset in 1..=published {
                assert_eq!(client.json()["offset"], offset, "the others lose nothing");
            }
        }
        assert_eq!(server.sum(|shard| shard.counters.slow), 1);
        wait_until("nothing waits", || server.sum(|shard| shard.held_bytes) == 0);
    });
}

#[test]
fn w13_a_subscriber_that_takes_nothing_is_closed_after_the_write_timeout() {
    // When exactly is shown where time is virtual: shards/tests/sim.
    each_driver_at_once(|driver| {
        let server = TestServer::start(driver, |config| {
            config.write_timeout = Duration::from_secs(1);
            config.outbox_bytes = ByteSize::new(256 << 20);
            config.outbox_soft_bytes = ByteSize::new(256 << 20);
        });
        let mut client = Client::narrow(server.address(), 1);
        client.upgrade("/ws", None);
        assert_eq!(client.json()["type"], "welcome");
        client.join("news");
        let mut publisher = Client::native(server.address());
        let data = "x".repeat(DATA_BYTES);
        let stalled = || server.sum(|shard| shard.shard.stalled);
        wait_until("it is given up", || {
            publisher.text(&format!(r#"{{"type":"publish","channel":"news","data":"{data}","id":1}}"#));
            assert_eq!(publisher.json()["type"], "ack");
            stalled() == 1
        });
        assert_eq!(server.sum(|shard| shard.counters.slow), 1);
        wait_until("its slot is free", || server.connections() == 1);
        assert_eq!(server.sum(|shard| shard.queued_bytes + shard.held_bytes), 0);
    });
}

/// A client of the native dialect whose kernel takes little for it.
fn narrow(address: SocketAddr) -> Client {
    let mut client = narrow_at(address, "/ws");
    assert_eq!(client.json()["type"], "welcome");
    client
}

fn narrow_at(address: SocketAddr, path: &str) -> Client {
    let mut client = Client::narrow(address, 64 * 1024);
    client.upgrade(path, None);
    client
}

/// A publication as it must lie on the wire, byte for byte.
fn frame(offset: u64, data: &str, from: &str) -> Vec<u8> {
    let (mut text, mut frame) = (Vec::new(), Vec::new());
    native::message(&mut text, "news", offset, data.as_bytes(), from, None);
    encoder::message(&mut frame, Kind::Text, &text);
    frame
}
