//! The receive buffers of one epoll driver: lent to completions, given back by the turn. Never grows.

use crate::driver::{Buffer, Options};

/// Buffers of one size in one allocation; pages are touched when a buffer is first used.
pub struct Pool {
    bytes: Vec<u8>,
    buffer_bytes: usize,
    /// The buffer that was used last is used first: it is still in the cache.
    free: Vec<u16>,
}

impl Pool {
    pub fn new(options: &Options) -> Self {
        Self {
            bytes: vec![0; options.buffer_bytes * usize::from(options.buffer_count)],
            buffer_bytes: options.buffer_bytes,
            free: (0..options.buffer_count).rev().collect(),
        }
    }

    pub fn is_dry(&self) -> bool {
        self.free.is_empty()
    }

    pub fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// Lends a buffer to what `receive` writes into it; a buffer without bytes stays in the pool.
    pub fn fill<E>(
        &mut self,
        receive: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Option<Buffer>, E> {
        let id = *self.free.last().expect("the caller looked for a free buffer");
        let start = usize::from(id) * self.buffer_bytes;
        let len = receive(&mut self.bytes[start..start + self.buffer_bytes])?;
        if len == 0 {
            return Ok(None);
        }
        self.free.pop();
        Ok(Some(Buffer { id, len: len as u32 }))
    }

    pub fn bytes(&mut self, buffer: &Buffer) -> &mut [u8] {
        let start = usize::from(buffer.id) * self.buffer_bytes;
        &mut self.bytes[start..start + buffer.len as usize]
    }

    pub fn give_back(&mut self, buffer: Buffer) {
        self.free.push(buffer.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_lent_once_and_come_back() {
        let mut pool = Pool::new(&Options { buffer_bytes: 4, buffer_count: 2, ..Options::default() });
        let mut write = |byte: u8| {
            let filled: Result<_, ()> = pool.fill(|bytes| {
                bytes[..2].fill(byte);
                Ok(2)
            });
            filled.unwrap().unwrap()
        };
        let (one, two) = (write(1), write(2));
        assert!(pool.is_dry());
        assert_eq!((pool.bytes(&one).to_vec(), pool.bytes(&two).to_vec()), (vec![1, 1], vec![2, 2]));
        pool.give_back(one);
        assert_eq!(pool.fill(|_| Err::<usize, _>("reset")).unwrap_err(), "reset");
        assert!(pool.fill(|_| Ok::<_, ()>(0)).unwrap().is_none());
        assert!(!pool.is_dry(), "a receive without bytes keeps no buffer");
        pool.give_back(two);
    }
}
