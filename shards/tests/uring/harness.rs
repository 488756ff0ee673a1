//! A shard on io_uring with a logic that echoes and notes what it is told. Never waits longer than a test may last.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use highper_shards::driver::uring::Uring;
use highper_shards::driver::{Options, Peers, Waker};
use highper_shards::logic::End;
use highper_shards::mesh::mesh;
use highper_shards::{Close, Errno, Io, Limits, ListenerId, Logic, Moment, Origin, Shard, ShardId, SlotId};

/// Echoes; what else it does is asked of it by the test.
#[derive(Default)]
pub struct Echo {
    pub opened: Vec<SlotId>,
    pub ended: Vec<(SlotId, End)>,
    pub connected: Vec<(SlotId, Result<(), Errno>)>,
    pub received: u64,
    /// Bytes are counted, not sent back.
    pub mute: bool,
    /// A connection that sends this byte first is closed once everything is sent.
    pub farewell: Option<u8>,
    /// A connection is closed as soon as it is open.
    pub close_at_once: Option<Close>,
    /// A deadline set again and again, so that silent connections are looked at.
    pub look_every: Option<Duration>,
}

pub type EchoShard = Shard<Uring, Echo>;

impl Echo {
    fn look_again(&self, io: &mut Io<(), u64>, slot: SlotId) {
        if let Some(every) = self.look_every {
            let at = io.now() + every;
            io.arm(slot, at);
        }
    }
}

impl Logic for Echo {
    type Conn = ();
    type Message = u64;

    fn on_accept(
        &mut self,
        _: &mut Io<(), u64>,
        _: SlotId,
        _: ListenerId,
        _: Option<SocketAddr>,
    ) -> Option<()> {
        Some(())
    }

    fn on_open(&mut self, io: &mut Io<(), u64>, slot: SlotId) {
        self.opened.push(slot);
        if let Some(how) = self.close_at_once {
            io.close(slot, how);
        }
        self.look_again(io, slot);
    }

    fn on_connected(&mut self, _io: &mut Io<(), u64>, slot: SlotId, result: Result<(), Errno>) {
        self.connected.push((slot, result));
    }

    fn on_bytes(&mut self, io: &mut Io<(), u64>, slot: SlotId, bytes: &mut [u8]) {
        self.received += bytes.len() as u64;
        if let Some(mut open) = io.open(slot).filter(|_| !self.mute) {
            open.out.write(|out| out.extend_from_slice(bytes)).expect("the outbox has room");
        }
        if self.farewell == bytes.first().copied() {
            io.close(slot, Close::AfterFlush);
        }
    }

    fn on_end(&mut self, _io: &mut Io<(), u64>, slot: SlotId, end: End) {
        self.ended.push((slot, end));
    }

    fn on_deadline(&mut self, io: &mut Io<(), u64>, slot: SlotId) {
        self.look_again(io, slot);
    }

    fn on_message(&mut self, _io: &mut Io<(), u64>, _origin: Origin, message: u64) {
        self.received += message;
    }

    fn on_panic(&mut self, _io: &mut Io<(), u64>, _slot: SlotId) {}
}

pub fn limits() -> Limits {
    Limits { outbox_bytes_max: 64 << 20, ..Limits::default() }
}

/// A shard of its own, listening on an ephemeral port of the loopback.
pub fn listening(options: &Options, limits: Limits, logic: Echo) -> (EchoShard, SocketAddr) {
    let mut shard = silent(options, limits, logic);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    shard.listen(listener.into()).unwrap();
    (shard, address)
}

/// A shard of its own without a listener.
pub fn silent(options: &Options, limits: Limits, logic: Echo) -> EchoShard {
    let wakers = [Waker::new().unwrap()];
    let mesh = mesh(64, &wakers).pop().unwrap();
    let driver = Uring::new(options, ShardId(0), &Peers::new(wakers)).unwrap();
    Shard::new(driver, logic, mesh, limits)
}

/// Turns until `done`; fails after 30 seconds.
pub fn until(shard: &mut EchoShard, what: &str, mut done: impl FnMut(&mut EchoShard) -> bool) {
    let last = Moment::now() + Duration::from_secs(30);
    while !done(shard) {
        shard.turn(Some(Duration::from_millis(10))).unwrap();
        assert!(Moment::now() < last, "in vain: {what}; {:?}", shard.io().counters());
    }
}

/// Runs a client beside the shard, which turns until the client is done.
pub fn beside<T: Send>(shard: &mut EchoShard, client: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let client = scope.spawn(client);
        until(shard, "the client", |_| client.is_finished());
        client.join().expect("the client succeeds")
    })
}

/// A client that fails rather than hangs.
pub fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Bytes that tell where they belong.
pub fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 31 + seed * 131) >> 3) as u8).collect()
}
