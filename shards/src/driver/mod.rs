//! A driver: the kernel as the turn sees it. Operations go in, completions come out of one wait. Three of them:
//! [`uring`], [`epoll`] and [`sim`], with the same behaviour and the same tests.
//!
//! A driver knows sockets and buffers, never connections: everything it must remember about one is named by a
//! [`Token`] and ends with a completion. For every socket at most one receive and one send are in flight.

pub mod epoll;
pub mod sim;
pub mod uring;

use std::time::Duration;

use rustix::io::Errno;

use crate::clock::Moment;
use crate::token::{ListenerId, ShardId, Token};
use crate::tx::Frame;

mod waker;
pub use waker::{Peers, Waker};

/// What a driver is built with. The same for every shard.
#[derive(Clone, Debug)]
pub struct Options {
    /// Submissions a ring holds; more than that in one turn enter the kernel early. A power of two.
    pub ring_entries: u32,
    /// Bytes of one receive buffer.
    pub buffer_bytes: usize,
    /// Receive buffers of the shard's pool; a power of two, at most 32,768.
    pub buffer_count: u16,
    /// Sockets the driver must be able to hold.
    pub sockets_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { ring_entries: 1024, buffer_bytes: 8192, buffer_count: 256, sockets_max: 16_384 }
    }
}

/// A socket of one driver: a descriptor, an index into a ring's file table, or a simulated end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket(pub(crate) u32);

/// A receive buffer of the shared pool with bytes in it. Whoever takes it gives it back to the driver.
#[derive(Debug)]
#[must_use = "a buffer that is not given back is lost to the pool"]
pub struct Buffer {
    pub(crate) id: u16,
    pub(crate) len: u32,
}

/// How a socket waits for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// The connection talks: receive again and again until told otherwise, or, where a driver cannot, once.
    Stream,
    /// The connection rests: wait with as little kernel memory as possible, receive once, then ask again.
    Rest,
}

/// What the kernel said. Every operation ends with exactly one final completion.
#[derive(Debug)]
pub enum Completion {
    /// A listener has a new connection. The socket is the shard's from here on and must be closed.
    Accepted {
        /// Which listener.
        listener: ListenerId,
        /// The connection.
        socket: Socket,
        /// Who came: an IPv4 address never written as IPv6. `None` if it has no address of the internet, as a
        /// peer behind a socket file.
        peer: Option<std::net::SocketAddr>,
    },
    /// A listener stopped accepting and must be armed again.
    AcceptEnded {
        /// Which listener.
        listener: ListenerId,
        /// Why: out of descriptors or memory, or the connection was gone before it was accepted.
        error: Errno,
    },
    /// Bytes came in.
    Received {
        /// Whose.
        token: Token,
        /// The bytes; to be given back.
        buffer: Buffer,
        /// Whether the receive goes on by itself; if not it must be armed again.
        armed: bool,
    },
    /// The receive ended without bytes.
    ReceiveEnded {
        /// Whose.
        token: Token,
        /// Why.
        end: ReceiveEnd,
    },
    /// A send ended. The frame comes back.
    Sent {
        /// Whose.
        token: Token,
        /// The frame that was given to [`Driver::send`].
        frame: Frame,
        /// How many bytes the kernel took, counted from where this send began; at least one.
        result: Result<usize, Errno>,
    },
    /// An outgoing connection was made or refused.
    Connected {
        /// Whose.
        token: Token,
        /// The result; on an error the socket must still be closed.
        result: Result<(), Errno>,
    },
    /// The socket is closed.
    Closed {
        /// Whose.
        token: Token,
    },
}

/// Why a receive ended without bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveEnd {
    /// The peer will send no more.
    Eof,
    /// The buffer pool ran dry: flow control, not an error. Arm again after this turn has returned its buffers.
    NoBuffers,
    /// The receive was cancelled, or must be armed again for a reason of the driver's own.
    Cancelled,
    /// The connection is broken.
    Failed(Errno),
}

/// How long a turn may wait for the first completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Poll,
    /// At most this long.
    AtMost(Duration),
    /// Until something happens.
    Forever,
}

/// The kernel as one shard sees it.
pub trait Driver {
    /// What a listener is made of: a listening socket, or an address of the simulated network.
    type Listener;

    /// The clock of this driver: real, or virtual under simulation.
    fn now(&mut self) -> Moment;

    /// Takes a listening socket over; accepting starts with [`Driver::arm_accept`].
    fn listen(&mut self, listener: Self::Listener) -> std::io::Result<ListenerId>;

    /// Accepts until [`Completion::AcceptEnded`].
    fn arm_accept(&mut self, listener: ListenerId);

    /// Stops accepting; connections accepted meanwhile still arrive, then `AcceptEnded`.
    fn cancel_accept(&mut self, listener: ListenerId);

    /// Ties a socket that `listener` has accepted to its slot. Called once, before any other operation on it.
    fn adopt(&mut self, token: Token, socket: Socket, listener: ListenerId);

    /// Makes a socket and connects it; ends with [`Completion::Connected`]. The socket is adopted already.
    fn connect(
        &mut self,
        token: Token,
        address: std::net::SocketAddr,
        from: Option<std::net::IpAddr>,
    ) -> Result<Socket, Errno>;

    /// Starts to receive.
    fn arm_receive(&mut self, token: Token, socket: Socket, how: Receive);

    /// Ends an armed receive; its final completion follows (bytes, or `ReceiveEnded`).
    fn cancel_receive(&mut self, token: Token, socket: Socket);

    /// Sends `frame[from..]`; ends with [`Completion::Sent`], which may be short. Waits inside the kernel while
    /// the socket is full. Never raises SIGPIPE.
    fn send(&mut self, token: Token, socket: Socket, frame: Frame, from: usize);

    /// Ends the sending direction; no completion follows.
    fn shutdown(&mut self, token: Token, socket: Socket);

    /// Cancels what is in flight and closes. The final completions of receive, send and connect and
    /// [`Completion::Closed`] follow in any order; the slot ends with the last of them.
    fn close(&mut self, token: Token, socket: Socket);

    /// Closes a socket that was accepted but never adopted; no completion follows.
    fn discard(&mut self, socket: Socket);

    /// The bytes of a buffer, for reading and for unmasking in place.
    fn bytes(&mut self, buffer: &Buffer) -> &mut [u8];

    /// Returns a buffer to the pool.
    fn give_back(&mut self, buffer: Buffer);

    /// Submits everything prepared, waits, and appends what the kernel has completed to `completions`.
    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> std::io::Result<()>;

    /// Wakes a peer that sleeps.
    fn ring(&mut self, peer: ShardId);

    /// What this driver had to survive.
    fn counters(&self) -> DriverCounters;
}

/// Faults and kernel entries a driver counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// System calls that submitted or waited.
    pub enters: u64,
    /// Receives that ended because the buffer pool was empty.
    pub no_buffers: u64,
    /// Times the completion queue had overflowed.
    pub overflows: u64,
    /// Accepts and receives that had to be armed again.
    pub rearmed: u64,
}
