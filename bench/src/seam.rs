//! The seam between the shards of the generator and the scenarios: what a scenario is asked, what it may answer,
//! and what shards, scenarios and the starting thread tell each other. Holds no behaviour of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use highper_shards::io::Outgoing;
use highper_shards::{Io, Moment, SlotId};

use crate::generator::Conn;
use crate::measure::Tally;
use crate::options::Tokens;

/// What a shard of the generator does with its open connections.
pub trait Scenario: Sized {
    /// State of one connection.
    type Conn;

    /// What is spoken on the connection with this index, counted per shard, and its state.
    fn dial(&mut self, index: u32) -> Dial<Self::Conn>;

    /// The handshake is done; without WebSocket, the socket is connected.
    fn on_open(&mut self, slot: SlotId, conn: &mut Self::Conn, out: &mut Outgoing<'_>) -> Step;

    /// A message came in; without WebSocket, the bytes of one receive.
    fn on_message(&mut self, window: &mut Window, conn: &mut Self::Conn, payload: &[u8]) -> Step;

    /// Everything that came in with one receive was seen: the place to answer with one send.
    fn on_batch(&mut self, _window: &mut Window, _conn: &mut Self::Conn, _out: &mut Outgoing<'_>) {}

    /// The window moved on.
    fn on_phase(&mut self, _window: &mut Window, _io: &mut BenchIo<Self>) {}

    /// Another shard of the generator says something.
    fn on_peer(&mut self, _now: Moment, _peer: Peer) {}

    /// An open connection ended by itself.
    fn on_ended(&mut self, _conn: &mut Self::Conn) {}

    /// Once a turn.
    fn on_turn(&mut self, _window: &mut Window, _io: &mut BenchIo<Self>) {}

    /// How long the shard may sleep.
    fn wait_max(&self, _now: Moment) -> Option<Duration> {
        None
    }

    /// Whether every answer is there, once the load has ended.
    fn is_drained(&self) -> bool {
        true
    }

    /// Counts what is still missing.
    fn finish(&mut self, _window: &mut Window, _io: &mut BenchIo<Self>) {}
}

/// The runtime as a scenario sees it.
pub type BenchIo<S> = Io<Conn<<S as Scenario>::Conn>, Message>;

/// How a connection begins.
pub struct Dial<C> {
    /// What is spoken on it.
    pub speaks: Speaks,
    /// Its state.
    pub conn: C,
}

/// What the generator speaks on a connection for its scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// WebSocket with the target; the path, if it is not that of the target.
    WebSocket { path: Option<String> },
    /// Nothing: the scenario writes and reads the bytes itself.
    Bytes { address: SocketAddr },
}

impl<C> Dial<C> {
    /// A WebSocket to the target.
    pub fn websocket(conn: C) -> Self {
        Self { speaks: Speaks::WebSocket { path: None }, conn }
    }

    /// A WebSocket to another path of the target.
    pub fn websocket_at(path: String, conn: C) -> Self {
        Self { speaks: Speaks::WebSocket { path: Some(path) }, conn }
    }

    /// A connection on which the scenario speaks.
    pub fn bytes(address: SocketAddr, conn: C) -> Self {
        Self { speaks: Speaks::Bytes { address }, conn }
    }
}

/// What a scenario wants of a connection next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Go,
    /// It counts as opened from here on.
    Ready,
    /// It counts as opened and is closed.
    Part(Parting),
    /// The server said something that ends the run of this connection.
    Fail(String),
}

/// How an opened connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// By a close frame that the server answers.
    Handshake,
    /// Without a word.
    Abrupt,
}

/// Where the run stands, and what was counted.
pub struct Window {
    /// When this turn began.
    pub now: Moment,
    /// What is done at the moment.
    pub phase: Phase,
    /// The counts.
    pub tally: Tally,
}

/// What is done at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connections are opened.
    Opening,
    /// Traffic flows and is not counted.
    Loading,
    /// Traffic flows and is counted.
    Measuring,
    /// No new traffic; answers are waited for.
    Draining,
}

impl Window {
    /// Counts a message that was right and was due at `due`.
    pub fn message(&mut self, bytes: usize, due: Moment) {
        if self.phase == Phase::Measuring {
            self.tally.message(bytes, self.now.since(due));
        }
    }

    /// Counts a message that was not what was expected.
    pub fn wrong(&mut self, words: impl FnOnce() -> String) -> Step {
        self.tally.errors.wrong += 1;
        self.tally.errors.say(words);
        Step::Go
    }

    /// Counts messages the server left no room for.
    pub fn unsent(&mut self, count: u32) {
        self.tally.errors.unsent += u64::from(count);
        self.tally.errors.say(|| "the server took so little that messages could not be sent".to_owned());
    }
}

impl Phase {
    /// Whether new messages are sent.
    pub fn has_load(self) -> bool {
        match self {
            Self::Opening | Self::Draining => false,
            Self::Loading | Self::Measuring => true,
        }
    }
}

/// What is posted to a shard of the generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Open connections until this many of the shard were tried.
    Open(u32),
    /// Move the window on.
    Phase(Phase),
    /// End.
    Stop,
    /// From another shard.
    Peer(Peer),
}

/// What shards of a fan-out tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Every subscriber of the shard got something.
    Seen,
    /// Every subscriber of the shard got everything up to this sequence number.
    Delivered { shard: u16, end: u64 },
    /// The publisher has ended; so many were published.
    Published { end: u64 },
}

/// What a shard tells the thread that started it.
#[derive(Debug)]
pub enum Event {
    /// All connections asked for were tried; so many are open, and the first failure in words.
    Opened { failed: u64, first: Option<String> },
    /// The load has ended and everything was answered or given up.
    Drained(Box<Tally>),
    /// The shard cannot go on.
    Failed(String),
}

/// What a shard is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to connect.
    pub address: SocketAddr,
    /// The Host header.
    pub host: String,
    /// The path.
    pub path: String,
    /// What connections prove who they are with.
    pub tokens: Tokens,
    /// Addresses to connect from, in turn.
    pub sources: Option<Vec<Ipv4Addr>>,
    /// Handshakes under way at once.
    pub in_flight: u32,
    /// How long a handshake or an answer may take.
    pub timeout: Duration,
}
