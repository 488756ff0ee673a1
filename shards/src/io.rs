//! What a [`Logic`](crate::Logic) may touch: connections, outboxes, deadlines, the mesh. Everything it asks for
//! is carried out by the turn after the callback. Never makes a system call.

mod outgoing;
mod slow;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::clock::{Moment, Tick};
use crate::driver::Socket;
use crate::load::Load;
use crate::logic::{Close, Limits};
use crate::mesh::{Full, Lane, Mailbox, Mesh};
use crate::slots::Slots;
use crate::timer::{Due, Wheel};
use crate::token::{ShardId, SlotId, Token};
use crate::tx::{Frame, Outbox, Tx};
pub use outgoing::{CONTROL_BYTES, Outgoing};
use slow::Laggards;

/// The state of a shard that callbacks share: `C` is the connection, `M` the message of the mesh.
pub struct Io<C, M> {
    pub(crate) now: Moment,
    pub(crate) slots: Slots<Entry<C>>,
    pub(crate) tx: Tx,
    pub(crate) wheel: Wheel,
    pub(crate) mesh: Mesh<M>,
    pub(crate) dirty: Vec<Token>,
    pub(crate) laggards: Laggards,
    pub(crate) connects: Vec<Connect>,
    pub(crate) limits: Limits,
    pub(crate) counters: Counters,
    pub(crate) load: Load,
    /// When the logic wants the next turn at the latest.
    pub(crate) turn_by: Option<Moment>,
    pub(crate) stopping: bool,
}

/// A connection as the runtime keeps it, beside the state of the logic.
pub(crate) struct Entry<C> {
    /// `None` once the logic has nothing more to say: the slot only waits for the kernel.
    pub conn: Option<C>,
    pub outbox: Outbox,
    pub socket: Socket,
    /// Bytes of the frame in flight that the kernel has taken.
    pub sent: u32,
    pub deadline: Tick,
    pub stall: Tick,
    pub wheel_at: Tick,
    pub received: Tick,
    pub flags: Flags,
}

const _: () = assert!(size_of::<Entry<()>>() <= 44, "an entry is multiplied by ten million");

/// What is in flight and what is wanted for a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    pub const RECEIVING: Self = Self(1);
    pub const SENDING: Self = Self(1 << 1);
    /// In the dirty list of this turn.
    pub const DIRTY: Self = Self(1 << 2);
    /// A deadline of the logic is set.
    pub const DEADLINE: Self = Self(1 << 3);
    /// A send outlived its turn; `stall` is its deadline.
    pub const STALL: Self = Self(1 << 4);
    /// `wheel_at` names the live entry of the wheel.
    pub const IN_WHEEL: Self = Self(1 << 5);
    /// Close once everything is sent.
    pub const FLUSH_AND_CLOSE: Self = Self(1 << 6);
    /// Close now.
    pub const CLOSE_NOW: Self = Self(1 << 7);
    /// The logic has asked to close: nothing more is heard of the slot.
    pub const CLOSE_WANTED: Self = Self::FLUSH_AND_CLOSE.or(Self::CLOSE_NOW);
    /// The sending direction is ended; waiting for the peer's end.
    pub const LINGERING: Self = Self(1 << 8);
    /// The driver was told to close.
    pub const CLOSING: Self = Self(1 << 9);
    /// The driver said closed.
    pub const CLOSED: Self = Self(1 << 10);
    /// The peer ended its direction.
    pub const EOF: Self = Self(1 << 11);
    /// An outgoing connection is being made.
    pub const CONNECTING: Self = Self(1 << 12);
    /// The armed receive is of the resting kind.
    pub const RESTING: Self = Self(1 << 13);
    /// A receive is being cancelled.
    pub const CANCELLING: Self = Self(1 << 14);
    /// It owes more than the soft limit, or did when it was last looked at.
    pub const LAGGING: Self = Self(1 << 15);
    /// It owed less since then.
    pub const CAUGHT_UP: Self = Self(1 << 16);

    pub fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    pub fn clear(&mut self, flag: Self) {
        self.0 &= !flag.0;
    }

    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// An outgoing connection that the turn will make.
pub(crate) struct Connect {
    pub token: Token,
    pub address: SocketAddr,
    pub from: Option<IpAddr>,
}

