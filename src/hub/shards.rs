//! A set of shards. Never knows what for.

use highper_shards::ShardId;

use crate::config::SHARDS_MAX;

/// Shards as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet([u64; 4]);

const _: () = assert!(SHARDS_MAX as usize <= 256, "a set of shards has a bit for each");

impl ShardSet {
    /// Adds a shard.
    pub fn insert(&mut self, shard: ShardId) {
        self.0[shard.index() / 64] |= 1 << (shard.index() % 64);
    }

    /// Removes a shard.
    pub fn remove(&mut self, shard: ShardId) {
        self.0[shard.index() / 64] &= !(1 << (shard.index() % 64));
    }

    /// Whether a shard is in.
    pub fn contains(&self, shard: ShardId) -> bool {
        self.0[shard.index() / 64] & 1 << (shard.index() % 64) != 0
    }

    /// Whether no shard is in.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// The shards, lowest first.
    pub fn iter(self) -> impl Iterator<Item = ShardId> {
        self.0.into_iter().zip(0u16..).flat_map(|(mut bits, word)| {
            std::iter::from_fn(move || {
                let shard = (bits != 0).then(|| ShardId(word * 64 + bits.trailing_zeros() as u16))?;
                bits &= bits - 1;
                Some(shard)
            })
        })
    }
}
