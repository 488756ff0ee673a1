//! A shard whose callbacks are written in the test, and clients that talk to it. Never checks anything itself.

use std::net::SocketAddr;
use std::time::Duration;

use highper_shards::driver::sim::{Budget, Client, Faults, Network, Node, Random, Sim, World};
use highper_shards::driver::{Options, Waker};
use highper_shards::logic::End;
use highper_shards::mesh::mesh;
use highper_shards::{Close, Errno, Io, Limits, ListenerId, Logic, Origin, Shard, ShardId, SlotId};

pub type Shared = Io<u64, u64>;
type OnSlot = Box<dyn FnMut(&mut Shared, SlotId)>;
type OnBytes = Box<dyn FnMut(&mut Shared, SlotId, &mut [u8])>;
type OnMessage = Box<dyn FnMut(&mut Shared, Origin, u64)>;
type OnTurn = Box<dyn FnMut(&mut Shared)>;
type OnConnected = Box<dyn FnMut(&mut Shared, SlotId, Result<(), Errno>)>;

/// Callbacks, and what became of connections. The state of a connection is a number.
pub struct Script {
    pub on_open: OnSlot,
    pub on_bytes: OnBytes,
    pub on_deadline: OnSlot,
    pub on_message: OnMessage,
    pub on_connected: OnConnected,
    pub on_turn: OnTurn,
    pub ended: Vec<(SlotId, End)>,
    pub panicked: Vec<SlotId>,
}

/// Answers every byte with itself.
pub fn echo(io: &mut Shared, slot: SlotId, bytes: &mut [u8]) {
    let mut open = io.open(slot).expect("bytes come for the living");
    open.out.write(|out| out.extend_from_slice(bytes)).expect("tests give room");
}

impl Script {
    pub fn new(on_bytes: impl FnMut(&mut Shared, SlotId, &mut [u8]) + 'static) -> Self {
        Self {
            on_open: Box::new(|_, _| {}),
            on_bytes: Box::new(on_bytes),
            on_deadline: Box::new(|_, _| {}),
            on_message: Box::new(|_, _, _| {}),
            on_connected: Box::new(|_, _, _| {}),
            on_turn: Box::new(|_| {}),
            ended: Vec::new(),
            panicked: Vec::new(),
        }
    }

    pub fn echo() -> Self {
        Self::new(echo)
    }
}

impl Logic for Script {
    type Conn = u64;
    type Message = u64;

    fn on_accept(&mut self, _: &mut Shared, _: SlotId, _: ListenerId, _: Option<SocketAddr>) -> Option<u64> {
        Some(0)
    }

    fn on_open(&mut self, io: &mut Shared, slot: SlotId) {
        (self.on_open)(io, slot);
    }

    fn on_connected(&mut self, io: &mut Shared, slot: SlotId, result: Result<(), Errno>) {
        (self.on_connected)(io, slot, result);
    }

    fn on_bytes(&mut self, io: &mut Shared, slot: SlotId, bytes: &mut [u8]) {
        assert!(io.conn(slot).is_some(), "bytes for a connection that is gone");
        (self.on_bytes)(io, slot, bytes);
    }

    fn on_end(&mut self, _io: &mut Shared, slot: SlotId, end: End) {
        assert!(!self.ended.iter().any(|(ended, _)| *ended == slot), "a connection ends once");
        self.ended.push((slot, end));
    }

    fn on_deadline(&mut self, io: &mut Shared, slot: SlotId) {
        (self.on_deadline)(io, slot);
    }

    fn on_message(&mut self, io: &mut Shared, origin: Origin, message: u64) {
        (self.on_message)(io, origin, message);
    }

    fn on_panic(&mut self, _io: &mut Shared, slot: SlotId) {
        self.panicked.push(slot);
    }

    fn on_turn(&mut self, io: &mut Shared) {
        (self.on_turn)(io);
    }
}

/// One node of a world.
pub struct Engine {
    pub world: World,
    pub node: Node,
    pub shards: Vec<Shard<Sim, Script>>,
}

/// What an engine is built with.
#[derive(Clone)]
pub struct Build {
    pub seed: u64,
    pub faults: Faults,
    pub network: Network,
    pub options: Options,
    pub limits: Limits,
    pub lane: usize,
}

pub const PORT: SocketAddr = address(80);

pub const fn address(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), port)
}

