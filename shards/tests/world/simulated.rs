//! The world of the simulated driver, without faults: its own tests add those.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use highper_shards::driver::sim::{self, Client, Faults, Network, Sim};
use highper_shards::driver::{Options, Wait};
use highper_shards::mesh::mesh;
use highper_shards::{Limits, Shard, ShardId};

use super::{Internet, Probe, Read, World};

pub struct Simulated {
    world: sim::World,
}

impl World for Simulated {
    type Driver = Sim;
    type Client = Client;

    fn build(options: &Options, limits: Limits, logic: Probe) -> (Self, Shard<Sim, Probe>) {
        let world = sim::World::new(1, Faults::none(), Network::default());
        let node = world.node(1);
        let driver = node.driver(ShardId(0), options);
        let mesh = mesh(64, node.wakers()).pop().unwrap();
        let mut shard = Shard::new(driver, logic, mesh, limits);
        shard.listen(LISTENING).unwrap();
        (Self { world }, shard)
    }

    fn connect(&mut self) -> Client {
        self.world.connect(LISTENING)
    }

    fn write(&mut self, client: &mut Client, bytes: &[u8]) -> usize {
        client.write(bytes);
        bytes.len()
    }

    fn read(&mut self, client: &mut Client, len: usize) -> Read {
        let mut bytes = Vec::new();
        if client.read_at_most(len, &mut bytes) > 0 {
            return Read::Bytes(bytes);
        }
        let state = client.state();
        match (state.reset, state.eof) {
            (true, _) => Read::Reset,
            (false, true) => Read::End,
            (false, false) => Read::Nothing,
        }
    }

    fn shutdown(&mut self, client: &mut Client) {
        client.shutdown();
    }

    fn reset(&mut self, client: Client) {
        client.reset();
    }

    fn turn(&mut self, shard: &mut Shard<Sim, Probe>) {
        let longest = Duration::from_millis(1);
        self.world.advance(match shard.sleep() {
            Wait::Poll => Duration::ZERO,
            Wait::AtMost(span) => span.min(longest),
            Wait::Forever => longest,
        });
        shard.wake().unwrap();
    }
}

impl Internet for Simulated {
    fn address(&self) -> SocketAddr {
        LISTENING
    }

    fn nowhere(&self) -> SocketAddr {
        SocketAddr::new(LISTENING.ip(), LISTENING.port() + 1)
    }

    fn listen_v6(&mut self, shard: &mut Shard<Sim, Probe>) {
        shard.listen(LISTENING_V6).unwrap();
    }

    fn connect_from(&mut self, from: IpAddr) -> Client {
        self.world.connect_from(from, if from.is_ipv4() { LISTENING } else { LISTENING_V6 })
    }
}

const LISTENING: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80);
const LISTENING_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 80);