/// What a shard counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections refused because every slot was taken.
    pub refused: u64,
    /// Accepts that failed for want of descriptors or memory.
    pub accept_errors: u64,
    /// Connections whose slot was freed.
    pub closed: u64,
    /// Callbacks that panicked.
    pub panics: u64,
    /// Completions of slots that were free already.
    pub late: u64,
    /// Turns.
    pub turns: u64,
    /// Sends given to the driver.
    pub sends: u64,
    /// Receives with bytes.
    pub receives: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes the kernel took.
    pub bytes_out: u64,
    /// Connections that ended because they took nothing of what was sent.
    pub stalled: u64,
    /// Messages of other shards and outside threads.
    pub messages: u64,
}

/// A connection with its outbox, both open for writing at once.
pub struct Open<'a, C> {
    /// State of the connection.
    pub conn: &'a mut C,
    /// Its outgoing side.
    pub out: Outgoing<'a>,
}

impl<C, M> Io<C, M> {
    /// Bytes of memory that a connection has in its shard, whatever it does: its state, its outbox, its deadlines.
    pub const SLOT_BYTES: usize = Slots::<Entry<C>>::SLOT_BYTES;

    pub(crate) fn new(now: Moment, mesh: Mesh<M>, limits: Limits) -> Self {
        Self {
            now,
            slots: Slots::new(limits.connections_max),
            tx: Tx::new(),
            wheel: Wheel::new(Tick::at(now)),
            mesh,
            dirty: Vec::new(),
            laggards: Laggards::default(),
            connects: Vec::new(),
            limits,
            counters: Counters::default(),
            load: Load::default(),
            turn_by: None,
            stopping: false,
        }
    }

    /// When this turn began.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// The shard this is.
    pub fn shard(&self) -> ShardId {
        self.mesh.shard()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.mesh.shards()
    }

    /// Slots in use, those that only wait for the kernel included.
    pub fn connections(&self) -> usize {
        self.slots.len()
    }

    /// The limits of this shard.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What this shard counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How long turns take on average, forgotten while the shard sleeps.
    pub fn turn_time(&self) -> Duration {
        self.load.turn_time()
    }

    /// Indexes of slots are below this.
    pub fn span(&self) -> u32 {
        self.slots.span()
    }

    /// Gives the memory of sent frames, kept for the next ones, back to the allocator.
    pub fn drop_spare(&mut self) {
        self.tx.drop_spare();
    }

    /// Bytes all outboxes of this shard owe; a frame shared by many counts once for each.
    pub fn queued(&self) -> u64 {
        self.tx.queued()
    }

    /// Bytes of memory that the frames of all outboxes have; a frame shared by many counts once.
    pub fn held(&self) -> u64 {
        self.tx.held()
    }

    /// Names of all connections that the logic still has, in slot order.
    pub fn ids(&self) -> Vec<SlotId> {
        let shard = self.shard();
        let alive = |token: &Token| self.slots.get(*token).is_some_and(|entry| entry.conn.is_some());
        self.slots.tokens().filter(alive).map(|token| SlotId { token, shard }).collect()
    }

    /// State of a connection of this shard; `None` if it is gone.
    pub fn conn(&mut self, slot: SlotId) -> Option<&mut C> {
        self.slots.get_mut(slot.token)?.conn.as_mut()
    }