impl Build {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            faults: Faults::none(),
            network: Network::default(),
            options: Options::default(),
            limits: Limits { outbox_bytes_max: 64 << 20, ..Limits::default() },
            lane: 64,
        }
    }

    /// Faults and a network with latency, both as the seed decides.
    pub fn faulty(seed: u64) -> Self {
        let mut random = Random::new(!seed);
        let mut build = Self::new(seed);
        build.faults = Faults::swarm(seed);
        let least = Duration::from_micros(random.below(200));
        build.network.latency = (least, least + Duration::from_micros(random.below(5_000)));
        build.network.window = random.within(1_000, 100_000) as u32;
        build.options.buffer_bytes = random.within(64, 8192) as usize;
        build
    }

    pub fn engine(self, scripts: impl IntoIterator<Item = Script>) -> Engine {
        let world = World::new(self.seed, self.faults.clone(), self.network.clone());
        self.engine_in(&world, PORT, scripts)
    }

    pub fn engine_in(
        &self,
        world: &World,
        port: SocketAddr,
        scripts: impl IntoIterator<Item = Script>,
    ) -> Engine {
        let scripts: Vec<Script> = scripts.into_iter().collect();
        let node = world.node(scripts.len());
        let shards = self.shards(&node, node.wakers(), port, scripts);
        Engine { world: world.clone(), node, shards }
    }

    pub fn shards(
        &self,
        node: &Node,
        wakers: &[Waker],
        port: SocketAddr,
        scripts: Vec<Script>,
    ) -> Vec<Shard<Sim, Script>> {
        let meshes = mesh(self.lane, wakers);
        let shard = |(index, (mesh, script))| {
            let driver = node.driver(ShardId(index as u16), &self.options);
            let mut shard = Shard::new(driver, script, mesh, self.limits.clone());
            shard.listen(port).expect("the simulated network has room");
            shard
        };
        meshes.into_iter().zip(scripts).enumerate().map(shard).collect()
    }
}

impl Engine {
    pub fn connect(&self, count: usize) -> Vec<Client> {
        (0..count).map(|_| self.world.connect(PORT)).collect()
    }

    pub fn until(&mut self, what: &str, mut condition: impl FnMut(&mut [Shard<Sim, Script>]) -> bool) {
        let result = self.world.run_until(&mut self.shards, Budget::default(), &mut condition);
        result.unwrap_or_else(|stuck| panic!("{what}: {stuck}"));
    }

    pub fn run_for(&mut self, span: Duration) {
        self.world.run_for(&mut self.shards, span);
    }

    /// Nothing is owed to anybody once all clients are gone.
    pub fn expect_empty(&mut self) {
        let empty = |shard: &mut Shard<Sim, Script>| {
            (shard.io().connections(), shard.io().queued(), shard.driver().sockets()) == (0, 0, 0)
        };
        self.until("everything is given back", |shards| shards.iter_mut().all(empty));
    }
}

/// A client that sends a stream of its own in pieces and wants it back.
pub struct Talker {
    pub client: Client,
    stream: Vec<u8>,
    sent: usize,
    pub back: Vec<u8>,
}

impl Talker {
    pub fn new(client: Client, length: usize, random: &mut Random) -> Self {
        let stream = (0..length).map(|_| random.next_u64() as u8).collect();
        Self { client, stream, sent: 0, back: Vec::new() }
    }

    /// Sends the next piece and reads what has come; true once everything is back.
    pub fn step(&mut self, random: &mut Random) -> bool {
        let left = self.stream.len() - self.sent;
        let unanswered = self.sent - self.back.len();
        if left > 0 && unanswered < UNANSWERED_MAX {
            let piece = random.within(1, (left as u64).min(2_000)) as usize;
            self.client.write(&self.stream[self.sent..self.sent + piece]);
            self.sent += piece;
        }
        self.client.read_into(&mut self.back);
        self.is_done()
    }

    pub fn is_done(&self) -> bool {
        self.back.len() >= self.stream.len()
    }

    /// What came back is what was sent, as far as it came.
    pub fn is_right(&self) -> bool {
        self.stream.starts_with(&self.back)
    }

    /// Whether the connection was broken, or the client could not send all of it.
    pub fn is_broken(&self) -> bool {
        let state = self.client.state();
        state.reset || state.shut || state.eof
    }
}

/// A talker waits for answers beyond it, as a window would make it.
const UNANSWERED_MAX: usize = 64 * 1024;

/// Sends `bytes` to the slot and closes.
pub fn say_and_close(io: &mut Shared, slot: SlotId, bytes: &[u8]) {
    let mut open = io.open(slot).expect("it lives");
    open.out.write(|out| out.extend_from_slice(bytes)).expect("tests give room");
    io.close(slot, Close::AfterFlush);
}
