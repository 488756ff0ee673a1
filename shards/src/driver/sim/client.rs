//! The test's end of a simulated connection. Takes and gives bytes at once and never waits; bytes move when the
//! world does.

use std::fmt;

use super::World;
use super::ends::{EndId, Flags};

/// One client connection. Dropping it closes the connection, as the last holder of a descriptor would.
pub struct Client {
    world: World,
    id: ClientId,
}

/// A client of a world.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientId {
    /// How many clients of its world were there before it.
    pub number: u32,
    pub(super) end: EndId,
}

/// What is the case for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientState {
    /// Bytes that have arrived and wait to be read.
    pub readable: usize,
    /// The server has ended its direction, and everything before that has arrived.
    pub eof: bool,
    /// The connection was refused or reset. What has arrived can still be read.
    pub reset: bool,
    /// The client has ended its own direction, by itself or by a fault.
    pub shut: bool,
}

impl Client {
    pub(super) fn new(world: World, id: ClientId) -> Self {
        Self { world, id }
    }

    /// Its name in [`World::next_news`].
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Sends. Nothing is sent after a reset or after the client has ended its direction.
    pub fn write(&self, bytes: &[u8]) {
        let mut kernel = self.world.kernel();
        let Some(end) = kernel.ends.get(self.id.end) else { return };
        if let Some(peer) = end.peer
            && !end.flags.has(Flags::SHUT)
        {
            kernel.transmit(peer, bytes);
        }
    }

    /// Takes everything that has arrived.
    pub fn read(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read_into(&mut bytes);
        bytes
    }

    /// Appends everything that has arrived to `bytes`; returns how much that was.
    pub fn read_into(&self, bytes: &mut Vec<u8>) -> usize {
        self.read_at_most(usize::MAX, bytes)
    }

    /// Appends at most `count` of the bytes that have arrived to `bytes`; returns how many.
    pub fn read_at_most(&self, count: usize, bytes: &mut Vec<u8>) -> usize {
        let mut kernel = self.world.kernel();
        let Some(end) = kernel.ends.get(self.id.end) else { return 0 };
        let readable = end.inbox.readable();
        let count = count.min(readable.len());
        bytes.extend_from_slice(&readable[..count]);
        if count > 0 {
            kernel.log.note_bytes(&bytes[bytes.len() - count..]);
            kernel.read(self.id.end, count);
        }
        count
    }

    /// Ends the sending direction; the client still reads.
    pub fn shutdown(&self) {
        self.world.kernel().shut(self.id.end);
    }

    /// Breaks the connection: what is on the way is lost in both directions.
    pub fn reset(&self) {
        self.world.kernel().break_both(self.id.end);
    }

    /// Takes nothing from the network until [`Client::resume_reading`]: the server sees its window fill.
    pub fn stop_reading(&self) {
        let mut kernel = self.world.kernel();
        if let Some(end) = kernel.ends.get_mut(self.id.end) {
            end.flags.set(Flags::PAUSED);
        }
    }

    /// Takes from the network again.
    pub fn resume_reading(&self) {
        self.world.kernel().resume(self.id.end);
    }

    /// Bytes the server may send before the client reads them; at least one.
    pub fn set_window(&self, bytes: u32) {
        let mut kernel = self.world.kernel();
        if let Some(end) = kernel.ends.get_mut(self.id.end) {
            end.window = bytes.max(1);
            kernel.window_moved(self.id.end);
        }
    }

    /// What is the case now.
    pub fn state(&self) -> ClientState {
        let kernel = self.world.kernel();
        kernel.ends.get(self.id.end).map_or(ClientState::default(), |end| ClientState {
            readable: end.inbox.arrived(),
            eof: end.flags.has(Flags::EOF) && !end.flags.has(Flags::RESET),
            reset: end.flags.has(Flags::RESET),
            shut: end.flags.has(Flags::SHUT),
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A failed assertion unwinds with the kernel still borrowed.
        if let Some(mut kernel) = self.world.try_kernel() {
            kernel.close_end(self.id.end);
        }
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.number)
    }
}
