//! What waits to be sent: frames, shared by reference, and one outbox per connection. Owned by the shard.
//! Never talks to the kernel; the turn takes one frame at a time out of an outbox and gives it to the driver.

mod list;
mod loss;
#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::rc::Rc;

use list::{Lists, Mark};
pub use loss::{Label, Loss, Lost};

/// Bytes for the wire, immutable while anybody else holds them: a publication encoded once is one frame in the
/// outboxes of all its subscribers. Cloning counts a reference.
#[derive(Clone, Debug)]
pub struct Frame(Rc<Buffer>);

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Whether [`Tx::held`] knows of it.
    counted: bool,
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Rc::new(Buffer { bytes, counted: false }))
    }
}

/// The frames a connection has not given to the kernel yet: a list through the shard's [`Tx`], and the bytes it
/// still owes including the send in flight.
#[derive(Debug)]
pub struct Outbox {
    head: u32,
    tail: u32,
    /// Bytes not yet accepted by the kernel: waiting and in flight.
    bytes: u32,
}

/// The limit of an outbox is reached; the frame was not taken. The caller's slow-consumer policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxFull;

const _: () = assert!(size_of::<Outbox>() <= 12, "an outbox is multiplied by ten million");

/// The shard's frames: recycled buffers and the lists of all outboxes.
pub struct Tx {
    lists: Lists,
    spare: Vec<Rc<Buffer>>,
    queued: u64,
    held: u64,
}

const NONE: u32 = u32::MAX;

/// One send carries at most this much of small frames put together, and replies of one turn are appended to the
/// same buffer up to it: what a socket takes at once under the default send window.
const GATHER_BYTES_MAX: usize = 64 * 1024;

/// From this size on copying costs more than a send of its own.
const COPY_BYTES_MAX: usize = 16 * 1024;

/// Buffers kept for reuse: as many as connections that answer in one turn.
const SPARE_MAX: usize = 4096;

/// A buffer that grew beyond this is given back to the allocator.
const SPARE_BYTES_MAX: usize = 64 * 1024;

impl Outbox {
    /// An empty outbox.
    pub const fn new() -> Self {
        Self { head: NONE, tail: NONE, bytes: 0 }
    }

