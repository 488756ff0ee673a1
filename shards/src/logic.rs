//! What a shard does with connections: the seam between this crate and whoever uses it. Implementations hold
//! plain data, never block, and reach the runtime only through [`Io`].

use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;

use crate::io::Io;
use crate::token::{ListenerId, ShardId, SlotId};

/// The policy of one shard. Callbacks get the connection by its [`SlotId`]; [`Io::conn`] finds its state.
///
/// A panic in a callback of a connection closes that connection and nothing else.
pub trait Logic: Sized {
    /// State of one connection: plain data in a slot.
    type Conn;
    /// What crosses the mesh between shards, and what outside threads post.
    type Message: Send + 'static;

    /// A connection came in from `peer`, which is `None` where peers have no address of the internet: behind a
    /// socket file. `None` refuses it without a word. To refuse with a word, accept, write and close.
    fn on_accept(
        &mut self,
        io: &mut Io<Self::Conn, Self::Message>,
        slot: SlotId,
        listener: ListenerId,
        peer: Option<SocketAddr>,
    ) -> Option<Self::Conn>;

    /// Right after [`Logic::on_accept`], with the state in its slot: the place to arm the first deadline.
    fn on_open(&mut self, _io: &mut Io<Self::Conn, Self::Message>, _slot: SlotId) {}

    /// A connection asked for by [`Io::connect`] was made or refused. After an error the runtime closes it.
    fn on_connected(
        &mut self,
        _io: &mut Io<Self::Conn, Self::Message>,
        _slot: SlotId,
        _result: Result<(), Errno>,
    ) {
    }

    /// Bytes came in. They may be changed in place and are gone when the callback returns.
    fn on_bytes(&mut self, io: &mut Io<Self::Conn, Self::Message>, slot: SlotId, bytes: &mut [u8]);

    /// The peer or the network ended the connection. The last callback of the slot: the runtime closes it.
    /// Not called after [`Io::close`].
    fn on_end(&mut self, io: &mut Io<Self::Conn, Self::Message>, slot: SlotId, end: End);

    /// The deadline set by [`Io::arm`] has passed. It is unset now.
    fn on_deadline(&mut self, io: &mut Io<Self::Conn, Self::Message>, slot: SlotId);

    /// A message of another shard or of an outside thread.
    fn on_message(&mut self, io: &mut Io<Self::Conn, Self::Message>, origin: Origin, message: Self::Message);

    /// A callback of this connection panicked. The last callback of the slot: the runtime flushes and closes it.
    fn on_panic(&mut self, io: &mut Io<Self::Conn, Self::Message>, slot: SlotId);

    /// Once at the end of every turn, before the flush.
    fn on_turn(&mut self, _io: &mut Io<Self::Conn, Self::Message>) {}
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Another shard of this process.
    Shard(ShardId),
    /// A thread that is no shard.
    Outside,
}

/// Why the network ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer ended its sending direction. What is queued is still sent.
    Eof,
    /// The connection is broken.
    Failed(Errno),
    /// The peer took none of what was sent to it for [`Limits::write_timeout`].
    Stalled,
}

/// How to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Send what is queued, end the sending direction, wait for the peer to do the same, at most
    /// [`Limits::linger`]; then close. The peer gets everything that was written. An outgoing connection that is
    /// still being made is dropped.
    AfterFlush,
    /// At once; what is queued is lost.
    Now,
}

/// Limits of one shard. Each has a policy for "full": see the fields.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of the shard. Beyond it accepted sockets are closed without a word; a [`Logic`] that wants to
    /// answer refuses earlier.
    pub connections_max: usize,
    /// Bytes one connection may owe. Beyond it [`crate::tx::OutboxFull`] is returned and the frame is not taken.
    pub outbox_bytes_max: usize,
    /// Bytes beyond which a connection lags: [`Io::next_laggard`] names it once it did for `outbox_soft_time`.
    pub outbox_soft_bytes: usize,
    /// How long a connection may lag.
    pub outbox_soft_time: Duration,
    /// Bytes of memory that the frames of all outboxes of the shard may have. Not enforced by the runtime: a logic
    /// that finds more in [`Io::held`] closes the [`Io::slowest`].
    pub outbox_total_bytes: u64,
    /// How long a send may make no progress before the connection ends as [`End::Stalled`].
    pub write_timeout: Duration,
    /// How long a closed connection waits for the peer to close too.
    pub linger: Duration,
    /// A connection that was silent for this long gives its receive state back to the kernel when its timer
    /// next fires.
    pub rest_after: Duration,
    /// Messages taken from each peer in one turn; the rest wait for the next.
    pub mesh_budget: usize,
    /// How long the shard polls before it sleeps. Zero on shared cores.
    pub spin: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1 << 20,
            outbox_bytes_max: 1 << 20,
            outbox_soft_bytes: 256 << 10,
            outbox_soft_time: Duration::from_secs(10),
            outbox_total_bytes: u64::MAX,
            write_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(2),
            rest_after: Duration::from_secs(5),
            mesh_budget: 1024,
            spin: Duration::ZERO,
        }
    }
}
