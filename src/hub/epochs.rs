//! Epochs of channels: two lives of a channel have the same one only if nothing was published in the first, nor between
//! them. So who was in a quiet channel, and comes back after everybody had left it, missed nothing and can be told so.
//! Never knows a channel.

/// The epochs that a home gives to its channels. They hardly repeat between processes.
#[derive(Debug)]
pub struct Epochs {
    seed: u64,
    /// How often a publication of a channel was forgotten, for groups of channels: those of equal hash modulo the
    /// length. A channel whose group had one gets a new epoch without need, which costs a false gap at most.
    forgotten: Box<[u32]>,
}

/// Groups of channels: 16 KiB for each shard.
const GROUPS: usize = 4096;

impl Epochs {
    /// `seed` must differ between starts of the process, and between shards.
    pub fn new(seed: u64) -> Self {
        Self { seed, forgotten: vec![0; GROUPS].into() }
    }

    /// The epoch of a channel that begins to live now.
    pub fn of(&self, hash: u64) -> u64 {
        let lives = u64::from(self.forgotten[group(hash)]);
        let mixed = mix(self.seed ^ mix(hash.wrapping_add(lives.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
        // Clients keep positions of many channels in few bytes: 32 bits tell lives of a channel apart.
        mixed >> 32
    }

    /// Something was published in this channel, and nobody knows of it any more.
    pub fn forget(&mut self, hash: u64) {
        let count = &mut self.forgotten[group(hash)];
        *count = count.wrapping_add(1);
    }
}

fn group(hash: u64) -> usize {
    (mix(hash) % GROUPS as u64) as usize
}

/// The last step of SplitMix64.
fn mix(value: u64) -> u64 {
    let mixed = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_epoch_lasts_until_something_is_forgotten() {
        let mut epochs = Epochs::new(7);
        let first = epochs.of(1);
        assert_eq!(epochs.of(1), first);
        assert_ne!(Epochs::new(8).of(1), first, "another process");
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(epochs.of(1)), "every life differs");
            assert!(u32::try_from(epochs.of(1)).is_ok());
            epochs.forget(1);
        }
        let others = (2..1000).filter(|hash| group(*hash) != group(1));
        let before = Epochs::new(7);
        assert!(others.into_iter().all(|hash| epochs.of(hash) == before.of(hash)), "nor of other channels");
    }
}
