//! A simulated connection at rest costs little: 100,000 of them, both ends and the slot, without a descriptor.
//! Alone in its process, because it reads the memory of the process.

use std::net::SocketAddr;

use highper_shards::driver::sim::{Budget, Faults, Network, World};
use highper_shards::driver::{Options, Waker};
use highper_shards::logic::End;
use highper_shards::mesh::mesh;
use highper_shards::{Io, Limits, ListenerId, Logic, Origin, Shard, ShardId, SlotId};

struct Echo;

impl Logic for Echo {
    type Conn = ();
    type Message = ();

    fn on_accept(
        &mut self,
        _: &mut Io<(), ()>,
        _: SlotId,
        _: ListenerId,
        _: Option<SocketAddr>,
    ) -> Option<()> {
        Some(())
    }

    fn on_bytes(&mut self, io: &mut Io<(), ()>, slot: SlotId, bytes: &mut [u8]) {
        let mut open = io.open(slot).expect("bytes come for the living");
        open.out.write(|out| out.extend_from_slice(bytes)).expect("there is room");
    }

    fn on_end(&mut self, _io: &mut Io<(), ()>, _slot: SlotId, _end: End) {}

    fn on_deadline(&mut self, _io: &mut Io<(), ()>, _slot: SlotId) {}

    fn on_message(&mut self, _io: &mut Io<(), ()>, _origin: Origin, _message: ()) {}

    fn on_panic(&mut self, _io: &mut Io<(), ()>, _slot: SlotId) {}
}

const CONNECTIONS: usize = 100_000;

/// A million of them, both ends and the slot, then fit into 600 MB; vectors that have just doubled are counted.
const BYTES_MAX: usize = 600;

#[test]
fn a_hundred_thousand_idle_connections_fit() {
    let address: SocketAddr = ([10, 0, 0, 1], 80).into();
    let world = World::new(1, Faults::none(), Network::default());
    let node = world.node(1);
    let wakers: &[Waker] = node.wakers();
    let options = Options { sockets_max: CONNECTIONS as u32, ..Options::default() };
    let driver = node.driver(ShardId(0), &options);
    let mesh = mesh(16, wakers).pop().expect("there is one shard");
    let mut shards = [Shard::new(driver, Echo, mesh, Limits::default())];
    shards[0].listen(address).expect("the simulated network has room");

    let before = resident_bytes();
    let mut clients = Vec::new();
    while clients.len() < CONNECTIONS {
        clients.extend((0..1000).map(|_| world.connect(address)));
        let count = clients.len();
        let all =
            world.run_until(&mut shards, Budget::default(), |shards| shards[0].io().connections() == count);
        all.expect("all are accepted");
    }
    // Each has talked once, so that what a connection keeps after use is counted too.
    for some in clients.chunks(1000) {
        some.iter().for_each(|client| client.write(b"hello"));
        let mut heard = 0;
        let all = world.run_until(&mut shards, Budget::default(), |_| {
            while let Some(client) = world.next_news() {
                heard += clients[client.number as usize].read().len();
            }
            heard == 5 * some.len()
        });
        all.expect("all are answered");
    }
    let each = (resident_bytes() - before) / CONNECTIONS;
    assert!(each <= BYTES_MAX, "{each} bytes for each connection");
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("proc is mounted");
    let pages: usize =
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("the second field");
    pages * rustix::param::page_size()
}
