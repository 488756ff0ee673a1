//! The io_uring driver: one ring per shard, entered once per turn. Owns the ring, its sockets, its receive buffers
//! and the frames in flight. Never knows a connection beyond its token, and never runs a callback.
//!
//! `setup` makes the ring and enters it, `probe` says what the kernel has. `submit` turns what is asked for into
//! entries, `reap` turns completions into what the turn understands. `arrivals`, `buffers`, `files`, `flight` and
//! `operation` own the addresses of those who come, the receive buffers, the sockets, what the kernel still owes, and
//! the names of it.

mod arrivals;
mod buffers;
mod files;
mod flight;
mod operation;
mod probe;
mod reap;
mod setup;
mod submit;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny};

pub use probe::{Features, Mode};

use self::arrivals::Arrivals;
use self::buffers::Buffers;
use self::files::Files;
use self::flight::{CLOSE, CONNECT, Flights, ONCE, RECEIVE, REST};
use self::operation::Operation;
use self::setup::Ring;
use super::{Buffer, Completion, Driver, DriverCounters, Options, Peers, Receive, Socket, Wait, Waker};
use crate::clock::Moment;
use crate::error::StartError;
use crate::token::{ListenerId, ShardId, Token};
use crate::tx::Frame;

/// The kernel through one io_uring, for the thread that made it.
pub struct Uring {
    // The ring goes first: what the kernel shares with us is freed after it is closed.
    ring: Ring,
    buffers: Buffers,
    files: Files,
    flights: Flights,
    listeners: Vec<Listener>,
    /// One of them is a socket file.
    listens_on_files: bool,
    /// Addresses of connects that are queued but not submitted.
    #[expect(
        clippy::vec_box,
        reason = "entries point into the boxes, which do not move when the list grows"
    )]
    addresses: Vec<Box<SocketAddrAny>>,
    /// The descriptor that is being put into the file table, and what came of it.
    installing: Box<i32>,
    installed: Option<Result<u32, Errno>>,
    /// Closes that wait for a thread of the kernel to end the sending direction.
    closing: Vec<(Token, Socket)>,
    /// Completions of submissions that could not wait for the end of the turn.
    early: Vec<Completion>,
    /// Operations to queue again at the next turn.
    again: Vec<(Operation, Token)>,
    /// What stopped the ring; the next turn says it.
    broken: Option<Errno>,
    shard: ShardId,
    peers: Peers,
    waker: Waker,
    features: Features,
    counters: DriverCounters,
}

struct Listener {
    socket: OwnedFd,
    /// It listens on a socket file, which all shards share.
    is_file: bool,
    accepting: Accepting,
    arrivals: Arrivals,
}

/// What a listener does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// Nothing is armed, but for accepts that were in flight when one of them failed.
    Off,
    /// As many accepts are in flight as there are places for.
    On,
    /// The turn has told it to stop: what is in flight is being cancelled.
    Ending,
}

/// Accepts that one listener has in flight: so many connections find a shard in one turn before the next one arms
/// more, and each brings its address. Measured: 4, 16 and 32 cost the same, 64 fill the cache.
const ACCEPTS: u32 = 16;

/// The same where shards share one listening socket, which wakes the accept that waits longest: the smaller, the
/// sooner it is another shard's turn.
const SHARED_ACCEPTS: u32 = 4;

/// How often one turn goes back for completions that found no place in the queue, before it lets the shard work.
const FLUSH_ROUNDS: usize = 64;

impl Uring {
    /// Makes the ring of this thread, which must be the one that runs the shard. Peers can wake it from then on.
    ///
    /// # Errors
    /// io_uring is forbidden, too old, or out of memory: [`StartError::epoll_would_do`] then says so.
    pub fn new(options: &Options, shard: ShardId, peers: &Peers) -> Result<Self, StartError> {
        let (ring, mode) = Ring::open(options.ring_entries)?;
        Self::on(ring, mode, options, shard, peers)
    }

    fn on(
        mut ring: Ring,
        mode: Mode,
        options: &Options,
        shard: ShardId,
        peers: &Peers,
    ) -> Result<Self, StartError> {
        let optional = probe::operations(&ring)?;
        let buffers = Buffers::new(&mut ring, options.buffer_count, options.buffer_bytes)?;
        let files = Files::new(&ring, options.sockets_max);
        let features = Features {
            mode,
            registered_ring: ring.is_registered(),
            direct_descriptors: files.direct(),
            ring_messages: optional.ring_messages,
            install: optional.install,
            completions: ring.completions_max(),
            buffers: (buffers.count(), buffers.buffer_bytes()),
        };
        let mut driver = Self {
            ring,
            buffers,
            files,
            flights: Flights::new(),
            listeners: Vec::new(),
            listens_on_files: false,
            addresses: Vec::new(),
            installing: Box::new(-1),
            installed: None,
            closing: Vec::new(),
            early: Vec::new(),
            again: Vec::new(),
            broken: None,
            shard,
            peers: peers.clone(),
            waker: peers.waker(shard).clone(),
            features,
            counters: DriverCounters::default(),
        };
        driver.push_wake();
        if optional.ring_messages {
            peers.publish_ring(shard, driver.ring.descriptor());
        }
        Ok(driver)
    }

    /// What the kernel has and what is done without.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Fetches completions that waited inside the kernel for a place in the queue.
    fn flush_overflow(&mut self, completions: &mut Vec<Completion>) -> Result<(), Errno> {
        if !self.ring.has_overflowed() {
            return Ok(());
        }
        self.counters.overflows += 1;
        for _ in 0..FLUSH_ROUNDS {
            self.ring.submit_and_wait(Wait::Poll)?;
            self.reap(completions);
            if !self.ring.has_overflowed() {
                break;
            }
        }
        Ok(())
    }

