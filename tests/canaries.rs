//! W17: no byte of one connection ever reaches another. Every connection speaks in a canary of its own, in every
//! form a message can take, while connections come and go; every byte that arrives is looked at.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use client::{Client, Received, frame};
use highper_realtime::config::ByteSize;
use highper_shards::Moment;
use highper_wire::ws::{Deflater, Kind, encoder, extension};
use serde_json::Value;
use server::{TestServer, each_driver_at_once};

const THREADS: usize = 4;
const CONNECTIONS_PER_THREAD: usize = 50;
/// Members of a channel that is not one connection's own.
const GROUP: usize = 5;
/// Around what a buffer holds and what is compressed.
const SIZES: [usize; 12] = [16, 16, 100, 100, 1000, 1100, 5000, 8190, 9000, 16_400, 70_000, 200_000];

#[test]
fn w17_no_canary_is_ever_heard_elsewhere() {
    canaries(Duration::from_secs(3));
}

#[test]
#[ignore = "takes a minute; `just soak-canaries`"]
fn w17_for_a_minute() {
    canaries(Duration::from_secs(60));
}

fn canaries(duration: Duration) {
    each_driver_at_once(|driver| {
        // A group hears all its songs while only one of them listens.
        let server = TestServer::start(driver, |config| {
            (config.outbox_bytes, config.outbox_soft_bytes) =
                (ByteSize::new(64 << 20), ByteSize::new(64 << 20));
        });
        let (next, checked) = (AtomicU32::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (address, next, checked) = (server.address(), &next, &checked);
                scope.spawn(move || {
                    let seed = Moment::now().as_nanos() ^ thread as u64;
                    let mut flock = Flock::new(address, next, seed);
                    let until = Moment::now() + duration;
                    while Moment::now() < until {
                        checked.fetch_add(flock.round(), Ordering::Relaxed);
                    }
                });
            }
        });
        let (opened, checked) = (next.into_inner() as usize, checked.into_inner());
        assert!(opened > THREADS * CONNECTIONS_PER_THREAD, "connections come and go");
        assert!(checked > opened as u64, "{checked} canaries of {opened} connections");
        assert_eq!(server.sum(|shard| shard.counters.protocol_errors + shard.counters.slow), 0);
    });
}

/// The connections of one thread.
struct Flock<'a> {
    address: SocketAddr,
    /// The next canary: no two connections of the server have the same.
    next: &'a AtomicU32,
    random: Random,
    seed: u64,
    birds: Vec<Bird>,
    deflater: Deflater,
}

/// One connection and its canary.
struct Bird {
    client: Client,
    canary: u32,
    song: Song,
    sent: u32,
    heard: u32,
}

/// How a connection hears itself.
#[derive(Clone, PartialEq, Eq)]
enum Song {
    /// Its messages are echoed, in both kinds.
    Echo,
    /// It publishes in this channel.
    Channel(String),
}

impl<'a> Flock<'a> {
    fn new(address: SocketAddr, next: &'a AtomicU32, seed: u64) -> Self {
        let (random, deflater) = (Random(seed), Deflater::new());
        let mut flock = Self { address, next, random, seed, birds: Vec::new(), deflater };
        flock.birds = (0..CONNECTIONS_PER_THREAD).map(|place| flock.bird(place)).collect();
        flock
    }

    /// A new connection for a place: every third echoes, the others hear their own channel or their group's.
    fn bird(&mut self, place: usize) -> Bird {
        let canary = self.next.fetch_add(1, Ordering::Relaxed);
        let song = match place % 3 {
            0 => Song::Echo,
            1 => Song::Channel(format!("own-{canary}")),
            _ => Song::Channel(format!("group-{}-{}", self.seed, place / 3 / GROUP)),
        };
        let mut client = Client::connect(self.address);
        let path = if song == Song::Echo { "/echo" } else { "/ws" };
        let offer = (!place.is_multiple_of(7)).then_some(extension::OFFER);
        assert_eq!(client.upgrade(path, offer).is_some(), offer.is_some());
        if let Song::Channel(channel) = &song {
            assert_eq!(client.json()["type"], "welcome");
            client.join(channel);
        }
        Bird { client, canary, song, sent: 0, heard: 0 }
    }

