//! What a shard counts: plain numbers owned by its worker, and a board on which each shard writes the few that
//! others read while it runs. Never aggregates on a data path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one shard since it started. A row here is all a new counter needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// HTTP requests answered, handshakes included.
    pub requests: u64,
    /// WebSocket connections opened.
    pub opened: u64,
    /// Streams of events opened.
    pub streams: u64,
    /// Joins that got everything they missed.
    pub recovered: u64,
    /// Joins that were told that they cannot get what they missed.
    pub unrecovered: u64,
    /// Connections refused because the server holds as many as it may.
    pub refused: u64,
    /// Messages of clients.
    pub messages_in: u64,
    /// Publications numbered by this shard as a home.
    pub published: u64,
    /// Publications put into an outbox: one for each subscriber.
    pub delivered: u64,
    /// Publishes refused because a lane was full.
    pub mesh_full: u64,
    /// Deliveries replaced by a gap signal, because the lane to the shard was full: one for each shard.
    pub shards_behind: u64,
    /// Publications that slow subscribers lost and were told of, where the policy is to drop the oldest.
    pub dropped_oldest: u64,
    /// Publications that newer ones took the place of, where only the latest counts.
    pub conflated: u64,
    /// Gap signals sent to subscribers.
    pub gaps: u64,
    /// Connections closed because they read too slowly.
    pub slow: u64,
    /// Protocol errors of clients that ended their connection.
    pub protocol_errors: u64,
    /// Odd but legal behaviour, limited per connection.
    pub glitches: u64,
    /// Callbacks of the embedder that returned an error.
    pub handler_errors: u64,
    /// Callbacks that panicked.
    pub panics: u64,
    /// Pongs not sent because the peer does not read.
    pub pongs_skipped: u64,
}

/// One shard's numbers at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// The worker's counters.
    pub counters: Counters,
    /// The runtime's counters.
    pub shard: highper_shards::io::Counters,
    /// Slots in use.
    pub connections: usize,
    /// WebSocket connections open now.
    pub open: usize,
    /// Channels with a subscriber on the shard, and the channel of everyone.
    pub channels: usize,
    /// Channels that the shard numbers: those with a subscriber anywhere.
    pub homes: usize,
    /// Bytes in all outboxes of the shard; what waits for many counts for each.
    pub queued_bytes: u64,
    /// Memory that they take: what waits for many counts once.
    pub held_bytes: u64,
}

/// A few numbers of every shard, each written by its shard alone and read by anybody.
#[derive(Clone, Debug)]
pub struct Board(Arc<[Face]>);

/// On a cache line of its own, so that writing never disturbs another shard.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Face {
    open: AtomicU64,
    /// Milliseconds on the monotonic clock when the shard last finished a turn.
    beat: AtomicU64,
    draining: AtomicU64,
}

impl Board {
    /// A board for this many shards.
    pub fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| Face::default()).collect())
    }

    /// Written by the shard at the end of a turn.
    pub fn write(&self, shard: usize, open: u64, beat_millis: u64, draining: bool) {
        let face = &self.0[shard];
        face.open.store(open, Ordering::Relaxed);
        face.beat.store(beat_millis, Ordering::Relaxed);
        face.draining.store(u64::from(draining), Ordering::Relaxed);
    }

    /// Shards on the board.
    pub fn shards(&self) -> usize {
        self.0.len()
    }

    /// WebSocket connections of all shards.
    pub fn open(&self) -> u64 {
        self.0.iter().map(|face| face.open.load(Ordering::Relaxed)).sum()
    }

    /// Whether a shard says goodbye to its connections.
    pub fn draining(&self) -> bool {
        self.0.iter().any(|face| face.draining.load(Ordering::Relaxed) != 0)
    }
}
