//! How long the turns of a shard take, from the readings of the clock that a turn needs anyway. Never reads it itself.

use std::time::Duration;

use crate::clock::Moment;

/// An average of turns that forgets: each new turn weighs an eighth, and each [`HALF_LIFE`] of sleep halves what was.
/// A turn lasts from the end of a wait to the beginning of the next, so time that the scheduler took from it counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    average: Duration,
    /// When the shard began to wait, if it does.
    idle_since: Option<Moment>,
}

/// After so much sleep half of the average is forgotten.
const HALF_LIFE: Duration = Duration::from_millis(100);

/// A new turn weighs one part in so many.
const WEIGHT: u32 = 8;

impl Load {
    /// The shard has nothing to do at `now`.
    pub fn rest(&mut self, now: Moment) {
        self.idle_since = Some(now);
    }

    /// A turn begins at `now`; the one before began at `before`.
    pub fn turn(&mut self, before: Moment, now: Moment) {
        let ended = self.idle_since.take().unwrap_or(now);
        let turn = ended.since(before);
        self.average = (self.average * (WEIGHT - 1) + turn) / WEIGHT;
        let halvings = now.since(ended).as_nanos() / HALF_LIFE.as_nanos();
        if halvings > 0 {
            let nanos = u64::try_from(self.average.as_nanos()).unwrap_or(u64::MAX);
            self.average = Duration::from_nanos(nanos.checked_shr(halvings.min(64) as u32).unwrap_or(0));
        }
    }

    /// The average.
    pub fn turn_time(&self) -> Duration {
        self.average
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn turns_without_a_pause_are_as_long_as_they_are_apart() {
        let mut load = Load::default();
        for turn in 0..100 {
            load.turn(at(turn * 40), at(turn * 40 + 40));
        }
        let average = load.turn_time();
        assert!(average > Duration::from_millis(39) && average <= Duration::from_millis(40), "{average:?}");
    }

    #[test]
    fn time_asleep_is_not_the_turns() {
        let mut load = Load::default();
        for turn in 0..100 {
            load.rest(at(turn * 40 + 1));
            load.turn(at(turn * 40), at(turn * 40 + 40));
        }
        assert!(load.turn_time() <= Duration::from_millis(1));
    }

    #[test]
    fn one_long_turn_is_forgotten_in_sleep() {
        let mut load = Load::default();
        load.turn(at(0), at(800));
        assert_eq!(load.turn_time(), Duration::from_millis(100));
        load.rest(at(800));
        load.turn(at(800), at(1000));
        assert!(load.turn_time() < Duration::from_millis(25));
        load.rest(at(1000));
        load.turn(at(1000), at(1_000_000));
        assert_eq!(load.turn_time(), Duration::ZERO);
    }
}
