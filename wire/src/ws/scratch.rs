//! What the decoders of one shard share: recycled buffers, the inflater, and the bytes an event lends.
//! Never holds state of a connection between two calls.

use super::FrameError;
use super::deflate::Inflater;
use super::frame::CONTROL_BYTES_MAX;
use super::partial::Partial;

/// One per shard, given to every [`Decoder`](super::Decoder) of it. Steady traffic allocates nothing: unfinished
/// messages live in buffers from here, and these come back when the message is done.
///
/// Bounded: spare buffers hold at most [`SPARE_BYTES_MAX`], the inflater's output shrinks back to
/// [`INFLATED_KEEP_BYTES`].
#[derive(Default)]
pub struct Scratch {
    /// Emptied partials, for the next message that does not end in its input.
    #[expect(clippy::vec_box, reason = "the box itself is what is recycled: a decoder keeps a pointer")]
    partials: Vec<Box<Partial>>,
    pub(super) buffers: Buffers,
    inflater: Inflater,
    /// `lent` or `inflated` hold what the last event may have borrowed.
    is_lent: bool,
    /// The assembled message an event borrows; back in `buffers` on the next call.
    lent: Vec<u8>,
    /// The inflated message an event borrows.
    pub(super) inflated: Vec<u8>,
    /// The control payload an event borrows, if it came in pieces.
    pub(super) control: ControlBytes,
}

pub(super) struct ControlBytes(pub [u8; CONTROL_BYTES_MAX]);

/// Spare buffers, by size.
#[derive(Default)]
pub(super) struct Buffers {
    spare: [Vec<Vec<u8>>; CLASSES.len()],
}

struct Class {
    /// Capacity of every buffer of the class.
    bytes: usize,
    /// Spare buffers kept.
    count: usize,
}

/// Each class is four times the one before: a buffer is never more than that beyond what was asked for, so a peer
/// that sends little cannot hold a buffer that another peer's large message left behind.
const CLASSES: [Class; 6] = [
    Class { bytes: 1 << 10, count: 256 },
    Class { bytes: 4 << 10, count: 128 },
    Class { bytes: 16 << 10, count: 64 },
    Class { bytes: 64 << 10, count: 16 },
    Class { bytes: 256 << 10, count: 4 },
    Class { bytes: 1 << 20, count: 2 },
];

/// Bytes of all spare buffers of a shard: 5.75 MiB, so that as many messages as unfinished in one turn need no
/// allocation.
pub const SPARE_BYTES_MAX: usize = {
    let mut bytes = 0;
    let mut class = 0;
    while class < CLASSES.len() {
        bytes += CLASSES[class].bytes * CLASSES[class].count;
        class += 1;
    }
    bytes
};

const _: () = assert!(SPARE_BYTES_MAX <= 6 << 20, "the spare buffers are multiplied by the shards");

/// Spare partials: one for each small spare buffer.
const PARTIALS_MAX: usize = 256;

/// Capacity the inflater's output keeps between messages: larger ones allocate anew.
pub const INFLATED_KEEP_BYTES: usize = 64 * 1024;

impl Scratch {
    /// No buffers yet; they are made when first needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes back what the last event lent and gives memory beyond the bounds to the allocator. Every call of
    /// `next` does it; call it after a connection's last event if no other may follow soon.
    #[inline]
    pub fn trim(&mut self) {
        if self.is_lent {
            self.take_back();
        }
    }

    /// Keeps an assembled message until the next call, for the event that borrows it.
    pub(super) fn lend(&mut self, message: Vec<u8>) -> &[u8] {
        self.is_lent = true;
        self.lent = message;
        &self.lent
    }

    /// Inflates a message into `inflated`, to stay until the next call.
    pub(super) fn inflate(&mut self, compressed: &[u8], bytes_max: usize) -> Result<&[u8], FrameError> {
        self.is_lent = true;
        self.inflater.inflate(compressed, bytes_max, &mut self.inflated)?;
        Ok(&self.inflated)
    }

    #[cold]
    fn take_back(&mut self) {
        self.is_lent = false;
        self.buffers.give(std::mem::take(&mut self.lent));
        if self.inflated.capacity() > INFLATED_KEEP_BYTES {
            self.inflated = Vec::new();
        }
    }

    /// Bytes held for later: spare buffers and the inflater's output.
    pub fn held_bytes(&self) -> usize {
        let spare: usize = self.buffers.spare.iter().flatten().map(Vec::capacity).sum();
        spare + self.lent.capacity() + self.inflated.capacity()
    }

    pub(super) fn take_partial(&mut self) -> Box<Partial> {
        self.partials.pop().unwrap_or_default()
    }

    pub(super) fn give_partial(&mut self, mut partial: Box<Partial>) {
        self.buffers.give(partial.clear());
        if self.partials.len() < PARTIALS_MAX {
            self.partials.push(partial);
        }
    }
}

impl Default for ControlBytes {
    fn default() -> Self {
        Self([0; CONTROL_BYTES_MAX])
    }
}

impl Buffers {
    /// Moves the content of `buffer` to one that holds `want` bytes. Beyond the largest class it grows in place,
    /// at least to twice its size.
    pub fn grow(&mut self, buffer: &mut Vec<u8>, want: usize) {
        match CLASSES.iter().position(|class| class.bytes >= want) {
            Some(class) => {
                let fresh = self.spare[class].pop();
                let mut fresh = fresh.unwrap_or_else(|| Vec::with_capacity(CLASSES[class].bytes));
                fresh.extend_from_slice(buffer);
                self.give(std::mem::replace(buffer, fresh));
            }
            None => buffer.reserve_exact(want.max(2 * buffer.capacity()) - buffer.len()),
        }
    }

    /// Keeps a buffer for reuse, emptied, if it is of a class that has room.
    pub fn give(&mut self, mut buffer: Vec<u8>) {
        let class = CLASSES.iter().position(|class| class.bytes == buffer.capacity());
        if let Some(class) = class
            && self.spare[class].len() < CLASSES[class].count
        {
            buffer.clear();
            self.spare[class].push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_buffers_are_bounded_and_come_back_empty() {
        let mut buffers = Buffers::default();
        for class in CLASSES {
            for _ in 0..=class.count {
                buffers.give([&b"secret"[..], &vec![7; class.bytes - 6]].concat());
            }
        }
        let kept: usize = buffers.spare.iter().flatten().map(Vec::capacity).sum();
        assert_eq!(kept, SPARE_BYTES_MAX);
        let mut buffer = b"mine".to_vec();
        buffers.grow(&mut buffer, 1000);
        assert_eq!((&buffer[..], buffer.capacity()), (&b"mine"[..], 1024));
    }

    #[test]
    fn a_buffer_is_never_more_than_four_times_what_was_asked_for() {
        let mut buffers = Buffers::default();
        for want in [1025, 5000, 16385, 65537, 262_145, 1 << 20, (1 << 20) + 1, 5 << 20] {
            let mut buffer = Vec::new();
            buffers.grow(&mut buffer, want);
            assert!((want..4 * want).contains(&buffer.capacity()), "{want}: {}", buffer.capacity());
            buffers.give(buffer);
        }
    }
}
