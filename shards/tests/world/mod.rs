//! What the promises of the engine are tested in: a world with a shard and peers outside of it, on any driver.
//! A world moves bytes and time; the promises never ask which one it is.

#![allow(dead_code, unused_imports, unused_macros, reason = "every test file uses its own part of the world")]
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

pub mod kernel;
pub mod local;
pub mod simulated;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use highper_shards::driver::{Driver, Options};
use highper_shards::logic::End;
use highper_shards::{Close, Errno, Io, Limits, ListenerId, Logic, Moment, Origin, Shard, SlotId};

/// Runs each promise on every driver.
macro_rules! for_each_driver {
    ($($promise:ident),* $(,)?) => {
        mod epoll {
            $(#[test]
            fn $promise() {
                super::$promise::<crate::world::kernel::Kernel<highper_shards::driver::epoll::Epoll>>();
            })*
        }
        mod uring {
            $(#[test]
            fn $promise() {
                super::$promise::<crate::world::kernel::Kernel<highper_shards::driver::uring::Uring>>();
            })*
        }
        mod sim {
            $(#[test]
            fn $promise() {
                super::$promise::<crate::world::simulated::Simulated>();
            })*
        }
    };
}
pub(crate) use for_each_driver;

/// Runs each promise on the drivers of the kernel, with a socket file in place of TCP.
macro_rules! for_each_driver_of_socket_files {
    ($($promise:ident),* $(,)?) => {
        mod epoll_file {
            $(#[test]
            fn $promise() {
                super::$promise::<crate::world::local::Local<highper_shards::driver::epoll::Epoll>>();
            })*
        }
        mod uring_file {
            $(#[test]
            fn $promise() {
                super::$promise::<crate::world::local::Local<highper_shards::driver::uring::Uring>>();
            })*
        }
    };
}
pub(crate) use for_each_driver_of_socket_files;

/// A network with one listening shard, and peers who connect to it.
pub trait World: Sized {
    /// The driver of its shards.
    type Driver: Driver;
    /// A peer's end of a connection.
    type Client;

    /// A shard that listens in a new world.
    fn build(options: &Options, limits: Limits, logic: Probe) -> (Self, Shard<Self::Driver, Probe>);
    /// A peer connects; the shard may not have noticed yet.
    fn connect(&mut self) -> Self::Client;
    /// Writes what the connection takes at once; returns how much that was.
    fn write(&mut self, client: &mut Self::Client, bytes: &[u8]) -> usize;
    /// Reads what has arrived, at most `len` bytes.
    fn read(&mut self, client: &mut Self::Client, len: usize) -> Read;
    /// Ends the peer's sending direction.
    fn shutdown(&mut self, client: &mut Self::Client);
    /// Breaks the connection.
    fn reset(&mut self, client: Self::Client);
    /// One turn of the shard; at most about a millisecond passes.
    fn turn(&mut self, shard: &mut Shard<Self::Driver, Probe>);
}

/// A network whose shards and peers have addresses of the internet.
pub trait Internet: World {
    /// Where the shard listens.
    fn address(&self) -> SocketAddr;
    /// Where nobody listens.
    fn nowhere(&self) -> SocketAddr;
    /// Lets the shard listen on `::1` too.
    fn listen_v6(&mut self, shard: &mut Shard<Self::Driver, Probe>);
    /// A peer connects from this address of its own; over IPv6 only where the shard listens there.
    fn connect_from(&mut self, from: IpAddr) -> Self::Client;
}

/// What a peer finds when it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    Bytes(Vec<u8>),
    Nothing,
    End,
    Reset,
}

/// What a shard told its logic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Accepted(SlotId),
    Opened(SlotId),
    Connected(SlotId, Result<(), Errno>),
    Bytes(SlotId, Vec<u8>),
    Ended(SlotId, End),
    Deadline(SlotId, Moment),
    Panicked(SlotId),
    Message(Origin, u64),
}

/// A logic that remembers what it was told and reacts as its test says.
pub struct Probe {
    pub events: Vec<Event>,
    /// Who was accepted, in that order.
    pub peers: Vec<Option<SocketAddr>>,
    reaction: Reaction,
}

pub type Reaction = Box<dyn FnMut(&mut Io<(), u64>, &Event)>;

impl Probe {
    pub fn new(reaction: impl FnMut(&mut Io<(), u64>, &Event) + 'static) -> Self {
        Self { events: Vec::new(), peers: Vec::new(), reaction: Box::new(reaction) }
    }

    fn tell(&mut self, io: &mut Io<(), u64>, event: Event) {
        self.events.push(event);
        (self.reaction)(io, self.events.last().expect("it was just put there"));
    }
}

impl Logic for Probe {
    type Conn = ();
    type Message = u64;

    fn on_accept(
        &mut self,
        io: &mut Io<(), u64>,
        slot: SlotId,
        _: ListenerId,
        peer: Option<SocketAddr>,
    ) -> Option<()> {
        self.peers.push(peer);
        self.tell(io, Event::Accepted(slot));
        Some(())
    }

    fn on_open(&mut self, io: &mut Io<(), u64>, slot: SlotId) {
        self.tell(io, Event::Opened(slot));
    }

    fn on_connected(&mut self, io: &mut Io<(), u64>, slot: SlotId, result: Result<(), Errno>) {
        self.tell(io, Event::Connected(slot, result));
    }

