//! The timer wheel: one entry per connection, at its soonest deadline. Touching a deadline does not touch the
//! wheel: an entry that fires too early is put in again (lazy re-insertion). Never reads a clock.

use crate::clock::Tick;

/// Four levels of 64 buckets; at 4 ms a tick they reach 0.25 s, 16 s, 17 min and 18 h. What lies beyond waits
/// in the last bucket and is put in again when it comes up.
pub struct Wheel {
    now: Tick,
    levels: [Level; LEVELS],
    spare: Vec<Due>,
}

struct Level {
    occupied: u64,
    buckets: [Vec<Due>; BUCKETS as usize],
}

/// An entry of the wheel: a slot index and the tick it was put in for. The owner compares the tick with the one
/// it remembers and drops entries that it has replaced since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Index of the slot.
    pub index: u32,
    /// The tick it was put in for.
    pub at: Tick,
}

const LEVELS: usize = 4;
const BUCKETS: u32 = 64;
const BITS: u32 = 6;

impl Wheel {
    /// An empty wheel that stands at `now`.
    pub fn new(now: Tick) -> Self {
        let levels =
            std::array::from_fn(|_| Level { occupied: 0, buckets: std::array::from_fn(|_| Vec::new()) });
        Self { now, levels, spare: Vec::new() }
    }

    /// Puts an entry in. A tick that has passed fires at the next one.
    pub fn insert(&mut self, due: Due) {
        let distance = self.now.until(due.at).max(1) as u32;
        let reach = distance.min((1 << (BITS * LEVELS as u32)) - 1);
        let level = ((31 - reach.leading_zeros()) / BITS) as usize;
        let place = self.now.plus(reach).0 >> (BITS * level as u32) & (BUCKETS - 1);
        self.levels[level].occupied |= 1 << place;
        self.levels[level].buckets[place as usize].push(due);
    }

    /// Moves the wheel to `to` and appends what came due on the way.
    pub fn advance(&mut self, to: Tick, fired: &mut Vec<Due>) {
        while self.now.until(to) > 0 {
            if self.levels[0].occupied == 0 {
                self.skip(to);
            }
            if self.now.until(to) <= 0 {
                return;
            }
            self.now = self.now.plus(1);
            self.cascade();
            let place = self.now.0 & (BUCKETS - 1);
            if self.levels[0].occupied & 1 << place != 0 {
                self.levels[0].occupied &= !(1 << place);
                fired.append(&mut self.levels[0].buckets[place as usize]);
            }
        }
    }

    /// A tick not later than the first entry; `None` if the wheel is empty.
    pub fn next(&self) -> Option<Tick> {
        self.levels
            .iter()
            .enumerate()
            .filter_map(|(level, buckets)| {
                let shift = BITS * level as u32;
                let turned = buckets.occupied.rotate_right((self.now.0 >> shift & (BUCKETS - 1)) + 1);
                if turned == 0 {
                    return None;
                }
                let ahead = turned.trailing_zeros() + 1;
                let start = ((self.now.0 >> shift).wrapping_add(ahead)) << shift;
                Some(Tick(start))
            })
            .min_by_key(|tick| self.now.until(*tick))
    }

    /// With nothing in the first level, jumps to just before the next cascade.
    fn skip(&mut self, to: Tick) {
        let before_cascade = BUCKETS - 1 - (self.now.0 & (BUCKETS - 1));
        self.now = self.now.plus(before_cascade.min(self.now.until(to) as u32));
    }

    fn cascade(&mut self) {
        for level in 1..LEVELS {
            let shift = BITS * level as u32;
            if self.now.0 & ((1 << shift) - 1) != 0 {
                return;
            }
            let place = (self.now.0 >> shift & (BUCKETS - 1)) as usize;
            if self.levels[level].occupied & 1 << place == 0 {
                continue;
            }
            self.levels[level].occupied &= !(1 << place);
            let mut moved =
                std::mem::replace(&mut self.levels[level].buckets[place], std::mem::take(&mut self.spare));
            for due in moved.drain(..) {
                self.insert_or_fire(due);
            }
            self.spare = moved;
        }
    }

    /// An entry that is due at this very tick goes to the bucket that is about to fire.
    fn insert_or_fire(&mut self, due: Due) {
        if self.now.until(due.at) > 0 {
            return self.insert(due);
        }
        let place = self.now.0 & (BUCKETS - 1);
        self.levels[0].occupied |= 1 << place;
        self.levels[0].buckets[place as usize].push(due);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel, to: u32) -> Vec<u32> {
        let mut fired = Vec::new();
        wheel.advance(Tick(to), &mut fired);
        fired.iter().map(|due| due.index).collect()
    }

    #[test]
    fn every_entry_fires_at_its_tick_and_not_before() {
        for start in [0, 63, 4095, u32::MAX - 100] {
            for distance in [1, 2, 63, 64, 65, 127, 4095, 4096, 4097, 262_143, 262_144, 300_000] {
                let mut wheel = Wheel::new(Tick(start));
                let at = start.wrapping_add(distance);
                wheel.insert(Due { index: 7, at: Tick(at) });
                assert_eq!(fired(&mut wheel, at.wrapping_sub(1)), [], "start {start} distance {distance}");
                assert_eq!(fired(&mut wheel, at), [7], "start {start} distance {distance}");
            }
        }
    }

    #[test]
    fn a_passed_tick_fires_at_the_next_one() {
        let mut wheel = Wheel::new(Tick(1000));
        wheel.insert(Due { index: 1, at: Tick(900) });
        assert_eq!(fired(&mut wheel, 1001), [1]);
    }

    #[test]
    fn next_is_never_later_than_the_first_entry() {
        let mut state = 9u64;
        for _ in 0..2000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let start = (state >> 33) as u32;
            let distance = 1 + (state >> 20) as u32 % 400_000;
            let mut wheel = Wheel::new(Tick(start));
            wheel.insert(Due { index: 0, at: Tick(start.wrapping_add(distance)) });
            let ahead = Tick(start).until(wheel.next().unwrap());
            assert!(
                ahead >= 1 && ahead <= distance as i32,
                "start {start} distance {distance} ahead {ahead}"
            );
        }
        assert_eq!(Wheel::new(Tick(0)).next(), None);
    }

    #[test]
    fn many_entries_fire_in_the_order_of_their_ticks() {
        let mut wheel = Wheel::new(Tick(5));
        let mut state = 1u64;
        let mut expected: Vec<u32> = (0..5000)
            .map(|index| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                let at = 6 + (state >> 40) as u32 % 20_000;
                wheel.insert(Due { index, at: Tick(at) });
                at
            })
            .collect();
        let mut fired = Vec::new();
        wheel.advance(Tick(30_000), &mut fired);
        let seen: Vec<u32> = fired.iter().map(|due| due.at.0).collect();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }
}
