//! The provided-buffer ring: receive buffers that the kernel takes one by one when bytes are there, so that an
//! idle connection owns none. Owns their memory; never reads what is in them.
#![expect(unsafe_code, reason = "memory shared with the kernel")]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use rustix::io::Errno;

use super::probe;
use super::setup::Ring;
use crate::driver::Buffer;
use crate::error::StartError;

/// The pool of one shard.
pub(super) struct Buffers {
    /// The ring of `count` entries, one page-aligned mapping with the buffers behind it.
    base: NonNull<u8>,
    mapped: usize,
    /// Where the buffers begin in the mapping.
    offset: usize,
    buffer_bytes: usize,
    count: u16,
    /// The next place to fill; what the kernel sees follows at [`Buffers::publish`].
    tail: u16,
    published: u16,
    leaked: bool,
}

/// The one group of buffers of a ring.
pub(super) const GROUP: u16 = 0;

/// The most entries the kernel takes.
const COUNT_MAX: u16 = 32_768;

impl Buffers {
    /// Maps the pool and tells the kernel. `count` is rounded up to a power of two.
    pub fn new(ring: &mut Ring, count: u16, buffer_bytes: usize) -> Result<Self, StartError> {
        let count = count.clamp(1, COUNT_MAX).next_power_of_two();
        let page = rustix::param::page_size();
        let offset = (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(page);
        let mapped = (offset + usize::from(count) * buffer_bytes).next_multiple_of(page);
        let refused = |error: std::io::Error| {
            let error = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            probe::refusal(error, "receive buffers", mapped)
        };
        let base = map(mapped).map_err(refused)?;
        let mut buffers =
            Self { base, mapped, offset, buffer_bytes, count, tail: 0, published: 0, leaked: false };
        // SAFETY: the mapping is page-aligned, holds `count` entries and lives until `Buffers` is dropped, which
        // `Uring` does after the ring is closed, or never (`leak`).
        unsafe { ring.submitter().register_buf_ring_with_flags(base.as_ptr() as u64, count, GROUP, 0) }
            .map_err(refused)?;
        for id in 0..count {
            buffers.put(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The bytes that were received into a buffer.
    pub fn bytes(&mut self, buffer: &Buffer) -> &mut [u8] {
        let len = (buffer.len as usize).min(self.buffer_bytes);
        // SAFETY: only completions make a `Buffer` (its fields are private to the crate), so the kernel has filled
        // `len` bytes and does not touch the buffer again until `give_back`, which consumes the `Buffer`.
        unsafe { std::slice::from_raw_parts_mut(self.address(buffer.id).as_ptr(), len) }
    }

    /// Puts a buffer back; the kernel sees it at the next [`Buffers::publish`].
    pub fn put(&mut self, id: u16) {
        let place = usize::from(self.tail & (self.count - 1));
        let address = self.address(id);
        // SAFETY: `place < count`, and the kernel reads only entries below the published tail, which is behind.
        // The entries are plain integers, so a zeroed mapping holds valid ones.
        let entry = unsafe { &mut *self.base.as_ptr().cast::<BufRingEntry>().add(place) };
        entry.set_addr(address.as_ptr() as u64);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel every buffer that was put back.
    pub fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        self.published = self.tail;
        // SAFETY: the tail lies in the first entry of the ring, two-byte aligned, and is shared with the kernel,
        // which only reads it: an atomic store with release shows it the entries written before.
        unsafe {
            let tail = BufRingEntry::tail(self.base.as_ptr().cast::<BufRingEntry>());
            (*tail.cast::<AtomicU16>()).store(self.tail, Ordering::Release);
        }
    }

    /// How many buffers there are.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Bytes of one buffer.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// Never unmaps: the kernel may still write.
    pub fn leak(&mut self) {
        self.leaked = true;
    }

    fn address(&self, id: u16) -> NonNull<u8> {
        assert!(id < self.count, "the kernel returns buffers it was given");
        // SAFETY: `id < count`, so the buffer lies inside the mapping.
        unsafe { self.base.add(self.offset + usize::from(id) * self.buffer_bytes) }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if !self.leaked {
            // SAFETY: the mapping is ours, nothing borrows it, and the kernel has let go of it.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped) };
        }
    }
}

fn map(len: usize) -> std::io::Result<NonNull<u8>> {
    let (read_write, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping touches no memory of ours.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), len, read_write, private, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(std::io::Error::last_os_error)
}
