//! W12: subscribers that read late, in channels that do not disconnect them. Where the oldest publications make room
//! every hole is told and what comes next continues behind it; where only the latest counts it comes, and nothing older
//! after it. By WebSocket, compressed and plain, and by streams of one channel and of many.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;
#[path = "common/stream.rs"]
mod stream;

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use client::{Client, wait_until};
use highper_realtime::config::{ByteSize, ChannelRules, SlowConsumer};
use highper_shards::driver::sim::Random;
use highper_wire::sse::Cursor;
use serde_json::Value;
use server::{TestServer, each_driver_at_once};
use std::time::Duration;
use stream::Stream;

const OUTBOX_BYTES: usize = 128 * 1024;
const DATA_BYTES: usize = 8 * 1024;
/// Publications that are lost before the late ones read.
const LOST: u64 = 50;
/// Publications behind those.
const MORE: u64 = 100;

#[test]
fn w12_drop_oldest_tells_every_hole() {
    each_driver_at_once(|driver| {
        let server = start(driver, SlowConsumer::DropOldest);
        for kind in Kind::ALL {
            let before = server.sum(|shard| shard.counters.dropped_oldest);
            let lost = || server.sum(|shard| shard.counters.dropped_oldest) - before;
            let mut late = Late::new(&server, kind);
            let heads = publish(&server, || lost() >= LOST);
            late.ask();
            let (mut at, mut told, mut gaps) = (HashMap::new(), HashSet::new(), 0);
            for Seen { channel, offset, is_gap, places } in late.read_until(&heads) {
                let before = at.get(&channel).copied().unwrap_or(0);
                gaps += u64::from(is_gap);
                match is_gap {
                    true if places.is_empty() => {
                        assert!(offset > before, "{kind:?}: a gap about nothing");
                        at.insert(channel, offset);
                    }
                    true => drop(told.insert(channel)),
                    false => {
                        assert_eq!(offset, before + 1, "{kind:?} {channel}: a hole that was not told");
                        at.insert(channel, offset);
                    }
                }
                // An id claims nothing that has not come and was not told to be lost.
                for (channel, place) in places {
                    let before = at.entry(channel.clone()).or_insert(0);
                    if place > *before && told.remove(&channel) {
                        *before = place;
                    }
                    assert_eq!(place, *before, "{kind:?} {channel}: an id claims too much");
                }
            }
            assert_eq!(told, HashSet::new(), "{kind:?}: gaps about nothing");
            assert!(gaps > 0 && gaps <= lost(), "{kind:?}: {gaps} gaps of {} lost", lost());
            late.expect_answers();
            drop(late);
            wait_until("the channels are forgotten", || server.connections() == 0);
        }
        assert_eq!(server.sum(|shard| shard.counters.slow + shard.counters.conflated), 0);
    });
}

#[test]
fn w12_latest_only_brings_the_latest_and_waits_for_one_of_each_channel() {
    each_driver_at_once(|driver| {
        let server = start(driver, SlowConsumer::LatestOnly);
        for kind in Kind::ALL {
            let before = server.sum(|shard| shard.counters.conflated);
            let mut late = Late::new(&server, kind);
            let conflated = || server.sum(|shard| shard.counters.conflated) - before;
            let heads = publish(&server, || conflated() >= LOST);
            // What is in flight, and one of each channel behind it.
            let most = 64 * 1024 + 2 * (2 * DATA_BYTES as u64);
            assert!(server.sum(|shard| shard.queued_bytes) <= most, "{kind:?}");
            late.ask();
            let mut at = HashMap::new();
            for Seen { channel, offset, is_gap, .. } in late.read_until(&heads) {
                assert!(!is_gap, "{kind:?}: nothing is told");
                let before = at.insert(channel, offset).unwrap_or(0);
                assert!(offset > before, "{kind:?}: {offset} after {before}");
            }
            assert!(
                kind.channels().iter().all(|channel| at[*channel] == heads[*channel]),
                "{kind:?}: the latest"
            );
            late.expect_answers();
            drop(late);
            wait_until("the channels are forgotten", || server.connections() == 0);
        }
        assert_eq!(server.sum(|shard| shard.counters.slow + shard.counters.dropped_oldest), 0);
        assert_eq!(server.sum(|shard| shard.counters.gaps), 0);
    });
}

/// How a late subscriber is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Deflated,
    OneChannel,
    ManyChannels,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Plain, Self::Deflated, Self::OneChannel, Self::ManyChannels];

    fn channels(self) -> &'static [&'static str] {
        match self {
            Self::OneChannel => &["q:a"],
            Self::Plain | Self::Deflated | Self::ManyChannels => &["q:a", "q:b"],
        }
    }
}

/// A subscriber that does not read for a while.
struct Late {
    kind: Kind,
    client: Client,
    stream: Option<Stream>,
    answers: Vec<Value>,
}

/// A publication or a gap, as a subscriber sees it.
struct Seen {
    channel: String,
    /// Of a stream's gap: where its id says that the channel is.
    offset: u64,
    is_gap: bool,
    /// Where the id of a stream's event says that it is in each channel.
    places: Vec<(String, u64)>,
}

