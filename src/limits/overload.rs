//! How overloaded the process is: memory and the shards' turns, each from calm to full, with hysteresis. Gets numbers,
//! gives levels. Never measures, never acts.

use std::time::Duration;

/// How overloaded; each level includes what those before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything is done.
    #[default]
    Calm,
    /// From 80 %: nothing is compressed.
    Lean,
    /// From 90 %: histories are shed, new connections refused.
    Shed,
    /// From 95 %: the slowest connections are dropped.
    Drop,
    /// From 100 %: more of them.
    Full,
}

impl Level {
    /// Every level, in order.
    pub const ALL: [Self; 5] = [Self::Calm, Self::Lean, Self::Shed, Self::Drop, Self::Full];

    /// The level of a number, the last one for numbers beyond it.
    pub fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Full)
    }

    /// Its number, 0 to 4: the gauge.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Where it begins, in thousandths of the limit.
    fn begins(self) -> u32 {
        match self {
            Self::Calm => 0,
            Self::Lean => 800,
            Self::Shed => 900,
            Self::Drop => 950,
            Self::Full => 1000,
        }
    }

    fn of(permille: u32) -> Self {
        Self::ALL.into_iter().rev().find(|level| permille >= level.begins()).unwrap_or_default()
    }

    fn below(self) -> Self {
        Self::from_number(self.number().saturating_sub(1))
    }
}

/// One measure and the level it is at. The level rises at once and falls one step at a time, each when the measure is
/// well below where the step begins: what was let go of is not taken up again at the edge.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauge {
    level: Level,
}

/// How far below its beginning a level ends, in thousandths of the limit.
const HYSTERESIS: u32 = 50;

impl Gauge {
    /// The measure is at so many thousandths of its limit now.
    pub fn update(&mut self, permille: u32) -> Level {
        let reached = Level::of(permille);
        if reached > self.level {
            self.level = reached;
        } else if permille + HYSTERESIS < self.level.begins() {
            self.level = self.level.below();
        }
        self.level
    }
}

/// Thousandths of `limit` that `used` is, at most a thousand times the limit.
pub fn permille(used: u64, limit: u64) -> u32 {
    let permille = u128::from(used) * 1000 / u128::from(limit.max(1));
    u32::try_from(permille).unwrap_or(u32::MAX).min(1_000_000)
}

/// As [`permille`] for spans of time.
pub fn permille_of_time(used: Duration, limit: Duration) -> u32 {
    let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    permille(nanos(used), nanos(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_begins_at_its_edge() {
        for (permille, level) in [
            (0, Level::Calm),
            (799, Level::Calm),
            (800, Level::Lean),
            (899, Level::Lean),
            (900, Level::Shed),
            (949, Level::Shed),
            (950, Level::Drop),
            (999, Level::Drop),
            (1000, Level::Full),
            (1_000_000, Level::Full),
        ] {
            assert_eq!(Gauge::default().update(permille), level, "{permille}");
        }
    }

    #[test]
    fn it_rises_at_once_and_falls_step_by_step() {
        let mut gauge = Gauge::default();
        assert_eq!(gauge.update(2000), Level::Full);
        let falls: Vec<u8> = (0..6).map(|_| gauge.update(0).number()).collect();
        assert_eq!(falls, [3, 2, 1, 0, 0, 0]);
    }

    #[test]
    fn it_stays_near_the_edge() {
        let mut gauge = Gauge::default();
        gauge.update(900);
        for permille in [899, 850, 899, 850] {
            assert_eq!(gauge.update(permille), Level::Shed, "{permille}");
        }
        assert_eq!(gauge.update(849), Level::Lean);
        assert_eq!(gauge.update(849), Level::Lean, "its own edge is lower");
        assert_eq!(gauge.update(749), Level::Calm);
    }

    #[test]
    fn a_level_is_never_below_what_the_measure_calls_for() {
        let mut state = 7u64;
        let mut gauge = Gauge::default();
        for _ in 0..100_000 {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let permille = (state >> 33) as u32 % 1200;
            let before = gauge.level;
            let level = gauge.update(permille);
            assert!(level >= Level::of(permille));
            assert!(level >= before.below(), "one step at a time");
        }
    }

    #[test]
    fn thousandths_do_not_overflow() {
        assert_eq!(permille(u64::MAX, 1), 1_000_000);
        assert_eq!(permille(1, 0), 1000);
        assert_eq!(permille(80, 100), 800);
        assert_eq!(permille_of_time(Duration::MAX, Duration::from_millis(1)), 1_000_000);
        assert_eq!(permille_of_time(Duration::from_millis(450), Duration::from_millis(500)), 900);
    }
}
