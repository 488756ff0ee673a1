//! What waits to be sent: frames, shared by reference, and one outbox per connection. Owned by the shard.
//! Never talks to the kernel; the turn takes one frame at a time out of an outbox and gives it to the driver.

use std::ops::Deref;
use std::rc::Rc;

/// Bytes for the wire, immutable while anybody else holds them: a publication encoded once is one frame in the
/// outboxes of all its subscribers. Cloning counts a reference.
#[derive(Clone, Debug)]
pub struct Frame(Rc<Vec<u8>>);

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Rc::new(bytes))
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

/// The shard's frames: recycled buffers and the nodes of all outboxes.
pub struct Tx {
    nodes: Vec<Node>,
    free_node: u32,
    spare: Vec<Rc<Vec<u8>>>,
    queued: u64,
}

struct Node {
    frame: Option<Frame>,
    next: u32,
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
        Self { nodes: Vec::new(), free_node: NONE, spare: Vec::new(), queued: 0 }
    }

    /// Bytes that all outboxes of this shard owe: shared frames count once per outbox.
    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// Gives the recycled buffers back to the allocator.
    pub fn drop_spare(&mut self) {
        self.spare = Vec::new();
    }

    /// Makes a frame from what `write` appends to a recycled buffer.
    pub fn frame(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Frame {
        let mut buffer = self.spare.pop().unwrap_or_default();
        write(Rc::get_mut(&mut buffer).expect("a spare buffer has one holder"));
        Frame(buffer)
    }

    /// Takes a frame back; its buffer is reused if nobody else holds it.
    pub fn recycle(&mut self, frame: Frame) {
        let mut buffer = frame.0;
        if let Some(bytes) = Rc::get_mut(&mut buffer)
            && bytes.capacity() <= SPARE_BYTES_MAX
            && self.spare.len() < SPARE_MAX
        {
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
        self.owe(outbox, frame.len());
        self.append(outbox, frame);
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
        if let Some(last) = self.own_tail(outbox) {
            let before = last.len();
            write(last);
            let added = last.len() - before;
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
        let bytes = Rc::get_mut(&mut gathered).expect("a spare buffer has one holder");
        bytes.extend_from_slice(&first);
        self.recycle(first);
        while let Some(next) = self.peek(outbox)
            && bytes.len() + next <= GATHER_BYTES_MAX
        {
            let frame = self.pop(outbox).expect("peek saw it");
            bytes.extend_from_slice(&frame);
            self.recycle(frame);
        }
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

    fn append(&mut self, outbox: &mut Outbox, frame: Frame) {
        let node = match self.free_node {
            NONE => {
                self.nodes.push(Node { frame: Some(frame), next: NONE });
                (self.nodes.len() - 1) as u32
            }
            node => {
                self.free_node = self.nodes[node as usize].next;
                self.nodes[node as usize] = Node { frame: Some(frame), next: NONE };
                node
            }
        };
        match outbox.tail {
            NONE => outbox.head = node,
            tail => self.nodes[tail as usize].next = node,
        }
        outbox.tail = node;
    }

    fn pop(&mut self, outbox: &mut Outbox) -> Option<Frame> {
        if outbox.head == NONE {
            return None;
        }
        let at = outbox.head;
        let node = &mut self.nodes[at as usize];
        let frame = node.frame.take();
        outbox.head = node.next;
        node.next = self.free_node;
        self.free_node = at;
        if outbox.head == NONE {
            outbox.tail = NONE;
        }
        frame
    }

    fn peek(&self, outbox: &Outbox) -> Option<usize> {
        self.nodes.get(outbox.head as usize)?.frame.as_ref().map(|frame| frame.len())
    }

    fn own_tail(&mut self, outbox: &Outbox) -> Option<&mut Vec<u8>> {
        let frame = self.nodes.get_mut(outbox.tail as usize)?.frame.as_mut()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(tx: &mut Tx, outbox: &mut Outbox) -> Vec<Vec<u8>> {
        let mut sends = Vec::new();
        while let Some(frame) = tx.take(outbox) {
            sends.push(frame.to_vec());
            tx.paid(outbox, frame.len());
            tx.recycle(frame);
        }
        sends
    }

    #[test]
    fn replies_of_one_turn_go_out_in_one_send() {
        let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
        for reply in ["a", "bc", "def"] {
            tx.write(&mut outbox, 1024, |out| out.extend_from_slice(reply.as_bytes())).unwrap();
        }
        assert_eq!(outbox.bytes(), 6);
        assert_eq!(sent(&mut tx, &mut outbox), [b"abcdef".to_vec()]);
        assert_eq!((outbox.bytes(), tx.queued()), (0, 0));
    }

    #[test]
    fn a_shared_frame_is_never_written_to() {
        let (mut tx, mut one, mut two) = (Tx::new(), Outbox::new(), Outbox::new());
        let frame = tx.frame(|out| out.extend_from_slice(b"news"));
        tx.push(&mut one, frame.clone(), 1024).unwrap();
        tx.push(&mut two, frame, 1024).unwrap();
        tx.write(&mut one, 1024, |out| out.extend_from_slice(b"!")).unwrap();
        assert_eq!(sent(&mut tx, &mut one), [b"news!".to_vec()]);
        assert_eq!(sent(&mut tx, &mut two), [b"news".to_vec()]);
    }

    #[test]
    fn nothing_written_is_nothing_sent() {
        let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
        tx.write(&mut outbox, 1024, |_| {}).unwrap();
        tx.push(&mut outbox, Frame::from(Vec::new()), 1024).unwrap();
        assert_eq!(sent(&mut tx, &mut outbox), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn large_frames_are_sent_alone_and_in_order() {
        let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
        let large = vec![b'x'; COPY_BYTES_MAX];
        for bytes in [b"a".to_vec(), b"b".to_vec(), large.clone(), b"c".to_vec()] {
            tx.push(&mut outbox, Frame::from(bytes), usize::MAX).unwrap();
        }
        let sends = sent(&mut tx, &mut outbox);
        assert_eq!(sends.concat(), [b"ab".to_vec(), large, b"c".to_vec()].concat());
    }

    #[test]
    fn the_limit_refuses_the_frame_that_would_pass_it() {
        let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
        let frame = |len: usize| Frame::from(vec![0; len]);
        tx.push(&mut outbox, frame(60), 100).unwrap();
        tx.push(&mut outbox, frame(40), 100).unwrap();
        assert_eq!(tx.push(&mut outbox, frame(1), 100), Err(OutboxFull));
        assert_eq!(outbox.bytes(), 100);
        assert_eq!(tx.drop_waiting(&mut outbox), 100);
        tx.push(&mut outbox, frame(5000), 100).expect("an empty outbox takes one frame of any size");
    }

    #[test]
    fn buffers_are_recycled_once_the_last_holder_lets_go() {
        let mut tx = Tx::new();
        let frame = tx.frame(|out| out.extend_from_slice(&[1; 100]));
        let address = frame.as_ptr();
        let other = frame.clone();
        tx.recycle(frame);
        tx.recycle(other);
        let again = tx.frame(|out| out.push(2));
        assert_eq!((again.as_ptr(), again.len()), (address, 1));
    }
}
