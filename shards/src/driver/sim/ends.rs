//! The ends of simulated connections and the bytes on their way to each. An end is named by index and
//! generation, so that an event for one that is gone finds nobody. Never decides what happens to it.

use rustix::io::Errno;

use crate::token::Token;
use crate::tx::Frame;

/// An end of a connection, for as long as its owner holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndId {
    pub index: u32,
    generation: u32,
}

/// One end of a connection.
pub(super) struct End {
    pub inbox: Inbox,
    /// A send that waits for room in the peer's inbox.
    pub sending: Option<Sending>,
    /// The slot of an adopted socket. Of a client: the index is its number.
    pub token: Token,
    pub peer: Option<EndId>,
    pub owner: Owner,
    /// Bytes the inbox holds before a peer's send must wait.
    pub window: u32,
    pub flags: Flags,
}

const _: () = assert!(size_of::<Slot>() <= 104, "two ends for each of a million connections");

/// A send that the turn has asked for and that has taken nothing yet.
pub(super) struct Sending {
    pub frame: Frame,
    pub from: u32,
}

/// Who holds an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Nobody yet: its connection request is on the way to this listener.
    Dialling(u32),
    /// Nobody: its connection request is on the way to an address where nobody listens, or will time out.
    Refused(Errno),
    /// The backlog of this listener.
    Backlog(u32),
    /// A shard, as a socket.
    Shard(u32),
    /// The test.
    Client,
}

impl Owner {
    /// Whether the end exists only in a request that has not arrived. Withdrawing the request forgets it.
    pub fn is_requested(self) -> bool {
        match self {
            Self::Dialling(_) | Self::Refused(_) => true,
            Self::Backlog(_) | Self::Shard(_) | Self::Client => false,
        }
    }
}

/// What is the case for an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u32);

impl Flags {
    /// A receive is armed.
    pub const ARMED: Self = Self(1);
    /// … which ends with the first bytes.
    pub const ONCE: Self = Self(1 << 1);
    /// … which is to end now.
    pub const CANCELLING: Self = Self(1 << 2);
    /// The owner knows, or is about to, that there is something to look at.
    pub const QUEUED: Self = Self(1 << 3);
    /// An event will move what is on the way to this end.
    pub const DELIVERING: Self = Self(1 << 4);
    /// The owner takes nothing from the network.
    pub const PAUSED: Self = Self(1 << 5);
    /// The peer has ended its direction; its end travels behind its bytes.
    pub const FIN: Self = Self(1 << 6);
    /// … and has arrived.
    pub const EOF: Self = Self(1 << 7);
    /// A reset has arrived.
    pub const RESET: Self = Self(1 << 8);
    /// This end has ended its own direction.
    pub const SHUT: Self = Self(1 << 9);
    /// An outgoing connection that is not made yet.
    pub const CONNECTING: Self = Self(1 << 10);
    /// The socket belongs to a slot.
    pub const ADOPTED: Self = Self(1 << 11);
    /// A send is in flight, its completion included.
    pub const SENDING: Self = Self(1 << 12);
    /// The window is said to be closed for a while.
    pub const HELD: Self = Self(1 << 13);

    pub fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    pub fn clear(&mut self, flag: Self) {
        self.0 &= !flag.0;
    }

    /// Clears the flag and tells whether it was set.
    pub fn take(&mut self, flag: Self) -> bool {
        let had = self.has(flag);
        self.clear(flag);
        had
    }

    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The bytes sent to an end and not read by it: first those that have arrived, behind them those on the way.
#[derive(Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    read: u32,
    /// Bytes of those not read that have arrived.
    arrived: u32,
}

impl Inbox {
    pub fn len(&self) -> usize {
        self.bytes.len() - self.read as usize
    }

    pub fn arrived(&self) -> usize {
        self.arrived as usize
    }

    pub fn travelling(&self) -> usize {
        self.len() - self.arrived()
    }