    fn on_bytes(&mut self, io: &mut Io<(), u64>, slot: SlotId, bytes: &mut [u8]) {
        self.tell(io, Event::Bytes(slot, bytes.to_vec()));
    }

    fn on_end(&mut self, io: &mut Io<(), u64>, slot: SlotId, end: End) {
        self.tell(io, Event::Ended(slot, end));
    }

    fn on_deadline(&mut self, io: &mut Io<(), u64>, slot: SlotId) {
        let now = io.now();
        self.tell(io, Event::Deadline(slot, now));
    }

    fn on_message(&mut self, io: &mut Io<(), u64>, origin: Origin, message: u64) {
        self.tell(io, Event::Message(origin, message));
    }

    fn on_panic(&mut self, io: &mut Io<(), u64>, slot: SlotId) {
        self.tell(io, Event::Panicked(slot));
    }
}

/// A shard in its world.
pub struct Rig<W: World> {
    pub world: W,
    pub shard: Shard<W::Driver, Probe>,
}

/// Longer than anything takes here, so that a promise that is broken fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

impl<W: World> Rig<W> {
    pub fn new(reaction: impl FnMut(&mut Io<(), u64>, &Event) + 'static) -> Self {
        Self::with(&Options::default(), Limits::default(), reaction)
    }

    pub fn with(
        options: &Options,
        limits: Limits,
        reaction: impl FnMut(&mut Io<(), u64>, &Event) + 'static,
    ) -> Self {
        let (world, shard) = W::build(options, limits, Probe::new(reaction));
        Self { world, shard }
    }

    /// Turns until `done`.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let latest = self.now() + PATIENCE;
        while !done(self) {
            let events = &self.shard.logic().events;
            let last: Vec<_> = events.iter().rev().take(5).collect();
            let last = format!("{last:.300?}");
            let counters = *self.shard.io().counters();
            assert!(self.now() < latest, "never {what}; {counters:?}; last events {last}");
            self.world.turn(&mut self.shard);
        }
    }

    pub fn turn(&mut self) {
        self.world.turn(&mut self.shard);
    }

    pub fn now(&mut self) -> Moment {
        self.shard.driver().now()
    }

    pub fn events(&mut self) -> &[Event] {
        &self.shard.logic().events
    }

    pub fn connections(&mut self) -> usize {
        self.shard.io().connections()
    }

    /// Connects and waits until the shard has it.
    pub fn connect(&mut self) -> W::Client {
        let before = self.shard.io().counters().accepted;
        let client = self.world.connect();
        self.until("accepted", |rig| rig.shard.io().counters().accepted > before);
        client
    }

    /// Connects so many peers.
    pub fn connect_many(&mut self, count: usize) -> Vec<W::Client> {
        let mut clients: Vec<W::Client> = Vec::with_capacity(count);
        while clients.len() < count {
            let client = self.world.connect();
            clients.push(client);
            self.turn();
        }
        self.until("all accepted", |rig| rig.shard.io().counters().accepted == count as u64);
        clients
    }

    /// Writes all bytes, turning while the connection is full.
    pub fn write(&mut self, client: &mut W::Client, bytes: &[u8]) {
        let mut written = self.world.write(client, bytes);
        self.until("written", |rig| {
            written += rig.world.write(client, &bytes[written..]);
            written == bytes.len()
        });
    }

    /// Reads exactly so many bytes.
    pub fn read(&mut self, client: &mut W::Client, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.until("arrived", |rig| {
            if bytes.len() < len {
                match rig.world.read(client, len - bytes.len()) {
                    Read::Bytes(read) => bytes.extend_from_slice(&read),
                    Read::Nothing => {}
                    end @ (Read::End | Read::Reset) => panic!("{end:?} after {} of {len}", bytes.len()),
                }
            }
            bytes.len() == len
        });
        bytes
    }

    /// Reads until the connection ends; returns the bytes and how it ended.
    pub fn read_to_end(&mut self, client: &mut W::Client) -> (Vec<u8>, Read) {
        let (mut bytes, mut end) = (Vec::new(), Read::Nothing);
        self.until("ended", |rig| {
            match rig.world.read(client, 1 << 16) {
                Read::Bytes(read) => bytes.extend_from_slice(&read),
                Read::Nothing => {}
                over @ (Read::End | Read::Reset) => end = over,
            }
            end != Read::Nothing
        });
        (bytes, end)
    }

    /// Waits until no slot is in use.
    pub fn until_all_slots_are_free(&mut self) {
        self.until("every slot free", |rig| rig.connections() == 0);
        assert_eq!(self.shard.io().queued(), 0, "nobody owes anything");
    }
}

/// Sends back what comes in.
pub fn echo(io: &mut Io<(), u64>, event: &Event) {
    if let Event::Bytes(slot, bytes) = event {
        say(io, *slot, bytes);
    }
}

/// Writes to a connection that is there.
pub fn say(io: &mut Io<(), u64>, slot: SlotId, bytes: &[u8]) {
    let mut open = io.open(slot).expect("the connection is there");
    open.out.write(|out| out.extend_from_slice(bytes)).expect("there is room");
}

/// Closes once everything is sent.
pub fn end(io: &mut Io<(), u64>, slot: SlotId) {
    io.close(slot, Close::AfterFlush);
}

/// Bytes that differ everywhere, so that a lost or doubled piece is seen.
pub fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}
