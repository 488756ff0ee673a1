//! The subscribers of one channel on one shard, in slot order: a publication visits connections in the order in
//! which they lie in memory. Never knows what a connection is.

/// A set of slot indexes. Few are a sorted list of four bytes each, many a bitmap of one bit per slot of the
/// shard, whichever is smaller.
#[derive(Debug, Default)]
pub struct Subscribers {
    count: usize,
    set: Set,
}

#[derive(Debug)]
enum Set {
    List(Vec<u32>),
    Bits(Vec<u64>),
}

impl Default for Set {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Subscribers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a slot; false if it was there.
    pub fn insert(&mut self, slot: u32) -> bool {
        let added = match &mut self.set {
            Set::List(list) => match list.last() {
                Some(last) if *last >= slot => match list.binary_search(&slot) {
                    Ok(_) => false,
                    Err(at) => {
                        list.insert(at, slot);
                        true
                    }
                },
                _ => {
                    list.push(slot);
                    true
                }
            },
            Set::Bits(bits) => {
                let word = slot as usize / 64;
                if word >= bits.len() {
                    bits.resize(word + 1, 0);
                }
                let absent = bits[word] & 1 << (slot % 64) == 0;
                bits[word] |= 1 << (slot % 64);
                absent
            }
        };
        self.count += usize::from(added);
        self.choose();
        added
    }

    /// Removes a slot; false if it was not there.
    pub fn remove(&mut self, slot: u32) -> bool {
        let removed = match &mut self.set {
            Set::List(list) => list.binary_search(&slot).map(|at| list.remove(at)).is_ok(),
            Set::Bits(bits) => match bits.get_mut(slot as usize / 64) {
                Some(word) => {
                    let present = *word & 1 << (slot % 64) != 0;
                    *word &= !(1 << (slot % 64));
                    present
                }
                None => false,
            },
        };
        self.count -= usize::from(removed);
        self.choose();
        removed
    }

    /// Whether the slot is in.
    pub fn contains(&self, slot: u32) -> bool {
        match &self.set {
            Set::List(list) => list.binary_search(&slot).is_ok(),
            Set::Bits(bits) => bits.get(slot as usize / 64).is_some_and(|word| word & 1 << (slot % 64) != 0),
        }
    }

    /// All slots, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let (list, bits): (&[u32], &[u64]) = match &self.set {
            Set::List(list) => (list, &[]),
            Set::Bits(bits) => (&[], bits),
        };
        list.iter().copied().chain(
            bits.iter().enumerate().flat_map(|(word, bits)| Ones { base: word as u32 * 64, bits: *bits }),
        )
    }

    /// The next slot after `after`, or the first one: for visits during which the set may change.
    pub fn next_after(&self, after: Option<u32>) -> Option<u32> {
        let from = after.map_or(0, |slot| slot + 1);
        match &self.set {
            Set::List(list) => list.get(list.partition_point(|slot| *slot < from)).copied(),
            Set::Bits(bits) => {
                let first = from as usize / 64;
                let rest = bits.get(first)? & (u64::MAX << (from % 64));
                std::iter::once(rest)
                    .chain(bits[first + 1..].iter().copied())
                    .zip(first as u32..)
                    .find(|(bits, _)| *bits != 0)
                    .map(|(bits, word)| word * 64 + bits.trailing_zeros())
            }
        }
    }

    /// Switches to the smaller form, with room between the two so that a set on the edge does not flap.
    fn choose(&mut self) {
        match &mut self.set {
            Set::List(list) => {
                let last = list.last().map_or(0, |slot| *slot as usize);
                // A list costs 32 bits a slot, a bitmap one bit for every slot up to the last.
                if list.len() >= LIST_MIN && list.len() * 32 > last * 2 {
                    let mut bits = vec![0u64; last / 64 + 1];
                    for slot in list.iter() {
                        bits[*slot as usize / 64] |= 1 << (slot % 64);
                    }
                    self.set = Set::Bits(bits);
                }
            }
            Set::Bits(bits) => {
                if self.count * 32 * 2 < bits.len() * 64 {
                    let list = self.iter().collect();
                    self.set = Set::List(list);
                }
            }
        }
    }
}

/// Below this a list is always small enough, and faster.
const LIST_MIN: usize = 32;

struct Ones {
    base: u32,
    bits: u64,
}

impl Iterator for Ones {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.bits == 0 {
            return None;
        }
        let at = self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        Some(self.base + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn behaves_as_an_ordered_set_in_both_forms() {
        for (seed, range) in [(1u64, 100u32), (2, 5_000), (3, 1_000_000)] {
            let (mut subscribers, mut model) = (Subscribers::default(), BTreeSet::new());
            let mut state = seed;
            for step in 0..20_000 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let slot = (state >> 33) as u32 % range;
                // Grow for the first half, shrink for the second.
                let grow = (state >> 13) % 10 < if step < 10_000 { 7 } else { 3 };
                if grow {
                    assert_eq!(subscribers.insert(slot), model.insert(slot), "seed {seed} step {step}");
                } else {
                    assert_eq!(subscribers.remove(slot), model.remove(&slot), "seed {seed} step {step}");
                }
                assert_eq!(subscribers.len(), model.len());
            }
            assert!(subscribers.iter().eq(model.iter().copied()), "seed {seed}");
            let mut visited = Vec::new();
            let mut at = subscribers.next_after(None);
            while let Some(slot) = at {
                visited.push(slot);
                at = subscribers.next_after(Some(slot));
            }
            assert!(visited.iter().copied().eq(model.iter().copied()), "seed {seed}");
        }
    }

    #[test]
    fn many_dense_subscribers_cost_a_bit_each() {
        let mut subscribers = Subscribers::default();
        for slot in 0..10_000 {
            subscribers.insert(slot);
        }
        assert!(matches!(&subscribers.set, Set::Bits(bits) if bits.len() == 10_000 / 64 + 1));
        for slot in (0..10_000).filter(|slot| slot % 100 != 99) {
            subscribers.remove(slot);
        }
        assert!(matches!(&subscribers.set, Set::List(list) if list.len() == 100));
    }
}