impl Late {
    /// In its channels, of which nothing was published that it could have missed.
    fn new(server: &TestServer, kind: Kind) -> Self {
        let mut client = Client::narrow(server.address(), 64 * 1024);
        let mut stream = None;
        match kind {
            Kind::Plain | Kind::Deflated => {
                let offer = Some("permessage-deflate").filter(|_| kind == Kind::Deflated);
                client.upgrade("/ws", offer);
                assert_eq!(client.inflates(), kind == Kind::Deflated);
                assert_eq!(client.json()["type"], "welcome");
                kind.channels().iter().for_each(|channel| client.join(channel));
            }
            Kind::OneChannel | Kind::ManyChannels => {
                let channels: Vec<_> =
                    kind.channels().iter().map(|channel| format!("channel={channel}")).collect();
                let socket = client.stream().try_clone().unwrap();
                let mut events = Stream::on(socket, &format!("/sse?{}", channels.join("&")), "", b"");
                events.joined(channels.len());
                stream = Some(events);
            }
        }
        Self { kind, client, stream, answers: Vec::new() }
    }

    /// Asks for a pong, an answer and an error although its outbox is full.
    fn ask(&mut self) {
        if self.stream.is_none() {
            self.client.send(&client::frame(0x89, b"alive?"));
            self.client.text(r#"{"type":"ping","id":1}"#);
            self.client.text(r#"{"type":"leave","channel":"elsewhere","id":2}"#);
        }
    }

    /// What it was told until it is at these offsets.
    fn read_until(&mut self, heads: &HashMap<String, u64>) -> Vec<Seen> {
        let mut left: Vec<&str> = self.kind.channels().to_vec();
        let mut all = Vec::new();
        while !left.is_empty() {
            let seen = match self.stream.is_some() {
                true => self.next_event(),
                false => self.next_message(),
            };
            left.retain(|channel| seen.channel != *channel || seen.offset < heads[*channel]);
            all.push(seen);
        }
        all
    }

    fn next_message(&mut self) -> Seen {
        loop {
            let event = match self.client.next() {
                client::Received::Text(text) => serde_json::from_str::<Value>(&text).unwrap(),
                client::Received::Pong(payload) => {
                    serde_json::json!({ "type": String::from_utf8(payload).unwrap() })
                }
                other => panic!("{other:?}"),
            };
            let is_gap = match event["type"].as_str().unwrap() {
                "message" => false,
                "gap" => true,
                _ => {
                    self.answers.push(event);
                    continue;
                }
            };
            let channel = event["channel"].as_str().unwrap().to_owned();
            return Seen { channel, offset: event["offset"].as_u64().unwrap(), is_gap, places: vec![] };
        }
    }

    /// The id of an event is where the stream is. Of some gaps in a row the last one has an id, for all of them.
    fn next_event(&mut self) -> Seen {
        let event = self.stream.as_mut().unwrap().next();
        let json = event.json();
        let is_gap = event.event == "gap";
        let channel = if is_gap { &json["channels"][0] } else { &json["channel"] };
        let channel = channel.as_str().unwrap().to_owned();
        let cursor = Cursor::parse(event.id.as_bytes()).unwrap();
        let place = |channel: &str| cursor.position(channel).unwrap().1;
        let places = self.kind.channels().iter().map(|name| ((*name).to_owned(), place(name))).collect();
        let offset = place(&channel);
        if !is_gap {
            assert_eq!(json["offset"], offset, "the id of an event is its own");
        }
        Seen { channel, offset, is_gap, places }
    }

    /// A full outbox has room for these.
    fn expect_answers(&mut self) {
        if self.stream.is_some() {
            return;
        }
        while self.answers.len() < 3 {
            match self.client.next() {
                client::Received::Text(text) => self.answers.push(serde_json::from_str(&text).unwrap()),
                client::Received::Pong(_) => self.answers.push(serde_json::json!({ "type": "alive?" })),
                other => panic!("{other:?}"),
            }
        }
        let kinds: Vec<_> = self.answers.iter().map(|answer| answer["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["alive?", "pong", "error"], "{:?}", self.kind);
    }
}

fn start(driver: highper_realtime::config::DriverKind, policy: SlowConsumer) -> TestServer {
    TestServer::start(driver, |config| {
        config.outbox_bytes = ByteSize::new(OUTBOX_BYTES as u64);
        // Whoever waits that long for a busy machine is not stalled.
        config.write_timeout = Duration::from_secs(600);
        config.sse_keep_alive_interval = Duration::from_secs(600);
        let rules = ChannelRules { slow_consumer: policy, ..ChannelRules::default() };
        config.namespaces.insert("q:", rules).unwrap();
    })
}

/// Publishes to both channels until something is so, and then some more; where the channels are at the end.
fn publish(server: &TestServer, is_enough: impl Fn() -> bool) -> HashMap<String, u64> {
    let mut publisher = Client::native(server.address());
    let mut random = Random::new(1);
    let mut heads = HashMap::new();
    let mut more = 0;
    while more < MORE {
        more += u64::from(is_enough());
        for channel in ["q:a", "q:b"] {
            // What cannot be compressed.
            let mut data = String::new();
            while data.len() < DATA_BYTES {
                write!(data, "{:016x}", random.below(u64::MAX)).unwrap();
            }
            publisher.text(&format!(r#"{{"type":"publish","channel":"{channel}","data":"{data}","id":1}}"#));
            let offset = publisher.json()["offset"].as_u64();
            heads.insert(channel.to_owned(), offset.unwrap_or(0));
        }
    }
    heads
}