    /// A connection with its outbox; `None` if it is gone.
    pub fn open(&mut self, slot: SlotId) -> Option<Open<'_, C>> {
        let Self { slots, tx, dirty, laggards, limits, .. } = self;
        let Entry { conn, outbox, flags, .. } = slots.get_mut(slot.token)?;
        let out = Outgoing { token: slot.token, outbox, flags, tx, dirty, laggards, limits };
        Some(Open { conn: conn.as_mut()?, out })
    }

    /// As [`Io::open`], by slot index: for lists of subscribers that are kept exact by whoever ends connections.
    pub fn open_at(&mut self, index: u32) -> Option<(SlotId, Open<'_, C>)> {
        let shard = self.shard();
        let Self { slots, tx, dirty, laggards, limits, .. } = self;
        let (token, Entry { conn, outbox, flags, .. }) = slots.at_mut(index)?;
        let out = Outgoing { token, outbox, flags, tx, dirty, laggards, limits };
        Some((SlotId { token, shard }, Open { conn: conn.as_mut()?, out }))
    }

    /// Makes a frame to share; recycles a buffer.
    pub fn frame(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Frame {
        self.tx.frame(write)
    }

    /// Gives a frame back, so that its buffer is used again.
    pub fn recycle(&mut self, frame: Frame) {
        self.tx.recycle(frame);
    }

    /// Sets the one deadline of a connection, replacing the one before; see [`crate::Logic::on_deadline`].
    pub fn arm(&mut self, slot: SlotId, at: Moment) {
        let Some(entry) = self.slots.get_mut(slot.token) else { return };
        if entry.flags.has(Flags::CLOSE_WANTED) {
            return;
        }
        let latest = self.now + Tick::SPAN_MAX;
        entry.deadline = Tick::at_or_after(at.min(latest));
        entry.flags.set(Flags::DEADLINE);
        schedule(&mut self.wheel, slot.token.index, entry);
    }

    /// Unsets the deadline.
    pub fn disarm(&mut self, slot: SlotId) {
        if let Some(entry) = self.slots.get_mut(slot.token) {
            entry.flags.clear(Flags::DEADLINE);
        }
    }

    /// Ends a connection: its state is dropped at the end of the turn and nothing more is heard of it.
    pub fn close(&mut self, slot: SlotId, how: Close) {
        let Some(entry) = self.slots.get_mut(slot.token) else { return };
        entry.flags.set(match how {
            Close::AfterFlush => Flags::FLUSH_AND_CLOSE,
            Close::Now => Flags::CLOSE_NOW,
        });
        entry.flags.clear(Flags::DEADLINE);
        if !entry.flags.has(Flags::DIRTY) {
            entry.flags.set(Flags::DIRTY);
            self.dirty.push(slot.token);
        }
    }

    /// Starts an outgoing connection; [`crate::Logic::on_connected`] tells the result. Gives the state back when
    /// every slot is taken.
    pub fn connect(&mut self, address: SocketAddr, from: Option<IpAddr>, conn: C) -> Result<SlotId, C> {
        let Some(token) = self.slots.reserve() else { return Err(conn) };
        let mut entry = Entry::new(conn, Socket(u32::MAX), Tick::at(self.now));
        entry.flags.set(Flags::CONNECTING);
        self.slots.fill(token, entry);
        self.connects.push(Connect { token, address, from });
        Ok(SlotId { token, shard: self.shard() })
    }

    /// Posts to another shard. A full lane gives the message back: tell somebody.
    pub fn post(&mut self, to: ShardId, lane: Lane, message: M) -> Result<(), Full<M>> {
        self.mesh.post(to, lane, message)
    }

    /// Free places in a lane.
    pub fn room(&self, to: ShardId, lane: Lane) -> usize {
        self.mesh.room(to, lane)
    }

    /// Where outside threads post to this shard.
    pub fn mailbox(&self) -> Mailbox<M> {
        self.mesh.mailbox()
    }

    /// Asks for another turn at `at` or before: for work that a full lane has left undone. Forgotten when that turn
    /// begins.
    pub fn turn_by(&mut self, at: Moment) {
        self.turn_by = Some(self.turn_by.map_or(at, |soonest| soonest.min(at)));
    }

    /// Ends the shard's loop after this turn.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether [`Io::stop`] was called: for a scheduler that turns the shard itself.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }
}

impl<C> Entry<C> {
    pub fn new(conn: C, socket: Socket, now: Tick) -> Self {
        Self {
            conn: Some(conn),
            outbox: Outbox::new(),
            socket,
            sent: 0,
            deadline: now,
            stall: now,
            wheel_at: now,
            received: now,
            flags: Flags::default(),
        }
    }

    /// The soonest deadline of the slot.
    pub fn soonest(&self, now: Tick) -> Option<Tick> {
        let deadline = self.flags.has(Flags::DEADLINE).then_some(self.deadline);
        let stall = self.flags.has(Flags::STALL.or(Flags::LINGERING)).then_some(self.stall);
        deadline.into_iter().chain(stall).min_by_key(|tick| now.until(*tick))
    }
}

/// Puts the slot into the wheel, unless the entry it has there is soon enough.
pub(crate) fn schedule<C>(wheel: &mut Wheel, index: u32, entry: &mut Entry<C>) {
    let Some(at) = entry.soonest(entry.received) else { return };
    if entry.flags.has(Flags::IN_WHEEL) && entry.wheel_at.until(at) >= 0 {
        return;
    }
    entry.flags.set(Flags::IN_WHEEL);
    entry.wheel_at = at;
    wheel.insert(Due { index, at });
}
