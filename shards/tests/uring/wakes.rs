//! A sleeping shard is woken: by another ring, by an eventfd, and never for nothing that it would miss.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::Duration;

use highper_shards::driver::uring::Uring;
use highper_shards::driver::{Driver, Options, Peers, Waker};
use highper_shards::logic::End;
use highper_shards::mesh::{Lane, Mailbox, Mesh, mesh};
use highper_shards::{Io, Limits, ListenerId, Logic, Origin, Shard, ShardId, SlotId};

use super::harness::{Echo, limits, silent};

const ROUNDS: u64 = 2000;

/// Sends back what it gets, one less, and stops at the last.
struct PingPong {
    seen: u64,
}

impl Logic for PingPong {
    type Conn = ();
    type Message = u64;

    fn on_accept(
        &mut self,
        _: &mut Io<(), u64>,
        _: SlotId,
        _: ListenerId,
        _: Option<SocketAddr>,
    ) -> Option<()> {
        None
    }

    fn on_bytes(&mut self, _io: &mut Io<(), u64>, _slot: SlotId, _bytes: &mut [u8]) {}

    fn on_end(&mut self, _io: &mut Io<(), u64>, _slot: SlotId, _end: End) {}

    fn on_deadline(&mut self, _io: &mut Io<(), u64>, _slot: SlotId) {}

    fn on_message(&mut self, io: &mut Io<(), u64>, _origin: Origin, left: u64) {
        self.seen += 1;
        if left > 0 {
            let peer = ShardId(1 - io.shard().0);
            io.post(peer, Lane::Bulk, left - 1).expect("one message at a time");
        }
        if left <= 1 {
            io.stop();
        }
    }

    fn on_panic(&mut self, _io: &mut Io<(), u64>, _slot: SlotId) {}
}

fn shard(id: u16, peers: &Peers, mesh: Mesh<u64>) -> Shard<Uring, PingPong> {
    let driver = Uring::new(&Options::default(), ShardId(id), peers).unwrap();
    Shard::new(driver, PingPong { seen: 0 }, mesh, Limits::default())
}

/// Two shards on two threads that sleep without a timeout and pass one message back and forth; messages each saw.
fn ping_pong(by_ring: bool) -> [u64; 2] {
    let wakers = [Waker::new().unwrap(), Waker::new().unwrap()];
    let peers = Peers::new(wakers.clone());
    let mut meshes = mesh(64, &wakers);
    let (one, zero) = (meshes.pop().unwrap(), meshes.pop().unwrap());
    let start: Mailbox<u64> = zero.mailbox();
    let ready = Barrier::new(2);
    let run = |id: u16, mesh: Mesh<u64>| {
        let mut shard = shard(id, &peers, mesh);
        ready.wait();
        if !by_ring {
            peers.withdraw_ring(ShardId(id));
        }
        ready.wait();
        assert_eq!(peers.ring(ShardId(1 - id)).is_some(), by_ring);
        if id == 0 {
            start.post(ROUNDS).unwrap();
        }
        shard.run().unwrap();
        shard.logic().seen
    };
    std::thread::scope(|scope| {
        let zero = scope.spawn(|| run(0, zero));
        let one = scope.spawn(|| run(1, one));
        [zero.join().unwrap(), one.join().unwrap()]
    })
}

#[test]
fn shards_wake_each_other_by_their_rings() {
    assert_eq!(ping_pong(true), [ROUNDS / 2 + 1, ROUNDS / 2]);
}

#[test]
fn shards_wake_each_other_by_eventfd_where_rings_cannot() {
    assert_eq!(ping_pong(false), [ROUNDS / 2 + 1, ROUNDS / 2]);
}

#[test]
fn an_outside_thread_wakes_a_shard_that_sleeps_without_a_timeout() {
    let wakers = [Waker::new().unwrap()];
    let mesh = mesh::<u64>(64, &wakers).pop().unwrap();
    let mailbox = mesh.mailbox();
    let peers = Peers::new(wakers);
    let answered = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let driver = Uring::new(&Options::default(), ShardId(0), &peers).unwrap();
            let mut shard = Shard::new(driver, Echo::default(), mesh, limits());
            while shard.logic().received < 500 {
                shard.turn(None).unwrap();
                answered.store(shard.logic().received, std::sync::atomic::Ordering::Release);
            }
        });
        for sent in 0..500 {
            mailbox.post(1).unwrap();
            // The next one is posted when the shard has gone back to sleep, or is about to.
            while answered.load(std::sync::atomic::Ordering::Acquire) <= sent {
                std::thread::yield_now();
            }
        }
    });
}

#[test]
fn a_ring_that_is_gone_is_replaced_by_the_eventfd() {
    let wakers = [Waker::new().unwrap(), Waker::new().unwrap()];
    let peers = Peers::new(wakers.clone());
    let mut driver = Uring::new(&Options::default(), ShardId(0), &peers).unwrap();
    // A number that names no ring: the peer closed it between our look and our message.
    peers.publish_ring(ShardId(1), 1 << 20);
    driver.ring(ShardId(1));
    let mut completions = Vec::new();
    driver.turn(highper_shards::driver::Wait::AtMost(Duration::from_secs(5)), &mut completions).unwrap();
    let mut count = [0; 8];
    let event = wakers[1].descriptor().unwrap();
    assert_eq!(rustix::io::read(event, &mut count), Ok(8), "the eventfd was written to");
}

#[test]
fn a_timer_ends_the_sleep() {
    let mut shard = silent(&Options::default(), limits(), Echo::default());
    let start = shard.io().now();
    shard.turn(Some(Duration::from_millis(20))).unwrap();
    shard.turn(Some(Duration::from_millis(20))).unwrap();
    assert!(shard.io().now().since(start) >= Duration::from_millis(20));
}
