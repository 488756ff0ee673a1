//! The channels one connection is in, as indexes of its shard's channel table. Two fit without an allocation: the
//! channel of everyone and one that was joined.

/// A small set of channel indexes.
#[derive(Debug, Default)]
pub struct Channels(Set);

#[derive(Debug)]
#[expect(clippy::box_collection, reason = "sixteen bytes here, whatever the connection joins")]
enum Set {
    Few([u32; 2]),
    Many(Box<Vec<u32>>),
}

impl Default for Set {
    fn default() -> Self {
        Self::Few([NONE; 2])
    }
}

const NONE: u32 = u32::MAX;

const _: () = assert!(size_of::<Channels>() <= 16);

impl Channels {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let slots: &[u32] = match &self.0 {
            Set::Few(slots) => slots,
            Set::Many(list) => list,
        };
        slots.iter().copied().filter(|at| *at != NONE)
    }

    /// Whether the connection is in this one.
    pub fn contains(&self, at: u32) -> bool {
        self.iter().any(|other| other == at)
    }

    /// Adds a channel that is not in.
    pub fn insert(&mut self, at: u32) {
        match &mut self.0 {
            Set::Few(slots) => match slots.iter_mut().find(|slot| **slot == NONE) {
                Some(slot) => *slot = at,
                None => self.0 = Set::Many(Box::new(vec![slots[0], slots[1], at])),
            },
            Set::Many(list) => list.push(at),
        }
    }

    /// Removes a channel; false if it was not in.
    pub fn remove(&mut self, at: u32) -> bool {
        match &mut self.0 {
            Set::Few(slots) => match slots.iter_mut().find(|slot| **slot == at) {
                Some(slot) => {
                    *slot = NONE;
                    true
                }
                None => false,
            },
            Set::Many(list) => match list.iter().position(|other| *other == at) {
                Some(place) => {
                    list.swap_remove(place);
                    true
                }
                None => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_few_and_many() {
        let mut channels = Channels::default();
        assert!(channels.is_empty());
        for at in 0..10 {
            channels.insert(at);
        }
        assert!(channels.remove(4) && !channels.remove(4));
        let mut left: Vec<u32> = channels.iter().collect();
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2, 3, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_removed_channel_makes_room_without_an_allocation() {
        let mut channels = Channels::default();
        for at in [1, 2] {
            channels.insert(at);
        }
        channels.remove(1);
        channels.insert(3);
        assert!(matches!(channels.0, Set::Few(_)));
        assert!(channels.contains(2) && channels.contains(3) && !channels.contains(1));
    }
}
