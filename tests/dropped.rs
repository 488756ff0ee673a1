//! In a channel that drops for slow subscribers nobody is disconnected for reading late, and every hole is told.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::time::Duration;

use client::{Client, wait_until};
use highper_realtime::config::{ByteSize, ChannelRules, SlowConsumer};
use server::{TestServer, each_driver_at_once};

const PUBLICATIONS: u64 = 400;
const DATA_BYTES: usize = 16 * 1024;

#[test]
fn who_reads_late_is_told_what_it_lost_and_stays() {
    each_driver_at_once(|driver| {
        let server = TestServer::start(driver, |config| {
            config.websocket_compression = false;
            config.outbox_bytes = ByteSize::new(128 * 1024);
            config.write_timeout = Duration::from_secs(600);
            let rules = ChannelRules { slow_consumer: SlowConsumer::Drop, ..ChannelRules::default() };
            config.namespaces.insert("d:", rules).unwrap();
        });
        let mut late = Client::narrow(server.address(), 64 * 1024);
        late.upgrade("/ws", None);
        assert_eq!(late.json()["type"], "welcome");
        late.join("d:news");
        let mut publisher = Client::native(server.address());
        let data = "x".repeat(DATA_BYTES);
        let publish = |publisher: &mut Client, id: u64| {
            let text = format!(r#"{{"type":"publish","channel":"d:news","data":"{data}","id":{id}}}"#);
            publisher.text(&text);
            assert_eq!(publisher.json()["offset"], id);
        };
        (1..=PUBLICATIONS).for_each(|id| publish(&mut publisher, id));
        assert!(server.sum(|shard| shard.counters.dropped) > 0, "the outbox held everything");
        // It reads again: what was queued, then how far it must look elsewhere, then what comes.
        let (mut at, mut gaps) = (0, 0);
        while at < PUBLICATIONS {
            let event = late.json();
            let offset = event["offset"].as_u64().unwrap();
            match event["type"].as_str() {
                Some("message") => assert_eq!(offset, at + 1, "a hole that was not told"),
                Some("gap") => gaps += 1,
                other => panic!("{other:?}"),
            }
            at = offset;
        }
        assert_eq!((at, gaps > 0), (PUBLICATIONS, true));
        publish(&mut publisher, PUBLICATIONS + 1);
        let event = late.json();
        assert_eq!((&event["type"], &event["offset"]), (&"message".into(), &(PUBLICATIONS + 1).into()));
        wait_until("both are there", || server.connections() == 2);
    });
}
