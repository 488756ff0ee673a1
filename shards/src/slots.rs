//! Slots: where the connections of a shard live. Entries never move, so a million of them grow without a copy.
//! Never decides when a slot ends; the turn does.

use crate::token::{GENERATION_MASK, Token};

/// A growing arena of entries, each named by index and generation.
pub struct Slots<T> {
    chunks: Vec<Box<[Slot<T>]>>,
    free: Vec<u32>,
    used: usize,
    used_max: usize,
}

struct Slot<T> {
    generation: u32,
    entry: Option<T>,
}

/// Slots are allocated this many at a time: about 64 KiB of connections.
const CHUNK: usize = 256;

impl<T> Slots<T> {
    /// Bytes of one slot, taken or free.
    pub const SLOT_BYTES: usize = size_of::<Slot<T>>();

    /// An empty arena for at most `used_max` entries.
    pub fn new(used_max: usize) -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), used: 0, used_max }
    }

    /// Entries in use, reserved ones included.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether no entry is in use.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Most entries that may be in use.
    pub fn capacity(&self) -> usize {
        self.used_max
    }

    /// Slots that there are, taken or free: their indexes are below this.
    pub fn span(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    /// Takes a slot for [`Slots::fill`]; `None` at the limit. Until it is filled its token finds nobody.
    pub fn reserve(&mut self) -> Option<Token> {
        if self.used >= self.used_max {
            return None;
        }
        if self.free.is_empty() {
            self.grow();
        }
        let index = self.free.pop()?;
        self.used += 1;
        Some(Token { index, generation: self.slot_mut(index).generation })
    }

    /// Puts `entry` into the slot that [`Slots::reserve`] has named.
    pub fn fill(&mut self, token: Token, entry: T) {
        let slot = self.slot_mut(token.index);
        assert!(
            slot.entry.is_none() && slot.generation == token.generation,
            "a reserved slot is filled once"
        );
        slot.entry = Some(entry);
    }

    /// Gives a reserved slot back that will not be filled; its token is dead from here on.
    pub fn unreserve(&mut self, token: Token) {
        let slot = self.slot_mut(token.index);
        assert!(slot.entry.is_none() && slot.generation == token.generation, "the slot is only reserved");
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        self.free.push(token.index);
        self.used -= 1;
    }

    /// The entry, unless the slot was freed since the token was made.
    pub fn get(&self, token: Token) -> Option<&T> {
        let slot = self.chunks.get(token.index as usize / CHUNK)?.get(token.index as usize % CHUNK)?;
        if slot.generation == token.generation { slot.entry.as_ref() } else { None }
    }

    /// The entry for writing, unless the slot was freed since the token was made.
    pub fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        let slot =
            self.chunks.get_mut(token.index as usize / CHUNK)?.get_mut(token.index as usize % CHUNK)?;
        if slot.generation == token.generation { slot.entry.as_mut() } else { None }
    }

    /// The entry that is in the slot now, whatever its generation.
    pub fn at_mut(&mut self, index: u32) -> Option<(Token, &mut T)> {
        let slot = self.chunks.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)?;
        let generation = slot.generation;
        slot.entry.as_mut().map(|entry| (Token { index, generation }, entry))
    }

    /// Empties the slot; every token of it is dead from here on.
    pub fn free(&mut self, token: Token) -> Option<T> {
        let slot =
            self.chunks.get_mut(token.index as usize / CHUNK)?.get_mut(token.index as usize % CHUNK)?;
        if slot.generation != token.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        self.free.push(token.index);
        self.used -= 1;
        Some(entry)
    }

    /// Tokens of all entries in use, in slot order.
    pub fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        self.chunks.iter().enumerate().flat_map(|(chunk, slots)| {
            slots.iter().enumerate().filter(|(_, slot)| slot.entry.is_some()).map(move |(at, slot)| Token {
                index: (chunk * CHUNK + at) as u32,
                generation: slot.generation,
            })
        })
    }

    fn slot_mut(&mut self, index: u32) -> &mut Slot<T> {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    fn grow(&mut self) {
        let first = (self.chunks.len() * CHUNK) as u32;
        self.chunks.push((0..CHUNK).map(|_| Slot { generation: 0, entry: None }).collect());
        self.free.extend((first..first + CHUNK as u32).rev());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put<T>(slots: &mut Slots<T>, entry: T) -> Token {
        let token = slots.reserve().unwrap();
        slots.fill(token, entry);
        token
    }

    #[test]
    fn a_token_of_a_freed_slot_finds_nobody() {
        let mut slots = Slots::new(8);
        let first = put(&mut slots, "first");
        assert_eq!(slots.free(first), Some("first"));
        let second = put(&mut slots, "second");
        assert_eq!(second.index, first.index, "the slot is reused");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.free(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
    }

    #[test]
    fn a_reserved_slot_is_nobody_elses() {
        let mut slots = Slots::new(2);
        let reserved = slots.reserve().unwrap();
        let other = put(&mut slots, "other");
        assert_ne!(reserved.index, other.index);
        assert_eq!(slots.reserve(), None, "a reserved slot counts");
        slots.unreserve(reserved);
        let again = put(&mut slots, "again");
        assert_eq!((again.index, slots.get(reserved)), (reserved.index, None));
    }

    #[test]
    fn the_limit_is_exact_and_a_freed_slot_makes_room() {
        let mut slots = Slots::new(300);
        let tokens: Vec<_> = (0..300).map(|n| put(&mut slots, n)).collect();
        assert_eq!(slots.reserve(), None);
        slots.free(tokens[7]);
        assert_eq!(slots.reserve().map(|token| token.index), Some(tokens[7].index));
        assert_eq!(slots.tokens().count(), 299);
    }

    #[test]
    fn generations_wrap_at_24_bits() {
        let mut slots = Slots::new(1);
        let token = put(&mut slots, ());
        slots.slot_mut(token.index).generation = GENERATION_MASK;
        slots.free(Token { index: token.index, generation: GENERATION_MASK });
        assert_eq!(slots.reserve().unwrap().generation, 0);
    }
}
