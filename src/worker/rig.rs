//! Workers of some shards in a simulated world, for tests that look inside: clients talk over its network, time is
//! virtual. Never used outside tests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use highper_shards::driver::Options;
use highper_shards::driver::sim::{Budget, Client, Faults, Network, Sim, World};
use highper_shards::logic::End;
use highper_shards::mesh::mesh;
use highper_shards::{Limits, ListenerId, Logic, Origin, Shard, ShardId, SlotId};

use super::{ShardIo, Shared, Worker};
use crate::api::{Routes, cors};
use crate::auth::Verifier;
use crate::config::Config;
use crate::conn::Conn;
use crate::handler::{Endpoint, Transport};
use crate::limits::Subject;
use crate::message::{Message, Names};
use crate::observe::counters::Board;

/// Where the server listens.
const PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 80);

/// A server in a world.
pub(super) struct Rig {
    pub world: World,
    pub shards: Vec<Shard<Sim, Door>>,
    pub shared: Arc<Shared>,
}

/// The worker, with a door in front: each connection is admitted for these subjects before anything else.
pub(super) struct Door {
    pub worker: Worker,
    pub wanted: Vec<(Subject, u32)>,
}

impl Rig {
    /// So many shards whose lanes hold so many messages; `/ws` speaks the native dialect, `/echo`
    /// echoes. Under even seeds the network takes no time, so that much happens in one turn.
    pub fn new(seed: u64, shards: u16, lane: usize, change: impl FnOnce(&mut Config)) -> Self {
        let latency = (Duration::ZERO, Duration::from_millis(2) * (seed % 2) as u32);
        let network = Network { latency, ..Network::default() };
        let world = World::new(seed, Faults::none(), network);
        // What a home answers must fit its control lane, which holds 16 at least.
        let mut config = Config { mesh_capacity: lane.max(64) as u32, ..Config::default() };
        change(&mut config);
        config.settle();
        let paths = [("/ws", Transport::WebSocket), ("/echo", Transport::WebSocket)];
        let shared = Arc::new(Shared {
            routes: Routes::new(&config, paths),
            endpoints: vec![Endpoint::native("/ws"), Endpoint::echo("/echo")],
            board: Board::new(shards.into()),
            names: Names::seeded(shards, seed),
            pool: None,
            connections_max: config.max_connections.get().map(|most| most as usize),
            page: String::new(),
            verifier: config.auth_enabled.then(|| Verifier::new(&config).expect("there is a secret")),
            geo: None,
            hooks: None,
            webhooks: None,
            cors: cors::Rules::of(&config),
            events_cors: cors::Rules::of_events(&config),
            is_local: true,
            started: 0,
            epoch_seed: seed,
            unix_millis: || 0,
            config,
        });
        let node = world.node(shards.into());
        let limits =
            Limits { outbox_bytes_max: 8 << 20, linger: Duration::from_secs(2), ..Limits::default() };
        let meshes = mesh(lane, node.wakers());
        let shard = |(id, mesh)| {
            let worker = Worker::new(Arc::clone(&shared), id);
            let door = Door { worker, wanted: Vec::new() };
            let mut shard = Shard::new(node.driver(id, &Options::default()), door, mesh, limits.clone());
            shard.listen(PORT).expect("the simulated network has room");
            shard
        };
        let shards = (0..).map(ShardId).zip(meshes).map(shard).collect();
        Self { world, shards, shared }
    }

    /// A client on the way to any of the shards.
    pub fn connect(&self) -> Client {
        self.world.connect(PORT)
    }

    /// A client that has sent the opening handshake for this path, with compression offered.
    pub fn knock(&self, path: &str) -> Client {
        let client = self.connect();
        let fields = "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: c2l4dGVlbiBieXRlIGtleQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
        client.write(format!("GET {path} HTTP/1.1\r\n{fields}\r\n").as_bytes());
        client
    }

    /// Runs until it is so, which it must be within some virtual minutes.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut [Shard<Sim, Door>]) -> bool) {
        let budget = Budget { steps: 400_000, span: Duration::from_secs(300) };
        let ran = self.world.run_until(&mut self.shards, budget, |shards| is_so(shards));
        ran.unwrap_or_else(|stuck| panic!("{what}: {stuck}"));
    }

    /// Runs for so long.
    pub fn run_for(&mut self, span: Duration) {
        let until = self.world.now() + span;
        let world = self.world.clone();
        let budget = Budget { steps: u64::MAX, span };
        let _ = world.run_until(&mut self.shards, budget, |_| world.now() >= until);
    }

    /// Sums a number of every worker.
    pub fn sum(&mut self, number: impl Fn(&Worker) -> u64) -> u64 {
        self.shards.iter_mut().map(|shard| number(&shard.logic().worker)).sum()
    }

    /// What the server answers to a request, and what follows the head.
    #[track_caller]
    pub fn answer(&mut self, client: &Client) -> (String, Vec<u8>) {
        let mut received = Vec::new();
        self.until("an answer", |_| {
            client.read_into(&mut received);
            received.windows(4).any(|window| window == b"\r\n\r\n")
        });
        self.run_for(Duration::from_millis(10));
        client.read_into(&mut received);
        let end = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let body = received.split_off(end);
        (String::from_utf8(received).unwrap(), body)
    }
}

/// The status code of a head.
pub(super) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The seconds of a Retry-After field.
pub(super) fn retry_after(head: &str) -> Option<u64> {
    head.lines().find_map(|line| line.strip_prefix("Retry-After: "))?.parse().ok()
}

impl Logic for Door {
    type Conn = Conn;
    type Message = Message;

    fn on_accept(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        listener: ListenerId,
        peer: Option<SocketAddr>,
    ) -> Option<Conn> {
        self.worker.on_accept(io, slot, listener, peer)
    }

    fn on_open(&mut self, io: &mut ShardIo, slot: SlotId) {
        self.worker.on_open(io, slot);
        if !self.wanted.is_empty()
            && let Some(verdict) = self.worker.admit(io, slot, &self.wanted)
        {
            self.worker.admitted(io, slot, verdict);
        }
    }

    fn on_bytes(&mut self, io: &mut ShardIo, slot: SlotId, bytes: &mut [u8]) {
        self.worker.on_bytes(io, slot, bytes);
    }

    fn on_end(&mut self, io: &mut ShardIo, slot: SlotId, end: End) {
        self.worker.on_end(io, slot, end);
    }

    fn on_deadline(&mut self, io: &mut ShardIo, slot: SlotId) {
        self.worker.on_deadline(io, slot);
    }

    fn on_message(&mut self, io: &mut ShardIo, origin: Origin, message: Message) {
        self.worker.on_message(io, origin, message);
    }

    fn on_panic(&mut self, io: &mut ShardIo, slot: SlotId) {
        self.worker.on_panic(io, slot);
    }

    fn on_turn(&mut self, io: &mut ShardIo) {
        self.worker.on_turn(io);
    }
}