    /// The bytes that have arrived.
    pub fn readable(&self) -> &[u8] {
        let read = self.read as usize;
        &self.bytes[read..read + self.arrived()]
    }

    pub fn read(&mut self, count: usize) {
        self.arrived -= count as u32;
        self.read += count as u32;
        if self.read as usize > COMPACT && self.read as usize > self.bytes.len() / 2 {
            self.bytes.drain(..self.read as usize);
            self.read = 0;
        }
    }

    pub fn arrive(&mut self, count: usize) {
        self.arrived += count as u32;
        assert!(self.arrived() <= self.len(), "more arrived than was sent");
    }

    /// What is on the way is lost.
    pub fn lose(&mut self) {
        self.bytes.truncate(self.read as usize + self.arrived());
    }
}

/// Bytes read that are kept in front of the others before they are moved.
const COMPACT: usize = 64 * 1024;

/// All ends of a world.
#[derive(Default)]
pub(super) struct Ends {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Memory of inboxes that were read empty: a connection at rest owns none.
    spare: Vec<Vec<u8>>,
}

struct Slot {
    generation: u32,
    end: Option<End>,
}

const SPARE_MAX: usize = 1024;
const SPARE_BYTES_MAX: usize = 64 * 1024;

impl Ends {
    /// A new end without a peer.
    pub fn add(&mut self, owner: Owner, window: u32) -> EndId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, end: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.end = Some(End {
            inbox: Inbox::default(),
            sending: None,
            token: Token { index: u32::MAX, generation: 0 },
            peer: None,
            owner,
            window,
            flags: Flags::default(),
        });
        EndId { index, generation: slot.generation }
    }

    pub fn get(&self, id: EndId) -> Option<&End> {
        let slot = &self.slots[id.index as usize];
        if slot.generation == id.generation { slot.end.as_ref() } else { None }
    }

    pub fn get_mut(&mut self, id: EndId) -> Option<&mut End> {
        let slot = &mut self.slots[id.index as usize];
        if slot.generation == id.generation { slot.end.as_mut() } else { None }
    }

    /// The end that has this index now.
    pub fn at(&self, index: u32) -> Option<EndId> {
        let slot = self.slots.get(index as usize)?;
        slot.end.as_ref().map(|_| EndId { index, generation: slot.generation })
    }

    /// All ends that this shard holds.
    pub fn of_shard(&self, shard: u32) -> Vec<EndId> {
        let ends = (0..self.slots.len() as u32).filter_map(|index| self.at(index));
        ends.filter(|id| self.get(*id).is_some_and(|end| end.owner == Owner::Shard(shard))).collect()
    }

    /// Bytes are sent to an end.
    pub fn append(&mut self, id: EndId, bytes: &[u8]) {
        let spare = &mut self.spare;
        let slot = &mut self.slots[id.index as usize];
        let Some(end) = slot.end.as_mut().filter(|_| slot.generation == id.generation) else { return };
        if end.inbox.bytes.capacity() == 0 {
            end.inbox.bytes = spare.pop().unwrap_or_default();
        }
        end.inbox.bytes.extend_from_slice(bytes);
    }

    /// An end has read `count` bytes of those that have arrived.
    pub fn consume(&mut self, id: EndId, count: usize) {
        let Some(end) = self.get_mut(id) else { return };
        end.inbox.read(count);
        if end.inbox.len() == 0 {
            let inbox = std::mem::take(&mut end.inbox);
            self.keep(inbox);
        }
    }

    pub fn free(&mut self, id: EndId) -> Option<End> {
        let slot = &mut self.slots[id.index as usize];
        if slot.generation != id.generation {
            return None;
        }
        let end = slot.end.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        Some(end)
    }

    /// Takes the memory of an inbox that nobody reads any more.
    pub fn keep(&mut self, inbox: Inbox) {
        let mut bytes = inbox.bytes;
        if bytes.capacity() > 0 && bytes.capacity() <= SPARE_BYTES_MAX && self.spare.len() < SPARE_MAX {
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}
