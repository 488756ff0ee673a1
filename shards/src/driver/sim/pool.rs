//! The receive buffers of one simulated shard. Memory comes with the first use of a buffer; the last one given
//! back is the next one taken. A buffer given back twice is our fault and is found here.

use crate::driver::{Buffer, Options};

pub(super) struct Pool {
    buffers: Vec<Box<[u8]>>,
    free: Vec<u16>,
    lent: Vec<bool>,
    buffer_bytes: usize,
}

impl Pool {
    pub fn new(options: &Options) -> Self {
        let count = options.buffer_count;
        Self {
            buffers: (0..count).map(|_| Box::default()).collect(),
            free: (0..count).rev().collect(),
            lent: vec![false; usize::from(count)],
            buffer_bytes: options.buffer_bytes,
        }
    }

    pub fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    pub fn is_dry(&self) -> bool {
        self.free.is_empty()
    }

    /// Buffers that were not given back yet.
    pub fn lent(&self) -> usize {
        self.buffers.len() - self.free.len()
    }

    /// A buffer with these bytes, which fit; `None` if the pool is dry.
    pub fn fill(&mut self, bytes: &[u8]) -> Option<Buffer> {
        let id = self.free.pop()?;
        self.lent[usize::from(id)] = true;
        let memory = &mut self.buffers[usize::from(id)];
        if memory.is_empty() {
            *memory = vec![0; self.buffer_bytes].into();
        }
        memory[..bytes.len()].copy_from_slice(bytes);
        Some(Buffer { id, len: bytes.len() as u32 })
    }

    pub fn bytes(&mut self, buffer: &Buffer) -> &mut [u8] {
        assert!(self.lent[usize::from(buffer.id)], "buffer {} is used after it was given back", buffer.id);
        &mut self.buffers[usize::from(buffer.id)][..buffer.len as usize]
    }

    pub fn give_back(&mut self, buffer: Buffer) {
        let lent = std::mem::take(&mut self.lent[usize::from(buffer.id)]);
        assert!(lent, "buffer {} was given back twice", buffer.id);
        self.free.push(buffer.id);
    }
}