    /// Everybody sings, everybody listens, some fly away. Returns how many songs were checked.
    fn round(&mut self) -> u64 {
        let mut checked = 0;
        for bird in &mut self.birds {
            for _ in 0..=self.random.below(2) {
                bird.sing(&mut self.random, &mut self.deflater);
            }
        }
        // A member of a group has heard its own last song only after all that the others sang before it.
        for place in 0..self.birds.len() {
            while self.birds[place].heard < self.birds[place].sent {
                let (from, sequence) = self.birds[place].listen();
                let bird = &mut self.birds[place];
                if from == bird.canary {
                    bird.heard += 1;
                    assert_eq!(sequence, bird.heard, "seed {}: order", self.seed);
                } else {
                    let Song::Channel(channel) = &bird.song else {
                        panic!("seed {}: {} heard {from}", self.seed, bird.canary)
                    };
                    assert!(channel.starts_with("group"), "seed {}: {channel} heard {from}", self.seed);
                }
                checked += 1;
            }
        }
        for place in 0..self.birds.len() {
            match self.random.below(40) {
                0 => self.birds[place] = self.bird(place),
                1 => {
                    self.birds[place].client.close(highper_realtime::CloseCode::NORMAL);
                    self.birds[place] = self.bird(place);
                }
                2 => {
                    // Gone in the middle of a song.
                    let Self { random, deflater, .. } = self;
                    let bytes = self.birds[place].next_song(random, deflater);
                    self.birds[place].client.try_send(&bytes[..bytes.len() / 2]);
                    self.birds[place] = self.bird(place);
                }
                _ => {}
            }
        }
        checked
    }
}

impl Bird {
    fn sing(&mut self, random: &mut Random, deflater: &mut Deflater) {
        let song = self.next_song(random, deflater);
        // Cut once, so that the server assembles.
        let cut = random.below(song.len());
        self.client.send(&song[..cut]);
        self.client.send(&song[cut..]);
    }

    /// The bytes of the next message: plain or compressed, whole or in pieces.
    fn next_song(&mut self, random: &mut Random, deflater: &mut Deflater) -> Vec<u8> {
        self.sent += 1;
        let song = song(self.canary, self.sent, SIZES[random.below(SIZES.len())]);
        let (kind, text) = match &self.song {
            Song::Echo if random.below(2) == 0 => (Kind::Binary, song),
            Song::Echo => (Kind::Text, song),
            Song::Channel(channel) => {
                let text = format!(r#"{{"type":"publish","channel":"{channel}","data":"{song}"}}"#);
                (Kind::Text, text)
            }
        };
        let opcode = if kind == Kind::Text { 1 } else { 2 };
        let (mut payload, mut first) = (text.into_bytes(), opcode);
        let mut whole = Vec::new();
        if self.client.inflates() && random.below(2) == 0 {
            let mut compressed = Vec::new();
            deflater.compress(&payload, 15, &mut compressed);
            encoder::masked_compressed_message(&mut whole, [1, 2, 3, 4], kind, &compressed);
            (payload, first) = (compressed, opcode | 0x40);
        } else {
            encoder::masked_message(&mut whole, [9, 8, 7, 6], kind, &payload);
        }
        if random.below(2) == 0 {
            return whole;
        }
        let (head, tail) = payload.split_at(random.below(payload.len()));
        [frame(first, head), frame(0x89, b""), frame(0x80, tail)].concat()
    }

    /// Whose song came, and which: every byte of it was looked at.
    fn listen(&mut self) -> (u32, u32) {
        loop {
            let heard = match self.client.next() {
                Received::Pong(_) | Received::Ping(_) => continue,
                Received::Binary(bytes) => String::from_utf8(bytes).unwrap(),
                Received::Text(text) if self.song == Song::Echo => text,
                Received::Text(text) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    assert_eq!(message["type"], "message", "{}", &text[..text.len().min(200)]);
                    message["data"].as_str().unwrap().to_owned()
                }
                other => panic!("{other:?}"),
            };
            let number = |from: usize| heard.get(from..from + 6).and_then(|digits| digits.parse().ok());
            let (canary, sequence) = number(1).zip(number(8)).expect("a song begins with its canary");
            assert!(heard == song(canary, sequence, heard.len()), "a song of {canary} has foreign bytes");
            return (canary, sequence);
        }
    }
}

/// The canary and the number of the song, over and over, `len` bytes long.
fn song(canary: u32, sequence: u32, len: usize) -> String {
    let verse = format!("<{canary:06}:{sequence:06}>");
    let mut song = verse.repeat(len.div_ceil(verse.len()));
    song.truncate(len);
    song
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % end
    }
}
