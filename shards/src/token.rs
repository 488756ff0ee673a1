//! Names of things: shards, listeners, slots. A name carries a generation, so a late message for a connection
//! that is gone finds nobody instead of a stranger. Never owns what it names.

use std::fmt;

/// A shard of this process, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard as an index into per-shard tables.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A listener of a shard, in the order in which they were given to the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u8);

/// A slot inside one shard: what drivers see. Index 32 bits, generation 24 bits: both fit a completion's
/// user data beside the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Index into the slots of the shard.
    pub index: u32,
    /// How often the slot was used before, modulo 2^24.
    pub generation: u32,
}

/// Generations are counted in 24 bits.
pub const GENERATION_MASK: u32 = 0x00ff_ffff;

/// A connection of this process: shard, slot, generation. Other shards hold it instead of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId {
    /// Where in the shard.
    pub token: Token,
    /// Which shard owns the slot.
    pub shard: ShardId,
}

impl SlotId {
    /// Index into the slots of the owning shard.
    pub fn index(self) -> u32 {
        self.token.index
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}{:06x}{:08x}", self.shard.0, self.token.generation, self.token.index)
    }
}