    /// Cancels everything that points to our memory and waits until the kernel has let go of it. False if it
    /// has not.
    fn drain(&mut self) -> bool {
        let owed: Vec<Token> = self.flights.owed().collect();
        for token in &owed {
            self.flights.set(*token, CLOSE);
            self.cancel_flights(*token, RECEIVE | REST | CONNECT);
            self.cancel_send(*token);
        }
        for index in 0..self.listeners.len() {
            self.push_cancel_accepts(ListenerId(index as u8));
        }
        let mut lost = Vec::new();
        // An entry into the kernel runs at least 16 of the operations that are due.
        for _ in 0..FLUSH_ROUNDS + owed.len() / 16 {
            self.buffers.publish();
            let entered = self.ring.submit_and_wait(Wait::Poll);
            self.reap(&mut lost);
            self.early.clear();
            lost.clear();
            if self.ring.queued() == 0 && !self.ring.has_overflowed() && !self.owes() {
                return true;
            }
            if entered.is_err_and(|error| !matches!(error, Errno::BUSY | Errno::AGAIN)) {
                return false;
            }
            self.again.retain(|(operation, _)| !matches!(operation, Operation::Accept | Operation::Wake));
            self.push_again();
        }
        false
    }

    /// Whether the kernel holds any of our memory.
    fn owes(&self) -> bool {
        let accepts = self.listeners.iter().any(|listener| listener.arrivals.in_flight() > 0);
        accepts || self.flights.owed().next().is_some()
    }

    /// Places of the file table that nothing has and no accept in flight will take.
    fn room(&self) -> u32 {
        let accepts: u32 = self.listeners.iter().map(|listener| listener.arrivals.in_flight()).sum();
        self.files.room().saturating_sub(accepts)
    }
}

impl Driver for Uring {
    type Listener = OwnedFd;

    fn now(&mut self) -> Moment {
        Moment::now()
    }

    fn listen(&mut self, listener: OwnedFd) -> std::io::Result<ListenerId> {
        let id = u8::try_from(self.listeners.len())
            .map_err(|_| std::io::Error::other("a shard has at most 256 listeners"))?;
        let is_file = rustix::net::sockopt::socket_domain(&listener)? == AddressFamily::UNIX;
        self.listens_on_files |= is_file;
        let arrivals = Arrivals::new(if is_file { SHARED_ACCEPTS } else { ACCEPTS });
        self.listeners.push(Listener { socket: listener, is_file, accepting: Accepting::Off, arrivals });
        Ok(ListenerId(id))
    }

    fn arm_accept(&mut self, listener: ListenerId) {
        if let Some(state) = self.listeners.get_mut(usize::from(listener.0))
            && state.accepting == Accepting::Off
        {
            state.accepting = Accepting::On;
            self.push_accepts(listener);
        }
    }

    fn cancel_accept(&mut self, listener: ListenerId) {
        if let Some(state) = self.listeners.get(usize::from(listener.0))
            && state.accepting == Accepting::On
        {
            self.push_cancel_accepts(listener);
        }
    }

    fn adopt(&mut self, token: Token, _socket: Socket, listener: ListenerId) {
        self.flights.begin(token);
        if self.listeners.get(usize::from(listener.0)).is_some_and(|listener| listener.is_file) {
            self.flights.set(token, ONCE);
        }
    }

    fn connect(&mut self, token: Token, address: SocketAddr, from: Option<IpAddr>) -> Result<Socket, Errno> {
        self.push_connect(token, address, from)
    }

    fn arm_receive(&mut self, token: Token, socket: Socket, how: Receive) {
        self.push_receive(token, socket, how);
    }

    fn cancel_receive(&mut self, token: Token, _socket: Socket) {
        self.push_cancel_receive(token);
    }

    fn send(&mut self, token: Token, socket: Socket, frame: Frame, from: usize) {
        self.push_send(token, socket, frame, from);
    }

    fn shutdown(&mut self, token: Token, socket: Socket) {
        self.push_shutdown(token, socket);
    }

    fn close(&mut self, token: Token, socket: Socket) {
        self.push_close(token, socket);
    }

    fn discard(&mut self, socket: Socket) {
        self.push_discard(socket);
    }

    fn bytes(&mut self, buffer: &Buffer) -> &mut [u8] {
        self.buffers.bytes(buffer)
    }

    fn give_back(&mut self, buffer: Buffer) {
        self.buffers.put(buffer.id);
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> std::io::Result<()> {
        self.push_again();
        self.buffers.publish();
        let wait = if self.early.is_empty() { wait } else { Wait::Poll };
        completions.append(&mut self.early);
        if wait != Wait::Poll || self.ring.queued() > 0 || self.ring.must_enter() {
            match self.ring.submit_and_wait(wait) {
                // The kernel wants its completions taken first, or has no memory right now.
                Ok(()) | Err(Errno::BUSY | Errno::AGAIN) => self.submitted(),
                Err(error) => return Err(error.into()),
            }
        }
        self.reap(completions);
        self.flush_overflow(completions)?;
        match self.broken {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    fn ring(&mut self, peer: ShardId) {
        self.push_ring(peer);
    }

    fn counters(&self) -> DriverCounters {
        DriverCounters { enters: self.ring.enters(), ..self.counters }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.peers.withdraw_ring(self.shard);
        if !self.drain() {
            // Better lost than written to by the kernel after somebody else has it.
            self.buffers.leak();
            self.listeners.iter_mut().for_each(|listener| listener.arrivals.leak());
            std::mem::forget(std::mem::replace(&mut self.flights, Flights::new()));
        }
    }
}