    /// Bytes that the kernel has not accepted yet.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Whether a frame waits to be given to the driver.
    pub fn is_waiting(&self) -> bool {
        self.head != NONE
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Tx {
    /// No frames yet.
    pub fn new() -> Self {
        Self { lists: Lists::new(), spare: Vec::new(), queued: 0, held: 0 }
    }

    /// Bytes that all outboxes of this shard owe: shared frames count once per outbox.
    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// Gives the recycled buffers back to the allocator.
    pub fn drop_spare(&mut self) {
        self.spare = Vec::new();
    }

    /// Bytes of the frames that [`Tx::frame`] made and [`Tx::recycle`] has not got back: shared frames count once, so
    /// that this is the memory in which everything waits.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Makes a frame from what `write` appends to a recycled buffer.
    pub fn frame(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Frame {
        let mut buffer = self.spare.pop().unwrap_or_default();
        let Buffer { bytes, counted } = Rc::get_mut(&mut buffer).expect("a spare buffer has one holder");
        *counted = true;
        write(bytes);
        self.held += bytes.len() as u64;
        Frame(buffer)
    }

    /// Takes a frame back, as every holder does in the end; its buffer is reused if nobody else holds it.
    pub fn recycle(&mut self, frame: Frame) {
        let mut buffer = frame.0;
        let Some(Buffer { bytes, counted }) = Rc::get_mut(&mut buffer) else { return };
        if *counted {
            self.held -= bytes.len() as u64;
        }
        if bytes.capacity() <= SPARE_BYTES_MAX && self.spare.len() < SPARE_MAX {
            bytes.clear();
            self.spare.push(buffer);
        }
    }

    /// Appends a frame. At `limit` bytes it is refused; an empty outbox takes one frame of any size. An empty frame
    /// is not sent.
    pub fn push(&mut self, outbox: &mut Outbox, frame: Frame, limit: usize) -> Result<(), OutboxFull> {
        if frame.is_empty() {
            self.recycle(frame);
            return Ok(());
        }
        if outbox.bytes() + frame.len() > limit && outbox.bytes > 0 {
            self.recycle(frame);
            return Err(OutboxFull);
        }
        self.append(outbox, frame, Mark::KEPT);
        Ok(())
    }

    /// Appends what `write` writes: to the last frame if this connection alone holds it, else to a new one.
    pub fn write(
        &mut self,
        outbox: &mut Outbox,
        limit: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), OutboxFull> {
        if outbox.bytes() > limit {
            return Err(OutboxFull);
        }
        if let Some(Buffer { bytes, counted }) = self.own_tail(outbox) {
            let before = bytes.len();
            write(bytes);
            let added = bytes.len() - before;
            let held = if *counted { added as u64 } else { 0 };
            self.held += held;
            self.owe(outbox, added);
            return Ok(());
        }
        let frame = self.frame(write);
        // The limit was looked at already; nothing written is nothing to send.
        self.push(outbox, frame, usize::MAX)
    }

    /// Takes the next frame to send: the first one, or several small ones put together.
    pub fn take(&mut self, outbox: &mut Outbox) -> Option<Frame> {
        let first = self.pop(outbox)?;
        if first.len() >= COPY_BYTES_MAX || outbox.head == NONE {
            return Some(first);
        }
        let mut gathered = self.spare.pop().unwrap_or_default();
        let Buffer { bytes, counted } = Rc::get_mut(&mut gathered).expect("a spare buffer has one holder");
        *counted = true;
        bytes.extend_from_slice(&first);
        self.recycle(first);
        while outbox.head != NONE && bytes.len() + self.lists.frame(outbox.head).len() <= GATHER_BYTES_MAX {
            let frame = self.lists.unlink(outbox, outbox.head);
            bytes.extend_from_slice(&frame);
            self.recycle(frame);
        }
        self.held += bytes.len() as u64;
        Some(Frame(gathered))
    }

    /// The kernel accepted `bytes` of what the outbox owes.
    pub fn paid(&mut self, outbox: &mut Outbox, bytes: usize) {
        outbox.bytes -= u32::try_from(bytes).expect("less than was owed");
        self.queued -= bytes as u64;
    }

    /// Drops the frames that were not given to the driver yet; returns their bytes.
    pub fn drop_waiting(&mut self, outbox: &mut Outbox) -> usize {
        let mut dropped = 0;
        while let Some(frame) = self.pop(outbox) {
            dropped += frame.len();
            self.recycle(frame);
        }
        self.paid(outbox, dropped);
        dropped
    }

    /// Forgets an outbox for good: waiting frames and what is in flight.
    pub fn forget(&mut self, outbox: &mut Outbox) {
        self.drop_waiting(outbox);
        self.queued -= u64::from(outbox.bytes);
        outbox.bytes = 0;
    }

    fn owe(&mut self, outbox: &mut Outbox, bytes: usize) {
        let total = outbox.bytes() + bytes;
        outbox.bytes = u32::try_from(total).expect("an outbox holds less than 4 GiB");
        self.queued += bytes as u64;
    }

    fn append(&mut self, outbox: &mut Outbox, frame: Frame, mark: Mark) {
        self.owe(outbox, frame.len());
        self.lists.append(outbox, frame, mark);
    }

    fn pop(&mut self, outbox: &mut Outbox) -> Option<Frame> {
        self.lists.pop(outbox)
    }

    fn own_tail(&mut self, outbox: &Outbox) -> Option<&mut Buffer> {
        let at = outbox.tail;
        // What may be lost must not take anything else with it.
        if at == NONE || self.lists.mark(at) != Mark::KEPT {
            return None;
        }
        let frame = self.lists.frame_mut(at);
        if frame.len() >= COPY_BYTES_MAX {
            return None;
        }
        Rc::get_mut(&mut frame.0)
    }
}

impl Default for Tx {
    fn default() -> Self {
        Self::new()
    }
}
