//! What a shard counts: plain numbers owned by its worker, and a board on which each shard writes the few that
//! others read while it runs. Never aggregates on a data path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

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
    /// Tokens that were refused, and connections that showed none in time.
    pub auth_failures: u64,
    /// PROXY headers of trusted proxies that were believed.
    pub proxied: u64,
    /// Connections of trusted proxies that ended because their PROXY header was bad or late.
    pub proxy_errors: u64,
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
    /// Security events that slow operators lost: one for each.
    pub feed_dropped: u64,
    /// Pongs not sent because the peer does not read.
    pub pongs_skipped: u64,
    /// Messages dropped because their connection sent too many.
    pub limited_messages: u64,
    /// Pings and pongs dropped for the same reason.
    pub limited_controls: u64,
    /// Joins dropped because their connection joined too often.
    pub limited_joins: u64,
    /// Publications dropped because their connection published too many bytes.
    pub limited_bytes: u64,
    /// Connections closed because they went on after that.
    pub limited_closed: u64,
    /// WebSockets and streams refused because too many came within a second.
    pub limited_opens: u64,
    /// The same, because their address had as many as it may.
    pub limited_addresses: u64,
    /// The same, because their user had as many as it may.
    pub limited_users: u64,
    /// Calls of the server API refused because too many came within a second.
    pub limited_calls: u64,
    /// WebSockets and streams refused because the process is overloaded.
    pub overload_refused: u64,
    /// Connections closed because the process is overloaded and they read slowest.
    pub overload_dropped: u64,
}

/// Security events of one shard since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Events by kind and severity, told or not.
    pub seen: [[u64; SECURITY_SEVERITIES]; SECURITY_KINDS],
    /// Events by kind that were counted but not told, because the budget of the second was spent.
    pub suppressed: [u64; SECURITY_KINDS],
    /// Events that were refused.
    pub blocked: u64,
    /// Bytes that could have been an attack and were not looked at, because the budget of the second was spent.
    pub passed_over: u64,
}

impl Security {
    /// All events.
    pub fn total(&self) -> u64 {
        self.seen.iter().flatten().sum()
    }
}

/// Kinds of security events; their names belong to the room of security.
pub const SECURITY_KINDS: usize = 11;
/// Severities of security events.
pub const SECURITY_SEVERITIES: usize = 3;

/// One shard's numbers at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// The worker's counters.
    pub counters: Counters,
    /// Security events.
    pub security: Security,
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
pub struct Board(Arc<Faces>);

#[derive(Debug)]
struct Faces {
    shards: Box<[Face]>,
    /// How overloaded the process is, written by the thread that watches.
    overload: Overload,
}

/// Two numbers from 0, calm, to 4; on a cache line that is written when they change.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Overload {
    memory: AtomicU8,
    turn: AtomicU8,
}

/// On a cache line of its own, so that writing never disturbs another shard.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Face {
    open: AtomicU64,
    /// Milliseconds on the monotonic clock when the shard last finished a turn.
    beat: AtomicU64,
    draining: AtomicU64,
    /// Nanoseconds that a turn of the shard takes.
    turn: AtomicU64,
    threats: AtomicU64,
}

impl Board {
    /// A board for this many shards.
    pub fn new(shards: usize) -> Self {
        let shards = (0..shards).map(|_| Face::default()).collect();
        Self(Arc::new(Faces { shards, overload: Overload::default() }))
    }

    /// Written by the shard at the end of a turn.
    pub fn write(&self, shard: usize, open: u64, beat_millis: u64, draining: bool, turn_time: Duration) {
        let face = &self.0.shards[shard];
        face.open.store(open, Ordering::Relaxed);
        face.beat.store(beat_millis, Ordering::Relaxed);
        face.draining.store(u64::from(draining), Ordering::Relaxed);
        let nanos = u64::try_from(turn_time.as_nanos()).unwrap_or(u64::MAX);
        face.turn.store(nanos, Ordering::Relaxed);
    }

    /// Security events of a shard, written by it at the end of a turn.
    pub fn write_threats(&self, shard: usize, threats: u64) {
        self.0.shards[shard].threats.store(threats, Ordering::Relaxed);
    }

    /// Security events of all shards since the start.
    pub fn threats(&self) -> u64 {
        self.0.shards.iter().map(|face| face.threats.load(Ordering::Relaxed)).sum()
    }

    /// Shards on the board.
    pub fn shards(&self) -> usize {
        self.0.shards.len()
    }

    /// WebSocket connections of all shards.
    pub fn open(&self) -> u64 {
        self.0.shards.iter().map(|face| face.open.load(Ordering::Relaxed)).sum()
    }

    /// Whether a shard says goodbye to its connections.
    pub fn draining(&self) -> bool {
        self.0.shards.iter().any(|face| face.draining.load(Ordering::Relaxed) != 0)
    }

    /// The longest turn time of all shards.
    pub fn turn_time(&self) -> Duration {
        let nanos = self.0.shards.iter().map(|face| face.turn.load(Ordering::Relaxed)).max();
        Duration::from_nanos(nanos.unwrap_or_default())
    }

    /// Says how overloaded the process is, in memory and in turns, each from 0 to 4.
    pub fn set_overload(&self, memory: u8, turn: u8) {
        self.0.overload.memory.store(memory, Ordering::Relaxed);
        self.0.overload.turn.store(turn, Ordering::Relaxed);
    }

    /// How overloaded the process is in memory.
    pub fn memory_level(&self) -> u8 {
        self.0.overload.memory.load(Ordering::Relaxed)
    }

    /// How overloaded the process is: the gauge `overload_level`, 0 to 4.
    pub fn overload_level(&self) -> u8 {
        self.memory_level().max(self.0.overload.turn.load(Ordering::Relaxed))
    }
}
